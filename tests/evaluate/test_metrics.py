"""Metrics and their intervals: known values, and coverage by simulation."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("scipy")
pytest.importorskip("sklearn")

from keshin.evaluate.metrics import accuracy, balanced_accuracy, ranking


def test_wilson() -> None:
    targets = np.zeros(10, np.int64)
    measure = accuracy(targets, np.array([0] * 8 + [1, 2]), 5)
    assert (measure.value, measure.chance, measure.count) == (0.8, 0.2, 10)
    assert measure.low == pytest.approx(0.4902, abs=1e-4)  # Wilson 1927, without correction
    assert measure.high == pytest.approx(0.9433, abs=1e-4)
    sure = accuracy(targets, targets, 2)
    assert sure.high == 1.0
    assert sure.low < 0.75


def test_the_interval_of_accuracy_covers() -> None:
    rng = np.random.default_rng(0)
    inside = 0
    for _ in range(400):
        right = rng.random(60) < 0.7
        measure = accuracy(np.zeros(60, np.int64), (~right).astype(np.int64), 2)
        inside += measure.low <= 0.7 <= measure.high
    assert 0.92 <= inside / 400 <= 0.98


def test_balanced_accuracy_gives_each_class_the_same_weight() -> None:
    targets = np.array([0] * 90 + [1] * 10)
    always = balanced_accuracy(targets, np.zeros(100, np.int64), 2)
    assert always.value == 0.5
    assert (always.low, always.high) == (0.5, 0.5)
    half = balanced_accuracy(targets, np.array([0] * 90 + [1] * 5 + [0] * 5), 2)
    assert half.value == pytest.approx(0.75)
    assert half.low < 0.75 < half.high


def test_ranking() -> None:
    targets = np.array([0, 0, 1, 1])
    area, precision = ranking(targets, np.array([0.1, 0.4, 0.35, 0.8]))
    assert area.value == pytest.approx(0.75)
    assert precision.value == pytest.approx(0.8333, abs=1e-4)
    assert (area.chance, precision.chance) == (0.5, 0.5)
    rng = np.random.default_rng(1)
    scores = rng.normal(size=300) + np.repeat([0, 1], 150)
    area, _ = ranking(np.repeat([0, 1], 150), scores)
    assert area.low < 0.76 < area.high  # Phi(1 / sqrt 2)
    assert "AUC" in str(area)
