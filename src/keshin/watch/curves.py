"""What a run logged (``metrics.jsonl``), read while it runs or later."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import msgspec

from keshin.errors import DataError

METRICS = "metrics.jsonl"
Series = list[tuple[int, float]]
"""(step, value)."""
CHANCE = "_chance"
NOT_DRAWN = {"step", "epoch", "seconds_left", "chance_loss"}


@dataclass(frozen=True)
class Point:
    """Several values of a series as one: their middle step, mean, least and greatest."""

    step: float
    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class RunLog:
    """The records of one run, in their order."""

    name: str
    path: Path
    records: Sequence[Mapping[str, Any]]

    def events(self, *kinds: str) -> list[Mapping[str, Any]]:
        """Records of events: start, resume, left out, put back, validation."""
        return [record for record in self.records if record.get("event") in kinds]

    @property
    def taken(self) -> list[Mapping[str, Any]]:
        """Records of steps."""
        return [record for record in self.records if "event" not in record]

    @property
    def start(self) -> Mapping[str, Any]:
        """What was said when it began or went on; runs of old versions do not say."""
        found = self.events("start", "resume")
        return found[-1] if found else {}

    @property
    def step(self) -> int:
        """The last one that is known of."""
        return max((int(record["step"]) for record in self.records), default=0)

    @property
    def chance(self) -> float | None:
        """The loss of chance, ln(batch)."""
        values = (_number(record.get("chance_loss")) for record in reversed(self.records))
        return next((value for value in values if value is not None), None)

    @property
    def batch(self) -> int:
        """Pairs of a step."""
        return 1 if self.chance is None else round(math.exp(self.chance))

    def series(self, key: str) -> Series:
        """The finite values of a key over the steps."""
        source = self.taken if key in self.step_keys else self.events("validation")
        pairs = ((int(record["step"]), _number(record.get(key))) for record in source)
        return [(step, value) for step, value in pairs if value is not None]

    @property
    def step_keys(self) -> list[str]:
        """What is known of steps, in the order of its first mention."""
        return _keys(self.taken)

    @property
    def validation_keys(self) -> list[str]:
        """What validation measured, without the levels of chance."""
        return [k for k in _keys(self.events("validation")) if not k.endswith(CHANCE)]

    def chance_of(self, key: str) -> float | None:
        """The chance level of something that validation measured, if it is known."""
        beside = self.series(f"{key.rpartition('_')[0]}{CHANCE}") or self.series(f"{key}{CHANCE}")
        return beside[-1][1] if beside else None


def read_run(path: Path) -> RunLog:
    """A run from its folder or its ``metrics.jsonl``. Raises ``DataError``.

    A last line that is being written is left out.
    """
    file = path / METRICS if path.is_dir() else path
    try:
        lines = file.read_bytes().splitlines()
    except OSError as error:
        raise DataError(
            f"Cannot read {file}: {error.strerror}. Name the folder of a run, in which "
            "`keshin train` leaves it."
        ) from error
    records = list(_records(lines))
    if not records:
        raise DataError(f"{file} holds no record of a run (yet).")
    name = file.resolve().parent.name if file.name == METRICS else file.stem
    return RunLog(name, file, records)


def read_runs(paths: Iterable[Path]) -> list[RunLog]:
    """Several, each under a name of its own. Raises ``DataError``."""
    runs = [read_run(path) for path in paths]
    names = [run.name for run in runs]
    return [
        run if names.count(run.name) == 1 else RunLog(_longer(run), run.path, run.records)
        for run in runs
    ]


def _longer(run: RunLog) -> str:
    return "/".join(run.path.resolve().parent.parts[-2:])


def _records(lines: Iterable[bytes]) -> Iterable[Mapping[str, Any]]:
    for line in lines:
        try:
            record = msgspec.json.decode(line.replace(b": NaN", b": null"), type=dict[str, Any])
        except (msgspec.MsgspecError, UnicodeDecodeError):
            continue
        if isinstance(record.get("step"), int):
            yield record


def _number(value: Any) -> float | None:
    usable = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if usable and math.isfinite(value) else None


def _keys(records: Iterable[Mapping[str, Any]]) -> list[str]:
    found: dict[str, None] = {}
    for record in records:
        found |= {k: None for k, v in record.items() if _number(v) is not None}
    return [key for key in found if key not in NOT_DRAWN]


def thinned(series: Series, most: int) -> list[Point]:
    """At most so many points, each of as many steps as its neighbours."""
    if len(series) <= most:
        return [Point(step, value, value, value) for step, value in series]
    found = []
    for number in range(most):
        part = series[number * len(series) // most : (number + 1) * len(series) // most]
        values = [value for _, value in part]
        found.append(Point(fmean(s for s, _ in part), fmean(values), min(values), max(values)))
    return found
