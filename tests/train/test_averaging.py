"""Weights between two models."""

import pytest
import torch

from keshin.errors import TrainingError
from keshin.train.averaging import interpolate

BEFORE = {
    "w": torch.tensor([0.1, -3.0, 7.0]),
    "n": torch.tensor(3),
    "h": torch.tensor([1.0]).half(),
}
AFTER = {"w": torch.tensor([0.3, 5.0, 7.0]), "n": torch.tensor(9), "h": torch.tensor([2.0]).half()}


def test_the_ends_are_exact_and_copies():
    for share, end in ((0.0, BEFORE), (1.0, AFTER)):
        mixed = interpolate(BEFORE, AFTER, share)
        for name, value in end.items():
            assert torch.equal(mixed[name], value)
            assert mixed[name].data_ptr() != value.data_ptr()


def test_between_it_is_a_straight_line():
    mixed = interpolate(BEFORE, AFTER, 0.25)
    assert torch.allclose(mixed["w"], 0.75 * BEFORE["w"] + 0.25 * AFTER["w"], atol=1e-7)
    assert mixed["n"] == 3
    assert mixed["h"].dtype == torch.float16
    assert interpolate(BEFORE, AFTER, 0.75)["n"] == 9


def test_other_towers_are_refused():
    with pytest.raises(TrainingError, match="'w'"):
        interpolate(BEFORE, {**AFTER, "w": torch.zeros(4)}, 0.5)
    with pytest.raises(TrainingError, match="from 0"):
        interpolate(BEFORE, AFTER, 1.5)
