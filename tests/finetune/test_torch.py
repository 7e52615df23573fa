"""Whole models: adapters merge, training goes on where it was, a stuck one is told."""

import copy

import numpy as np
import pytest
import torch
from msgspec.structs import replace

from fine_pictures import COLOURS, picture
from keshin.encode.torch_towers import load_model
from keshin.finetune import torch_tuning
from keshin.finetune.diagnosis import diagnose
from keshin.finetune.plans import PLANS, Plan
from keshin.finetune.torch_lowrank import LowRank, adapt, merge
from keshin.finetune.torch_tuning import Lessons, tune

PLAN = Plan(rate=3e-3, epochs=2, rank=4, batch=8, least_steps=12)


@pytest.fixture
def lessons():
    pictures = [picture(c, 10 * i + k) for i, c in enumerate(COLOURS.values()) for k in range(6)]
    prompts = tuple((f"a photo of a {n}.", f"a {n}") for n in COLOURS)
    return Lessons(pictures, np.repeat(np.arange(3), 6), prompts, ())


ROWS = np.arange(18)


def test_a_merged_model_equals_the_one_with_adapters(tiny_checkpoint):
    model = load_model(tiny_checkpoint)
    before = copy.deepcopy(model.state_dict())
    trained = adapt(model, 4, seed=0)
    pixels, ids = torch.randn(2, 3, 16, 16), torch.randint(1, 500, (2, 9))
    ends = torch.tensor([8, 8])
    plain = load_model(tiny_checkpoint)
    assert torch.equal(model.image_features(pixels), plain.image_features(pixels))  # B is zero
    with torch.no_grad():
        for parameter in trained:
            parameter.add_(0.1 * torch.randn_like(parameter))
    images, texts = model.image_features(pixels), model.text_features(ids, ends)
    assert not torch.allclose(images, plain.image_features(pixels), atol=1e-3)
    merged = merge(model)
    assert merged.state_dict().keys() == before.keys()
    assert torch.allclose(merged.image_features(pixels), images, atol=1e-5)
    assert torch.allclose(merged.text_features(ids, ends), texts, atol=1e-5)
    # what has no adapter has not moved
    assert torch.equal(merged.state_dict()["visual.conv1.weight"], before["visual.conv1.weight"])


def test_an_adapter_is_w_plus_b_a_for_queries_keys_and_values_apart():
    weight = torch.randn(12, 4)
    layer = LowRank(weight, 2, 3, torch.Generator().manual_seed(0))
    with torch.no_grad():
        layer.up.normal_()
    x = torch.randn(5, 4)
    for part in range(3):
        rows = slice(4 * part, 4 * part + 4)
        by_hand = x @ weight[rows].T + (x @ layer.down[part].T) @ layer.up[part].T
        assert torch.allclose(x @ layer(weight)[rows].T, by_hand, atol=1e-5)


def test_training_learns_and_only_what_it_should(tiny_checkpoint, lessons):
    for plan in (PLAN, replace(PLAN, rank=0, rate=1e-3, layer_decay=0.7)):
        model = load_model(tiny_checkpoint)
        scale = float(model.logit_scale.detach())
        trace = tune(
            model, tiny_checkpoint.tokenizer(), lessons, ROWS, replace(plan, least_steps=40)
        )
        assert trace.end < 0.7 * trace.losses[0]
        assert diagnose(trace) is None
        assert float(model.logit_scale.detach()) == scale
        assert all(p.requires_grad for p in model.parameters())


def test_an_interrupted_training_goes_on_to_the_same_weights(
    tiny_checkpoint, lessons, tmp_path, monkeypatch
):
    tokenizer = tiny_checkpoint.tokenizer()
    whole = load_model(tiny_checkpoint)
    tune(whole, tokenizer, lessons, ROWS, PLAN)
    monkeypatch.setattr(torch_tuning, "SAVED_EVERY", -1.0)
    state = tmp_path / "state.pt"

    def killed(step, steps):
        if step == 7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tune(load_model(tiny_checkpoint), tokenizer, lessons, ROWS, PLAN, keep=state, watch=killed)
    assert state.is_file()
    seen = []
    again = load_model(tiny_checkpoint)
    trace = tune(
        again, tokenizer, lessons, ROWS, PLAN, keep=state, watch=lambda s, _: seen.append(s)
    )
    assert seen[0] == 8
    assert len(trace.losses) == 12
    assert not state.exists()
    for name, value in whole.state_dict().items():
        assert torch.equal(value, again.state_dict()[name])


def test_real_runs_that_are_stuck_are_told_apart(tiny_checkpoint, lessons):
    tokenizer, full = tiny_checkpoint.tokenizer(), replace(PLAN, rank=0, least_steps=30)
    found = {}
    for cause, plan, what in [
        ("low", replace(full, rate=1e-9), lessons),
        ("high", replace(full, rate=3.0), lessons),
        ("equal", full, Lessons(lessons.pictures, lessons.targets, (), (("a cat",),) * 18)),
    ]:
        trace = tune(load_model(tiny_checkpoint), tokenizer, what, ROWS, plan)
        found[cause] = diagnose(trace)
    assert found["high"].cause == "learning rate too high"
    assert found["low"].cause == "learning rate too low"
    assert found["equal"].cause == "one caption"


def test_captions_are_learnt(tiny_checkpoint, lessons):
    names = np.repeat(["a photo of a cat.", "a photo of a dog.", "a green tree"], 6)
    pairs = Lessons(lessons.pictures, lessons.targets, (), tuple((str(n),) for n in names))
    trace = tune(
        load_model(tiny_checkpoint), tiny_checkpoint.tokenizer(), pairs, ROWS,
        replace(PLAN, least_steps=40),
    )  # fmt: skip
    assert trace.chance == pytest.approx(np.log(8))
    assert trace.end < trace.losses[0]


def test_both_plans_fit_the_methods():
    assert PLANS["lora"].rank > 0
    assert PLANS["full"].rank == 0
    assert PLANS["full"].layer_decay < 1
