"""A locked tower does not move; kept features change nothing but the time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("pyarrow")

from keshin.core.checkpoint import load_checkpoint  # noqa: E402
from keshin.errors import RecipeError, TrainingError  # noqa: E402
from keshin.train import step  # noqa: E402
from keshin.train.features import Features, folder_of, key_of  # noqa: E402
from keshin.train.lock import lock  # noqa: E402
from keshin.train.loop import train  # noqa: E402
from keshin.train.methods import LockPart  # noqa: E402
from keshin.train.recipe import Recipe, read_recipe  # noqa: E402
from keshin.train.run import prepare  # noqa: E402
from shapes import write_recipe  # noqa: E402

RESNET = """
kind = "resnet"
image_size = [16, 16]
patch_size = 4
widths = [8, 16]
layers = [1, 1]
"""


@pytest.fixture(scope="module", params=["vit", "resnet"])
def start(tmp_path_factory, request):
    """A trained model of each kind, and the text of its recipe."""
    folder = tmp_path_factory.mktemp(request.param)
    path = write_recipe(folder, epochs="2")
    if request.param == "resnet":
        text = path.read_text(encoding="utf-8")
        vit, rest = text.index('kind = "vit"'), text.index("[model.text]")
        path.write_text(text[:vit] + RESNET + text[rest:], encoding="utf-8")
    train(read_recipe(path), folder / "run")
    return folder


def recipe(start: Path, lock: str, taken: str = "both", more: str = "", **changes: str) -> Recipe:
    """Training further from there; ``changes`` as for ``write_recipe``, ``more`` at the end."""
    text = (start / "recipe.toml").read_text(encoding="utf-8")
    init = f'init = "run/model"\ninit_towers = "{taken}"'
    text = text.replace("embed_dim = 16", f"embed_dim = 16\n{init}")
    for name, value in ({"epochs": "4"} | changes).items():
        lines = [
            f"{name} = {value}" if ln.startswith(f"{name} = ") else ln for ln in text.split("\n")
        ]
        text = "\n".join(lines)
    path = start / "further.toml"
    path.write_text(f"{text}\n[lock]\n{lock}\n{more}", encoding="utf-8")
    return read_recipe(path)


def curve(folder: Path) -> list[float]:
    lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [r["loss"] for r in map(json.loads, lines) if "loss" in r]


def weights(folder: Path) -> dict[str, np.ndarray]:
    """All of them, but for the biases of keys, which are rounding (see test_distributed)."""
    tensors = load_checkpoint(folder / "model").tensors
    found = {name: np.array(tensors.read(name)) for name in tensors.infos}
    for name, values in found.items():
        if name.endswith("attn.in_proj_bias"):
            values.reshape(3, -1)[1] = 0
    return found


def close(one: Path, two: Path, tolerance: float = 1e-6) -> None:
    np.testing.assert_allclose(curve(one), curve(two), rtol=tolerance)
    theirs = weights(two)
    for name, values in weights(one).items():
        np.testing.assert_allclose(values, theirs[name], atol=10 * tolerance, err_msg=name)


@pytest.mark.parametrize("taken", ["both", "image"])
def test_kept_features_equal_a_frozen_tower(start, tmp_path, taken, monkeypatch):
    monkeypatch.setenv("KESHIN_CACHE", str(tmp_path / "cache"))
    seen = []
    real = step._normalised
    monkeypatch.setattr(step, "_normalised", lambda run, x: seen.append(len(x)) or real(run, x))
    train(recipe(start, "image = true\ncache = false", taken), tmp_path / "frozen")
    assert sum(seen) == 4 * 36
    seen.clear()
    train(recipe(start, "image = true", taken), tmp_path / "kept")
    assert sum(seen) == 36  # each picture once, in four epochs
    close(tmp_path / "kept", tmp_path / "frozen")
    before, after = weights(start / "run"), weights(tmp_path / "kept")
    for name, values in after.items():
        same = np.array_equal(values, before[name]) if before[name].shape == values.shape else False
        if name.startswith("visual."):
            assert same, name
    assert not np.array_equal(after["text_projection"], before["text_projection"])
    seen.clear()
    train(recipe(start, "image = true", taken), tmp_path / "again")
    assert not seen  # another run finds them
    assert curve(tmp_path / "again") == curve(tmp_path / "kept")


def test_parts_of_a_batch_and_half_precision(start, tmp_path, monkeypatch):
    monkeypatch.setenv("KESHIN_CACHE", str(tmp_path / "cache"))
    for name, changes in (
        ("whole", {}),
        ("parts", {"batch_size": "12\nmicro_batch = 5"}),
        ("half", {"precision": '"bf16"'}),
    ):
        train(recipe(start, "image = true", **changes), tmp_path / name)
    close(tmp_path / "parts", tmp_path / "whole", 1e-5)
    np.testing.assert_allclose(curve(tmp_path / "half"), curve(tmp_path / "whole"), rtol=0.05)
    assert len(list((tmp_path / "cache" / "features").iterdir())) == 2  # precision keeps apart


def test_a_killed_run_goes_on_exactly(start, tmp_path):
    plans = [
        recipe(start, f'image = true\nfeatures = "{tmp_path / name}"') for name in ("one", "two")
    ]
    train(plans[0], tmp_path / "whole")

    def stopping_at(stop):
        def report(record):
            if "loss" in record and record["step"] == stop:
                raise InterruptedError

        return report

    for stop in (2, 5, 11):
        with pytest.raises(InterruptedError):
            train(plans[1], tmp_path / "parts", report=stopping_at(stop))
    train(plans[1], tmp_path / "parts")
    assert curve(tmp_path / "parts") == curve(tmp_path / "whole")


def test_what_is_lost_is_said(start, tmp_path, monkeypatch):
    monkeypatch.setenv("KESHIN_CACHE", str(tmp_path))
    said = []
    plan = recipe(start, "image = true", more="[augment]\nflip = 0.5\npatch_dropout = 0.0")
    train(plan, tmp_path / "run", report=said.append)
    assert said[0]["lost"] == "the random place of the crop, flip = 0.5"
    assert said[0]["kept_features"] == 0


def test_captions_are_those_of_a_run_with_augmentation(start, tmp_path, monkeypatch):
    from keshin.train.data import batches

    monkeypatch.setenv("KESHIN_CACHE", str(tmp_path))
    changes = "flip = 0.5\nblur = 0.5\ngrey = 0.5\ncolour = 0.3\nmin_area = 0.3\nmax_stretch = 1.5"
    drawn = []
    for part in ("image = true", "image = true\ncache = false"):
        plan = recipe(start, part, more=f"[augment]\n{changes}")
        run = prepare(plan, tmp_path)
        drawn.append([batch.texts for batch in batches(run.pool, plan, 0, 6)])
    assert drawn[0] == drawn[1]


def test_which_layers_learn(start):
    vit = "vit" in str(start)
    model = prepare(recipe(start, "image = true"), start).state.model

    def learning(part: LockPart) -> set[str]:
        for parameter in model.parameters():
            parameter.requires_grad_(True)
        lock(model, part)
        return {name for name, p in model.named_parameters() if p.requires_grad}

    every = learning(LockPart())
    image = {name for name in every if name.startswith("visual.")}
    assert learning(LockPart(image=True)) == every - image
    assert learning(LockPart(text=True)) == image | {"logit_scale"}
    last = image & learning(LockPart(image=True, unlocked=1))
    assert last == ({"visual.proj", "visual.ln_post.weight", "visual.ln_post.bias"} if vit
                    else {"visual.proj"})  # fmt: skip
    two = image & learning(LockPart(image=True, unlocked=2))
    block = "visual.transformer.resblocks.1." if vit else "visual.layer2."
    assert two == last | {name for name in image if name.startswith(block)}
    both = learning(LockPart(image=True, text=True, unlocked=1))
    assert "text_projection" in both
    assert "token_embedding.weight" not in both


def test_locked_statistics_stay(start, tmp_path):
    before = weights(start / "run")
    for name, part in (("whole", "cache = false"), ("upper", "unlocked = 2")):
        train(recipe(start, f"image = true\n{part}"), tmp_path / name)
        for key, values in weights(tmp_path / name).items():
            if "visual.bn1.running" in key or "visual.layer1.0.bn1.running" in key:
                assert np.array_equal(values, before[key]), key


@pytest.mark.parametrize(
    ("part", "taken", "more", "said"),
    [
        ("image = true", "text", "", "the image tower is new"),
        ("text = true", "image", "", "the text tower is new"),
        ("image = true\ntext = true", "both", "", "nothing to train"),
        ("image = true", "both", "[augment]\nimage_size = [8, 8]\n[finish]", "saves nothing"),
    ],
)
def test_wrong_settings(start, part, taken, more, said):
    with pytest.raises(RecipeError, match=said):
        recipe(start, part, taken, more)


def test_shards_and_kept_features(start):
    with pytest.raises(RecipeError, match=r"run\.shard"):
        recipe(start, "image = true", threads="1\nshard = true")


@pytest.mark.slow
def test_two_processes_equal_one(start, tmp_path):
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    for count in (1, 2):
        recipe(start, f'image = true\nfeatures = "{tmp_path / str(count)}"')
        torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}"]
        begin = [sys.executable, *(torchrun if count > 1 else ())]
        command = [*begin, "-m", "keshin", "train", str(start / "further.toml")]
        output = tmp_path / f"run{count}"
        done = subprocess.run(
            [*command, "--output", str(output)], capture_output=True, text=True, env=env
        )
        assert done.returncode == 0, done.stderr
    np.testing.assert_allclose(curve(tmp_path / "run2"), curve(tmp_path / "run1"), atol=1e-5)
    (folder,) = (tmp_path / "2").iterdir()
    assert len(list(folder.iterdir())) == 2  # a file for each process
    assert len(Features(folder, 16)) == 36


def test_the_store(tmp_path):
    store = Features(tmp_path / "a", 4)
    keys = [key_of(bytes([n])) for n in range(5)]
    vectors = np.arange(20, dtype=np.float32).reshape(5, 4)
    store.add(keys[:3], vectors[:3])
    other = Features(tmp_path / "a", 4)  # another process
    assert len(other) == 3
    other.add([keys[0], keys[3], keys[3]], -vectors[[0, 3, 4]])
    np.testing.assert_array_equal(store.get(keys[0]), vectors[0])  # the first stays
    np.testing.assert_array_equal(store.get(keys[3]), -vectors[3])
    assert store.get(keys[4]) is None
    assert len(list((tmp_path / "a").iterdir())) == 2


def test_damaged_records_are_passed_over(tmp_path):
    store = Features(tmp_path, 4)
    keys = [key_of(bytes([n])) for n in range(4)]
    store.add(keys, np.ones((4, 4), np.float32))
    (path,) = tmp_path.iterdir()
    data = bytearray(path.read_bytes())
    data[store.size + 20] ^= 1
    path.write_bytes(bytes(data[:-3]))  # and the last one is cut short
    again = Features(tmp_path, 4)
    assert [again.get(key) is not None for key in keys] == [True, False, True, False]


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(TrainingError, match=r"lock\.features"):
        Features(tmp_path / "file" / "below", 4)


def test_other_weights_have_another_folder(start, tmp_path):
    run = prepare(recipe(start, "image = true"), tmp_path)
    first = folder_of(run.recipe, run.state.model, "float32")
    with torch.no_grad():
        run.state.model.visual.proj[0, 0] += 1e-3
    assert folder_of(run.recipe, run.state.model, "float32") != first
