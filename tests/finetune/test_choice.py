"""The rule, its unflattered worth, and the anchor."""

import numpy as np
import pytest

from keshin.finetune.choice import Rule, Way, estimate, versus


def ways(*rights, forgets=()):
    names = ["zero-shot", "text", "linear", "lora", "full"]
    lost = list(forgets) or [0.0] * len(rights)
    return [
        Way(name, 1.0, np.asarray(right, float), gone)
        for name, right, gone in zip(names, rights, lost, strict=False)
    ]


def rule(found, may_forget=1.0, groups=None):
    count = len(found[0].right)
    groups = np.arange(count) if groups is None else groups
    return Rule(found, np.full(count, 1 / count), groups, may_forget)


RNG = np.random.default_rng(0)
BASE = (RNG.random(100) < 0.6).astype(float)


def test_zero_shot_wins_where_nothing_beats_it():
    worse = BASE * (RNG.random(100) < 0.9)
    assert rule(ways(BASE, worse, worse)).choose() == 0


def test_the_simpler_one_wins_within_one_standard_error_and_loses_beyond():
    little = BASE.copy()
    little[np.flatnonzero(BASE == 0)[0]] = 1  # one picture better: error of the difference is one
    assert rule(ways(BASE, little)).choose() == 0
    much = BASE.copy()
    much[np.flatnonzero(BASE == 0)[:20]] = 1
    assert rule(ways(BASE, much)).choose() == 1


def test_copies_count_once():
    much = BASE.copy()
    gained = np.flatnonzero(BASE == 0)[:20]
    much[gained] = 1
    groups = np.arange(100)
    groups[gained] = gained[0]  # all that was gained is one picture, twenty times
    groups = np.unique(groups, return_inverse=True)[1]
    assert rule(ways(BASE, much), groups=groups).choose() == 0


def test_what_forgets_too_much_is_not_chosen():
    much = BASE.copy()
    much[np.flatnonzero(BASE == 0)[:30]] = 1
    some = BASE.copy()
    some[np.flatnonzero(BASE == 0)[:15]] = 1
    found = ways(BASE, some, much, forgets=(0, 0.5, 3.0))
    assert rule(found, may_forget=1.0).choose() == 1
    assert rule(found, may_forget=None).choose() == 2


def test_the_worth_of_the_best_of_many_equal_ways_is_not_flattered():
    """All ways are right in half of the cases by chance: the best of them looks better."""
    naive, honest = [], []
    for seed in range(30):
        rng = np.random.default_rng(seed)
        found = [Way(str(i), 1.0, (rng.random(60) < 0.5).astype(float)) for i in range(30)]
        found[0] = Way("0", 1.0, np.zeros(60))
        r = rule(found)
        naive.append(float(found[r.choose()].right.mean()))
        honest.append(r.worth(seed))
    assert np.mean(naive) > 0.55
    assert np.mean(honest) == pytest.approx(0.5, abs=0.02)


def test_an_interval_holds_its_promise_and_repeats_make_no_pictures():
    inside = 0
    for seed in range(300):
        right = (np.random.default_rng(seed).random(40) < 0.7).astype(float)
        found = estimate(right, np.full(40, 1 / 40), np.arange(40))
        inside += found.low <= 0.7 <= found.high
    assert inside >= 0.93 * 300
    steady = estimate(np.full(40, 0.7), np.full(40, 1 / 40), np.arange(40))
    assert steady.width > 0.2


def test_the_difference_is_paired():
    found = ways(BASE, np.maximum(BASE, RNG.random(100) < 0.5))
    said = versus(found[1], found[0], np.full(100, 0.01), np.arange(100))
    assert said.low > 0
    assert said.p < 0.01
