"""Several processes compute what one computes; a killed one is replaced and the run goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("pyarrow")

from keshin.core.checkpoint import load_checkpoint  # noqa: E402
from keshin.errors import RecipeError  # noqa: E402
from keshin.train.distributed import World  # noqa: E402
from shapes import write_recipe  # noqa: E402

pytestmark = pytest.mark.slow
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone"]


def command(recipe: Path, output: Path, processes: int, *options: str) -> list[str]:
    start = [*TORCHRUN, f"--nproc-per-node={processes}", *options, "-m", "keshin"]
    return [
        *(start if processes > 1 else [sys.executable, "-m", "keshin"]),
        *("train", str(recipe), "--output", str(output)),
    ]


def run(recipe: Path, output: Path, processes: int) -> None:
    done = subprocess.run(
        command(recipe, output, processes), capture_output=True, text=True, env=environment()
    )
    assert done.returncode == 0, done.stderr


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "TORCHELASTIC_ERROR_FILE": ""}


def losses(output: Path) -> list[float]:
    lines = (output / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [record["loss"] for record in map(json.loads, lines) if "loss" in record]


def weights(output: Path) -> dict[str, np.ndarray]:
    """All of them, but for the biases of keys: a softmax does not feel those, so their gradient is
    nothing but rounding, which Adam makes as large as any other."""
    tensors = load_checkpoint(output / "model").tensors
    found = {name: np.array(tensors.read(name)) for name in tensors.infos}
    for name, values in found.items():
        if name.endswith("attn.in_proj_bias"):
            values.reshape(3, -1)[1] = 0
    return found


@pytest.mark.parametrize(
    ("positives", "shard"), [("equal", "false"), ("listed", "true"), ("pair", "false")]
)
def test_two_and_four_processes_equal_one(tmp_path, positives, shard):
    """20 steps; captions repeat within a process and across; one pair is broken."""
    changes = {
        "pairs": 60,
        "broken": (7,),
        "epochs": "4",
        "log_every": "1",
        "learning_rate": "1e-3",
        "precision": f'"fp32"\nshard = {shard}',
    }
    recipe = write_recipe(tmp_path, **changes)
    text = recipe.read_text(encoding="utf-8") + f'[loss]\npositives = "{positives}"\n'
    recipe.write_text(text, encoding="utf-8")
    for processes in (1, 2, 4):
        run(recipe, tmp_path / str(processes), processes)
    expected, curve = weights(tmp_path / "1"), losses(tmp_path / "1")
    assert len(curve) == 20
    for processes in ("2", "4"):
        np.testing.assert_allclose(losses(tmp_path / processes), curve, atol=1e-5)
        for name, found in weights(tmp_path / processes).items():
            np.testing.assert_allclose(found, expected[name], atol=1e-5, err_msg=name)
    listed = [p.read_text(encoding="utf-8") for p in (tmp_path / "2").glob("skipped*.txt")]
    assert listed
    assert all("row 7" in line for text in listed for line in text.splitlines())


def test_a_killed_worker_is_replaced_and_the_run_goes_on(tmp_path):
    recipe = write_recipe(tmp_path, pairs=60, epochs="60", checkpoint_every="10")
    run(recipe, tmp_path / "whole", 2)
    output = tmp_path / "killed"
    with subprocess.Popen(
        command(recipe, output, 2, "--max-restarts=2"),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    ) as process:
        metrics = output / "metrics.jsonl"
        deadline = time.monotonic() + 120
        while not metrics.exists() or len(metrics.read_bytes().splitlines()) < 60:
            assert process.poll() is None, "the run ended before a worker could be killed"
            assert time.monotonic() < deadline
            time.sleep(0.02)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        os.kill(int(children[-1]), signal.SIGKILL)
        _, said = process.communicate(timeout=180)
    assert process.returncode == 0, said
    assert "Going on from step" in said
    assert losses(output) == losses(tmp_path / "whole")
    ours, theirs = weights(output), weights(tmp_path / "whole")
    assert all(np.array_equal(ours[name], theirs[name]) for name in theirs)


def test_a_batch_that_cannot_be_shared_is_refused():
    with pytest.raises(RecipeError, match="multiple of 5"):
        World(0, 5).slice(12)
