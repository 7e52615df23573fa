"""Every trained parameter stands in one group, and the lower its layer, the lower its rate."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("pyarrow")

from keshin.core.config import (  # noqa: E402
    Config,
    ModifiedResNet,
    PooledVisionTransformer,
    PreprocessFacts,
    ResNet,
    RobertaText,
    ScoreFacts,
    TextTransformer,
    TokenizerFacts,
    VisionTransformer,
)
from keshin.encode.torch_model import CLIP  # noqa: E402
from keshin.train.layer_rates import depths, parameter_groups, tower_of  # noqa: E402
from keshin.train.loop import train  # noqa: E402
from keshin.train.passes import Towers  # noqa: E402
from keshin.train.recipe import OptimPart, read_recipe  # noqa: E402
from shapes import write_recipe  # noqa: E402

SIZE = (32, 32)
BLOCKS = {
    "width": 32, "layers": 3, "heads": 2, "mlp_width": 64, "activation": "gelu",
    "layer_norm_eps": 1e-5,
}  # fmt: skip
VIT = VisionTransformer(image_size=SIZE, patch_size=8, **BLOCKS)
POOLED = PooledVisionTransformer(image_size=SIZE, patch_size=8, **BLOCKS)
RESNET = ModifiedResNet(image_size=SIZE, width=8, layers=(2, 1, 1, 1), heads=4)
BASIC = ResNet(image_size=SIZE, patch_size=4, widths=(8, 16, 24), layers=(1, 2, 1))
TEXT = TextTransformer(**BLOCKS, context_length=16, vocab_size=64, causal=True, pool="end-of-text")
ROBERTA = RobertaText(
    **BLOCKS, context_length=16, vocab_size=64, positions=20, pad=0, pool="mean",
    projection_width=40,
)  # fmt: skip


def model(vision, text=TEXT, score="softmax"):
    return CLIP(
        Config(
            format=1,
            name="test",
            embed_dim=32,
            vision=vision,
            text=text,
            tokenizer=TokenizerFacts(cleaning="clip", start=1, end=2, pad=0),
            preprocess=PreprocessFacts(
                size=SIZE, resize="squash", interpolation="bicubic", mean=(0.5,) * 3, std=(0.5,) * 3
            ),
            score=ScoreFacts(kind=score),
        )
    )


ALL = [(VIT, TEXT), (POOLED, TEXT), (RESNET, TEXT), (BASIC, TEXT), (VIT, ROBERTA)]


@pytest.mark.parametrize(("vision", "text"), ALL, ids=lambda facts: type(facts).__name__)
@pytest.mark.parametrize("decay", [1.0, 0.5])
def test_groups_hold_each_parameter_once(vision, text, decay):
    towers = Towers(model(vision, text, "sigmoid"), torch.nn.Linear(32, 5))
    optim = OptimPart(batch_size=8, epochs=1, layer_decay=decay, learning_rate=1e-3)
    groups = parameter_groups(towers, optim)
    held = [id(p) for group in groups for p in group["params"]]
    assert len(held) == len(set(held))
    assert set(held) == {id(p) for p in towers.parameters()}
    assert len(groups) == 2 or decay < 1
    for group in groups:
        assert group["lr"] == pytest.approx(1e-3 * group["rate"])
        assert {p.ndim >= 2 for p in group["params"]} == {group["weight_decay"] > 0}


@pytest.mark.parametrize(
    ("vision", "text", "expected"),
    [
        (
            VIT,
            TEXT,
            {
                "visual.conv1.weight": 4,
                "visual.class_embedding": 4,
                "visual.positional_embedding": 4,
                "visual.ln_pre.bias": 4,
                "visual.transformer.resblocks.0.attn.in_proj_weight": 3,
                "visual.transformer.resblocks.2.mlp.c_fc.weight": 1,
                "visual.ln_post.weight": 0,
                "visual.proj": 0,
                "token_embedding.weight": 4,
                "positional_embedding": 4,
                "transformer.resblocks.0.ln_1.weight": 3,
                "transformer.resblocks.2.ln_2.bias": 1,
                "ln_final.weight": 0,
                "text_projection": 0,
                "logit_scale": 0,
            },
        ),
        (POOLED, TEXT, {"visual.conv1.bias": 4, "visual.attnpool.probe": 0}),
        (
            RESNET,
            TEXT,
            {
                "visual.bn3.weight": 5,
                "visual.layer1.0.conv1.weight": 4,
                "visual.layer1.0.downsample.0.weight": 4,
                "visual.layer4.0.bn2.bias": 1,
                "visual.attnpool.positional_embedding": 0,
            },
        ),
        (BASIC, TEXT, {"visual.conv1.weight": 4, "visual.layer3.0.bn1.bias": 1, "visual.proj": 0}),
        (VIT, ROBERTA, {"token_type_embedding": 4, "text_projection.c_fc.weight": 0}),
    ],
)
def test_depths(vision, text, expected):
    found = depths(name for name, _ in model(vision, text).named_parameters())
    assert {name: found[name] for name in expected} == expected
    wrapped = depths(f"model.{name}" for name in found)
    assert wrapped == {f"model.{name}": depth for name, depth in found.items()}


def test_the_towers_are_told_apart():
    found = {name: tower_of(name) for name, _ in model(VIT).named_parameters()}
    assert {name for name, tower in found.items() if not tower} == {"logit_scale"}
    assert all((tower == "image") == name.startswith("visual.") for name, tower in found.items())


def test_a_step_moves_the_lower_layers_less(tmp_path):
    """Adam's first step moves each weight by its rate."""
    from keshin.train.data import batches
    from keshin.train.run import prepare
    from keshin.train.step import take_step

    recipe = read_recipe(
        write_recipe(tmp_path, learning_rate="1e-3\nlayer_decay = 0.5\nweight_decay = 0.0")
    )
    run = prepare(recipe, tmp_path)
    network = run.state.model
    before = {name: value.clone() for name, value in network.state_dict().items()}
    take_step(run, next(iter(batches(run.pool, recipe, 0, 1))))
    places = depths(before)
    for name, value in network.state_dict().items():
        moved = float((value - before[name]).abs().max())
        assert moved == pytest.approx(1e-3 / 4 * 0.5 ** places[name], rel=0.02), name


def test_a_run_with_layer_rates_goes_on_exactly(tmp_path):
    recipe = read_recipe(write_recipe(tmp_path, learning_rate="1e-3\nlayer_decay = 0.7"))
    whole, parts = list[float](), dict[int, float]()
    train(
        recipe, tmp_path / "whole", report=lambda r: whole.append(r["loss"]) if "loss" in r else 0
    )

    def stopping(record):
        if "loss" in record:
            parts[record["step"]] = record["loss"]
            if record["step"] == stop:
                raise InterruptedError

    stop = 6  # between two checkpoints
    with pytest.raises(InterruptedError):
        train(recipe, tmp_path / "parts", report=stopping)
    stop = 0
    train(recipe, tmp_path / "parts", report=stopping)
    assert [parts[step + 1] for step in range(len(whole))] == whole
