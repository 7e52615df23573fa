"""Values against scikit-learn's, and intervals that know of works."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keshin.evaluate.kaokore import clustered as c
from keshin.evaluate.kaokore.zero_shot import Threshold, nested

metrics = pytest.importorskip("sklearn.metrics")


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10_000), st.integers(12, 60), st.integers(2, 9))
def test_values_are_scikit_learns(seed, count, levels):
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, 2, count)
    targets[:4] = 0, 1, 0, 1
    scores = rng.integers(0, levels, count) / levels  # ties
    works = np.arange(count) // 3
    said = (scores > 0.4).astype(int)
    area = metrics.roc_auc_score(targets, scores)
    assert c.area(targets, scores) == pytest.approx(area)
    for figure, value in (
        (c.ranked(c.AREA, targets, scores, works), area),
        (c.ranked(c.PRECISION, targets, scores, works),
         metrics.average_precision_score(targets, scores)),
        (c.balanced(targets, said, 2, works), metrics.balanced_accuracy_score(targets, said)),
        (c.share(targets, said, 2, works), metrics.accuracy_score(targets, said)),
    ):  # fmt: skip
        assert figure.value == pytest.approx(value)
        assert 0 <= figure.low <= figure.value <= figure.high <= 1


def test_the_chance_of_accuracy_is_the_most_frequent_class():
    targets = np.array([0, 0, 0, 1])
    assert c.share(targets, targets, 2, np.array([0, 0, 1, 1])).chance == 0.75


def test_one_answer_to_everything_is_at_chance_and_sure_of_it():
    targets, works = np.tile([0, 1], 10), np.arange(20) // 4
    for figure in (
        c.ranked(c.AREA, targets, np.zeros(20), works),
        c.balanced(targets, np.ones(20, int), 2, works),
        c.within(targets, np.zeros(20), works),
    ):
        assert figure.low == figure.value == figure.high == 0.5


def test_intervals_are_wider_where_works_are_alike():
    rng = np.random.default_rng(0)
    works = np.repeat(np.arange(20), 30)
    targets = np.zeros(600, int)
    said = np.repeat((rng.random(20) < 0.5).astype(int), 30)
    clustered = c.share(targets, said, 2, works)
    single = c.share(targets, said, 2, np.arange(600))
    assert clustered.high - clustered.low > 3 * (single.high - single.low)
    assert clustered.value == single.value


def test_what_the_work_tells_is_worth_nothing_within():
    works = np.repeat(np.arange(6), 10)
    targets = np.array([w * 2 // 12 if i % 5 else 1 - w * 2 // 12 for i, w in enumerate(works)])
    assert set(c.areas_within(targets, works.astype(float), works).values()) == {0.5}
    figure = c.within(targets, works.astype(float), works)
    assert figure.value == figure.low == figure.high == 0.5
    assert figure.count == 6
    assert c.within(np.array([0, 1]), np.zeros(2), np.array([0, 1])) is None


def test_within_counts_each_work_once():
    """Ten faces that are all right and four of which none is: half of the works, not 10 of 14."""
    targets = np.array([0, 1] * 5 + [0, 1] * 2)
    scores = np.concatenate([targets[:10], -targets[10:]]).astype(float)
    figure = c.within(targets, scores, np.repeat([0, 1], [10, 4]))
    assert figure.value == 0.5
    assert figure.count == 2
    assert figure.high - figure.low > 0.9  # of two works


def test_within_holds_what_it_promises():
    """Coverage of 19 works whose own areas differ, as KaoKore's do."""
    rng = np.random.default_rng(0)
    kept = 0
    for _ in range(200):
        works = np.repeat(np.arange(19), 20)
        targets = np.tile([0, 1], 190)
        strength = rng.normal(1, 0.8, 19)[works]
        scores = targets * strength + rng.normal(0, 1, 380)
        figure = c.within(targets, scores, works)
        kept += figure.low <= TRUTH <= figure.high
    assert 0.91 <= kept / 200 <= 0.99


TRUTH = 0.7298
"""The mean of normal.cdf(s / sqrt 2) over s ~ N(1, 0.8): normal.cdf(1 / sqrt(2 + 0.64))."""


def test_a_difference_is_taken_on_the_same_faces():
    rng = np.random.default_rng(1)
    targets, works = rng.integers(0, 2, 200), np.repeat(np.arange(20), 10)
    scores = targets + rng.normal(0, 1, 200)
    assert c.difference(targets, scores, scores, works).high == 0
    better = c.difference(targets, targets + 0.1 * scores, rng.normal(size=200), works)
    assert better.low > 0.3


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
