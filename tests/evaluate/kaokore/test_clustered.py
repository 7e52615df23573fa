"""Weighted measures against scikit-learn, and intervals that know of works."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keshin.evaluate.kaokore import clustered as c
from keshin.evaluate.kaokore.zero_shot import Threshold, nested

metrics = pytest.importorskip("sklearn.metrics")


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10_000), st.integers(2, 60), st.integers(1, 9))
def test_as_scikit_learn_has_it(seed, count, levels):
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, 2, count)
    targets[:2] = 0, 1
    scores = rng.integers(0, levels, count) / levels  # ties
    weights = rng.integers(0, 3, count)
    weights[:2] = 1
    w = weights[None].astype(float)
    said = (scores > 0.4).astype(int)
    assert c.area(targets, scores)(w)[0] == pytest.approx(
        metrics.roc_auc_score(targets, scores, sample_weight=weights)
    )
    assert c.precision(targets, scores)(w)[0] == pytest.approx(
        metrics.average_precision_score(targets, scores, sample_weight=weights)
    )
    assert c.recall(targets, said, 2)(w)[0] == pytest.approx(
        metrics.balanced_accuracy_score(targets, said, sample_weight=weights)
    )
    assert c.share(targets == said)(w)[0] == pytest.approx(
        metrics.accuracy_score(targets, said, sample_weight=weights)
    )


def test_a_draw_without_a_class_has_no_value():
    value = c.area(np.array([0, 1]), np.array([0.1, 0.2]))(np.array([[1.0, 0.0], [1.0, 1.0]]))
    assert np.isnan(value[0])
    assert value[1] == 1
    assert c.bounds(np.array([np.nan])) == (0.0, 1.0)


def test_intervals_are_wider_where_works_are_alike():
    rng = np.random.default_rng(0)
    works = np.repeat(np.arange(20), 30)
    right = np.repeat(rng.random(20) < 0.5, 30)
    clustered = c.figure(c.share(right), works, chance=0.5, draws=500)
    single = c.figure(c.share(right), np.arange(600), chance=0.5, draws=500)
    assert clustered.high - clustered.low > 3 * (single.high - single.low)
    assert clustered.value == single.value


def test_what_the_work_tells_is_worth_nothing_within():
    works = np.repeat(np.arange(6), 10)
    targets = np.array([w * 2 // 12 if i % 5 else 1 - w * 2 // 12 for i, w in enumerate(works)])
    figure, areas = c.within(targets, works.astype(float), works)
    assert set(areas.values()) == {0.5}
    assert figure.value == figure.low == figure.high == 0.5
    assert c.within(np.array([0, 1]), np.zeros(2), np.array([0, 1]))[0] is None


def test_a_difference_is_taken_on_the_same_draws():
    rng = np.random.default_rng(1)
    targets, works = rng.integers(0, 2, 200), np.repeat(np.arange(20), 10)
    scores = targets + rng.normal(0, 1, 200)
    same = c.area(targets, scores)
    assert c.difference(same, same, works, draws=100).high == 0


def test_threshold_is_the_best_border():
    targets = np.array([0, 0, 1, 0, 1, 1])
    scores = np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    best = max(
        metrics.balanced_accuracy_score(targets, scores > border) for border in np.arange(0.5, 7)
    )
    moved = Threshold.fit(targets, scores)(scores)
    assert metrics.balanced_accuracy_score(targets, moved > 0) == best
    assert (np.argsort(moved) == np.arange(6)).all()


def test_nested_choice_does_not_see_its_own_fold():
    """Prompts of pure noise: the best of many looks good where it was chosen, not elsewhere."""
    rng = np.random.default_rng(0)
    targets, folds = np.tile([0, 1], 100), np.repeat(np.arange(5), 40)
    answers = [np.stack([np.zeros(200), rng.normal(size=200)], axis=1) for _ in range(60)]
    flattered = max(metrics.roc_auc_score(targets, a[:, 1]) for a in answers)
    found = nested(targets, answers, folds, np.arange(200))
    assert flattered > 0.58
    assert metrics.roc_auc_score(targets, found.scores) < flattered - 0.04
    assert len(found.chosen) == 5
