"""Whether confidence means what it says: reliability, ECE, a temperature for held-out pictures.

The confidence of an answer is the probability of its class. Of the answers given with 80 %, four in
five should be right.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from keshin.errors import DataError, require
from keshin.statistics.declining import RiskCoverage, confidences, risk_coverage
from keshin.statistics.gap_bounds import gap_bounds
from keshin.statistics.intervals import Interval, wilson

__all__ = [
    "Bin",
    "Calibrated",
    "Calibration",
    "RiskCoverage",
    "Temperature",
    "calibrate",
    "confidences",
    "ece",
    "fit_temperature",
    "reliability",
    "risk_coverage",
    "softmax",
    "split",
]

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.floating]
BoolArray = npt.NDArray[np.bool_]
BINS = 15
REPEATS = 1000
COLDEST, HOTTEST = 1e-3, 1e3
"""Temperatures between which the best is looked for."""


@dataclass(frozen=True)
class Bin:
    """Answers of about equal confidence."""

    lowest: float
    highest: float
    """The confidences that fell into it."""
    confidence: float
    """Their mean."""
    right: Interval
    """Share of right answers, with Wilson's interval."""
    count: int


@dataclass(frozen=True)
class Calibration:
    """The expected calibration error, and how much of it is noise."""

    value: float
    """ECE: mean over bins of equal numbers of pictures of |share right - mean confidence|. It is
    never 0, even for a perfectly calibrated model: compare it with ``chance``."""
    corrected: float
    """The value less what noise adds (Kumar et al., 2019, for the absolute error), at least 0 and
    within the interval."""
    lowest: float
    highest: float
    """95 % interval of the true error in bins like these (``gap_bounds``). The value itself may lie
    above it: that is the noise in it."""
    chance: float
    """Mean ECE of a perfectly calibrated model with these confidences and as many pictures."""
    high: float
    """What such a model stays below in 95 % of cases."""
    p: float
    """How often such a model comes out at this value or above."""
    bins: int
    count: int


@dataclass(frozen=True)
class Temperature:
    """What to divide logits by, chosen for the least negative log-likelihood."""

    value: float
    before: float
    after: float
    """Mean negative log-likelihood of the right class, in nats, where it was fitted."""
    note: str = ""


@dataclass(frozen=True)
class Calibrated:
    """A temperature from one part of the pictures, judged on the other."""

    temperature: Temperature
    before: Calibration
    after: Calibration
    loss_before: float
    loss_after: float
    """Mean negative log-likelihood on the other part, in nats."""
    fitted: int
    judged: int


def reliability(confidence: FloatArray, right: BoolArray, bins: int = BINS) -> list[Bin]:
    """Answers in bins of (nearly) equal numbers, by confidence; equal confidences stay together.

    ``confidence`` (n,) between 0 and 1, ``right`` (n,). Raises ``DataError``.
    """
    confidence, right = _checked(confidence, right)
    order, ends = _cuts(confidence, bins)
    found, start = [], 0
    for end in ends:
        rows = order[start:end]
        own = confidence[rows]
        share = wilson(float(right[rows].sum()), len(rows))
        found.append(Bin(own[0].item(), own[-1].item(), float(own.mean()), share, len(rows)))
        start = end
    return found


def ece(
    confidence: FloatArray,
    right: BoolArray,
    bins: int = BINS,
    seed: int = 0,
    groups: IntArray | None = None,
) -> Calibration:
    """Expected calibration error with bins of equal numbers, and what chance would make of it.

    ``confidence`` (n,) between 0 and 1, ``right`` (n,); ``groups`` (n,) of pictures that come
    together, which widen the interval. The chance level draws right and wrong answers from the
    confidences themselves (Bröcker and Smith, 2007). Raises ``DataError``.
    """
    confidence, right = _checked(confidence, right)
    order, ends = _cuts(confidence, bins)
    sizes = np.diff(np.r_[0, ends])
    label = np.repeat(np.arange(len(ends)), sizes)
    ranked, hit = confidence[order], right[order].astype(float)
    rng, count = np.random.default_rng(seed), len(right)
    expected = np.bincount(label, ranked)
    gap = (np.bincount(label, hit) - expected) / sizes
    value = float(np.abs(gap) @ sizes) / count
    together = None if groups is None else np.asarray(groups)[order]
    noise = _noise(hit, ranked, gap, label, together, rng)
    expected_noisy = float((np.abs(gap + noise) @ sizes).mean()) / count
    low, high = gap_bounds(gap, sizes / count, noise)
    null = np.empty(REPEATS)
    step = max(1, 4_000_000 // count)
    starts = np.r_[0, ends[:-1]]
    for start in range(0, REPEATS, step):
        number = min(step, REPEATS - start)
        drawn = (rng.random((number, count), np.float32) < ranked).astype(np.float32)
        sums = np.add.reduceat(drawn, starts, axis=1)
        null[start : start + number] = np.abs(sums - expected).sum(axis=1) / count
    return Calibration(
        value,
        min(max(low, 2 * value - expected_noisy), high),
        low,
        high,
        float(null.mean()),
        float(np.percentile(null, 95)),
        float((np.sum(null >= value) + 1) / (REPEATS + 1)),
        len(ends),
        count,
    )


def _noise(
    hit: FloatArray,
    confidence: FloatArray,
    gap: FloatArray,
    label: IntArray,
    groups: IntArray | None,
    rng: np.random.Generator,
) -> FloatArray:
    """(REPEATS, b) draws of what the gaps of the bins vary by.

    ``hit`` (n,) 1 where the answer is right, else 0; ``label`` (n,) the bin of each. A bin in which
    all are right still varies: its share is taken as if it held one picture more of each kind.
    """
    sizes = np.bincount(label)
    rest = hit - confidence - gap[label]
    within = np.bincount(label, rest**2) / np.maximum(sizes - 3, 1)  # Student's variance
    share = (np.bincount(label, hit) + 1) / (sizes + 2)
    variance = np.maximum(within, share * (1 - share)) / sizes
    drawn = np.zeros((REPEATS, len(sizes)))
    if groups is not None and len(np.unique(groups)) > 1:
        _, index = np.unique(groups, return_inverse=True)
        number = int(index.max()) + 1
        sums = np.zeros((number, len(sizes)))
        np.add.at(sums, (index, label), rest / sizes[label])
        sums *= math.sqrt(number / (number - 1))
        drawn = rng.normal(size=(REPEATS, number)) @ sums
        variance = np.maximum(variance - np.square(sums).sum(axis=0), 0)
    return np.asarray(drawn + rng.normal(size=drawn.shape) * np.sqrt(variance))


def fit_temperature(logits: FloatArray, targets: IntArray) -> Temperature:
    """The temperature T for which softmax(logits / T) gives the right classes most likelihood.

    ``logits`` (n, k): cosines times the logit scale. Fit it on pictures that are not judged with
    it (``split``, ``calibrate``). Raises ``DataError``.
    """
    logits, targets = _logits(logits, targets)
    optimise = require("scipy.optimize", extra="eval")
    found = optimise.minimize_scalar(
        lambda log: _loss(logits / math.exp(log), targets),
        bounds=(math.log(COLDEST), math.log(HOTTEST)),
        method="bounded",
        options={"xatol": 1e-5},
    )
    value = math.exp(found.x)
    note = ""
    if bool((logits.argmax(axis=1) == targets).all()):
        note = "Every picture is right, so no temperature is too cold. Use more pictures."
    elif value > HOTTEST / 2:
        note = "The scores say nothing of the classes, so no temperature is too hot."
    return Temperature(value, _loss(logits, targets), float(found.fun), note)


def calibrate(
    logits: FloatArray,
    targets: IntArray,
    *,
    share: float = 0.5,
    groups: IntArray | None = None,
    seed: int = 0,
) -> Calibrated:
    """Fit a temperature on a part of the pictures, judge it on the rest. Raises ``DataError``."""
    logits, targets = _logits(logits, targets)
    fit, judge = split(targets, share=share, groups=groups, seed=seed)
    temperature = fit_temperature(logits[fit], targets[fit])
    right = logits[judge].argmax(axis=1) == targets[judge]
    cooled = logits[judge] / temperature.value
    return Calibrated(
        temperature,
        ece(softmax(logits[judge]).max(axis=1), right, seed=seed),
        ece(softmax(cooled).max(axis=1), right, seed=seed),
        _loss(logits[judge], targets[judge]),
        _loss(cooled, targets[judge]),
        len(fit),
        len(judge),
    )


def split(
    targets: IntArray, *, share: float = 0.5, groups: IntArray | None = None, seed: int = 0
) -> tuple[IntArray, IntArray]:
    """Rows of two parts, the first with about ``share`` of the pictures of each class.

    With ``groups`` (n,) a group is never torn apart: then the shares of the classes are those that
    whole groups allow. The same seed gives the same parts. Raises ``DataError``.
    """
    targets = np.asarray(targets)
    rng = np.random.default_rng(seed)
    if not 0 < share < 1 or len(targets) < 2:
        raise DataError(f"{len(targets)} pictures cannot be split at {share:g}.")
    chosen = np.zeros(len(targets), bool)
    if groups is not None:
        names, index = np.unique(groups, return_inverse=True)
        if len(names) < 2:
            raise DataError("All pictures are in one group, which cannot be split.")
        mixed = rng.permutation(len(names))
        sizes = np.bincount(index)[mixed].cumsum()
        cut = int(np.clip(np.searchsorted(sizes, share * len(targets)) + 1, 1, len(names) - 1))
        chosen = np.isin(index, mixed[:cut])
    else:
        mixed = rng.permutation(len(targets))
        mixed = mixed[np.argsort(targets[mixed], kind="stable")]
        # Class after class, a picture is taken whenever the running share passes a whole number:
        # every class gets its share, and rounding does not add up over many small classes.
        steps = np.floor((np.arange(len(mixed)) + 1) * share + rng.random())
        chosen[mixed] = np.diff(np.r_[np.floor(0.0), steps]) > 0
        if not chosen.any() or chosen.all():
            chosen[mixed[0]] = not chosen[mixed[0]]
    return np.flatnonzero(chosen), np.flatnonzero(~chosen)


def softmax(logits: FloatArray) -> FloatArray:
    """(n, k) probabilities."""
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=1, keepdims=True))


def _loss(logits: FloatArray, targets: IntArray) -> float:
    shifted = logits - logits.max(axis=1, keepdims=True)
    own = np.take_along_axis(shifted, targets[:, None], axis=1)[:, 0]
    return float((np.log(np.exp(shifted).sum(axis=1)) - own).mean())


def _cuts(confidence: FloatArray, bins: int) -> tuple[IntArray, IntArray]:
    """Rows by rising confidence, and where each bin ends."""
    order = np.argsort(confidence, kind="stable")
    ranked = confidence[order]
    wanted = np.linspace(0, len(ranked), min(bins, len(ranked)) + 1)[1:-1].astype(np.int64)
    moved = np.searchsorted(ranked, ranked[wanted], side="left")
    return order, np.unique(np.r_[moved[moved > 0], len(ranked)])


def _checked(confidence: FloatArray, right: BoolArray) -> tuple[FloatArray, BoolArray]:
    confidence, right = np.asarray(confidence, np.float64), np.asarray(right, bool)
    if confidence.shape != right.shape or confidence.ndim != 1 or not len(right):
        raise DataError(
            f"Confidences of shape {confidence.shape} do not go with answers of shape "
            f"{right.shape}. Give one of each for every picture."
        )
    if not (confidence >= 0).all() or not (confidence <= 1 + 1e-6).all():
        raise DataError(
            "Confidences must lie between 0 and 1. Give probabilities, not cosines or logits."
        )
    return confidence, right


def _logits(logits: FloatArray, targets: IntArray) -> tuple[FloatArray, IntArray]:
    logits, targets = np.asarray(logits, np.float64), np.asarray(targets, np.int64)
    if logits.ndim != 2 or targets.shape != logits.shape[:1] or not len(targets):
        raise DataError(
            f"Logits of shape {logits.shape} do not go with targets of shape {targets.shape}. "
            "Give (n, k) and (n,)."
        )
    if not np.isfinite(logits).all():
        raise DataError("Some logits are not finite numbers. Leave such pictures out.")
    if targets.min() < 0 or targets.max() >= logits.shape[1]:
        raise DataError(
            f"Targets go from {targets.min()} to {targets.max()} with {logits.shape[1]} classes."
        )
    return logits, targets
