"""Most of a run on small pictures or with patches left out, and its finish on whole ones."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("pyarrow")

from keshin.core.foreign.positions import fit_positions  # noqa: E402
from keshin.encode.torch_positions import make_smooth, on_grid  # noqa: E402
from keshin.errors import RecipeError  # noqa: E402
from keshin.train.loop import train  # noqa: E402
from keshin.train.phases import Phase, phases, stream  # noqa: E402
from keshin.train.recipe import Recipe, read_recipe  # noqa: E402
from keshin.train.run import prepare  # noqa: E402
from shapes import write_recipe  # noqa: E402

SMALL = """
[augment]
image_size = [8, 8]
patch_dropout = 0.25
[finish]
share = 0.25
"""
RESNET = """
kind = "resnet"
image_size = [16, 16]
patch_size = 4
widths = [8, 16]
layers = [1, 1]
"""
STEPS = 12


def recipe(folder: Path, more: str = SMALL, **changes: str) -> Recipe:
    path = write_recipe(folder, **changes)
    path.write_text(path.read_text(encoding="utf-8") + more, encoding="utf-8")
    return read_recipe(path)


def curve(folder: Path) -> list[float]:
    lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [r["loss"] for r in map(json.loads, lines) if "loss" in r]


def test_the_parts_of_a_run(tmp_path):
    assert phases(recipe(tmp_path), STEPS) == [
        Phase(0, 9, (8, 8), 0.25),
        Phase(9, 12, (16, 16), 0.0),
    ]
    assert phases(recipe(tmp_path, ""), STEPS) == [Phase(0, 12, (16, 16), 0.0)]
    assert phases(recipe(tmp_path), 1) == [Phase(0, 1, (16, 16), 0.0)]
    flip = recipe(tmp_path, "[augment]\npatch_dropout = 0.5\n[finish]\nshare = 1.0\n")
    assert phases(flip, STEPS) == [Phase(0, 12, (16, 16), 0.0)]


def test_pictures_and_patches_of_each_part(tmp_path):
    run = prepare(recipe(tmp_path), tmp_path)
    seen = []
    tower = run.state.model.visual
    tower.transformer.register_forward_pre_hook(lambda m, inputs: seen.append(inputs[0].shape[1]))
    sizes = []
    for batch in stream(run):
        sizes.append(tuple(batch.pixels.shape[2:]))
        tower.train()(batch.pixels.float())
    assert sizes == 9 * [(8, 8)] + 3 * [(16, 16)]
    assert seen == 9 * [1 + 3] + 3 * [1 + 16]  # of 4 patches 3; all of 16


def test_a_killed_run_goes_on_in_its_part(tmp_path):
    plan = recipe(tmp_path)
    train(plan, tmp_path / "whole")

    def stopping_at(stop):
        def report(record):
            if "loss" in record and record["step"] == stop:
                raise InterruptedError

        return report

    for stop in (3, 7, 10, 11):  # before, in and after the change at 9; checkpoints at 4 and 8
        with pytest.raises(InterruptedError):
            train(plan, tmp_path / "parts", report=stopping_at(stop))
    train(plan, tmp_path / "parts")
    assert curve(tmp_path / "parts") == curve(tmp_path / "whole")


def test_it_learns_and_the_model_has_its_own_size(tmp_path):
    more = SMALL.replace("patch_dropout = 0.25\n", "")
    plan = recipe(tmp_path, more, pairs=120, epochs="16", batch_size="24")
    folder = train(plan, tmp_path / "run")
    assert curve(tmp_path / "run")[-1] < 0.6 * curve(tmp_path / "run")[0]
    assert json.loads((folder / "keshin.json").read_text())["vision"]["image_size"] == [16, 16]


def test_a_tower_without_positions(tmp_path):
    path = write_recipe(tmp_path)
    text = path.read_text(encoding="utf-8")
    start, stop = text.index('kind = "vit"'), text.index("[model.text]")
    more = SMALL.replace("patch_dropout = 0.25\n", "")
    path.write_text(text[:start] + RESNET + text[stop:] + more, encoding="utf-8")
    train(read_recipe(path), tmp_path / "run")
    assert len(curve(tmp_path / "run")) == STEPS


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("[augment]\nimage_size = [8, 8]\n", "Add \\[finish\\]"),
        (SMALL.replace("[8, 8]", "[8, 10]"), "multiples of 4"),
        (SMALL.replace("0.25\n", "1.25\n"), "patch_dropout"),
    ],
)
def test_wrong_settings(tmp_path, more, said):
    with pytest.raises(RecipeError, match=said):
        recipe(tmp_path, more)


@pytest.mark.parametrize("wanted", [(2, 2), (4, 4), (7, 7), (3, 5)])
@pytest.mark.parametrize("extra", [0, 1])
def test_positions_are_those_of_a_checkpoint_made_for_another_size(wanted, extra):
    values = torch.randn(extra + 16, 6)
    found = on_grid(values, (4, 4), wanted)
    plain = values.numpy() if extra else np.concatenate([values[:1].numpy(), values.numpy()])
    expected = fit_positions(plain, wanted, origin="test")
    np.testing.assert_allclose(found.numpy(), expected[1 - extra :], atol=1e-5)
    if wanted == (4, 4):
        assert found is values


def test_new_positions_hold_nothing_that_a_small_grid_cannot_reach():
    values = torch.randn(1 + 64, 6)
    first = values.clone()
    make_smooth(values, (8, 8), (4, 4))
    assert torch.equal(values[0], first[0])
    again = on_grid(first[:17], (4, 4), (8, 8))
    assert torch.equal(values, again)
    assert float(values.std()) > 0.5


def test_gradients_reach_positions_through_another_grid(tmp_path):
    run = prepare(recipe(tmp_path), tmp_path)
    model = run.state.model
    model.image_features(torch.randn(2, 3, 8, 8)).sum().backward()
    assert float(model.visual.positional_embedding.grad.abs().min()) > 0
