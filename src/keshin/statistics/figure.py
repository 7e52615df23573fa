"""The record of one number: value, 95 % interval, chance, what it rests on."""

from __future__ import annotations

import msgspec


class Figure(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A number that was measured, as every result, report and JSON file of keshin has it."""

    name: str = ""
    """What was measured, in words; empty where the place says it."""
    value: float
    low: float
    high: float
    """The ends of the 95 % interval; NaN, as the value, where nothing could be measured."""
    chance: float
    """What guessing would give: 0 for differences and coefficients."""
    count: int
    """Independent cases that it rests on: pictures, pairs of pictures, answers, works, classes."""
    method: str = ""
    """How the interval was made, or over what, in words."""
    notes: tuple[str, ...] = ()
    """Sentences that a reader must know: absent or small classes, tied scores."""
    unit: str = "share"
    """``share`` (0 to 1), ``difference`` of two shares (-1 to 1), ``coefficient`` (-1 to 1), or
    the name of what is counted."""

    def __str__(self) -> str:
        ends = f"[{100 * self.low:.1f}, {100 * self.high:.1f}]"
        said = f"{self.name} {100 * self.value:.1f} % {ends}".lstrip()
        return f"{said}, chance {100 * self.chance:.1f} %, n = {self.count:,}"
