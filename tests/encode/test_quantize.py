"""The modes int8-safe and int8: near fp32 also with outliers, made once, safe on any disk."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace

sys.path.insert(0, str(Path(__file__).parent))

from outliers import with_outliers
from test_graph import formula, pixels, resnet, sheet, stored, text, unit, vit

import keshin
from keshin.core.checkpoint import expected_shapes, save_checkpoint
from keshin.core.config import ResNet, ScoreFacts
from keshin.encode.graph import image_graph
from keshin.encode.precision import in_blocks, part
from keshin.encode.quantize import (
    as_blocks,
    as_rows,
    find_outliers,
    is_massive,
    quantise,
    quantise_linear,
    quantised_graph,
    sample_inputs,
    smoothing,
)
from keshin.encode.runtime import OnnxTowers, check_providers, sums_in_32_bits
from keshin.errors import KeshinError

LEAST = {"int8-safe": 0.999, "int8": 0.99}
modes = pytest.mark.parametrize("mode", list(LEAST))


def cosines(a, b):
    return (unit(a) * unit(b)).sum(axis=1)


def heavy(folder, **facts):
    """A checkpoint whose Transformers have outliers."""
    config = sheet(
        vit(**{"width": 128, "heads": 2, "mlp_width": 512, "layers": 4} | facts),
        text(width=128, heads=2, mlp_width=512, layers=4),
    )
    tensors = {name: formula(name, shape) for name, shape in expected_shapes(config).items()}
    tensors = with_outliers(tensors, "visual.", 128, 4)
    return stored(folder, config, with_outliers(tensors, "", 128, 4))


def ids_and_ends(count=12):
    return np.random.default_rng(1).integers(0, 64, (count, 12)), np.arange(count) % 12


@modes
@pytest.mark.parametrize("activation", ["quick_gelu", "gelu"])
def test_vectors_stay_near_with_outliers(tmp_path, mode, activation):
    checkpoint = heavy(tmp_path, activation=activation)
    exact, faster = OnnxTowers(checkpoint, threads=1), OnnxTowers(checkpoint, threads=1, mode=mode)
    x = pixels(checkpoint.config, 16)
    assert cosines(exact.image_features(x), faster.image_features(x)).min() >= LEAST[mode]
    words = ids_and_ends()
    assert cosines(exact.text_features(*words), faster.text_features(*words)).min() >= LEAST[mode]


def plain_resnet():
    return ResNet(image_size=(32, 32), patch_size=4, widths=(16, 32), layers=(1, 1))


@pytest.mark.parametrize("vision", [resnet(width=16), plain_resnet()], ids=["modified", "plain"])
def test_convolutions_run_in_integers_and_stay_near(tmp_path, vision):
    checkpoint = stored(tmp_path, sheet(vision))
    exact, faster = OnnxTowers(checkpoint, threads=1), OnnxTowers(checkpoint, mode="int8")
    x = sample_inputs(checkpoint.config)["image"]["pixels"][::-1].copy()
    assert cosines(exact.image_features(x), faster.image_features(x)).min() >= 0.99
    assert any(name.endswith("#conv") for name in faster._images.keshin_arrays)


def test_half_precision_weights_are_quantised_too(tmp_path):
    config = sheet(resnet(width=16))
    names = expected_shapes(config).items()
    halves = {name: formula(name, shape).astype(np.float16) for name, shape in names}
    checkpoint = stored(tmp_path, config, halves)
    x = sample_inputs(config)["image"]["pixels"]
    exact, faster = OnnxTowers(checkpoint, threads=1), OnnxTowers(checkpoint, mode="int8")
    assert cosines(exact.image_features(x), faster.image_features(x)).min() >= 0.99
    words = ids_and_ends()
    assert cosines(exact.text_features(*words), faster.text_features(*words)).min() >= 0.99


def test_outliers_are_the_few_channels_that_stand_out():
    amplitude = np.ones(128, np.float32)
    assert len(find_outliers(amplitude)) == 0
    amplitude[[3, 100]] = 50, 9
    assert find_outliers(amplitude).tolist() == [3, 100]
    amplitude[:20] = 1000
    assert len(find_outliers(amplitude)) == 4  # 1 / 32 of them


def test_weights_come_back_within_half_a_step():
    matrix = np.random.default_rng(0).standard_normal((6, 40)).astype(np.float32)
    matrix[2] = 0
    rows = as_rows(matrix)
    back = rows["rows"].T * rows["scale"][:, None]
    assert (abs(back - matrix) <= rows["scale"][:, None] * 0.5001).all()
    blocks = as_blocks(matrix, 16)
    back = (blocks["blocks"].astype(np.float32) - 128) * blocks["scale"][..., None]
    assert abs(back.reshape(6, -1)[:, :40] - matrix).max() <= blocks["scale"].max() * 0.5001


def test_outlier_columns_stay_exact():
    matrix = np.random.default_rng(0).standard_normal((6, 64)).astype(np.float32)
    amplitude = np.ones(64, np.float32)
    amplitude[5] = 100
    parts = quantise_linear("w", matrix, amplitude, "rows")
    np.testing.assert_array_equal(parts[part("w", "columns")][0], matrix[:, 5])
    assert not parts[part("w", "rows")][5].any()
    assert parts[part("w", "kept")].sum() == 63


def test_smoothing_changes_no_product():
    flows = np.ones(32, np.float32)
    flows[[3, 9]] = 100, 25
    factor = smoothing(flows)
    assert factor[3] == pytest.approx(10)
    assert factor[9] == pytest.approx(5)
    assert (np.delete(factor, [3, 9]) == 1).all()
    assert np.isfinite(smoothing(np.zeros(32, np.float32))).all()


def test_smoothed_layer_norms_and_their_readers_agree(tmp_path):
    """In float32: what the gains lose, the weights have."""
    checkpoint = heavy(tmp_path)
    config, tensors = checkpoint.config, checkpoint.tensors
    x = pixels(config, 3)
    towers = OnnxTowers(checkpoint, threads=1)
    made = sample_inputs(config)["image"]
    arrays = quantise(image_graph, config, tensors, "int8", made, towers._run)
    changed = [name.removesuffix("#gain") for name in arrays if name.endswith("#gain")]
    assert "visual.transformer.resblocks.1.ln_2" in changed
    assert not any(name.endswith("blocks.3.ln_1") for name in changed)  # others read it too
    gains = {name: arrays[f"{name}#gain"] for name in changed}
    assert any((gains[n] != tensors.read_float32(f"{n}.weight")).any() for n in changed)
    assert cosines(towers.image_features(x),
                   towers._run(quantised_graph(image_graph, config, tensors, arrays), arrays,
                               {"pixels": x})[0]).min() > 0.99  # fmt: skip


def test_only_layers_that_write_massive_channels_get_blocks(tmp_path):
    checkpoint = heavy(tmp_path)
    run = OnnxTowers(checkpoint, threads=1)._run
    made = sample_inputs(checkpoint.config)["image"]
    arrays = quantise(image_graph, checkpoint.config, checkpoint.tensors, "int8", made, run)
    found = {name.split("#")[0] for name in arrays if name.endswith("#blocks")}
    assert "visual.transformer.resblocks.1.mlp.c_proj.weight" in found
    assert len(found) <= 2  # heavy tails may make another
    assert in_blocks(arrays)
    matrix = np.random.default_rng(0).standard_normal((40, 64)).astype(np.float32)
    assert not is_massive(matrix)
    matrix[7] *= 20
    assert is_massive(matrix)


def test_weights_in_blocks_are_always_rearranged(tmp_path):
    checkpoint = heavy(tmp_path)
    x = pixels(checkpoint.config, 2)
    plain = OnnxTowers(checkpoint, threads=1, mode="int8")
    hasty = OnnxTowers(checkpoint, threads=1, mode="int8", prepack=False)
    assert cosines(hasty.image_features(x), plain.image_features(x)).min() > 0.99999


def test_products_are_equal_where_sums_are_kept_from_overflow(tmp_path, monkeypatch):
    """Processors without VNNI get another kernel; here it must give the same numbers."""
    checkpoint = heavy(tmp_path)
    x = pixels(checkpoint.config, 4)
    features = []
    for safe in (True, False):
        monkeypatch.setattr("keshin.encode.runtime.sums_in_32_bits", lambda safe=safe: safe)
        features.append(OnnxTowers(checkpoint, threads=1, mode="int8").image_features(x))
    if sums_in_32_bits():
        np.testing.assert_allclose(features[0], features[1], rtol=1e-4, atol=1e-4)


def test_vnni_is_read_from_the_processors_flags(tmp_path):
    flags = tmp_path / "cpuinfo"
    assert not sums_in_32_bits(flags)
    for words, known in (("flags: avx2 avx512f", False), ("flags: avx2 avx_vnni", True)):
        flags.write_text(words)
        assert sums_in_32_bits(flags) is known


# The cache ----------------------------------------------------------------------------------------


def features(folder, checkpoint_folder):
    from keshin.core.checkpoint import Checkpoint, TensorFile

    config = heavy_config()
    checkpoint = Checkpoint(
        checkpoint_folder, config, TensorFile(checkpoint_folder / "model.safetensors")
    )
    towers = OnnxTowers(checkpoint, threads=1, mode="int8", cache=folder)
    return towers.image_features(pixels(config, 2))


def heavy_config():
    return sheet(vit(width=128, heads=2, mlp_width=512, layers=4),
                 text(width=128, heads=2, mlp_width=512, layers=4))  # fmt: skip


@pytest.fixture
def made(tmp_path):
    heavy(tmp_path)
    return tmp_path


def files(folder):
    return sorted(folder.glob("*.safetensors"))


def test_weights_are_quantised_once(made, monkeypatch):
    first = features(made / "cache", made)
    (kept,) = files(made / "cache")
    before = kept.stat()

    def fail(*arguments):
        raise AssertionError("quantised again")

    monkeypatch.setattr("keshin.encode.runtime.quantise", fail)
    np.testing.assert_array_equal(features(made / "cache", made), first)
    assert kept.stat().st_mtime_ns == before.st_mtime_ns
    assert not list((made / "cache").glob("*.tmp"))


@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "text"])
def test_a_damaged_file_is_made_again(made, damage):
    first = features(made / "cache", made)
    (kept,) = files(made / "cache")
    whole = kept.read_bytes()
    flipped = bytearray(whole)
    flipped[-100] ^= 1
    kept.write_bytes(
        {"flip": bytes(flipped), "cut": whole[:-7], "empty": b"", "text": b"no"}[damage]
    )
    np.testing.assert_array_equal(features(made / "cache", made), first)
    assert kept.read_bytes() == whole


def test_other_weights_have_another_file(made):
    features(made / "cache", made)
    path = made / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    features(made / "cache", made)
    assert len(files(made / "cache")) == 2


def test_a_folder_that_cannot_be_written_gives_a_warning(made):
    blocked = made / "file"
    blocked.write_text("in the way")
    with pytest.warns(UserWarning, match="KESHIN_CACHE"):
        answer = features(blocked / "cache", made)
    np.testing.assert_array_equal(answer, features(None, made))


def test_a_full_disk_gives_a_warning_and_leaves_nothing(made, monkeypatch):
    def full(path, arrays):
        path.write_bytes(b"part")
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr("keshin.encode.quantized_cache.write_tensors", full)
    with pytest.warns(UserWarning, match="made again in every run"):
        features(made / "cache", made)
    assert not files(made / "cache")
    assert not list((made / "cache").glob("*.tmp"))


ENCODE = """
import sys, keshin
print(keshin.load(sys.argv[1], mode="int8", threads=1).encode_texts(["a cat"]).tobytes().hex())
"""


@pytest.mark.slow
def test_two_processes_at_once_agree(tiny_folder, tmp_path):
    root = str(Path(keshin.__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": root, "KESHIN_CACHE": str(tmp_path)}
    command = [sys.executable, "-c", ENCODE, str(tiny_folder)]
    both = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) for _ in range(2)]
    answers = {process.communicate(timeout=100)[0] for process in both}
    assert len(answers) == 1
    assert all(process.returncode == 0 for process in both)
    assert len(files(tmp_path / "quantised")) == 1


# Options ------------------------------------------------------------------------------------------


def test_modes_that_are_not_there_say_which_are(tmp_path):
    checkpoint = stored(tmp_path, sheet())
    with pytest.raises(KeshinError, match=r"int4.*fp32, int8-safe, int8"):
        OnnxTowers(checkpoint, mode="int4")
    with pytest.raises(KeshinError, match="engine='torch'"):
        OnnxTowers(checkpoint, mode="bf16")


def test_providers_take_options(tmp_path):
    checkpoint = stored(tmp_path, sheet())
    x = pixels(checkpoint.config)
    options = ("CPUExecutionProvider", {"use_arena": "0"})
    plain, other = OnnxTowers(checkpoint), OnnxTowers(checkpoint, providers=[options])
    np.testing.assert_allclose(other.image_features(x), plain.image_features(x), atol=1e-5)
    with pytest.raises(KeshinError, match="processor"):
        OnnxTowers(checkpoint, providers=["AzureExecutionProvider"], mode="int8")


def test_a_provider_that_does_not_start_is_told():
    check_providers(["CPUExecutionProvider"], ["CPUExecutionProvider"])
    with pytest.raises(KeshinError, match="could not start CUDAExecutionProvider"):
        check_providers(["CUDAExecutionProvider"], ["CPUExecutionProvider"])
    asked = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    with pytest.warns(UserWarning, match="runs on CPUExecutionProvider"):
        check_providers(asked, asked[1:])


def test_pytorch_runs_bf16(tiny_checkpoint, tiny_folder):
    pytest.importorskip("torch")
    from keshin.encode.torch_towers import torch_encoder

    texts = ["a photo of a cat.", "a photo of a dog."]
    exact = torch_encoder(tiny_checkpoint, "cpu").encode_texts(texts)
    half = keshin.load(tiny_folder, engine="torch", device="cpu", mode="bf16")
    near = half.encode_texts(texts)
    assert (exact * near).sum(axis=1).min() > 0.999
    assert abs(exact - near).max() > 0
    assert half.encoder.mode == "bf16"
    with pytest.raises(KeshinError, match=r"int8.*engine='onnx'"):
        torch_encoder(tiny_checkpoint, "cpu", "int8")
    with pytest.raises(KeshinError, match="cannot use the device 'nonsense'"):
        torch_encoder(tiny_checkpoint, "nonsense")


def test_both_engines_know_the_bias_of_a_sigmoid(tiny_checkpoint, tmp_path):
    pytest.importorskip("torch")
    config = replace(tiny_checkpoint.config, score=ScoreFacts(kind="sigmoid"))
    tensors = {name: formula(name, shape) for name, shape in expected_shapes(config).items()}
    folder = save_checkpoint(tmp_path / "sigmoid", config, tensors, tiny_checkpoint.tokenizer())
    for engine in ("onnx", "torch"):
        assert keshin.load(folder, engine=engine).encoder.logit_bias == tensors["logit_bias"] != 0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"engine": "tea"}, "no engine 'tea'"),
        ({"engine": "torch", "providers": ["CPUExecutionProvider"]}, "engine='onnx'"),
        ({"device": "cuda"}, "engine='torch'"),
    ],
)
def test_options_that_do_not_go_together(tiny_folder, options, said):
    pytest.importorskip("torch")
    with pytest.raises(KeshinError, match=said):
        keshin.load(tiny_folder, **options)
