"""Resampled intervals, paired comparisons, and wins on several data sets.

Two models that answered the same pictures are compared on these pictures, not by whether their
intervals overlap: most pictures are easy or hard for both, and that says nothing of the difference.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from keshin.errors import DataError, require
from keshin.statistics.influence import Study, places
from keshin.statistics.intervals import Interval, clustered, quantile, wilson
from keshin.statistics.metrics import as_columns, study
from keshin.statistics.rankings import Weighted

__all__ = [
    "Comparison",
    "Interval",
    "Wins",
    "bootstrap",
    "compare",
    "mcnemar",
    "paired_bootstrap",
    "resamples",
    "wilson",
    "wins",
]

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.floating]
BoolArray = npt.NDArray[np.bool_]
DRAWS = 2000
"""Bootstrap samples."""
AT_ONCE = 4_000_000
"""Weights that are held at a time."""
FEW_VALUES = 64
"""Up to so many distinct values in a stratum, draws are made of counts and not of pictures."""


@dataclass(frozen=True)
class Comparison:
    """What the first model's value exceeds the second's by, on the same pictures."""

    difference: float
    low: float
    high: float
    """95 % interval of the difference."""
    p: float
    """Two-sided: how often a difference this large would come about if there were none."""
    method: str

    def __str__(self) -> str:
        return (
            f"{100 * self.difference:+.1f} points [{100 * self.low:+.1f}, {100 * self.high:+.1f}], "
            f"p = {self.p:.2g} ({self.method})"
        )


@dataclass(frozen=True)
class Wins:
    """On how many data sets the first was better."""

    won: int
    lost: int
    tied: int
    share: float
    """Of those that were not tied."""
    low: float
    high: float
    """Wilson's 95 % interval of the share."""
    p: float
    """Exact two-sided sign test."""

    def __str__(self) -> str:
        ties = f", {self.tied} tied" if self.tied else ""
        return (
            f"wins on {self.won} of {self.won + self.lost + self.tied}{ties} "
            f"({100 * self.share:.0f} % [{100 * self.low:.0f}, {100 * self.high:.0f}], "
            f"sign test p = {self.p:.2g})"
        )


def wins(won: int, of: int, tied: int = 0) -> Wins:
    """``won`` of ``of`` data sets, ``tied`` of which count for neither. Raises ``DataError``."""
    decided = of - tied
    if not (0 <= won <= decided and tied >= 0 and decided > 0):
        raise DataError(f"{won} wins and {tied} ties of {of} make no comparison.")
    share = wilson(won, decided)
    p = float(require("scipy.stats", extra="eval").binomtest(won, decided).pvalue)
    return Wins(won, decided - won, tied, share.value, share.low, share.high, p)


def resamples(
    count: int,
    *,
    strata: IntArray | None = None,
    groups: IntArray | None = None,
    draws: int = DRAWS,
    seed: int = 0,
) -> Iterator[FloatArray]:
    """How often each of ``count`` pictures is drawn: (b, count) weights, ``draws`` rows in all.

    ``strata`` (count,) keep their sizes; ``groups`` (count,) are drawn whole, and then strata do
    not hold. Memory is bounded.
    """
    rng = np.random.default_rng(seed)
    step = max(1, AT_ONCE // count)
    if groups is not None:
        _, index = np.unique(groups, return_inverse=True)
        drawn = resamples(int(index.max()) + 1, draws=draws, seed=seed)
        for weights in drawn:
            for start in range(0, len(weights), step):
                yield weights[start : start + step][:, index]
        return
    labels = np.zeros(count, np.int64) if strata is None else strata
    rows = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    for start in range(0, draws, step):
        number = min(step, draws - start)
        drawn_rows = np.concatenate(
            [row[rng.integers(0, len(row), (number, len(row)), np.int32)] for row in rows], axis=1
        )
        drawn_rows += np.arange(number)[:, None] * count
        flat = np.bincount(drawn_rows.ravel(), minlength=number * count)
        yield flat.reshape(number, count).astype(np.float32)


def bootstrap(
    values: FloatArray,
    *,
    strata: IntArray | None = None,
    groups: IntArray | None = None,
    draws: int = DRAWS,
    seed: int = 0,
) -> Interval:
    """Mean of a value of each picture, with a bootstrap interval (BCa, expanded).

    With ``strata`` (n,) it is the mean of the strata's means, each drawn at its own size; with
    ``groups`` (n,) whole groups are drawn. For the metrics of ``METRICS`` use ``measure``: a
    bootstrap of small classes or few groups is too narrow (docs/decisions.md).
    Raises ``DataError``.
    """
    values = np.asarray(values, np.float64)
    if len(values) == 0 or not np.isfinite(values).all():
        raise DataError("A bootstrap needs at least one value, and finite ones.")
    labels = np.zeros(len(values), np.int64) if strata is None else strata
    _, index = np.unique(labels, return_inverse=True)
    if groups is None:
        means = _stratum_means(values, index, draws, np.random.default_rng(seed))
    else:
        means = _group_means(values, index, groups, draws, seed)
    value = float(_group_means(values, index, np.arange(len(values)), 0, seed)[0])
    low, high = _percentiles(means, value, *_parts(values, index, groups))
    return Interval(value, low, high, f"bootstrap, {draws} draws")


def _parts(
    values: FloatArray, index: IntArray, groups: IntArray | None
) -> tuple[FloatArray, float, float]:
    """What each drawn thing adds to the mean of means; degrees of freedom; how short the
    bootstrap's variance is: by (n - 1) / n in each stratum."""
    sizes = np.bincount(index)
    centred = values - (np.bincount(index, values) / sizes)[index]
    influence = np.asarray(centred / sizes[index] / len(sizes), np.float64)
    if groups is None:
        short = float(np.mean((np.maximum(sizes, 2) - 1) / np.maximum(sizes, 2)))
        return influence, float(max(sizes.sum() - len(sizes), 1)), short
    _, group = np.unique(groups, return_inverse=True)
    _, degrees = clustered(influence, groups)
    sums = np.asarray(np.bincount(group, influence), np.float64)
    return sums, degrees, degrees / (degrees + 1)


def _percentiles(
    draws: FloatArray, value: float, influence: FloatArray, degrees: float, short: float
) -> tuple[float, float]:
    """Percentiles, corrected for bias and skewness (BCa: Efron, 1987) and moved out as Student's
    interval is (Hesterberg, 2015)."""
    stats = require("scipy.stats", extra="eval")
    out = quantile(degrees) / math.sqrt(short)
    spread = float(np.square(influence).sum())
    skew = float((influence**3).sum()) / (6 * spread**1.5) if spread > 0 else 0.0
    below = float((draws < value).mean() + (draws == value).mean() / 2)
    bias = float(stats.norm.ppf(min(max(below, 1 / len(draws)), 1 - 1 / len(draws))))
    tails = [bias + (bias + q) / max(1 - skew * (bias + q), 0.1) for q in (-out, out)]
    low, high = np.quantile(draws, stats.norm.cdf(tails))
    return float(low), float(high)


def _stratum_means(
    values: FloatArray, index: IntArray, draws: int, rng: np.random.Generator
) -> FloatArray:
    """(draws,) means of the strata's resampled means."""
    distinct, which = np.unique(values, return_inverse=True)
    if len(distinct) == 2:  # right or wrong: all strata at once
        sizes = np.bincount(index)
        shares = np.minimum(np.bincount(index, which) / sizes, 1.0)
        high = rng.binomial(sizes, shares, (draws, len(sizes))) / sizes
        return np.asarray((distinct[0] + (distinct[1] - distinct[0]) * high).mean(axis=1))
    total = np.zeros(draws)
    order = np.argsort(index, kind="stable")
    for own in np.split(values[order], np.flatnonzero(np.diff(index[order])) + 1):
        distinct, counts = np.unique(own, return_counts=True)
        if len(distinct) <= FEW_VALUES:  # the same distribution, without touching every picture
            total += rng.multinomial(len(own), counts / len(own), draws) @ distinct / len(own)
            continue
        step = max(1, AT_ONCE // len(own))
        for start in range(0, draws, step):
            number = min(step, draws - start)
            rows = rng.integers(0, len(own), (number, len(own)), np.int32)
            total[start : start + number] += own[rows].mean(axis=1)
    return np.asarray(total / (index.max() + 1), np.float64)


def _group_means(
    values: FloatArray, index: IntArray, groups: IntArray, draws: int, seed: int
) -> FloatArray:
    """(draws,) means over whole groups; without draws (1,) the value itself."""
    _, group = np.unique(groups, return_inverse=True)
    number, strata = int(group.max()) + 1, int(index.max()) + 1
    sums, sizes = np.zeros((number, strata)), np.zeros((number, strata))
    np.add.at(sums, (group, index), values)
    np.add.at(sizes, (group, index), 1)
    parts = resamples(number, draws=draws, seed=seed) if draws else [np.ones((1, number))]
    with np.errstate(invalid="ignore"):  # a stratum that was not drawn is not counted
        means = [np.nanmean((w @ sums) / (w @ sizes), axis=1) for w in parts]
    return np.asarray(np.concatenate(means), np.float64)


def mcnemar(first: BoolArray, second: BoolArray) -> Comparison:
    """Two models, right or wrong on the same pictures: exact McNemar test, Tango's interval (1998).

    Only the pictures on which they differ say which is better. Raises ``DataError``.
    """
    first, second = np.asarray(first, bool), np.asarray(second, bool)
    if first.shape != second.shape or first.ndim != 1 or not len(first):
        raise DataError(
            f"{first.shape} and {second.shape} answers are not answers to the same pictures."
        )
    gained, lost = int((first & ~second).sum()), int((second & ~first).sum())
    stats = require("scipy.stats", extra="eval")
    p = float(stats.binomtest(gained, gained + lost).pvalue) if gained + lost else 1.0
    low, high = _tango(gained, lost, len(first))
    return Comparison((gained - lost) / len(first), low, high, p, "McNemar, exact")


def _tango(gained: int, lost: int, count: int) -> tuple[float, float]:
    """The differences that a score test does not refuse."""
    solve = require("scipy.optimize", extra="eval").brentq

    def surprise(difference: float) -> float:
        linear = (2 * count - gained + lost) * difference - gained - lost
        constant = -lost * difference * (1 - difference)
        root = math.sqrt(max(linear**2 - 8 * count * constant, 0.0))
        share = (root - linear) / (4 * count)
        variance = count * (2 * share + difference * (1 - difference))
        distance = gained - lost - count * difference
        if abs(distance) < 1e-9:
            return 0.0
        return distance / math.sqrt(variance) if variance > 1e-12 else math.copysign(1e6, distance)

    value, edge = (gained - lost) / count, 1 - 1e-9
    limit = quantile(math.inf)
    low = -1.0 if surprise(-edge) < limit else solve(lambda d: surprise(d) - limit, -edge, value)
    high = 1.0 if surprise(edge) > -limit else solve(lambda d: surprise(d) + limit, value, edge)
    return float(low), float(high)


def paired_bootstrap(
    first: Weighted,
    second: Weighted,
    count: int,
    *,
    strata: IntArray | None = None,
    groups: IntArray | None = None,
    draws: int = DRAWS,
    seed: int = 0,
) -> Comparison:
    """Two models on the same resampled pictures; each maps (b, count) weights to (b,) values."""
    whole = np.ones((1, count), np.float32)
    value = float(first(whole)[0] - second(whole)[0])
    parts = resamples(count, strata=strata, groups=groups, draws=draws, seed=seed)
    differences = np.concatenate([first(weights) - second(weights) for weights in parts])
    differences = differences[np.isfinite(differences)]
    labels = np.zeros(count, np.int64)
    if strata is not None:
        labels = np.unique(strata, return_inverse=True)[1].astype(np.int64)
    low, high = _percentiles(differences, value, *_parts(np.zeros(count), labels, groups))
    beyond = min((differences <= 0).sum(), (differences >= 0).sum())
    p = min(1.0, 2 * float(beyond + 1) / (len(differences) + 1))
    return Comparison(value, low, high, p, f"paired bootstrap, {draws} draws")


def compare(
    metric: str,
    targets: IntArray,
    first: FloatArray,
    second: FloatArray,
    *,
    groups: IntArray | None = None,
    resampled: bool = False,
) -> Comparison:
    """Two models' scores of the same pictures, by the test that fits the metric. As ``measure``.

    Accuracy without groups: exact McNemar. All else: the pictures' influences on the difference
    (for the area this is DeLong's paired test), summed within groups, with Student's quantile; in
    simulation it holds where the paired bootstrap is too narrow (docs/decisions.md).
    ``resampled=True`` asks for the paired bootstrap. Raises ``DataError``.
    """
    one, two = study(metric, targets, first), study(metric, targets, second)
    if resampled:
        strata = np.asarray(targets) if np.ndim(targets) == 1 and groups is None else None
        return paired_bootstrap(
            one.weighted, two.weighted, len(targets), strata=strata, groups=groups
        )
    if metric == "accuracy" and groups is None:
        right = [places(np.asarray(targets), as_columns(scores)) == 0 for scores in (first, second)]
        return mcnemar(right[0], right[1])
    return _by_influence(one, two, groups)


def _by_influence(one: Study, two: Study, groups: IntArray | None) -> Comparison:
    influence, difference = one.influence - two.influence, one.value - two.value
    degrees = min(one.degrees, two.degrees)
    variance, said = float(np.square(influence).sum()), "paired influences"
    if groups is not None:
        together, behind = clustered(influence, groups)
        variance, degrees = max(variance, together), min(degrees, behind)
        said += f", {len(np.unique(groups))} groups"
    half = quantile(degrees) * math.sqrt(variance)
    stats = require("scipy.stats", extra="eval")
    p = 1.0 if difference == 0 else 0.0
    if variance > 0:
        p = 2 * float(stats.t.sf(abs(difference) / math.sqrt(variance), degrees))
    low, high = max(difference - half, -1.0), min(difference + half, 1.0)
    return Comparison(difference, low, high, p, said)
