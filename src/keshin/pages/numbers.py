"""Numbers as people read them, the same in every page, table and sentence.

Values are shares (0 to 1) and are shown in per cent. What is not known or not defined (None, NaN)
is a dash.
"""

from __future__ import annotations

from typing import TypeGuard

NOTHING = "–"
MINUS = "\N{MINUS SIGN}"
LEAST_P = 1e-4
"""Below it the size of a p says nothing more."""


def percent(value: float | None, digits: int = 1) -> str:
    """A share: "12.3 %"."""
    return f"{100 * value:.{digits}f} %" if _known(value) else NOTHING


def interval(low: float | None, high: float | None, digits: int = 1) -> str:
    """The ends of an interval of shares, without the sign: "10.0 – 14.6"."""
    if _known(low) and _known(high):
        return f"{100 * low:.{digits}f} – {100 * high:.{digits}f}"
    return NOTHING


def with_interval(value: float | None, low: float, high: float, digits: int = 1) -> str:
    """A share and its interval in one breath: "12.3 % [10.0, 14.6]"."""
    if _known(value):
        return f"{percent(value, digits)} [{100 * low:.{digits}f}, {100 * high:.{digits}f}]"
    return NOTHING


def points(value: float | None, digits: int = 1) -> str:
    """A difference of shares in percentage points, with its sign: "+1.2", "−0.4"."""
    return f"{100 * value:+.{digits}f}".replace("-", MINUS) if _known(value) else NOTHING


def points_interval(low: float | None, high: float | None, digits: int = 1) -> str:
    """The ends of an interval of a difference: "−0.4 … +1.2"."""
    if _known(low) and _known(high):
        return f"{points(low, digits)} … {points(high, digits)}"
    return NOTHING


def p_value(p: float) -> str:
    """A p that people read, after "p": "= 0.012", "< 0.0001"."""
    return f"< {LEAST_P:.4f}" if p < LEAST_P else f"= {p:.2g}"


def _known(value: float | None) -> TypeGuard[float]:
    return value is not None and value == value  # NaN is not equal to itself
