"""TensorBoard sees each point once, however often a run was started again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("tensorboard")

from keshin.train.board import Board


def read(folder: Path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder / "tensorboard"))
    found.Reload()
    return found


def run(folder: Path, first: int, last: int, *, event: str = "start") -> None:
    board = Board(folder)
    board({"event": event, "step": first, "steps": 99})
    for step in range(first + 1, last + 1):
        board({"step": step, "loss": 1 / step, "gradient_norm": float("nan"), "data_wait": 0.1})
    board({"event": "validation", "step": last, "dev_accuracy": 0.5})
    board.close()


def test_no_point_is_there_twice(tmp_path: Path) -> None:
    run(tmp_path, 0, 10)
    run(tmp_path, 6, 12, event="resume")
    found = read(tmp_path)
    assert [e.step for e in found.Scalars("loss/loss")] == list(range(1, 13))
    assert [e.step for e in found.Scalars("validation/dev_accuracy")] == [12]
    assert "gradient/gradient_norm" not in found.Tags()["scalars"]  # no number, no point


def test_a_run_that_begins_anew_hides_the_one_before(tmp_path: Path) -> None:
    run(tmp_path, 0, 10)
    run(tmp_path, 0, 4)
    assert [e.step for e in read(tmp_path).Scalars("loss/loss")] == [1, 2, 3, 4]


def test_pictures_and_trouble(tmp_path: Path) -> None:
    board = Board(tmp_path)
    board({"event": "start", "step": 0})
    board({"event": "left out", "step": 3, "why": "loss", "value": 9.0, "usual": 1.0})
    board.picture("samples", np.zeros((8, 8, 3), np.uint8), "| a |", 5)
    board.close()
    tags = read(tmp_path).Tags()
    assert tags["images"] == ["samples"]
    assert any("left out" in tag for tag in tags["tensors"])
