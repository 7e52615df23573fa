"""The alarm: silent for right orders, however weak or odd the model, and not for wrong ones."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("scipy")

from keshin.errors import DataError
from keshin.statistics.class_order import check_order, known_orders

WORDS = ("tiger", "apple", "zebra", "boat", "house", "cat", "lamp", "fork", "train", "owl")


def answers(rng, k=10, each=50, skill=3.0, bias=0.5, odd=0.5):
    """Targets and predictions of a model with skill, favourite classes and odd habits."""
    targets = np.repeat(np.arange(k), each)
    habit = skill * np.eye(k) + bias * rng.normal(size=k) + odd * rng.normal(size=(k, k))
    return targets, (habit[targets] + rng.gumbel(size=(len(targets), k))).argmax(axis=1)


@pytest.mark.parametrize("skill", [0.0, 0.5, 1.0, 4.0])
@pytest.mark.parametrize(("bias", "odd"), [(0, 0), (1, 0.5), (1, 1)])
@pytest.mark.parametrize(("k", "each"), [(4, 50), (10, 20), (10, 200), (30, 20)])
def test_no_false_alarm(k, each, skill, bias, odd):
    rng = np.random.default_rng([k, each, int(10 * skill), bias, int(odd * 10)])
    names = [f"{WORDS[i % 10]} {i}" for i in range(k)]
    alarms = [check_order(*answers(rng, k, each, skill, bias, odd), names) for _ in range(6)]
    assert alarms == [None] * 6


def test_one_answer_for_all_is_no_alarm():
    targets = np.repeat(np.arange(10), 20)
    assert check_order(targets, np.full(200, 3), WORDS) is None
    assert check_order(targets, np.full(200, -1), WORDS) is None


def wrong(kind, targets):
    """The labels of a data set whose classes are called so in truth: names[order[label]]."""
    order = {
        "down by one": (np.arange(10) + 1) % 10,
        "up by one": (np.arange(10) - 1) % 10,
        "reversed": np.arange(10)[::-1],
        "alphabet": np.argsort(WORDS),
    }[kind]
    return np.argsort(order)[targets], order


@pytest.mark.parametrize("kind", ["down by one", "up by one", "reversed", "alphabet"])
@pytest.mark.parametrize("skill", [2.0, 4.0])
def test_accidents_are_found_and_named(kind, skill):
    targets, predictions = answers(np.random.default_rng(0), skill=skill)
    labels, order = wrong(kind, targets)
    alarm = check_order(labels, predictions, WORDS)
    assert kind in alarm.kind
    assert alarm.order.tolist() == order.tolist()
    assert alarm.now < 0.15 < 0.35 < alarm.then
    assert "do not seem to be in the order of the labels" in str(alarm)
    assert f"'{WORDS[order[0]]}'" in str(alarm) or "more" in str(alarm)


def test_any_other_order_is_learned():
    rng = np.random.default_rng(1)
    targets, predictions = answers(rng, skill=4)
    order = rng.permutation(10)
    alarm = check_order(np.argsort(order)[targets], predictions, WORDS)
    assert alarm.order.tolist() == order.tolist()


def test_two_exchanged_names():
    targets, predictions = answers(np.random.default_rng(2), skill=5)
    order = np.arange(10)
    order[[3, 7]] = 7, 3
    alarm = check_order(order[targets], predictions, WORDS)
    assert alarm.kind == "these names are exchanged"
    assert alarm.order.tolist() == order.tolist()
    assert "label 3 is called 'boat' but looks like 'fork'" in str(alarm)


def test_numbers_sorted_as_text():
    names = [*WORDS, "door", "ant"]
    targets, predictions = answers(np.random.default_rng(3), k=12, skill=4)
    order = np.array(sorted(range(12), key=str))  # folders 0, 1, 10, 11, 2, ...
    alarm = check_order(np.argsort(order)[targets], predictions, names)
    assert "sorted as text" in alarm.kind
    assert alarm.order.tolist() == order.tolist()
    names = [f"class {i}" for i in range(12)]
    shown = [names[i] for i in order]  # the names themselves were sorted as text
    assert (
        check_order(targets, np.argsort(order)[predictions], shown).order.tolist()
        == np.argsort(order).tolist()
    )


def test_two_classes_and_too_little():
    targets = np.repeat([0, 1], 100)
    assert check_order(targets, 1 - targets, ["no", "yes"]) is not None
    half = np.where(np.arange(200) % 5 < 2, targets, 1 - targets)  # 40 % right: a bad model
    assert check_order(targets, half, ["no", "yes"]) is None
    assert check_order(np.array([0]), np.array([1]), ["no", "yes"]) is None
    assert check_order(np.array([0, 1]), np.array([1, 0]), ["no", "yes"]) is None
    with pytest.raises(DataError, match="not among the 2 classes"):
        check_order(np.array([0, 2]), np.array([1, 0]), ["no", "yes"])


def test_known_orders_are_orders_and_different():
    for names in (WORDS, ["a"], ["b", "a"], [f"{i}" for i in range(25)]):
        found = list(known_orders(names).values())
        assert all(sorted(order) == list(range(len(names))) for order in found)
        assert len({tuple(order) for order in found}) == len(found)
        assert tuple(range(len(names))) not in {tuple(order) for order in found}
