"""Calibration, temperature, split and the risk-coverage curve: known values and plain versions."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

pytest.importorskip("scipy")
from hypothesis import given, settings
from hypothesis import strategies as st

from keshin.errors import DataError
from keshin.statistics.calibration import (
    calibrate,
    confidences,
    ece,
    fit_temperature,
    reliability,
    risk_coverage,
    softmax,
    split,
)

few = settings(max_examples=40, deadline=None)


def test_bins_hold_equal_numbers_and_keep_equal_confidences_together():
    confidence = np.r_[np.full(30, 0.2), np.linspace(0.3, 0.9, 70)]
    right = np.r_[np.ones(6), np.zeros(24), np.ones(70)].astype(bool)
    found = reliability(confidence, right, bins=10)
    assert sum(one.count for one in found) == 100
    assert (found[0].count, found[0].confidence) == (30, pytest.approx(0.2))
    assert found[0].right.value == pytest.approx(0.2)
    assert all(a.highest < b.lowest for a, b in itertools.pairwise(found))
    assert all(one.right.low <= one.right.value <= one.right.high for one in found)


@few
@given(st.integers(0, 2**32 - 1), st.integers(1, 80))
def test_ece_is_the_mean_gap_of_the_bins(seed, n):
    rng = np.random.default_rng(seed)
    confidence, right = np.round(rng.random(n), 1), rng.random(n) < 0.5
    bins = reliability(confidence, right, 5)
    plain = sum(one.count * abs(one.right.value - one.confidence) for one in bins) / n
    assert ece(confidence, right, 5).value == pytest.approx(plain)


def test_ece_tells_a_calibrated_model_from_a_sure_one():
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0.3, 1, 2000)
    right = rng.random(2000) < confidence
    fine = ece(confidence, right)
    assert fine.value > 0.01  # never 0
    assert fine.value < fine.high
    assert fine.p > 0.05
    assert fine.corrected < fine.value
    sure = ece(np.full(2000, 0.99), right)
    assert sure.p < 0.01
    assert sure.value == pytest.approx(0.99 - right.mean())
    assert sure.corrected == pytest.approx(sure.value, abs=0.005)


@pytest.mark.parametrize("factor", [0.3, 1.0, 4.0])
def test_temperature_is_found(factor):
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(4000, 5)) * 2
    targets = (logits + rng.gumbel(size=logits.shape)).argmax(axis=1)  # softmax(logits) is true
    found = fit_temperature(logits * factor, targets)
    assert found.value == pytest.approx(factor, rel=0.06)
    assert found.after <= found.before
    judged = calibrate(logits * factor, targets)
    assert (judged.fitted, judged.judged) == (2000, 2000)
    assert judged.after.p > 0.01
    if factor == 4:
        assert judged.before.p < 0.01
        assert judged.loss_after < judged.loss_before


def test_temperature_of_perfect_and_of_empty_answers_is_said():
    assert "Every picture is right" in fit_temperature(np.eye(3) * 5, np.arange(3)).note
    wrong = fit_temperature(np.eye(3) * 5, np.array([1, 2, 0]))
    assert "say nothing" in wrong.note


@few
@given(st.integers(0, 2**32 - 1), st.integers(4, 60), st.floats(0.2, 0.8))
def test_split_takes_its_share_of_each_class(seed, n, share):
    targets = np.random.default_rng(seed).integers(0, 4, n)
    first, second = split(targets, share=share, seed=seed)
    assert sorted([*first, *second]) == list(range(n))
    for c in range(4):
        assert abs((targets[first] == c).sum() - share * (targets == c).sum()) <= 1.0001
    assert all(map(np.array_equal, split(targets, share=share, seed=seed), (first, second)))


def test_split_keeps_groups_whole():
    groups = np.repeat(np.arange(10), 7)
    first, second = split(np.zeros(70, int), groups=groups)
    assert not set(groups[first]) & set(groups[second])
    assert 28 <= len(first) <= 49
    with pytest.raises(DataError, match="one group"):
        split(np.zeros(70, int), groups=np.zeros(70, int))


@few
@given(st.integers(0, 2**32 - 1), st.integers(1, 40))
def test_risk_coverage_as_plain_counting(seed, n):
    rng = np.random.default_rng(seed)
    confidence, right = rng.permutation(n) / n, rng.random(n) < 0.6
    found = risk_coverage(confidence, right)
    order = np.argsort(-confidence)
    risks = [1 - right[order[: i + 1]].mean() for i in range(n)]
    np.testing.assert_allclose(found.risk, risks)
    np.testing.assert_allclose(found.coverage, np.arange(1, n + 1) / n)
    assert found.area == pytest.approx(np.mean(risks))
    assert found.best <= found.area + 1e-12
    assert found.chance == pytest.approx(1 - right.mean())


def test_equal_confidences_are_answered_together():
    found = risk_coverage(np.array([0.9, 0.9, 0.5, 0.5]), np.array([True, False, True, False]))
    assert found.coverage.tolist() == [0.5, 1]
    assert found.risk.tolist() == [0.5, 0.5]
    assert found.area == found.chance == 0.5


def test_coverage_at_a_wished_risk():
    rng = np.random.default_rng(0)
    confidence = rng.random(5000)
    found = risk_coverage(confidence, rng.random(5000) < confidence)
    careful, plain = found.at(0.1), found.at(0.1, sure=False)
    assert careful.highest <= 0.1
    assert careful.risk < plain.risk <= 0.1
    assert 0.1 < careful.coverage.value < plain.coverage.value < 0.3  # the truth is 0.2
    assert ((confidence >= careful.threshold).mean()) == pytest.approx(careful.coverage.value)
    none = risk_coverage(confidence[:50], np.zeros(50, bool)).at(0.1)
    assert (none.threshold, none.coverage.value) == (np.inf, 0)
    with pytest.raises(DataError, match="no share"):
        found.at(2)


def test_confidences():
    cosines, background = np.array([[0.2, 0.3]]), np.array([[0.25]])
    found = confidences(softmax(cosines * 100), cosines, background)
    assert found["cosine"] == [0.3]
    assert found["background margin"] == pytest.approx([0.05])
    assert "background margin" not in confidences(cosines, cosines)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: ece(np.array([2.0]), np.array([True])), "between 0 and 1"),
        (lambda: ece(np.array([np.nan]), np.array([True])), "between 0 and 1"),
        (lambda: ece(np.zeros(0), np.zeros(0)), "do not go with"),
        (lambda: fit_temperature(np.zeros((2, 2)), np.array([0, 2])), "from 0 to 2 with 2"),
        (lambda: fit_temperature(np.full((1, 2), np.nan), np.array([0])), "not finite"),
        (lambda: risk_coverage(np.array([np.inf]), np.array([True])), "not finite"),
    ],
)
def test_refused_with_a_sentence(call, said):
    with pytest.raises(DataError, match=said):
        call()
