"""A run that is stuck at ln(N) is told apart by what it shows."""

import math

import numpy as np
import pytest

from keshin.finetune.diagnosis import Trace, diagnose, judge_labels, judge_size, labels_follow

N = 10


def trace(**changes):
    steps = 50
    facts = {
        "losses": (math.log(N),) * steps,
        "chance": math.log(N),
        "gradients": (0.5,) * steps,
        "moved": (1e-3,) * steps,
        "trainable": 1000,
        "targets": N,
        "scale": 20.0,
        "scale_limit": 100.0,
        "alike": 0.4,
    }
    return Trace(**facts | changes)


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ({"targets": 1}, "one caption"),
        ({"trainable": 0, "gradients": (), "moved": ()}, "frozen"),
        ({"gradients": (0.0,) * 50, "moved": (0.0,) * 50}, "frozen"),
        ({"scale": 100.0}, "scale at its bound"),
        ({"scale": 0.01}, "scale too small"),
        ({"moved": (0.3,) * 50, "alike": 0.999}, "learning rate too high"),
        ({"losses": (5.0,) * 50, "moved": (0.05,) * 50}, "learning rate too high"),
        ({"moved": (1e-7,) * 50}, "learning rate too low"),
        ({}, "targets do not follow the pictures"),
        ({"alike": 0.9999}, "all pictures alike"),
    ],
)
def test_each_cause_by_its_own_marks(changes, cause):
    found = diagnose(trace(**changes))
    assert found.cause == cause
    assert found.evidence
    assert found.advice


def test_a_run_that_learns_is_left_alone():
    assert diagnose(trace(losses=tuple(np.linspace(2.3, 1.0, 50)))) is None


def clusters(n=60):
    rng = np.random.default_rng(1)
    targets = np.repeat([0, 1, 2], n // 3)
    vectors = np.eye(8)[targets] + rng.normal(0, 0.3, (n, 8))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32), targets


def test_shuffled_labels_are_seen_without_training():
    vectors, targets = clusters()
    groups = np.arange(len(targets))
    share, chance, p = labels_follow(vectors, targets, groups)
    assert share > 0.8 > chance
    assert p < 0.01
    assert judge_labels(vectors, targets, groups, -0.1) is None
    shuffled = np.random.default_rng(3).permutation(targets)
    assert (
        judge_labels(vectors, shuffled, groups, -0.1).cause == "labels do not follow the pictures"
    )
    assert judge_labels(vectors, shuffled, groups, 0.1) is None  # something was learnt after all


def test_copies_do_not_vouch_for_their_labels():
    vectors, _ = clusters()
    vectors = np.repeat(vectors[:30], 2, axis=0)
    targets = np.repeat(np.random.default_rng(0).integers(0, 3, 30), 2)
    assert labels_follow(vectors, targets, np.arange(60))[2] < 0.01
    assert labels_follow(vectors, targets, np.arange(60) // 2)[2] > 0.05


def test_too_few_pictures_are_named_with_what_would_be_enough():
    targets = np.array([0] * 20 + [1] * 3)
    small, few = judge_size(targets, ["cat", "dog"], 23, 0.8)
    assert "dog (3)" in small.evidence
    assert "23 independent" in few.evidence
    assert "about 6" in few.advice or "about 7" in few.advice
    assert judge_size(np.repeat([0, 1], 200), ["cat", "dog"], 400, 0.8) == []
