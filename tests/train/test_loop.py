"""Training learns, goes on exactly after kill -9, and says what is wrong."""

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

from keshin.api import load  # noqa: E402
from keshin.classify import build_classifier  # noqa: E402
from keshin.core.checkpoint import load_checkpoint  # noqa: E402
from keshin.encode.encoder import Encoder  # noqa: E402
from keshin.errors import DataError, RecipeError, TrainingError  # noqa: E402
from keshin.train.loop import train  # noqa: E402
from keshin.train.recipe import read_recipe  # noqa: E402
from shapes import COLOURS, NAMES, SHAPES, picture, rows, write_recipe  # noqa: E402

KEYS = ("step", "loss", "gradient_norm", "learning_rate", "logit_scale")


def curve(folder: Path) -> list[tuple[float, ...]]:
    lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    records = [json.loads(line) for line in lines]
    return [tuple(r[k] for k in KEYS) for r in records if "loss" in r]


def weights(folder: Path) -> dict[str, np.ndarray]:
    tensors = load_checkpoint(folder / "model").tensors
    return {name: np.array(tensors.read(name)) for name in tensors.infos}


def test_a_run_learns_and_its_model_answers(tmp_path: Path) -> None:
    recipe = read_recipe(write_recipe(tmp_path, pairs=120, epochs="30", batch_size="24"))
    seen = list[float]()

    def validator(encoder: Encoder):
        data = [image for image, _, _ in rows(12)]
        right = build_classifier(encoder, NAMES, templates="{}").predict(data) == [
            NAMES[i % 6] for i in range(12)
        ]
        seen.append(float(right.mean()))
        yield "accuracy", seen[-1]

    folder = train(recipe, tmp_path / "run", validators=[validator])
    losses = [loss for _, loss, *_ in curve(tmp_path / "run")]
    assert losses[-1] < 0.5 * losses[0]
    assert seen[-1] >= 0.8
    new = [picture(c, s, seed) for c in COLOURS for s in SHAPES for seed in range(500, 505)]
    right = [f"{c} {s}" for c in COLOURS for s in SHAPES for _ in range(5)]
    answers = load(folder).classifier(NAMES, templates="{}").predict(new)
    assert (answers == right).mean() >= 0.7  # chance is 1/6


def test_an_interrupted_run_equals_an_uninterrupted_one(tmp_path: Path) -> None:
    path = write_recipe(tmp_path)
    recipe = read_recipe(path)
    train(recipe, tmp_path / "whole")

    class Stop(Exception):
        pass

    def stop_at(step: int):
        def report(record):
            if record["step"] == step and "loss" in record:
                raise Stop

        return report

    for step in (3, 6, 9):  # before the first checkpoint and between two
        with pytest.raises(Stop):
            train(recipe, tmp_path / "parts", report=stop_at(step))
    train(recipe, tmp_path / "parts")
    assert curve(tmp_path / "parts") == curve(tmp_path / "whole")
    ours, theirs = weights(tmp_path / "parts"), weights(tmp_path / "whole")
    assert all(np.array_equal(ours[name], theirs[name]) for name in theirs)


@pytest.mark.slow
def test_kill_9(tmp_path: Path) -> None:
    path = write_recipe(tmp_path, epochs="40", workers="1")
    command = [sys.executable, "-m", "keshin", "train", str(path), "--output"]
    subprocess.run([*command, str(tmp_path / "whole")], check=True, capture_output=True)
    metrics = tmp_path / "killed" / "metrics.jsonl"
    for least in (10, 50):
        with subprocess.Popen(
            [*command, str(tmp_path / "killed")],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        ) as process:
            deadline = time.monotonic() + 120
            while not metrics.exists() or len(metrics.read_bytes().splitlines()) < least:
                assert process.poll() is None, "the run ended before it could be killed"
                assert time.monotonic() < deadline
                time.sleep(0.01)
            os.killpg(process.pid, signal.SIGKILL)
    done = subprocess.run([*command, str(tmp_path / "killed")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "Going on from step" in done.stderr
    assert done.stdout.strip() == str(tmp_path / "killed" / "model")
    assert curve(tmp_path / "killed") == curve(tmp_path / "whole")
    ours, theirs = weights(tmp_path / "killed"), weights(tmp_path / "whole")
    assert all(np.array_equal(ours[name], theirs[name]) for name in theirs)


def test_another_recipe_is_not_continued(tmp_path: Path) -> None:
    train(read_recipe(write_recipe(tmp_path)), tmp_path / "run")
    other = read_recipe(write_recipe(tmp_path, learning_rate="1e-4"))
    with pytest.raises(TrainingError, match="another recipe"):
        train(other, tmp_path / "run")
    train(other, tmp_path / "run", restart=True)


def test_a_damaged_state_is_an_error_that_says_so(tmp_path: Path) -> None:
    recipe = read_recipe(write_recipe(tmp_path))
    train(recipe, tmp_path / "run")
    for name in ("state.pt", "state-before.pt"):
        (tmp_path / "run" / name).write_bytes(b"PK\x03\x04 nonsense")
    with pytest.raises(TrainingError, match="cannot be read"):
        train(recipe, tmp_path / "run")


def test_where_the_last_checkpoint_is_damaged_the_one_before_is_taken(tmp_path: Path) -> None:
    recipe = read_recipe(write_recipe(tmp_path))
    train(recipe, tmp_path / "whole")
    train(recipe, tmp_path / "run")
    (tmp_path / "run" / "state.pt").write_bytes(b"PK\x03\x04 nonsense")
    told = list[dict]()
    train(recipe, tmp_path / "run", report=told.append)
    assert told[0]["event"] == "resume"
    assert told[0]["step"] == 8
    assert told[0]["file"] == "state-before.pt"
    assert (tmp_path / "run" / "state-damaged.pt").exists()
    assert curve(tmp_path / "run") == curve(tmp_path / "whole")
    ours, theirs = weights(tmp_path / "run"), weights(tmp_path / "whole")
    assert all(np.array_equal(ours[name], theirs[name]) for name in theirs)


def test_a_full_disk_keeps_the_checkpoint_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = read_recipe(write_recipe(tmp_path))
    calls = []
    real = torch.save

    def save(values, file):
        calls.append(1)
        if len(calls) == 2:
            file.write(b"half")
            raise OSError(28, "No space left on device")
        real(values, file)

    monkeypatch.setattr(torch, "save", save)
    with pytest.raises(TrainingError, match="No space left on device"):
        train(recipe, tmp_path / "run")
    monkeypatch.undo()
    assert not list((tmp_path / "run").glob("*.tmp"))
    train(recipe, tmp_path / "run")
    train(recipe, tmp_path / "whole")
    assert curve(tmp_path / "run") == curve(tmp_path / "whole")


def test_bf16_learns_too(tmp_path: Path) -> None:
    recipe = read_recipe(
        write_recipe(tmp_path, pairs=72, epochs="16", batch_size="24", precision='"bf16"')
    )
    train(recipe, tmp_path / "run")
    losses = [loss for _, loss, *_ in curve(tmp_path / "run")]
    assert losses[-1] < 0.8 * losses[0]


def test_broken_pictures_are_listed_once(tmp_path: Path) -> None:
    train(read_recipe(write_recipe(tmp_path, broken=(1, 7))), tmp_path / "run")
    listed = (tmp_path / "run" / "skipped.txt").read_text(encoding="utf-8").splitlines()
    assert len(listed) == 2
    assert all("pairs.parquet, row" in line for line in listed)


def test_only_broken_pictures_end_the_run(tmp_path: Path) -> None:
    recipe = read_recipe(write_recipe(tmp_path, broken=tuple(range(36))))
    with pytest.raises(DataError, match="none of its 12 pairs"):
        train(recipe, tmp_path / "run")


def test_a_loss_that_is_never_finite_ends_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from keshin.train import step

    monkeypatch.setattr(step, "contrastive", lambda *a: torch.tensor(float("nan")).requires_grad_())
    with pytest.raises(TrainingError, match="not finite"):
        train(read_recipe(write_recipe(tmp_path)), tmp_path / "run")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"batch_size": "0"}, "optim.batch_size"),
        ({"batch_size": '"many"'}, "optim.batch_size"),
        ({"learning_rate": "1e-3\nlerning = 1"}, "lerning"),
        ({"precision": '"fp8"'}, "run.precision"),
        ({"kind": '"mamba"'}, "mamba"),
    ],
)
def test_wrong_recipes(tmp_path: Path, change: dict[str, str], said: str) -> None:
    with pytest.raises(RecipeError) as caught:
        read_recipe(write_recipe(tmp_path, **change))
    assert said in str(caught.value)


def test_recompute_changes_nothing(tmp_path: Path) -> None:
    train(read_recipe(write_recipe(tmp_path)), tmp_path / "plain")
    train(read_recipe(write_recipe(tmp_path, threads="1\nrecompute = true")), tmp_path / "again")
    plain, again = np.array(curve(tmp_path / "plain")), np.array(curve(tmp_path / "again"))
    np.testing.assert_allclose(plain, again, rtol=1e-4)


def test_the_golden_curve(tmp_path: Path) -> None:
    """The first ten losses of a small run; a change that should not alter training must keep them."""
    golden = Path(__file__).parents[1] / "golden" / "losses_shapes.txt"
    train(read_recipe(write_recipe(tmp_path)), tmp_path / "run")
    losses = [loss for _, loss, *_ in curve(tmp_path / "run")][:10]
    expected = [float(line.split()[1]) for line in golden.read_text().splitlines()]
    assert losses == pytest.approx(expected, rel=2e-3)


@pytest.mark.parametrize("size", [8, 24])
def test_a_run_goes_on_at_another_picture_size(tmp_path: Path, size: int) -> None:
    """CLIPA: most of a run at a low resolution, its end at the full one."""
    (tmp_path / "small").mkdir()
    first = train(read_recipe(write_recipe(tmp_path / "small")), tmp_path / "run")
    text = write_recipe(tmp_path, epochs="1").read_text(encoding="utf-8")
    text = text.replace("[16, 16]", f"[{size}, {size}]")
    text = text.replace("embed_dim = 16", f'embed_dim = 16\ninit = "{first}"')
    (tmp_path / "recipe.toml").write_text(text, encoding="utf-8")
    recipe = read_recipe(tmp_path / "recipe.toml")
    larger = train(recipe, tmp_path / "larger")
    assert load_checkpoint(larger).config.vision.grid == (size // 4, size // 4)
    before, after = curve(tmp_path / "run"), curve(tmp_path / "larger")
    assert after[0][1] < before[0][1]  # it does not begin anew
