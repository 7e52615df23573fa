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
from keshin.statistics.declining import risk_coverage
from keshin.statistics.influence import mean_study
from keshin.statistics.intervals import Interval
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


def certain(rng, count):
    """Confidences, what each is worth, and sums over a large draw of the same: the truth."""
    a, b = rng.uniform(0.8, 6, 2)
    slope, shift = rng.uniform(0.3, 2.5), rng.normal() / 2 * (rng.random() < 0.6)
    if rng.random() < 0.15:
        slope, shift = 1.0, 0.0  # perfectly calibrated

    def worth(c):
        return 1 / (1 + np.exp(-(slope * np.log(c / (1 - c)) + shift)))

    drawn = 0.01 + 0.98 * rng.beta(a, b, count)
    many = np.sort(0.01 + 0.98 * rng.beta(a, b, 60_000))
    return drawn, rng.random(count) < worth(drawn), many, worth(many)


def of_calibration_error(rng):
    confidence, right, many, worth = certain(rng, int(10 ** rng.uniform(2.3, 3.5)))
    found = ece(confidence, right, seed=int(rng.integers(2**31)))
    truth = np.abs((worth - many).reshape(found.bins, -1).mean(axis=1)).mean()
    return Interval(found.corrected, found.lowest, found.highest, ""), truth


def of_risk_area(rng):
    confidence, right, _, worth = certain(rng, int(10 ** rng.uniform(1.7, 3.4)))
    found = risk_coverage(confidence, right)
    wrong = 1 - worth[::-1]
    truth = (wrong.cumsum() / np.arange(1, len(wrong) + 1)).mean()
    return Interval(found.area, found.area_low, found.area_high, ""), truth


SEVERAL = {of_calibration_error: (1, 2, 3), of_risk_area: (1, 2, 3)}
several = pytest.mark.parametrize("case", SEVERAL, ids=lambda case: case.__name__)


@several
def test_of_scores_covers_about(case):
    assert 0.86 <= share_inside(case, 60, 4) <= 1


@pytest.mark.slow
@several
def test_of_scores_covers_94_to_96_in_100(case):
    """Over all seeds together, 2,100 cases; three times as many have passed as well."""
    found = [share_inside(case, 700, seed) for seed in SEVERAL[case]]
    print(f"{case.__name__}: {', '.join(f'{100 * one:.2f} %' for one in found)}")
    assert 0.94 <= np.mean(found) <= 0.96


def test_intervals_of_groups_are_wider_and_hold_the_value():
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(30), 20)
    confidence = rng.uniform(0.3, 0.9, 600)
    right = np.repeat(rng.random(30) < 0.5, 20)  # whole groups are right or wrong
    plain, together = ece(confidence, right), ece(confidence, right, groups=groups)
    assert together.highest > plain.highest
    a, b = risk_coverage(confidence, right), risk_coverage(confidence, right, groups)
    assert b.area_high - b.area_low > a.area_high - a.area_low
    assert (b.low <= b.risk).all()
    assert (b.risk <= b.high).all()
    perfect = risk_coverage(confidence, np.ones(600, bool))
    assert perfect.area == 0
    assert 0 < perfect.area_high < 0.05
