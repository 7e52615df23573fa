"""Intervals hold what they say, chance levels are those of chance."""

import math

import numpy as np
import pytest

from keshin.evaluate.weaknesses import scoring
from keshin.evaluate.weaknesses.questions import Choice
from keshin.evaluate.weaknesses.scenes import Scene
from keshin.statistics.intervals import share_bounds

NOWHERE = Scene((255, 255, 255))


@pytest.mark.parametrize(
    ("right", "count", "low", "high"),
    [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_as_newcombe_prints_it(right, count, low, high):
    """Newcombe 1998, Statistics in Medicine 17, 857-872, table I, method 3."""
    assert share_bounds(right / count, count) == pytest.approx((low, high), abs=6e-5)


def test_wilson_at_the_ends():
    assert share_bounds(0.0, 0) == (0, 1)
    assert share_bounds(1.0, 40)[1] == 1
    assert 0.9 < share_bounds(1.0, 40)[0] < 1


def test_a_pair_counted_as_one_is_never_too_sure():
    """Half points of pairs, alike or not: the interval holds the truth at least as often as it says."""
    rng = np.random.default_rng(0)
    for together in (0.0, 0.5, 1.0):
        held = 0
        for _ in range(2000):
            first, own = rng.random((2, 100)) < 0.7
            second = np.where(rng.random(100) < together, first, own)
            found = scoring.share("x", (first * 0.5 + second * 0.5), 0.5)
            held += found.low <= 0.7 <= found.high
        assert held / 2000 > 0.94


def test_difference_holds_the_truth():
    rng, held = np.random.default_rng(1), 0
    for _ in range(2000):
        both = rng.random(80)
        one, other = both < 0.4, np.where(rng.random(80) < 0.5, both, rng.random(80)) < 0.25
        found = scoring.difference("x", one, other)
        held += found.low <= 0.15 <= found.high
    assert 0.93 < held / 2000 < 0.98


def test_difference_of_nothing_and_of_all():
    none, every = np.zeros(50, bool), np.ones(50, bool)
    assert scoring.difference("x", every, none).low > 0.8
    same = scoring.difference("x", none, none)
    assert same.low < 0 < same.high
    empty = scoring.difference("x", none[:0], none[:0])
    assert (empty.low, empty.high, empty.count) == (-1, 1, 0)


def test_chance_of_pairs():
    scores = np.random.default_rng(2).normal(size=(40000, 2, 2))
    text, image, group = scoring.winoground(scores)
    assert text.mean() == pytest.approx(1 / 4, abs=0.01)
    assert image.mean() == pytest.approx(1 / 4, abs=0.01)
    assert group.mean() == pytest.approx(1 / 6, abs=0.01)
    assert scoring.matched(scores).mean() == pytest.approx(1 / 2, abs=0.01)
    assert scoring.phrase_right(scores).mean() == pytest.approx(1 / 2, abs=0.01)


def test_likings_win_nothing_in_pairs():
    rng = np.random.default_rng(3)
    scores = rng.normal(size=(200, 1, 2)) + 0.0 * rng.normal(size=(200, 2, 1))
    scores = np.broadcast_to(scores, (200, 2, 2))
    assert (scoring.phrase_right(scores) == 0.5).all()
    assert not scoring.matched(scores).any()
    assert not any(part.any() for part in scoring.winoground(scores))


def test_perfect_pairs():
    scores = np.broadcast_to(np.eye(2), (5, 2, 2))
    assert all(part.all() for part in scoring.winoground(scores))
    assert (scoring.phrase_right(scores) == 1).all()


def test_right_needs_to_be_nearer_than_all_others():
    choices = [Choice(NOWHERE, (("a",), ("b",), ("c",)), 1)] * 3
    scores = np.array([[0.1, 0.3, 0.2], [0.3, 0.3, 0.1], [0.9, 0.3, 0.1]])
    assert scoring.right(choices, scores).tolist() == [True, False, False]
    assert scoring.accuracy("x", choices, scores).chance == pytest.approx(1 / 3)


def test_mean_and_levels():
    values = np.arange(100) % 5.0
    found = scoring.mean("missed by", values, 2.5, "things")
    assert found.value == 2
    assert found.low < 2 < found.high
    assert found.high - found.low == pytest.approx(2 * 1.96 * math.sqrt(2 / 100), rel=0.15)
    choices = [Choice(NOWHERE, (("a",),), 0, level) for level in ("b", "a", "b")]
    levels = scoring.levels(choices, np.array([1.0, 0, 1]), lambda v: scoring.share("x", v, 0.5))
    assert [(level.name, level.figure.value) for level in levels] == [("b", 1), ("a", 0)]
