"""Do 95 % intervals hold the truth in 95 % of cases? Each case draws its own sizes and truth."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

pytest.importorskip("scipy")
pytest.importorskip("sklearn")
from scipy import stats

from keshin.statistics.calibration import ece
from keshin.statistics.influence import mean_study
from keshin.statistics.metrics import accuracy, balanced_accuracy, measure, measured
from keshin.statistics.uncertainty import bootstrap, compare, mcnemar

Case = tuple[object, float]


def of_accuracy(rng):
    n, p = int(10 ** rng.uniform(1.3, 3.3)), rng.uniform(0.05, 0.98)
    right = rng.random(n) < p
    return accuracy(np.zeros(n, int), np.where(right, 0, 1), 2), p


def of_mean_per_class(rng):
    k = int(rng.choice([2, 4, 10, 37, 100]))
    sizes = rng.integers(3, rng.integers(10, 80), k)
    share = rng.beta(*rng.uniform(0.8, 8, 2), k)
    targets = np.repeat(np.arange(k), sizes)
    right = rng.random(len(targets)) < share[targets]
    return balanced_accuracy(targets, np.where(right, targets, -1), k), share.mean()


def of_top_mean(rng):
    n, (first, fifth, _) = int(10 ** rng.uniform(1.5, 3.3)), rng.dirichlet([2, 2, 2])
    draw = rng.random(n)
    scores = np.zeros((n, 10))
    scores[:, 1:] = np.where(draw < first, 0.0, np.where(draw < first + fifth, -1.0, 1.0))[:, None]
    scores[(draw >= first) & (draw < first + fifth), 1] = 1.0  # only one class is ahead
    return measure("mean(top1, top5)", np.zeros(n, int), scores), first + fifth / 2


def normals(rng, ones, zeros):
    shift, wide = rng.uniform(0, 2.5), rng.uniform(0.7, 1.4)
    truth = np.repeat([1, 0], [ones, zeros])
    scores = rng.normal(size=ones + zeros) * np.where(truth, wide, 1) + shift * truth
    return truth, scores, shift, wide


def of_area(rng):
    truth, scores, shift, wide = normals(rng, *rng.integers(10, 200, 2))
    return measure("ROC AUC", truth, scores), stats.norm.cdf(shift / math.hypot(1, wide))


def of_precision(rng):
    count, share = int(rng.integers(150, 1500)), rng.uniform(0.1, 0.5)
    truth, scores, shift, wide = normals(
        rng, *np.random.default_rng(rng.integers(2**32)).multinomial(count, [share, 1 - share])
    )
    recall = (np.arange(4000) + 0.5) / 4000
    false = stats.norm.sf(stats.norm.ppf(1 - recall) * wide + shift)
    expected = (share * recall / (share * recall + (1 - share) * false)).mean()
    return measure("average precision", truth, scores), expected


def of_grouped_accuracy(rng):
    groups, share, alike = int(rng.integers(12, 80)), rng.uniform(0.2, 0.9), rng.uniform(0.02, 0.3)
    sizes = rng.integers(1, 20, groups)
    index = np.repeat(np.arange(groups), sizes)
    own = rng.beta(share * (1 / alike - 1), (1 - share) * (1 / alike - 1), groups)
    right = rng.random(len(index)) < own[index]
    return measured("accuracy", mean_study(right.astype(float), 0.5), index), share


def of_grouped_area(rng):
    groups, shift, alike = int(rng.integers(15, 80)), rng.uniform(0, 2), rng.uniform(0, 0.5)
    index = np.repeat(np.arange(groups), rng.integers(2, 20, groups))
    truth = (rng.random(len(index)) < rng.beta(2, 2, groups)[index]).astype(int)
    truth[:2] = 0, 1
    noise = math.sqrt(alike) * rng.normal(size=groups)[index]
    scores = noise + math.sqrt(1 - alike) * rng.normal(size=len(index)) + shift * truth
    return measure("ROC AUC", truth, scores, groups=index), stats.norm.cdf(shift / math.sqrt(2))


def of_mcnemar(rng):
    n, shared = int(rng.integers(50, 2000)), rng.uniform(0, 0.9)
    share = rng.uniform(0.3, 0.95, 2)
    hard = rng.random(n)
    other = np.where(rng.random(n) < shared, hard, rng.random(n))
    return mcnemar(hard < share[0], other < share[1]), share[0] - share[1]


def of_paired_area(rng):
    ones, zeros = rng.integers(15, 200, 2)
    truth, shared = np.repeat([1, 0], [ones, zeros]), rng.uniform(0, 0.8)
    shifts = rng.uniform(0.3, 2.2, 2)
    common = rng.normal(size=len(truth)) * math.sqrt(shared)
    scores = [
        common + math.sqrt(1 - shared) * rng.normal(size=len(truth)) + s * truth for s in shifts
    ]
    expected = stats.norm.cdf(shifts / math.sqrt(2))
    return compare("ROC AUC", truth, *scores), expected[0] - expected[1]


def of_paired_mean_per_class(rng):
    k = int(rng.choice([3, 10, 30]))
    targets = np.repeat(np.arange(k), rng.integers(5, 60, k))
    shares = rng.beta(4, 2, (2, k))
    hard = rng.random(len(targets))
    other = np.where(rng.random(len(targets)) < 0.6, hard, rng.random(len(targets)))
    scores = []
    for share, draw in zip(shares, (hard, other), strict=True):
        answer = np.where(draw < share[targets], targets, (targets + 1) % k)
        scores.append(np.eye(k)[answer])
    return compare("mean per class", targets, *scores), shares[0].mean() - shares[1].mean()


def of_bootstrap(rng):
    strata = np.repeat(np.arange(3), rng.integers(15, 200, 3))
    a, b = rng.uniform(0.7, 5, 2)
    return bootstrap(rng.beta(a, b, len(strata)) + strata, strata=strata), a / (a + b) + 1


def of_grouped_bootstrap(rng):
    groups = int(rng.integers(15, 80))
    index = np.repeat(np.arange(groups), rng.integers(1, 20, groups))
    values = rng.normal(size=groups)[index] + rng.normal(size=len(index))
    return bootstrap(values, groups=index), 0.0


CASES: tuple[Callable[[np.random.Generator], Case], ...] = (
    of_accuracy, of_mean_per_class, of_top_mean, of_area, of_precision, of_grouped_accuracy,
    of_grouped_area, of_mcnemar, of_paired_area, of_paired_mean_per_class, of_bootstrap,
    of_grouped_bootstrap,
)  # fmt: skip
each_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)


def share_inside(case, cases, seed):
    rng, inside = np.random.default_rng(seed), 0
    for _ in range(cases):
        found, truth = case(rng)
        inside += found.low <= truth <= found.high
    return inside / cases


@each_case
def test_covers_about(case):
    assert 0.88 <= share_inside(case, 100, 1) <= 1


@pytest.mark.slow
@each_case
def test_covers_94_to_96_in_100(case, record_property):
    found = share_inside(case, 2000, 2)
    record_property("coverage", found)
    print(f"{case.__name__}: {100 * found:.2f} %")
    assert 0.94 <= found <= 0.96


def eleven_points(sets, seed):
    """Several classes a picture. The truth is the mean over test sets of this size: the best of
    later precisions is higher in small sets, for every model alike."""
    rng, inside, total = np.random.default_rng(seed), 0, 0
    for count, shift in ((200, 1.0), (400, 1.5), (800, 0.7), (400, 2.2)):
        found = []
        for _ in range(sets):
            truth = (rng.random((count, 4)) < [0.1, 0.2, 0.3, 0.4]).astype(int)
            truth[rng.random(truth.shape) < 0.05] = -1  # difficult
            scores = (
                rng.normal(size=truth.shape)
                + shift * (truth == 1)
                + rng.normal(size=(count, 1)) / 2
            )
            found.append(measure("11-point mAP", truth, scores))
        expected = np.mean([one.value for one in found])
        inside += sum(one.low <= expected <= one.high for one in found)
        total += sets
    return inside / total


def test_eleven_point_covers_about():
    assert 0.9 <= eleven_points(40, 1) <= 1.0


@pytest.mark.slow
def test_eleven_point_covers_94_to_96_in_100():
    found = eleven_points(500, 2)
    print(f"11-point mAP: {100 * found:.2f} %")
    assert 0.94 <= found <= 0.96


def calibrated(rng):
    confidence = rng.beta(*rng.uniform(1, 6, 2), int(rng.integers(200, 2000)))
    return confidence, rng.random(len(confidence)) < confidence


@pytest.mark.slow
def test_calibration_error_of_a_calibrated_model_is_chance():
    rng = np.random.default_rng(0)
    found = [ece(*calibrated(rng)) for _ in range(500)]
    low = np.mean([one.p <= 0.05 for one in found])
    print(f"p <= 0.05 in {100 * low:.1f} % of calibrated models")
    assert 0.03 <= low <= 0.07
    assert np.mean([one.value - one.chance for one in found]) == pytest.approx(0, abs=0.002)


@pytest.mark.slow
@pytest.mark.parametrize("gap", [0.0, 0.03, 0.1])
def test_correction_takes_the_noise_out(gap):
    rng = np.random.default_rng(1)
    plain, corrected = [], []
    for _ in range(300):
        confidence = rng.uniform(0.2, 0.85, 600)
        found = ece(confidence, rng.random(600) < confidence + gap)
        plain.append(found.value)
        corrected.append(found.corrected)
    print(f"true {gap}: ECE {np.mean(plain):.4f}, corrected {np.mean(corrected):.4f}")
    assert abs(np.mean(corrected) - gap) < abs(np.mean(plain) - gap) + 0.004
