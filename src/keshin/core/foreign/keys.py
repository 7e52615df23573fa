"""Tensor names of one layout as another's: a literal table, and the engine that reads it both ways.

A table is rows of (foreign pattern, our pattern, transform). In a pattern ``{i}``, ``{j}`` and
``{k}`` stand for a number, the same on both sides; ``{qkv}``, ``{q_kv}`` and ``{query}`` on the
foreign side stand for the parts, as ``JOINED`` names them, of a row that joins queries, keys and
values. Ours are OpenAI's names.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from keshin.errors import CheckpointError

Array = npt.NDArray[Any]
Transform = Literal["same", "transpose", "concat", "unwrap", "unwrap twice"]
Row = tuple[str, str, Transform]

SHOWN = 8  # names in one error message
JOINED: dict[str, dict[str, int]] = {  # place -> its parts in OpenAI's order, and their thirds
    "qkv": {"q": 1, "k": 1, "v": 1},
    "q_kv": {"q": 1, "kv": 2},
    "query": {"query": 1, "key": 1, "value": 1},
}
THIRDS = 3
NUMBER = "0|[1-9][0-9]*"
PLACE = re.compile(r"\{(i|j|k|" + "|".join(JOINED) + r")\}")


def _same(parts: list[Array]) -> Array:
    return parts[0]


def _transpose(parts: list[Array]) -> Array:
    return np.ascontiguousarray(parts[0].T)


def _unwrap(parts: list[Array]) -> Array:
    """Without a leading axis of length one, which other layouts keep for a batch."""
    array = parts[0]
    if array.ndim == 0 or len(array) != 1:
        raise CheckpointError(
            f"A tensor of shape {list(array.shape)} stands where the layout has a first axis of 1."
        )
    return np.asarray(array[0])


TO_OURS: dict[Transform, Callable[[list[Array]], Array]] = {
    "same": _same,
    "transpose": _transpose,
    "concat": np.concatenate,
    "unwrap": _unwrap,
    "unwrap twice": lambda parts: _unwrap([_unwrap(parts)]),
}
TO_FOREIGN: dict[Transform, Callable[[Array], Array]] = {
    "same": lambda whole: whole,
    "transpose": lambda whole: _transpose([whole]),
    "unwrap": lambda whole: whole[None],
    "unwrap twice": lambda whole: whole[None, None],
}


def _joined(pattern: str) -> str | None:
    """The place of a pattern that stands for several tensors."""
    return next((match[1] for match in PLACE.finditer(pattern) if match[1] in JOINED), None)


def _split(whole: Array, thirds: Iterable[int]) -> list[Array]:
    if len(whole) % THIRDS:
        raise CheckpointError(
            f"A joined tensor of {len(whole)} rows cannot be split into queries, keys and values."
        )
    ends = np.cumsum(list(thirds)) * (len(whole) // THIRDS)
    return np.split(whole, ends[:-1])


def _regex(pattern: str) -> re.Pattern[str]:
    pieces = PLACE.split(pattern)  # text, place, text, place, ..., text
    parts = [
        re.escape(piece)
        if index % 2 == 0
        else f"(?P<{piece}>{'|'.join(JOINED.get(piece, (NUMBER,)))})"
        for index, piece in enumerate(pieces)
    ]
    return re.compile("".join(parts))


def _fill(pattern: str, places: Mapping[str, str]) -> str:
    return PLACE.sub(lambda match: places[match[1]], pattern)


@dataclass(frozen=True)
class KeyTable:
    """The names of one layout. ``ignored`` are foreign names that hold no weight."""

    layout: str
    rows: tuple[Row, ...]
    ignored: tuple[str, ...] = ()

    @cached_property
    def _by_foreign(self) -> list[tuple[re.Pattern[str], Row]]:
        return [(_regex(row[0]), row) for row in self.rows]

    @cached_property
    def _by_ours(self) -> list[tuple[re.Pattern[str], Row]]:
        return [(_regex(row[1]), row) for row in self.rows]

    @cached_property
    def _by_ignored(self) -> list[re.Pattern[str]]:
        return [_regex(pattern) for pattern in self.ignored]

    def ours(self, foreign: str) -> tuple[str, Transform] | None:
        """Our name of a foreign tensor and what turns it into ours; ``None`` if no row has it."""
        for regex, (_, pattern, transform) in self._by_foreign:
            if match := regex.fullmatch(foreign):
                return _fill(pattern, match.groupdict()), transform
        return None

    def foreign(self, ours: str) -> tuple[tuple[str, ...], Transform] | None:
        """The foreign names, in order, of one of our tensors; ``None`` if no row has it."""
        for regex, (pattern, _, transform) in self._by_ours:
            if match := regex.fullmatch(ours):
                place = _joined(pattern) or "none"
                parts = JOINED.get(place, ("",))
                names = (_fill(pattern, {**match.groupdict(), place: part}) for part in parts)
                return tuple(names), transform
        return None

    def is_ignored(self, foreign: str) -> bool:
        return any(regex.fullmatch(foreign) for regex in self._by_ignored)

    def import_tensors(self, source: Mapping[str, Array], *, origin: str) -> dict[str, Array]:
        """Foreign tensors as ours. Raises ``CheckpointError`` for those that no row has."""
        targets: dict[str, Transform] = {}
        leftover = []
        for name in source:
            if found := self.ours(name):
                targets[found[0]] = found[1]
            elif not self.is_ignored(name):
                leftover.append(name)
        names = {ours: self._foreign_names(ours) for ours in targets}
        missing = [name for group in names.values() for name in group if name not in source]
        self._refuse(leftover, missing, origin)
        return {
            ours: TO_OURS[transform]([source[name] for name in names[ours]])
            for ours, transform in targets.items()
        }

    def export_tensors(self, tensors: Mapping[str, Array]) -> dict[str, Array]:
        """Our tensors under the layout's names; the inverse of ``import_tensors``."""
        exported: dict[str, Array] = {}
        leftover = []
        for ours, array in tensors.items():
            found = self.foreign(ours)
            if found is None:
                leftover.append(ours)
            elif found[1] == "concat":
                parts = _split(array, self._thirds(ours))
                exported.update(zip(found[0], parts, strict=True))
            else:
                exported[found[0][0]] = TO_FOREIGN[found[1]](array)
        if leftover:
            raise CheckpointError(
                f"The {self.layout} layout has no name for {listed(leftover)}: this model cannot "
                "be exported so."
            )
        return exported

    def check_shapes(
        self, tensors: Mapping[str, Array], expected: Mapping[str, tuple[int, ...]], *, origin: str
    ) -> None:
        """Compare imported tensors with what the facts call for, in the layout's own names."""
        missing = [n for name in expected if name not in tensors for n in self._foreign_names(name)]
        leftover = [
            n for name in tensors if name not in expected for n in self._foreign_names(name)
        ]
        self._refuse(leftover, missing, origin)
        wrong = [
            f"'{' + '.join(self._foreign_names(name))}' makes {list(tensors[name].shape)} where "
            f"the facts say {list(shape)}"
            for name, shape in expected.items()
            if tensors[name].shape != shape
        ]
        if wrong:
            raise CheckpointError(
                f"{origin}: {listed(wrong, quote=False)}. Facts and weights are of two models."
            )

    def _thirds(self, ours: str) -> Iterable[int]:
        pattern = next(row[0] for regex, row in self._by_ours if regex.fullmatch(ours))
        return JOINED[_joined(pattern) or "qkv"].values()

    def _foreign_names(self, ours: str) -> tuple[str, ...]:
        found = self.foreign(ours)
        return found[0] if found else (ours,)

    def _all_foreign(self, ours: Iterable[str]) -> list[str]:
        return [foreign for name in ours for foreign in self._foreign_names(name)]

    def _refuse(self, leftover: list[str], missing: list[str], origin: str) -> None:
        problems = []
        if missing:
            problems.append(f"it lacks {listed(missing)}")
        if leftover:
            problems.append(f"keshin has no use for {listed(leftover)}")
        if problems:
            raise CheckpointError(
                f"{origin} does not fit the {self.layout} layout: {'; '.join(problems)}. It is "
                "of another kind of model, or of another layout."
            )


def listed(names: Iterable[str], quote: bool = True) -> str:
    """The first few names, and how many more there are."""
    items = list(names)
    shown = ", ".join(f"'{name}'" if quote else name for name in items[:SHOWN])
    more = len(items) - SHOWN
    return f"{shown} and {more} more" if more > 0 else shown
