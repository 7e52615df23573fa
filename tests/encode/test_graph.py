"""The ONNX graphs against the PyTorch towers, and both against OpenAI's own implementation."""

import json
import math
import os
import zlib
from pathlib import Path

import msgspec
import numpy as np
import pytest

from keshin.core.checkpoint import Checkpoint, TensorFile, expected_shapes
from keshin.core.config import (
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
from keshin.core.tensors import write_tensors
from keshin.encode.graph import image_graph, text_graph
from keshin.encode.runtime import OnnxTowers, onnx_encoder
from keshin.errors import KeshinError

torch = pytest.importorskip("torch")

from keshin.encode.torch_towers import TorchTowers, load_model, to_tensors  # noqa: E402

TOLERANCE = 1e-5  # of unit vectors, and of raw features relative to the largest of them
REFERENCE = Path(__file__).parents[3] / "shared" / "data" / "reference"
needs_reference = pytest.mark.skipif(
    not REFERENCE.is_dir(), reason="the reference values of ../shared/data are not here"
)


def vit(**changes):
    facts = {
        "image_size": (32, 32), "patch_size": 8, "width": 64, "layers": 3, "heads": 1,
        "mlp_width": 256, "activation": "quick_gelu", "layer_norm_eps": 1e-5,
    }  # fmt: skip
    return VisionTransformer(**facts | changes)


def resnet(**changes):
    facts = {"image_size": (64, 64), "width": 8, "layers": (2, 1, 1, 1), "heads": 4}
    return ModifiedResNet(**facts | changes)


def basic(**changes):
    facts = {"image_size": (32, 32), "patch_size": 4, "widths": (8, 16, 24), "layers": (1, 2, 1)}
    return ResNet(**facts | changes)


def pooled(**changes):
    facts = {
        "image_size": (32, 32), "patch_size": 8, "width": 32, "layers": 2, "heads": 2,
        "mlp_width": 80, "activation": "gelu_tanh", "layer_norm_eps": 1e-6,
    }  # fmt: skip
    return PooledVisionTransformer(**facts | changes)


def roberta(**changes):
    facts = {
        "context_length": 16, "vocab_size": 64, "positions": 20, "pad": 0, "width": 48, "layers": 2,
        "heads": 4, "mlp_width": 96, "activation": "gelu", "layer_norm_eps": 1e-5, "pool": "mean",
        "projection_width": 40,
    }  # fmt: skip
    return RobertaText(**facts | changes)


def text(**changes):
    facts = {
        "context_length": 16, "vocab_size": 64, "width": 64, "layers": 3, "heads": 4,
        "mlp_width": 256, "activation": "quick_gelu", "layer_norm_eps": 1e-5, "causal": True,
        "pool": "end-of-text",
    }  # fmt: skip
    return TextTransformer(**facts | changes)


def sheet(vision=None, words=None, embed_dim=32, score="softmax"):
    vision, words = vision or vit(), words or text()
    return Config(
        format=1,
        name="test",
        embed_dim=embed_dim,
        vision=vision,
        text=words,
        tokenizer=TokenizerFacts(cleaning="clip", start=1, end=2, pad=0),
        preprocess=PreprocessFacts(
            size=vision.image_size, resize="squash", interpolation="bicubic",
            mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5),
        ),
        score=ScoreFacts(kind=score),
    )  # fmt: skip


def formula(name, shape):
    """A tensor made from its name (clip_architectures.json); nothing is zero, one or its mean."""
    seed = np.random.RandomState(zlib.crc32(name.encode()))
    r = seed.standard_normal(math.prod(shape)).astype(np.float32).reshape(shape)
    if name.endswith("logit_scale"):
        return np.array(math.log(100), np.float32)
    if name.endswith("running_var"):
        return 0.5 + abs(r)
    if name.endswith("running_mean"):
        return 0.1 * r
    if name.endswith(("positional_embedding", "class_embedding", "token_embedding.weight", "bias")):
        return 0.02 * r
    if len(shape) == 1:
        return 1 + 0.1 * r
    inputs = shape[0] if name.endswith(("proj", "text_projection")) else math.prod(shape[1:])
    return (r / math.sqrt(inputs)).astype(np.float32)


def stored(folder, config, tensors=None):
    """A checkpoint without tokenizer: towers need none."""
    if tensors is None:
        tensors = {name: formula(name, shape) for name, shape in expected_shapes(config).items()}
    write_tensors(folder / "model.safetensors", tensors)
    return Checkpoint(folder, config, TensorFile(folder / "model.safetensors"))


def both(checkpoint):
    return OnnxTowers(checkpoint, threads=1), TorchTowers(load_model(checkpoint))


def unit(features):
    return features / np.linalg.norm(features, axis=1, keepdims=True)


def assert_equal(actual, expected, tolerance=TOLERANCE):
    assert actual.shape == expected.shape
    assert actual.dtype == np.float32
    assert abs(actual - expected).max() <= tolerance * abs(expected).max()
    assert abs(unit(actual) - unit(expected)).max() <= tolerance


def pixels(config, count=3):
    shape = (count, 3, *config.vision.image_size)
    return np.random.default_rng(7).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize(
    "vision",
    [
        vit(),
        vit(layers=1),
        vit(image_size=(48, 32), patch_size=16),
        vit(width=96, heads=4, activation="gelu"),
        vit(width=80, heads=5, mlp_width=120, layer_norm_eps=1e-6, layers=6),
        vit(image_size=(32, 96), patch_size=4, activation="gelu", layer_norm_eps=1e-3),
    ],
    ids=lambda facts: f"{facts.width}x{facts.layers}-{facts.activation}-{facts.image_size}",
)
def test_vit_equals_pytorch(tmp_path, vision):
    config = sheet(vision, embed_dim=24)
    onnx, torch_ = both(stored(tmp_path, config))
    for count in (1, 3):
        x = pixels(config, count)
        assert_equal(onnx.image_features(x), torch_.image_features(x))


@pytest.mark.parametrize(
    "vision",
    [
        resnet(),
        resnet(image_size=(64, 128), layers=(1, 2, 1, 2), heads=8),
        resnet(image_size=(32, 32), width=12, heads=3),
        basic(),
        basic(image_size=(16, 40), patch_size=2, widths=(8, 8), layers=(2, 2)),
        basic(widths=(12,), layers=(1,)),
    ],
    ids=lambda facts: f"{type(facts).__name__}-{facts.image_size}-{facts.layers}",
)
def test_resnet_equals_pytorch(tmp_path, vision):
    config = sheet(vision)
    onnx, torch_ = both(stored(tmp_path, config))
    for count in (1, 3):
        x = pixels(config, count)
        assert_equal(onnx.image_features(x), torch_.image_features(x))


@pytest.mark.parametrize(
    "vision",
    [
        pooled(),
        pooled(image_size=(32, 48), patch_size=16, layers=1),
        pooled(image_size=(31, 20), patch_size=9, heads=4, activation="gelu"),
    ],
    ids=lambda facts: f"{facts.image_size}-{facts.patch_size}",
)
def test_pooled_vit_equals_pytorch(tmp_path, vision):
    onnx, torch_ = both(stored(tmp_path, sheet(vision)))
    for count in (1, 3):
        x = pixels(sheet(vision), count)
        assert_equal(onnx.image_features(x), torch_.image_features(x))


@pytest.mark.parametrize(
    ("vision", "width"),
    [(vit(), 64), (resnet(), 32), (basic(), 24), (pooled(), 32)],
    ids=["vit", "modified-resnet", "resnet", "vit-attention-pool"],
)
def test_probe_features_equal_pytorch_and_come_before_the_projection(tmp_path, vision, width):
    config = sheet(vision)
    assert config.probe_dim == width
    checkpoint = stored(tmp_path, config)
    onnx, torch_ = both(checkpoint)
    x = pixels(config, 3)
    found = onnx.probe_features(x)
    assert found.shape == (3, width)
    assert_equal(found, torch_.probe_features(x))
    if vision.projected:
        found = found @ checkpoint.tensors.read_float32("visual.proj")
    assert_equal(found, onnx.image_features(x))


def test_pixels_of_no_whole_patch_are_not_seen(tmp_path):
    """SigLIP's 384 pixels in patches of 14 leave six at the right and the bottom."""
    config = sheet(pooled(image_size=(30, 35), patch_size=8))
    x = pixels(config)
    changed = x.copy()
    changed[:, :, 24:] += 1
    changed[:, :, :, 32:] -= 1
    for towers in both(stored(tmp_path, config)):
        assert_equal(towers.image_features(changed), towers.image_features(x), tolerance=0)


@pytest.mark.parametrize("layers", [1, 3])
def test_roberta_equals_pytorch_at_every_length(tmp_path, layers):
    """Padding is not seen, so that a batch cut to its longest text gives the same."""
    config = sheet(words=roberta(layers=layers))
    onnx, torch_ = both(stored(tmp_path, config))
    lengths = np.array([3, 7, 5, 1])
    ids = np.random.default_rng(3).integers(1, 64, (4, 16))
    ids[np.arange(16) >= lengths[:, None]] = 0
    expected = torch_.text_features(ids, lengths - 1)
    for width in (16, 9, 7):
        cut = np.ascontiguousarray(ids[:, :width])
        assert_equal(onnx.text_features(cut, lengths - 1), expected)
        assert_equal(torch_.text_features(cut, lengths - 1), expected)
    alone = np.concatenate(
        [
            onnx.text_features(row[None, :n], lengths[:1])
            for row, n in zip(ids, lengths, strict=True)
        ]
    )
    assert_equal(alone, expected)


def test_a_projection_with_bias_equals_pytorch(tmp_path):
    words = text(projection_bias=True, causal=False, pool="last", activation="gelu_tanh")
    onnx, torch_ = both(stored(tmp_path, sheet(words=words)))
    ids, ends = np.random.default_rng(0).integers(0, 64, (4, 16)), np.array([5, 3, 2, 5])
    assert_equal(onnx.text_features(ids, ends), torch_.text_features(ids, ends))


def test_a_sigmoid_model_has_a_bias(tmp_path):
    config = sheet(pooled(), text(projection_bias=True), score="sigmoid")
    checkpoint = stored(tmp_path, config)
    assert checkpoint.logit_bias == float(checkpoint.tensors.read("logit_bias")) != 0
    assert load_model(checkpoint).logit_bias.item() == checkpoint.logit_bias
    (tmp_path / "other").mkdir()
    assert stored(tmp_path / "other", sheet()).logit_bias == 0


@pytest.mark.parametrize("pool", ["end-of-text", "last", "first"])
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("layers", [1, 3])
def test_text_equals_pytorch(tmp_path, pool, causal, layers):
    config = sheet(words=text(pool=pool, causal=causal, layers=layers))
    onnx, torch_ = both(stored(tmp_path, config))
    generator = np.random.default_rng(3)
    for length in (1, 2, 9, 16):
        ids = generator.integers(0, 64, (5, length))
        ends = generator.integers(0, length, 5)
        assert_equal(onnx.text_features(ids, ends), torch_.text_features(ids, ends))


@pytest.mark.parametrize("activation", ["gelu", "quick_gelu"])
def test_text_with_other_facts_equals_pytorch(tmp_path, activation):
    words = text(width=48, heads=2, mlp_width=100, activation=activation, layer_norm_eps=1e-4)
    onnx, torch_ = both(stored(tmp_path, sheet(words=words)))
    ids, ends = np.arange(30).reshape(3, 10), np.array([9, 4, 0])
    assert_equal(onnx.text_features(ids, ends), torch_.text_features(ids, ends))


@pytest.mark.parametrize("kind", [0, 1], ids=["onnx", "torch"])
def test_what_follows_the_end_does_not_matter_to_a_causal_tower(tmp_path, kind):
    towers = both(stored(tmp_path, sheet()))[kind]
    ids, ends = np.random.default_rng(0).integers(0, 64, (4, 16)), np.array([5, 3, 2, 5])
    changed = np.where(np.arange(16) > ends[:, None], 63 - ids, ids)
    expected = towers.text_features(ids, ends)
    assert_equal(towers.text_features(np.ascontiguousarray(ids[:, :6]), ends), expected)
    assert_equal(towers.text_features(changed, ends), expected)


def test_what_follows_the_end_matters_to_a_bidirectional_tower(tmp_path):
    towers = both(stored(tmp_path, sheet(words=text(causal=False))))[0]
    ids, ends = np.random.default_rng(0).integers(0, 64, (4, 16)), np.array([5, 3, 2, 5])
    short = towers.text_features(np.ascontiguousarray(ids[:, :6]), ends)
    assert abs(unit(short) - unit(towers.text_features(ids, ends))).max() > 1e-3


def test_pictures_of_a_batch_do_not_touch_each_other(tmp_path):
    config = sheet()
    towers = both(stored(tmp_path, config))[0]
    x = pixels(config, 4)
    alone = np.concatenate([towers.image_features(row[None]) for row in x])
    assert_equal(towers.image_features(x), alone, tolerance=1e-6)


@pytest.mark.parametrize("vision", [vit(), resnet(), basic()], ids=["vit", "modified", "basic"])
def test_half_precision_weights_are_widened_exactly(tmp_path, vision):
    config = sheet(vision)
    names = expected_shapes(config).items()
    halves = {name: formula(name, shape).astype(np.float16) for name, shape in names}
    onnx, torch_ = both(stored(tmp_path, config, halves))
    ids, ends = np.arange(32).reshape(4, 8), np.array([7, 6, 5, 0])
    assert_equal(onnx.image_features(pixels(config)), torch_.image_features(pixels(config)))
    assert_equal(onnx.text_features(ids, ends), torch_.text_features(ids, ends))


def test_bfloat16_weights_are_widened_exactly(tmp_path):
    from safetensors.torch import save_file

    config = sheet()
    names = expected_shapes(config).items()
    state = {name: torch.from_numpy(np.array(formula(name, s))).bfloat16() for name, s in names}
    path = tmp_path / "model.safetensors"
    save_file(state, path)
    onnx, torch_ = both(Checkpoint(tmp_path, config, TensorFile(path)))
    assert_equal(onnx.image_features(pixels(config)), torch_.image_features(pixels(config)))
    ids, ends = np.arange(32).reshape(4, 8), np.array([7, 6, 5, 0])
    assert_equal(onnx.text_features(ids, ends), torch_.text_features(ids, ends))


@pytest.mark.parametrize(
    "vision", [vit(layers=12), resnet(), basic()], ids=["vit", "modified", "basic"]
)
def test_graphs_hold_no_weights(tmp_path, vision):
    config = sheet(vision, text(vocab_size=5000, layers=12))
    tensors = stored(tmp_path, config).tensors
    for build in (image_graph, text_graph):
        model = build(config, tensors)
        inside = [t for t in model.graph.initializer if not t.external_data]
        assert sum(len(t.raw_data) for t in inside) < 2000


def test_a_read_only_folder_behind_a_link_will_do(tmp_path):
    """Download caches keep links that lead out of the model's folder."""
    blobs, folder = tmp_path / "blobs", tmp_path / "snapshot"
    blobs.mkdir()
    folder.mkdir()
    config = sheet()
    expected = both(stored(blobs, config))[0].image_features(pixels(config))
    (blobs / "model.safetensors").rename(blobs / "9f2a")
    (folder / "model.safetensors").symlink_to(Path("..") / "blobs" / "9f2a")
    for place in (blobs, folder):
        place.chmod(0o555)
    try:
        linked = Checkpoint(folder, config, TensorFile(folder / "model.safetensors"))
        assert_equal(OnnxTowers(linked).image_features(pixels(config)), expected, tolerance=0)
    finally:
        for place in (blobs, folder):
            place.chmod(0o755)


def test_a_session_is_made_when_it_is_needed(tmp_path):
    towers = both(stored(tmp_path, sheet()))[0]
    towers.image_features(pixels(sheet()))
    assert "_images" in vars(towers)
    assert "_texts" not in vars(towers)


def test_preparing_the_weights_changes_no_answer(tmp_path):
    config = sheet()
    checkpoint = stored(tmp_path, config)
    fast, quick = OnnxTowers(checkpoint), OnnxTowers(checkpoint, prepack=False)
    assert_equal(quick.image_features(pixels(config)), fast.image_features(pixels(config)))


def test_wrong_options_say_what_would_be_right(tmp_path):
    checkpoint = stored(tmp_path, sheet())
    with pytest.raises(KeshinError, match=r"MoonExecutionProvider.*CPUExecutionProvider"):
        OnnxTowers(checkpoint, providers=["MoonExecutionProvider"])
    with pytest.raises(KeshinError, match="threads is 0"):
        OnnxTowers(checkpoint, threads=0)


def test_state_makes_the_round_trip(tmp_path):
    checkpoint = stored(tmp_path, sheet(resnet()))
    again = to_tensors(load_model(checkpoint))
    assert again.keys() == checkpoint.tensors.infos.keys()
    for name, value in again.items():
        np.testing.assert_array_equal(value, checkpoint.tensors.read(name))


def test_torch_towers_leave_the_mode_as_it_was(tmp_path):
    model = load_model(stored(tmp_path, sheet(resnet()))).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    TorchTowers(model).image_features(pixels(sheet(resnet())))
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_encoder_gives_unit_vectors(tiny_checkpoint):
    encoder = onnx_encoder(tiny_checkpoint, threads=1)
    vectors = encoder.encode_texts(["a photo of a cat.", "a dog", "猫の写真"])
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)
    assert encoder.logit_scale == pytest.approx(20)
    assert encoder.fingerprint == tiny_checkpoint.fingerprint


# OpenAI's implementation --------------------------------------------------------------------------


def openai_sheet(sizes):
    """Hyperparameters as OpenAI's code names them, as a fact sheet."""
    side, width, layers = (
        sizes["image_resolution"], sizes["vision_width"], sizes["vision_layers"],
    )  # fmt: skip
    if sizes["vision_patch_size"]:
        vision = vit(
            image_size=(side, side), patch_size=sizes["vision_patch_size"], width=width,
            layers=layers, heads=width // 64, mlp_width=4 * width,
        )  # fmt: skip
    else:
        vision = resnet(
            image_size=(side, side), width=width, layers=tuple(layers), heads=width * 32 // 64
        )
    words = text(
        context_length=sizes["context_length"], vocab_size=sizes["vocab_size"],
        width=sizes["transformer_width"], layers=sizes["transformer_layers"],
        heads=sizes["transformer_heads"], mlp_width=4 * sizes["transformer_width"],
    )  # fmt: skip
    return sheet(vision, words, sizes["embed_dim"])


def architectures():
    return json.loads((REFERENCE / "clip_architectures.json").read_text())


def assert_reference(towers, values, checkpoint, tolerance, prefix=""):
    ids = values["tokens"].astype(np.int64)
    images = towers.image_features(values["image"])
    texts = towers.text_features(ids, ids.argmax(axis=1))
    assert_equal(images, values[f"{prefix}image_features"], tolerance)
    assert_equal(texts, values[f"{prefix}text_features"], tolerance)
    logits = checkpoint.logit_scale * unit(images) @ unit(texts).T
    scale = checkpoint.logit_scale
    assert abs(logits - values[f"{prefix}logits_per_image"]).max() <= tolerance * scale


@needs_reference
@pytest.mark.parametrize("name", ["small_vit", "small_resnet"])
@pytest.mark.parametrize("kind", [0, 1], ids=["onnx", "torch"])
def test_small_models_equal_openai(tmp_path, name, kind):
    values = np.load(REFERENCE / f"reference_{name}.npz")
    config = openai_sheet(architectures()["small"][name])
    state = {key.removeprefix("state/"): values[key] for key in values if key.startswith("state/")}
    state = {key: value for key, value in state.items() if "num_batches" not in key}
    checkpoint = stored(tmp_path, config, state)
    assert_reference(both(checkpoint)[kind], values, checkpoint, TOLERANCE)


@needs_reference
@pytest.mark.slow
@pytest.mark.parametrize("name", ["ViT-B/32", "RN50"])
def test_full_size_equals_openai(tmp_path, name):
    values = np.load(REFERENCE / "reference_fullsize_formula.npz")
    config = openai_sheet(architectures()["models"][name]["hyperparameters"])
    checkpoint = stored(tmp_path, config)
    onnx, torch_ = both(checkpoint)
    for towers in (onnx, torch_):
        assert_reference(towers, values, checkpoint, 1e-4, f"{name.replace('/', '-')}/")
    ids = values["tokens"].astype(np.int64)
    ends = ids.argmax(axis=1)
    assert_equal(onnx.image_features(values["image"]), torch_.image_features(values["image"]))
    assert_equal(onnx.text_features(ids, ends), torch_.text_features(ids, ends))


@needs_reference
@pytest.mark.parametrize(
    "name",
    [
        "RN50",
        "RN101",
        "RN50x4",
        "RN50x16",
        "RN50x64",
        "ViT-B/32",
        "ViT-B/16",
        "ViT-L/14",
        "ViT-L/14@336px",
    ],
)
def test_shapes_of_the_nine_releases(name):
    model = architectures()["models"][name]
    listed = {key: tuple(shape) for key, shape in model["state_dict"].items()}
    listed = {key: shape for key, shape in listed.items() if "num_batches" not in key}
    assert expected_shapes(openai_sheet(model["hyperparameters"])) == listed


@pytest.mark.parametrize(
    ("vision", "words"),
    [
        (vit(), text()),
        (resnet(), roberta()),
        (basic(), text()),
        (pooled(), text(projection_bias=True)),
    ],
    ids=["vit", "modified", "basic", "pooled"],
)
def test_shapes_are_those_of_the_torch_model(vision, words):
    from keshin.encode.torch_model import CLIP

    config = sheet(vision, words, score="sigmoid")
    state = {name: tuple(value.shape) for name, value in CLIP(config).state_dict().items()}
    state = {name: shape for name, shape in state.items() if "num_batches" not in name}
    assert expected_shapes(config) == state


def test_every_kind_of_tower_has_a_builder():
    from keshin.core import config, shapes
    from keshin.encode import graph, torch_text, torch_vision

    for kinds, tables in (
        (config.VisionFacts, (graph.VISION, shapes.VISION, torch_vision.VISION)),
        (config.TextFacts, (graph.TEXT, shapes.TEXT, torch_text.TEXT)),
    ):
        known = set(getattr(kinds, "__args__", (kinds,)))
        assert all(set(table) == known for table in tables)
    fields = {f.name: f.type for f in msgspec.inspect.type_info(config.TextTransformer).fields}
    assert set(graph.POSITIONS) == set(fields["pool"].values)


def test_cores_are_counted():
    from keshin.encode.pipeline import available_cores

    assert 1 <= available_cores() <= (os.cpu_count() or 1)
