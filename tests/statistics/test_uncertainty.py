"""Wilson, bootstrap, paired tests, wins: known values, scikit-learn's and SciPy's, speed of draws."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("scipy")
from scipy import stats

from keshin.errors import DataError
from keshin.statistics import metrics, uncertainty
from keshin.statistics.uncertainty import (
    bootstrap,
    compare,
    mcnemar,
    paired_bootstrap,
    resamples,
    wilson,
    wins,
)


@pytest.mark.parametrize(("right", "count"), [(8, 10), (0, 7), (7, 7), (1, 1), (350, 1000)])
def test_wilson_is_scipys(right, count):
    expected = stats.binomtest(right, count).proportion_ci(method="wilson")
    found = wilson(right, count)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-12)
    assert found.low <= found.value <= found.high


def test_wilson_of_nothing_is_refused():
    with pytest.raises(DataError, match="not a share"):
        wilson(0, 0)
    with pytest.raises(DataError, match="5 of 3"):
        wilson(5, 3)


def test_accuracy_has_wilsons_interval():
    found = metrics.accuracy(np.zeros(10, int), np.array([0] * 8 + [1, 2]), 5)
    assert (found.value, found.chance, found.count) == (0.8, 0.2, 10)
    assert (found.low, found.high) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    assert found.method == "Wilson"


def test_resamples_keep_strata_and_whole_groups():
    strata, groups = np.repeat([0, 1, 5], [3, 10, 7]), np.repeat(np.arange(4), 5)
    weights = np.concatenate(list(resamples(20, strata=strata, draws=50)))
    assert weights.shape == (50, 20)
    for label, size in ((0, 3), (1, 10), (5, 7)):
        assert (weights[:, strata == label].sum(axis=1) == size).all()
    weights = np.concatenate(list(resamples(20, groups=groups, draws=50)))
    assert (weights.reshape(50, 4, 5) == weights.reshape(50, 4, 5)[:, :, :1]).all()
    assert (weights.sum(axis=1) == 20).all()


def test_resamples_in_parts_are_as_many(monkeypatch):
    monkeypatch.setattr(uncertainty, "AT_ONCE", 60)
    parts = list(resamples(20, draws=10))
    assert [len(part) for part in parts] == [3, 3, 3, 1]
    assert all((part.sum(axis=1) == 20).all() for part in parts)


def test_bootstrap_agrees_with_theory_and_with_itself():
    rng = np.random.default_rng(0)
    values = rng.normal(2, 3, 400)
    found = bootstrap(values, draws=4000)
    half = 1.96 * values.std(ddof=1) / 20
    assert found.value == pytest.approx(values.mean())
    assert (found.low, found.high) == pytest.approx(
        (values.mean() - half, values.mean() + half), abs=0.03
    )
    assert bootstrap(values, draws=4000) == found
    shares = (rng.random(400) < 0.3).astype(float)  # few distinct values: drawn as counts
    expected = stats.binomtest(int(shares.sum()), 400).proportion_ci(method="wilson")
    found = bootstrap(shares)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=0.006)


def test_bootstrap_gives_each_stratum_the_same_weight_and_groups_widen():
    values = np.r_[np.zeros(90), np.ones(10)]
    assert bootstrap(values, strata=np.repeat([3, 7], [90, 10])).value == 0.5
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(30), 10)
    values = rng.normal(size=30)[groups] + 0.1 * rng.normal(size=300)
    alone, together = bootstrap(values), bootstrap(values, groups=groups)
    assert together.high - together.low > 2.5 * (alone.high - alone.low)
    with pytest.raises(DataError, match="at least one value"):
        bootstrap(np.array([1.0, np.nan]))


def test_mcnemar_is_exact():
    first = np.repeat([True, True, False, False], [40, 15, 4, 41])
    second = np.repeat([True, False, True, False], [40, 15, 4, 41])
    found = mcnemar(first, second)
    assert found.p == pytest.approx(stats.binomtest(15, 19).pvalue)
    assert found.difference == pytest.approx(0.11)
    # Each bound is a root of Tango's score with the restricted maximum likelihood estimate.
    for bound, side in ((found.low, 1), (found.high, -1)):
        linear = (200 - 11) * bound - 19
        share = (np.sqrt(linear**2 + 800 * 4 * bound * (1 - bound)) - linear) / 400
        score = (11 - 100 * bound) / np.sqrt(100 * (2 * share + bound * (1 - bound)))
        assert score == pytest.approx(side * 1.96, abs=1e-3)
    back = mcnemar(second, first)
    assert (back.low, back.high, back.p) == pytest.approx((-found.high, -found.low, found.p))


def test_mcnemar_at_the_ends():
    yes, no = np.ones(50, bool), np.zeros(50, bool)
    same = mcnemar(yes, yes)
    assert (same.difference, same.p) == (0, 1)
    assert -0.1 < same.low <= 0 <= same.high < 0.1
    apart = mcnemar(yes, no)
    assert apart.difference == 1 == apart.high
    assert 0.85 < apart.low < 1
    with pytest.raises(DataError, match="same pictures"):
        mcnemar(yes, no[:3])


@pytest.fixture
def two():
    rng = np.random.default_rng(3)
    targets = np.repeat([0, 1], 150)
    common = rng.normal(size=300)
    strong, weak = (common + rng.normal(size=300) * 0.7 + shift * targets for shift in (2, 1))
    return targets, strong, weak


@pytest.mark.parametrize("metric", ["ROC AUC", "average precision", "mean per class"])
def test_compare_agrees_with_the_paired_bootstrap(two, metric):
    targets, strong, weak = two
    found = compare(metric, targets, strong, weak)
    drawn = compare(metric, targets, strong, weak, resampled=True)
    assert found.difference == pytest.approx(drawn.difference)
    assert (found.low, found.high) == pytest.approx((drawn.low, drawn.high), abs=0.025)
    assert found.low > 0
    assert max(found.p, drawn.p) < 0.05
    same = compare(metric, targets, strong, strong)
    assert (same.difference, same.low, same.high, same.p) == (0, 0, 0, 1)
    assert "points" in str(found)


def test_compare_with_groups(two):
    targets, strong, weak = two
    groups = np.arange(300) // 10
    for metric in ("accuracy", "ROC AUC"):
        found = compare(metric, targets, strong, weak, groups=groups)
        assert "30 groups" in found.method
        assert found.low < found.difference < found.high
    assert "McNemar" in compare("accuracy", targets, strong, weak).method


def test_paired_bootstrap_is_narrower_than_two_intervals(two):
    targets, strong, weak = two
    studies = [metrics.study("ROC AUC", targets, scores) for scores in (strong, weak)]
    found = paired_bootstrap(studies[0].weighted, studies[1].weighted, 300, strata=targets)
    alone = [metrics.measure("ROC AUC", targets, scores) for scores in (strong, weak)]
    assert found.high - found.low < np.hypot(*(m.high - m.low for m in alone))


def test_wins():
    found = wins(16, 27)
    assert (found.won, found.lost) == (16, 11)
    assert found.p == pytest.approx(stats.binomtest(16, 27).pvalue)
    assert str(found) == "wins on 16 of 27 (59 % [41, 75], sign test p = 0.44)"
    tied = wins(5, 10, tied=3)
    assert (tied.lost, tied.share) == (2, pytest.approx(5 / 7))
    with pytest.raises(DataError, match="no comparison"):
        wins(5, 4)
