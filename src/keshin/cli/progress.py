"""What ``keshin train`` says while it runs: a line for each record, on standard error."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

Record = Mapping[str, Any]
SLOW = 0.2
"""Share of time spent waiting for data that is worth a word."""


class Progress:
    """Prints records, and once each what a person should know about them."""

    def __init__(self) -> None:
        self.steps = 0
        self.told: set[str] = set()
        self.waits = 0

    def __call__(self, record: Record) -> None:
        """One line, coloured where somebody looks on."""
        event = record.get("event")
        if event in ("start", "resume"):
            self.steps = int(record["steps"])
        said = LINES.get(str(event), _step)(record, self.steps)
        colour = {"left out": "yellow", "put back": "red", "validation": "cyan"}.get(str(event))
        click.secho(said, fg=colour, err=True)
        if event is None:
            self._advise(record)

    def _advise(self, record: Record) -> None:
        self.waits = self.waits + 1 if float(record.get("data_wait", 0)) > SLOW else 0
        if self.waits == 3 and "wait" not in self.told:  # the first is that of the workers' start
            self.told.add("wait")
            click.secho(
                f"{record['data_wait']:.0%} of the time is spent waiting for data. More "
                "data.workers, smaller pictures (keshin data convert --max-side) or shards on a "
                "local disk would help.",
                fg="yellow",
                err=True,
            )


def _began(record: Record, steps: int) -> str:
    step = int(record["step"])
    began = "Starting" if record["event"] == "start" else f"Going on from step {step}"
    if record.get("file") == "state-before.pt":
        began = f"The last checkpoint cannot be read. Going on from the one before, step {step}"
    several = int(record.get("processes", 1))
    locked = ""
    if "lost" in record:
        locked = (
            f"; the image tower is locked, {int(record['kept_features']):,} features are kept, and "
            f"its pictures go without {record['lost']}"
        )
    return (
        f"{began}: {steps:,} steps over {int(record['pairs']):,} pairs, "
        f"{float(record['parameters']) / 1e6:.1f} M parameters on {record['device']}"
        + (f", {several} processes" if several > 1 else "")
        + f"; a loss of {float(record['chance_loss']):.3f} = ln(batch) is chance"
        + locked
    )


def _validated(record: Record, steps: int) -> str:
    values = (f"{k} {v:.4f}" for k, v in record.items() if isinstance(v, float))
    return f"{_place(record, steps)} validation: " + ", ".join(values)


def _left_out(record: Record, steps: int) -> str:
    value, usual = (record.get(key) for key in ("value", "usual"))
    why = f"its {record['why']} is {value:.4g}, usual is {usual:.4g}" if usual == usual else ""
    if record["why"] == "not finite":
        why = "its loss or gradient is not finite"
    return f"{_place(record, steps)} left out: {why}; its pairs are in {record['file']}"


def _put_back(record: Record, steps: int) -> str:
    return (
        f"{_place(record, steps)} the weights of step {int(record['weights_of']):,} are put back "
        f"(attempt {record['attempt']} of {record['attempts']}); the steps since are skipped"
    )


def _step(record: Record, steps: int) -> str:
    losses = f"loss {_of(record, 'loss'):.4f} (chance {float(record['chance_loss']):.3f})"
    losses += "".join(f", {k} {record[k]:.4f}" for k in ("distill", "head") if k in record)
    left = int(_of(record, "seconds_left"))
    share = f" ({int(record['step']) / steps:.0%})" if steps else ""
    return (
        f"{_place(record, steps)}{share} {losses}, epoch {_of(record, 'epoch'):.2f}, "
        f"gradient {_of(record, 'gradient_norm'):.3g}, scale {_of(record, 'logit_scale'):.1f}, "
        f"{_of(record, 'pairs_per_second'):,.0f} pairs/s, "
        f"{_of(record, 'data_wait'):.0%} waiting for data, "
        f"{left // 3600}:{left // 60 % 60:02}:{left % 60:02} left"
    )


def _of(record: Record, key: str) -> float:
    return float(record.get(key, float("nan")))


def _place(record: Record, steps: int) -> str:
    """The step, as wide as the last one, so that lines stand below each other."""
    width = len(f"{steps:,}") if steps else 0
    return f"step {int(record['step']):>{width},}:"


LINES = {
    "start": _began,
    "resume": _began,
    "validation": _validated,
    "left out": _left_out,
    "put back": _put_back,
}
