"""How strongly a linear probe is held back: the paper's parametric search (appendix A.3).

The paper sweeps the strength over [1e-6, 1e6] in 96 logarithmic steps, 8 a decade, but not through
all of them: it begins with 1e-6, 1e-4, ..., 1e6 and halves the interval around the peak until it is
one step. That is 15 fits, or 11 with the peak at an end. Here the strength is scikit-learn's
C, the inverse of the penalty; the range is the same.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from keshin.errors import DataError
from keshin.evaluate.probes.logistic import Array, Rotated, Solution, Targets, solve

STRENGTHS: tuple[float, ...] = tuple(float(10 ** (step / 8 - 6)) for step in range(97))
"""96 steps of an eighth of a decade."""
COARSE = 16
"""Steps of the first grid: two decades."""
CLOSE = 2
"""Validation pictures by which a rough fit may misjudge a strength."""
FINER = 0.1
"""The tolerance of a fit to the end, in that of a rough one."""
EQUAL = 9
"""Decimals to which metrics are compared."""

Value = Callable[[Array], float]
"""(n, k) scores of the validation pictures -> the metric, larger is better."""


@dataclass(frozen=True)
class Trial:
    """One strength that was tried."""

    strength: float
    value: float
    """The metric on the validation pictures."""
    loss: float
    """Mean cross-entropy there; it decides where the metric is equal."""
    iterations: int


def parametric_search(tried: Callable[[int], Trial]) -> tuple[int, dict[int, Trial]]:
    """The step with the best trial, and all trials by step, in the order in which they were made.

    ``tried`` fits with ``STRENGTHS[step]``. Of equal metrics the one of smaller loss is the peak.
    """
    return _halved(tried, COARSE)


def sweep(tried: Callable[[int], Trial]) -> tuple[int, dict[int, Trial]]:
    """The same from a trial at every step: dearer, and it cannot miss a second peak."""
    return _halved(tried, 1)


SEARCHES = {"parametric": parametric_search, "sweep": sweep}


def _halved(tried: Callable[[int], Trial], width: int) -> tuple[int, dict[int, Trial]]:
    trials = {step: tried(step) for step in range(0, len(STRENGTHS), width)}
    while True:
        peak = max(trials, key=lambda step: _rank(trials[step]))
        if width == 1:
            return peak, trials
        width //= 2
        for step in (peak - width, peak + width):
            if 0 <= step < len(STRENGTHS) and step not in trials:
                trials[step] = tried(step)


def _rank(trial: Trial) -> tuple[float, float]:
    """What decides between trials. Sums of equal counts may differ in the last digit: no matter."""
    return round(trial.value, EQUAL), -trial.loss


def find_strength(
    rotated: Rotated,
    targets: Targets,
    features: Array,
    validation: Targets,
    value: Value,
    *,
    search: str,
    iterations: int,
    tolerance: float,
) -> tuple[float, tuple[Trial, ...], Solution]:
    """The strength that is best on validation pictures, the trials, and the solution there.

    ``features`` (m, d) of the validation pictures are as they were given. Each fit starts from the
    solution with the next smaller strength, which is near. A fit in float32 leaves a few validation
    pictures on the wrong side, which is enough to choose another strength: those that are within
    ``CLOSE`` pictures of the best are fitted to the end in float64 before one is chosen.
    """
    seen = rotated.apply(features)
    solutions: dict[int, Solution] = {}
    exact = _in_float64(rotated)
    seen_exact = exact.apply(features.astype(np.float64))

    def judged(step: int, found: Solution, pictures: Array) -> Trial:
        solutions[step] = found
        scores = found.scores(pictures)
        reached = float(value(scores))
        if not np.isfinite(reached):
            raise DataError(
                f"The metric gives {reached} on the {len(validation)} validation pictures, so "
                "that no strength can be chosen. Give a validation split with all classes."
            )
        loss = validation.loss(scores) / len(validation)  # the last use of the scores
        return Trial(STRENGTHS[step], reached, loss, found.iterations)

    def fitted(step: int, on: Rotated, start: Solution | None, least: float) -> Solution:
        return solve(
            on, targets, STRENGTHS[step], start=start, iterations=iterations, tolerance=least
        )

    def tried(step: int) -> Trial:
        smaller = max((known for known in solutions if known < step), default=None)
        start = None if smaller is None else solutions[smaller]
        return judged(step, fitted(step, rotated, start, tolerance), seen)

    def finished(step: int) -> Trial:
        found = fitted(step, exact, solutions[step], tolerance * FINER)
        return judged(step, found, seen_exact)

    _, trials = SEARCHES[search](tried)
    best = _chosen(trials, finished, CLOSE / len(validation))
    return STRENGTHS[best], tuple(trials.values()), solutions[best]


def _chosen(trials: dict[int, Trial], finished: Callable[[int], Trial], close: float) -> int:
    """The best step, after every trial that may be the best has been finished."""
    rough = sorted(trials, key=lambda step: _rank(trials[step]), reverse=True)
    exact: dict[int, Trial] = {}
    for step in rough:
        most = max((trial.value for trial in exact.values()), default=-np.inf)
        if trials[step].value < most - close:
            break
        exact[step] = trials[step] = finished(step)
    return max(exact, key=lambda step: _rank(exact[step]))


def _in_float64(rotated: Rotated) -> Rotated:
    kind = np.float64
    return Rotated(
        rotated.mean.astype(kind), rotated.basis.astype(kind), rotated.spectrum,
        rotated.features.astype(kind),
    )  # fmt: skip
