"""``keshin train`` as a person sees it: lines, samples, TensorBoard; watching changes nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("pyarrow")

from keshin.cli.progress import Progress
from keshin.core.checkpoint import load_checkpoint
from shapes import write_parquet, write_recipe

STEP = {
    "step": 20, "loss": 2.5, "chance_loss": 3.178, "epoch": 1.0, "gradient_norm": 2.0,
    "logit_scale": 14.0, "pairs_per_second": 1234.0, "data_wait": 0.4, "seconds_left": 3725.0,
}  # fmt: skip


def test_a_line_says_what_matters(capsys) -> None:
    told = Progress()
    told({
        "event": "start", "step": 0, "steps": 1000, "pairs": 5000, "parameters": 8_000_000,
        "device": "cpu", "chance_loss": 3.178, "processes": 2,
    })  # fmt: skip
    for _ in range(5):
        told(STEP)
    nan = float("nan")
    told(
        {
            "event": "left out",
            "step": 21,
            "why": "not finite",
            "value": nan,
            "usual": nan,
            "file": "f",
        }
    )
    told({"event": "left out", "step": 22, "why": "loss", "value": 9.0, "usual": 2.0, "file": "f"})
    told({"event": "put back", "step": 22, "weights_of": 10, "attempt": 1, "attempts": 2})
    told({"event": "validation", "step": 22, "dev_accuracy": 0.5})
    out, said = capsys.readouterr()
    assert not out
    assert "3.178 = ln(batch) is chance" in said
    assert "2 processes" in said
    line = next(line for line in said.splitlines() if line.startswith("step    20:"))
    for part in (
        "(2%)",
        "loss 2.5000 (chance 3.178)",
        "1,234 pairs/s",
        "40% waiting",
        "1:02:05 left",
    ):
        assert part in line
    assert said.count("More data.workers") == 1
    assert "its loss or gradient is not finite" in said
    assert "its loss is 9, usual is 2" in said
    assert "the weights of step 10 are put back (attempt 1 of 2)" in said
    assert "dev_accuracy 0.5000" in said


@pytest.mark.slow
def test_watching_changes_nothing(tmp_path: Path, run_keshin) -> None:
    pytest.importorskip("jinja2")
    pytest.importorskip("tensorboard")
    recipe = write_recipe(tmp_path)
    plain = run_keshin("train", recipe, "--output", tmp_path / "plain")
    assert plain.returncode == 0, plain.stderr
    write_parquet(tmp_path / "dev.parquet", 12, broken=(3,))
    text = recipe.read_text(encoding="utf-8") + '[samples]\npath = "dev.parquet"\nshown = 3\n'
    recipe.write_text(text, encoding="utf-8")
    options = {"environment": {"PYTHONWARNINGS": "default"}}
    for _ in range(2):  # the second time there is nothing left to do
        done = run_keshin("train", recipe, "--output", tmp_path / "run", "--tensorboard", **options)
        assert done.returncode == 0, done.stderr
    assert b"samples_image_to_text_first" in done.stderr or b"Going on from step 12" in done.stderr
    assert (tmp_path / "run" / "samples.html").stat().st_size < 100_000
    assert list((tmp_path / "run" / "tensorboard").glob("events*"))
    ours, theirs = (load_checkpoint(tmp_path / f / "model").tensors for f in ("run", "plain"))
    assert all(np.array_equal(ours.read(name), theirs.read(name)) for name in theirs.infos)
