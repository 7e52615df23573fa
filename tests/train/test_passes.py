"""Gradient caching: the towers in parts give the gradients of the whole batch."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("pyarrow")

from keshin.train.data import batches  # noqa: E402
from keshin.train.loop import train  # noqa: E402
from keshin.train.passes import Towers, frozen_statistics, split  # noqa: E402
from keshin.train.recipe import read_recipe  # noqa: E402
from keshin.train.run import prepare  # noqa: E402
from keshin.train.step import _gradients  # noqa: E402
from shapes import write_recipe  # noqa: E402


def gradients(tmp_path, prepared=lambda run: None, **changes):
    recipe = read_recipe(write_recipe(tmp_path, **changes))
    run = prepare(recipe, tmp_path)
    prepared(run)
    batch = next(iter(batches(run.pool, recipe, 0, 1)))
    run.state.model.train()
    losses = _gradients(run, batch)
    return losses, {n: p.grad.clone() for n, p in run.state.model.named_parameters()}


@pytest.mark.parametrize("micro", [1, 5, 8, 12])
def test_parts_give_the_gradients_of_the_whole(tmp_path, micro):
    whole, expected = gradients(tmp_path)
    parts, found = gradients(tmp_path, batch_size=f"12\nmicro_batch = {micro}")
    assert parts["loss"] == pytest.approx(whole["loss"], rel=1e-6)
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=1e-6, msg=name)


def test_random_numbers_are_the_same_in_both_passes(tmp_path):
    """With dropout the second pass must see what the first one saw: else gradients are of nothing."""

    def with_dropout(run):
        drawn.clear()
        model = run.state.model
        real = model.image_features

        def image_features(pixels):
            features = real(pixels)
            kept = (torch.rand_like(features) > 0.5).float()
            drawn.append(kept)
            return features * kept

        model.image_features = image_features

    drawn = []
    gradients(tmp_path, with_dropout, batch_size="12\nmicro_batch = 4")
    assert len(drawn) == 5  # three parts, two of them again
    assert torch.equal(drawn[0], drawn[3])
    assert torch.equal(drawn[1], drawn[4])
    assert not torch.equal(drawn[0], drawn[1])


def test_running_statistics_are_updated_once():
    norm = torch.nn.BatchNorm1d(3)
    x = torch.randn(8, 3)
    norm(x)
    before = norm.running_mean.clone()
    with frozen_statistics(norm):
        norm(x)
    assert torch.equal(norm.running_mean, before)
    assert norm.momentum == 0.1


def test_a_run_in_parts_follows_the_whole_one(tmp_path):
    curves = []
    for micro in (0, 4):
        recipe = read_recipe(write_recipe(tmp_path, batch_size=f"12\nmicro_batch = {micro}"))
        losses = []
        train(recipe, tmp_path / f"run{micro}", report=lambda r: losses.append(r.get("loss")))  # noqa: B023
        curves.append([loss for loss in losses if loss is not None])
    np.testing.assert_allclose(*curves, rtol=1e-4)


def test_split_covers_everything():
    for count in range(20):
        for parts in range(1, 7):
            rows = [row for part in split(count, parts) for row in range(count)[part]]
            assert rows == list(range(count))


def test_a_process_without_a_usable_pair_takes_part(tmp_path):
    run = prepare(read_recipe(write_recipe(tmp_path)), tmp_path)
    towers = Towers(run.state.model)
    ids, ends = torch.zeros(0, 12, dtype=torch.long), torch.zeros(0, dtype=torch.long)
    features = towers(torch.zeros(0, 3, 16, 16), [(ids, ends)])
    assert features["pictures"].shape == features["texts"].shape == (0, 16)
    sum(f.sum() for f in features.values()).backward()


def test_patches_are_left_out_while_training_only(tmp_path):
    path = write_recipe(tmp_path)
    text = path.read_text(encoding="utf-8") + "[augment]\npatch_dropout = 0.5\n"
    path.write_text(text, encoding="utf-8")
    run = prepare(read_recipe(path), tmp_path)
    tower = run.state.model.visual
    seen = []
    tower.transformer.register_forward_pre_hook(lambda m, inputs: seen.append(inputs[0].shape[1]))
    pixels = torch.randn(2, 3, 16, 16)
    a, b = tower.train()(pixels), tower(pixels)
    c, d = tower.eval()(pixels), tower(pixels)
    assert seen == [9, 9, 17, 17]
    assert not torch.equal(a, b)
    assert torch.equal(c, d)
