"""How far people agree, beyond chance: Krippendorff's alpha and Fleiss' kappa for classes.

Both are 1 where all agree and 0 where answers are as alike as drawn at random from all answers.
Krippendorff's takes people who left pictures out; Fleiss' wants as many answers to each picture.
Sources: K. Krippendorff, Computing Krippendorff's Alpha-Reliability (2011); J. L. Fleiss,
Psychological Bulletin 76 (1971).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from keshin.statistics.figure import Figure

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]
DRAWS = 1000


def krippendorff(counts: IntArray) -> float:
    """Alpha for unordered classes.

    ``counts`` (n, k): how many people gave each class to each picture. Pictures with fewer than two
    answers do not count. NaN without pairs of answers, or where only one class was ever given.
    """
    return float(_alphas(counts, np.ones((1, len(counts))))[0])


def fleiss(counts: IntArray) -> float:
    """Kappa, of ``counts`` (n, k) with the same number of answers, at least two, to each picture;
    NaN otherwise, or where only one class was ever given."""
    answers = counts.sum(axis=1)
    if len(answers) == 0 or answers.min() != answers.max() or answers[0] < 2:
        return float("nan")
    m = int(answers[0])
    observed = ((counts**2).sum(axis=1) - m) / (m * (m - 1))
    shares = counts.sum(axis=0) / counts.sum()
    chance = float((shares**2).sum())
    return (float(observed.mean()) - chance) / (1 - chance) if chance < 1 else float("nan")


def agreement(counts: IntArray, seed: int = 0) -> Figure:
    """Krippendorff's alpha with a bootstrap over pictures; ``counts`` (n, k) as above."""
    paired = counts[counts.sum(axis=1) >= 2]
    value = krippendorff(paired)
    if np.isnan(value):
        return _alpha(value, value, value, len(paired))
    rng = np.random.default_rng(seed)
    weights = rng.multinomial(len(paired), np.full(len(paired), 1 / len(paired)), DRAWS)
    low, high = np.nanpercentile(_alphas(paired, weights.astype(np.float64)), [2.5, 97.5])
    return _alpha(value, float(low), float(high), len(paired))


def _alpha(value: float, low: float, high: float, pictures: int) -> Figure:
    """``pictures``: those with two answers or more."""
    return Figure(
        name="Krippendorff",
        value=value,
        low=low,
        high=high,
        chance=0.0,
        count=pictures,
        method="over pictures",
        unit="coefficient",
    )


def _alphas(counts: IntArray, weights: FloatArray) -> FloatArray:
    """(draws,) alphas of pictures that are taken so many times, ``weights`` (draws, n)."""
    answers = counts.sum(axis=1)
    kept = answers >= 2
    counts, answers, weights = counts[kept], answers[kept], weights[:, kept]
    unlike = (answers**2 - (counts**2).sum(axis=1)) / np.maximum(answers - 1, 1)
    totals = weights @ counts  # (draws, k): how often each class was given
    number = totals.sum(axis=1)
    expected = number**2 - (totals**2).sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        found = 1 - (number - 1) * (weights @ unlike) / expected
    return np.where(expected > 0, found, np.nan)
