"""What a few-shot curve is, its bands, and where it crosses zero-shot."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
import numpy.typing as npt

from keshin.statistics.point_values import Metric, correctness, point_value

Array = npt.NDArray[np.floating]
IntArray = npt.NDArray[np.int64]
RESAMPLES = 2000
SLOW_RESAMPLES = 200
"""Of metrics that are more than a sum over pictures."""


class Point(msgspec.Struct, frozen=True, kw_only=True):
    """One size."""

    shots: int | None
    """Examples a class; None: all there are."""
    per_class: float
    """How many that were on average: a class may have fewer."""
    value: float
    """The metric, mean over the draws."""
    low: float
    high: float
    values: tuple[float, ...]
    """Of each draw."""
    strengths: tuple[float, ...]
    """C of each draw."""


class Zero(msgspec.Struct, frozen=True, kw_only=True):
    """Zero-shot on the same pictures."""

    value: float
    low: float
    high: float


class Crossing(msgspec.Struct, frozen=True, kw_only=True):
    """How many examples a class a probe needs to be as good as zero-shot (paper, figure 7).

    Between sizes the metric is taken as linear in the logarithm of their number. None: not within
    the largest size. A value equal to the smallest size means "at most that many".
    """

    examples: float | None
    low: float | None
    high: float | None
    share: float
    """Of the resamples in which the curve gets there at all."""
    smallest: float
    largest: float
    """The range of the curve."""

    def __str__(self) -> str:
        return (
            f"{self._said(self.examples)} examples a class "
            f"[{self._said(self.low)}, {self._said(self.high)}]"
        )

    def _said(self, number: float | None) -> str:
        if number is None:
            return f"not within {self.largest:g}"
        return f"at most {number:g}" if number <= self.smallest else f"{number:.1f}"


class Curve(msgspec.Struct, frozen=True, kw_only=True):
    """A few-shot curve; ``msgspec.json`` writes it as it is."""

    start: str
    metric: str
    classes: int
    draws: int
    pictures: int
    """Measured."""
    seed: int
    points: tuple[Point, ...]
    zero_shot: Zero | None
    overtakes: Crossing | None

    def __str__(self) -> str:
        lines = [f"{self.metric}, started from {self.start}, {self.draws} draws"]
        for p in self.points:
            name = "all" if p.shots is None else str(p.shots)
            lines.append(
                f"{name:>5}  {100 * p.value:5.1f} % [{100 * p.low:.1f}, {100 * p.high:.1f}]"
            )
        if self.zero_shot is not None:
            z = self.zero_shot
            lines.append(
                f"zero-shot {100 * z.value:.1f} % [{100 * z.low:.1f}, {100 * z.high:.1f}]; "
                f"overtaken with {self.overtakes}"
            )
        return "\n".join(lines)


class Resampled:
    """A metric on test pictures and on resamples of them, always the same resamples."""

    def __init__(
        self,
        metric: Metric,
        targets: IntArray,
        groups: IntArray | None,
        rng: np.random.Generator,
    ) -> None:
        self._targets, self._value, self._rng = targets, point_value(metric), rng
        self._weights = correctness(metric, targets) if groups is None else None
        self.count = SLOW_RESAMPLES if self._weights is None else RESAMPLES
        self._rows: Sequence[IntArray]
        if groups is None:
            parts = [np.flatnonzero(targets == label) for label in np.unique(targets)]
            again = [_again(part, self.count, rng) for part in parts]
            self._rows = list(np.concatenate(again, axis=1))
        else:
            parts = [np.flatnonzero(groups == group) for group in np.unique(groups)]
            picks = rng.integers(len(parts), size=(self.count, len(parts)))
            self._rows = [np.concatenate([parts[p] for p in pick]) for pick in picks]
        if self._weights is not None:
            self._counts = np.zeros((self.count, len(targets)), np.float32)
            for counts, rows in zip(self._counts, self._rows, strict=True):
                counts += np.bincount(rows, minlength=len(targets))

    def __call__(self, scores: Array) -> tuple[float, Array]:
        """The metric of (m, k) scores, and of each resample."""
        value = self._value(self._targets, scores)
        if self._weights is not None:
            right = self._weights * (scores.argmax(axis=1) == self._targets)
            return value, self._counts @ right.astype(np.float32)
        return value, np.array([self._value(self._targets[r], scores[r]) for r in self._rows])

    def over_draws(self, results: Sequence[tuple[float, Array]]) -> tuple[list[float], Array]:
        """The values of the draws; and of each resample the mean over as many draws, drawn again.

        The draws that a resample takes are the same in every call with as many results, since the
        draws of all sizes belong together.
        """
        values = [value for value, _ in results]
        bands = np.array([band for _, band in results])  # (draws, resamples)
        again = np.random.default_rng(0).integers(len(bands), size=(len(bands), self.count))
        return values, np.take_along_axis(bands, again, axis=0).mean(axis=0)


def _again(rows: IntArray, count: int, rng: np.random.Generator) -> IntArray:
    return rows[rng.integers(len(rows), size=(count, len(rows)))]


def crossing(points: Sequence[Point], spread: Array, zero: float, zero_spread: Array) -> Crossing:
    """Where the curve overtakes zero-shot. ``spread`` (points, resamples), ``zero_spread``
    (resamples,) are values of the same resamples."""
    sizes = np.array([point.per_class for point in points])
    found = overtaken(sizes, np.array([[point.value] for point in points]), np.array([zero]))[0]
    each = overtaken(sizes, spread, zero_spread)
    low, high = np.percentile(each, [2.5, 97.5], method="inverted_cdf")  # of what may be infinite
    return Crossing(
        examples=_finite(found),
        low=_finite(low),
        high=_finite(high),
        share=float(np.isfinite(each).mean()),
        smallest=float(sizes[0]),
        largest=float(sizes[-1]),
    )


def overtaken(sizes: Array, values: Array, zero: Array) -> Array:
    """(p,) sizes, (p, b) values, (b,) of zero-shot -> (b,) sizes where they meet, inf if never."""
    above = values >= zero
    first = above.argmax(axis=0)
    columns = np.arange(values.shape[1])
    before = np.maximum(first - 1, 0)
    low, high = values[before, columns], values[first, columns]
    rise = np.where(high > low, high - low, 1)
    part = np.where(first > 0, (zero - low) / rise, 1)
    logs = np.log(sizes)
    size = np.exp(logs[before] + part * (logs[first] - logs[before]))
    return np.where(above.any(axis=0), size, np.inf)


def _finite(number: float) -> float | None:
    return float(number) if np.isfinite(number) else None
