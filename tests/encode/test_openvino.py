"""OpenVINO computes what ONNX Runtime computes, with the checkpoint's weights where they lie."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from test_graph import basic, formula, pixels, pooled, resnet, roberta, sheet, stored, text

import keshin
from keshin.core.checkpoint import expected_shapes
from keshin.encode.embeddings import open_store
from keshin.encode.prefix_tree import prefix_trees
from keshin.encode.runtime import OnnxTowers
from keshin.errors import KeshinError, MissingExtra

IDS, ENDS = np.random.default_rng(1).integers(0, 64, (6, 12)), np.arange(6)
TOLERANCE = {"rtol": 1e-4, "atol": 2e-5}


@pytest.fixture
def engine():
    pytest.importorskip("openvino")
    from keshin.encode import openvino

    return openvino


def has_bf16(engine):
    return "BF16" in engine.ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def test_a_missing_extra_is_one_sentence(tiny_folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(MissingExtra, match=r"pip install 'keshin\[openvino\]'"):
        keshin.load(tiny_folder, engine="openvino")


@pytest.mark.parametrize(
    "config",
    [
        sheet(),
        sheet(resnet(width=16), text(causal=False, pool="last")),
        sheet(basic()),
        sheet(pooled(), roberta()),
    ],
    ids=["vit", "modified", "basic", "pooled and roberta"],
)
def test_features_are_those_of_onnx_runtime(engine, tmp_path, config):
    checkpoint = stored(tmp_path, config)
    ours, theirs = engine.OpenVinoTowers(checkpoint, threads=1), OnnxTowers(checkpoint, threads=1)
    for count in (3, 1):
        x = pixels(config, count)
        exact = theirs.image_features(x)
        np.testing.assert_allclose(ours.image_features(x), exact, **TOLERANCE)
    for length in (12, 7):
        ids, ends = IDS[:, :length], ENDS
        exact = theirs.text_features(ids, ends)
        np.testing.assert_allclose(ours.text_features(ids, ends), exact, **TOLERANCE)


def test_prefix_trees_too(engine, tmp_path):
    checkpoint = stored(tmp_path, sheet())
    ours, theirs = engine.OpenVinoTowers(checkpoint, threads=1), OnnxTowers(checkpoint, threads=1)
    for _, _, tree in prefix_trees(IDS % 5, ENDS + 1, ENDS, 20):
        exact = theirs.text_tree_features(tree)
        np.testing.assert_allclose(ours.text_tree_features(tree), exact, **TOLERANCE)


def test_half_precision_weights_are_widened(engine, tmp_path):
    config = sheet()
    names = expected_shapes(config).items()
    halves = {name: formula(name, shape).astype(np.float16) for name, shape in names}
    checkpoint, x = stored(tmp_path, config, halves), pixels(config)
    exact = OnnxTowers(checkpoint, threads=1).image_features(x)
    ours = engine.OpenVinoTowers(checkpoint, threads=1).image_features(x)
    np.testing.assert_allclose(ours, exact, **TOLERANCE)


def test_bfloat16_weights_are_widened(engine, tmp_path):
    torch = pytest.importorskip("torch")
    from safetensors.torch import save_file

    from keshin.core.checkpoint import Checkpoint, TensorFile

    config = sheet()
    names = expected_shapes(config).items()
    state = {name: torch.from_numpy(np.array(formula(name, s))).bfloat16() for name, s in names}
    save_file(state, tmp_path / "model.safetensors")
    checkpoint = Checkpoint(tmp_path, config, TensorFile(tmp_path / "model.safetensors"))
    exact = OnnxTowers(checkpoint, threads=1).image_features(pixels(config))
    ours = engine.OpenVinoTowers(checkpoint, threads=1).image_features(pixels(config))
    np.testing.assert_allclose(ours, exact, **TOLERANCE)


def test_a_feature_is_not_written_over_by_the_next(engine, tmp_path):
    checkpoint = stored(tmp_path, sheet())
    towers = engine.OpenVinoTowers(checkpoint, threads=1)
    first = towers.image_features(pixels(checkpoint.config, 2))
    before = first.copy()
    towers.image_features(-pixels(checkpoint.config, 2))
    np.testing.assert_array_equal(first, before)


def test_bf16_is_near_and_is_kept_apart(engine, tiny_folder, tmp_path):
    if not has_bf16(engine):
        pytest.skip("this processor has no bfloat16 products")
    texts = ["a photo of a cat.", "a photo of a dog."]
    exact = keshin.load(tiny_folder, threads=1)
    half = keshin.load(tiny_folder, engine="openvino", mode="bf16", threads=1)
    near, vectors = half.encode_texts(texts), exact.encode_texts(texts)
    assert (near * vectors).sum(axis=1).min() > 0.999
    assert abs(near - vectors).max() > 0
    assert (half.encoder.mode, half.encoder.computed) == ("bf16", "openvino bf16")
    for model in (exact, half):
        with open_store(tmp_path, model.encoder):
            pass
    assert len(list(tmp_path.glob("*-*.sqlite"))) == 2


def test_what_the_engine_cannot_do_says_what_can(engine, tiny_folder, tmp_path):
    for options, said in (
        ({"mode": "int8"}, "engine='onnx' for int8"),
        ({"threads": 0}, "Use 1 or more"),
        ({"providers": ["CPUExecutionProvider"]}, "engine='onnx'"),
        ({"device": "cpu"}, "engine='torch'"),
    ):
        with pytest.raises(KeshinError, match=said):
            keshin.load(tiny_folder, engine="openvino", **options)
    with pytest.raises(KeshinError, match="no bfloat16 products"):
        engine._checked("bf16", ["FP32", "INT8"])
