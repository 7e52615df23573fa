"""The supervised ResNets: against a network written here, in both layouts, with their facts."""

import io

import numpy as np
import pytest
from PIL import Image

from keshin.core.config import PreprocessFacts
from keshin.errors import CheckpointError, MissingExtra
from keshin.evaluate.features import extract
from keshin.evaluate.probes.supervised import PREPROCESSING, load_supervised

torch = pytest.importorskip("torch")
import torch.nn.functional as F  # noqa: E402

from resnets import STAGES, WIDTH, stored, timm_config, weights  # noqa: E402

SMALL = PreprocessFacts(
    size=(48, 48), resize="shorter-side", interpolation="bilinear",
    mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225), shorter=56,
)  # fmt: skip


def independent(state, x, stages=STAGES):
    """ResNet v1.5 as functions: (features, logits)."""

    def layer(x, conv, norm, stride, padding):
        x = F.conv2d(x, state[f"{conv}.weight"], stride=stride, padding=padding)
        parts = (state[f"{norm}.{p}"] for p in ("running_mean", "running_var", "weight", "bias"))
        return F.batch_norm(x, *parts, training=False, eps=1e-5)

    x = F.max_pool2d(F.relu(layer(x, "conv1", "bn1", 2, 3)), 3, 2, 1)
    for stage, count in enumerate(stages, start=1):
        for index in range(count):
            name, stride = f"layer{stage}.{index}", 2 if stage > 1 and index == 0 else 1
            y = F.relu(layer(x, f"{name}.conv1", f"{name}.bn1", 1, 0))
            y = F.relu(layer(y, f"{name}.conv2", f"{name}.bn2", stride, 1))
            y = layer(y, f"{name}.conv3", f"{name}.bn3", 1, 0)
            if index == 0:
                x = layer(x, f"{name}.downsample.0", f"{name}.downsample.1", stride, 0)
            x = F.relu(x + y)
    features = x.mean(dim=(2, 3))
    return features, F.linear(features, state["fc.weight"], state["fc.bias"])


@pytest.mark.parametrize("output", ["features", "logits"])
@pytest.mark.parametrize("stages", [STAGES, (1, 1, 1, 1)])
def test_equal_to_an_independent_network(tmp_path, output, stages):
    state = weights(stages)
    x = torch.randn(3, 3, 48, 48, generator=torch.Generator().manual_seed(1))
    expected = independent(state, x, stages)[output == "logits"].numpy()
    network = load_supervised(stored(tmp_path, state), preprocess=SMALL, output=output, threads=1)
    found = network.encode(x.numpy())
    assert found.shape == expected.shape == (3, network.width)
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())


def test_pickled_weights_give_the_same(tmp_path):
    state = weights()
    torch.save(state, tmp_path / "resnet.pth")
    x = np.random.default_rng(0).normal(size=(2, 3, 48, 48)).astype(np.float32)
    a = load_supervised(tmp_path / "resnet.pth", preprocess=SMALL, threads=1)
    b = load_supervised(stored(tmp_path, state), preprocess=SMALL, threads=1)
    np.testing.assert_array_equal(a.encode(x), b.encode(x))
    assert a.name == "resnet"


def test_a_pickle_that_would_run_code_is_refused(tmp_path):
    class Evil:
        def __reduce__(self):
            return (print, ("it ran",))

    torch.save({"conv1.weight": Evil()}, tmp_path / "evil.pth")
    with pytest.raises((CheckpointError, MissingExtra), match="could run code"):
        load_supervised(tmp_path / "evil.pth", preprocess=SMALL)


def test_timm_says_how_pictures_are_prepared(tmp_path):
    stored(tmp_path, weights())
    (tmp_path / "config.json").write_text(timm_config())
    network = load_supervised(tmp_path, threads=1)
    assert network.preprocess == SMALL  # 48 / 0.857 = 56
    (tmp_path / "config.json").write_text(timm_config(crop_pct=0.95, interpolation="bicubic"))
    other = load_supervised(tmp_path, threads=1).preprocess
    assert (other.shorter, other.interpolation) == (50, "bicubic")
    (tmp_path / "config.json").write_text(timm_config(crop_mode="border"))
    with pytest.raises(CheckpointError, match="does not say how timm"):
        load_supervised(tmp_path)


def test_it_takes_the_place_of_a_model_and_is_kept(tmp_path):
    network = load_supervised(stored(tmp_path, weights()), preprocess=SMALL, threads=1)
    stream = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (80, 60, 3), np.uint8)
    Image.fromarray(noise).save(stream, "PNG")
    first = extract(network, [stream.getvalue(), b"broken"])
    assert first.vectors.shape == (1, 8 * WIDTH * 4)
    assert len(first.failures) == 1
    # the same numbers as by hand: resized by Pillow, cut from the middle
    resized = Image.fromarray(noise).resize((56, 74), Image.Resampling.BILINEAR)
    cut = np.asarray(resized.crop((4, 13, 52, 61)), np.float32) / 255
    x = ((cut - np.array(SMALL.mean)) / np.array(SMALL.std)).transpose(2, 0, 1)[None]
    expected = independent(weights(), torch.tensor(x, dtype=torch.float32))[0].numpy()
    np.testing.assert_allclose(first.vectors, expected, rtol=1e-4, atol=1e-4)
    network.encode = None  # not needed any more
    np.testing.assert_array_equal(extract(network, [stream.getvalue()]).vectors, first.vectors)


def test_preprocessing_is_asked_for_and_other_networks_are_refused(tmp_path):
    path = stored(tmp_path / "bare", weights())
    with pytest.raises(CheckpointError, match="torchvision-v1"):
        load_supervised(path)
    with pytest.raises(CheckpointError, match="no 'torchvision-v3'"):
        load_supervised(path, preprocess="torchvision-v3")
    assert PREPROCESSING["torchvision-v1"].shorter == 256
    odd = weights()
    odd["layer1.0.se.weight"] = torch.ones(2)
    with pytest.raises(CheckpointError, match=r"no ResNet of bottlenecks.*layer1\.0\.se"):
        load_supervised(stored(tmp_path / "odd", odd), preprocess=SMALL)
    grouped = weights()
    grouped["layer1.0.conv2.weight"] = grouped["layer1.0.conv2.weight"][:, :1].clone()
    with pytest.raises(CheckpointError, match="ResNeXt"):
        load_supervised(stored(tmp_path / "grouped", grouped), preprocess=SMALL)
    with pytest.raises(CheckpointError, match="no weights of a ResNet"):
        load_supervised(tmp_path / "nowhere")
    with pytest.raises(CheckpointError, match="keshin pull hf:timm"):
        load_supervised("hf:timm/resnet50.tv_in1k")
