"""Exports read back by keshin's own readers, and run: nothing changes, and nothing is lost."""

import json
import shutil

import numpy as np
import onnx
import onnxruntime
import pytest
from msgspec.structs import replace

import keshin
from conftest import random_tensors, tiny_config
from keshin.core import writing
from keshin.core.checkpoint import load_checkpoint, save_checkpoint
from keshin.core.config import (
    ModifiedResNet,
    PooledVisionTransformer,
    ResNet,
    RobertaText,
    ScoreFacts,
)
from keshin.core.foreign.open_clip_options import TIMM
from keshin.core.foreign.write_open_clip import TIMM_SIZES, to_open_clip
from keshin.core.tensors import TensorFile
from keshin.core.tokenizer import Tokenizer
from keshin.encode.onnx_files import image_file, write_onnx
from keshin.exporting import FORMATS, export

TEXTS = ["a", "A photo of a Cat!", "猫の写真 &amp; it's", "word " * 40]


def saved(folder, tokenizer, **changes):
    config = tiny_config(tokenizer, **changes)
    tensors = random_tensors(config)
    for name, array in tensors.items():
        if name.endswith("running_var"):
            tensors[name] = np.abs(array) + np.float32(0.5)
    return save_checkpoint(folder, config, tensors, tokenizer)


def pixels(count=3, side=16):
    shape = (count, 3, side, side)
    return np.random.default_rng(1).standard_normal(shape).astype(np.float32)


def features(model, side=16):
    x = pixels(side=side)
    return model.encoder.towers.image_features(x), model.encode_texts(TEXTS)


@pytest.fixture
def tiny(tiny_folder):
    return keshin.load(tiny_folder, threads=1)


@pytest.mark.filterwarnings("ignore:The text")
@pytest.mark.parametrize("form", ["openclip", "transformers", "keshin"])
@pytest.mark.parametrize("vocabulary", ["own", "OpenAI's"])
def test_what_was_exported_is_the_model(tmp_path, tiny_tokenizer, form, vocabulary):
    tokenizer = tiny_tokenizer if vocabulary == "own" else Tokenizer.clip(24)
    folder = saved(tmp_path / "model", tokenizer)
    done = export(keshin.load(folder, threads=1), tmp_path / "out", format=form)
    assert (done.difference, done.folder) == (0.0, tmp_path / "out")
    assert sorted(p.name for p in done.folder.iterdir()) == list(done.files)
    again = keshin.load(done.folder, threads=1)
    for mine, theirs in zip(features(keshin.load(folder, threads=1)), features(again), strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-6)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model", "out"]


@pytest.mark.parametrize("form", FORMATS)
def test_halves_are_stored_as_such_and_their_price_is_said(tmp_path, tiny_folder, form):
    done = export(tiny_folder, tmp_path / form, format=form, dtype="fp16")
    assert 0 < done.difference < 1e-2
    assert "stored as float16" in (done.folder / "README.md").read_text()
    whole = export(tiny_folder, tmp_path / "whole", format=form, dtype="fp32").folder
    weigh = [sum(f.stat().st_size for f in d.glob("*o*")) for d in (done.folder, whole)]
    assert weigh[0] < weigh[1]


def test_numbers_beyond_halves_are_refused(tmp_path, tiny_tokenizer):
    config = tiny_config(tiny_tokenizer)
    tensors = random_tensors(config)
    tensors["visual.proj"][0, 0] = 1e6
    folder = save_checkpoint(tmp_path / "model", config, tensors, tiny_tokenizer)
    with pytest.raises(keshin.CheckpointError, match=r"'visual.proj'.* float16 cannot"):
        export(folder, tmp_path / "out", dtype="fp16")
    assert not (tmp_path / "out").exists()


def test_onnx_files_stand_alone(tmp_path, tiny, tiny_folder):
    done = export(tiny, tmp_path / "out", format="onnx")
    assert done.difference < 1e-6
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for name in ("image.onnx", "text.onnx"):
        (done.folder / name).rename(elsewhere / name)
        onnx.checker.check_model(str(elsewhere / name), full_check=True)
    images = onnxruntime.InferenceSession(elsewhere / "image.onnx")
    texts = onnxruntime.InferenceSession(elsewhere / "text.onnx")
    (found,) = images.run(["features"], {"pixels": pixels(5)})
    np.testing.assert_allclose(found, tiny.encoder.towers.image_features(pixels(5)), atol=1e-6)
    facts = texts.get_modelmeta().custom_metadata_map
    assert json.loads(facts["keshin.preprocess"])["size"] == [16, 16]
    assert facts["keshin.tokenizer"] == (done.folder / "tokenizer.json").read_text()
    assert float(facts["keshin.logit_scale"]) == tiny.encoder.logit_scale
    words = tiny.encoder.tokenizer(TEXTS[:3])
    (vectors,) = texts.run(["vectors"], {"ids": words.ids})
    np.testing.assert_allclose(vectors, tiny.encode_texts(TEXTS[:3]), atol=1e-6)


def test_large_weights_lie_beside(tmp_path, tiny, tiny_folder):
    checkpoint = load_checkpoint(tiny_folder)
    tensors = TensorFile(tiny_folder / "model.safetensors")
    model = image_file(checkpoint.config, tensors)
    names = write_onnx(tmp_path / "image.onnx", model, tensors, {}, limit=1000)
    assert names == ["image.onnx", "image.onnx.data"]
    assert (tmp_path / "image.onnx").stat().st_size < 20_000
    onnx.checker.check_model(str(tmp_path / "image.onnx"))
    session = onnxruntime.InferenceSession(tmp_path / "image.onnx")
    (found,) = session.run(["features"], {"pixels": pixels()})
    np.testing.assert_allclose(found, tiny.encoder.towers.image_features(pixels()), atol=1e-6)


@pytest.mark.parametrize("reject", [None, 0.3, "background", "cosine"])
@pytest.mark.parametrize("score", ["softmax", "sigmoid"])
def test_a_classifier_is_baked_in(tmp_path, tiny_tokenizer, reject, score):
    folder = saved(tmp_path / "model", tiny_tokenizer, score=ScoreFacts(kind=score))
    model = keshin.load(folder, threads=1)
    if reject == "cosine":
        reject = keshin.Rejection(cosine=0.1, score=0.2)
    made = model.classifier(["cat", "dog", "red bird"], reject=reject)
    made.save(tmp_path / "pets")
    out = export(model, tmp_path / "out", format="onnx", classifier=tmp_path / "pets").folder
    assert json.loads((out / "labels.json").read_text()) == ["cat", "dog", "red bird"]
    session = onnxruntime.InferenceSession(out / "classifier.onnx")
    onnx.checker.check_model(str(out / "classifier.onnx"), full_check=True)
    dice = np.random.default_rng(2)
    pictures = list(dice.integers(0, 256, (6, 20, 24, 3), np.uint8))
    asked = [output.name for output in session.get_outputs()]
    found = dict(
        zip(asked, session.run(asked, {"pixels": model.preprocess(pictures)}), strict=True)
    )
    np.testing.assert_allclose(found["scores"], made.predict_proba(pictures), atol=1e-5)
    np.testing.assert_allclose(found["cosines"], made.cosines(pictures), atol=1e-6)
    assert ("rejected" in found) == (reject is not None)
    if reject is not None:
        declined = made.rejects(model.encode_images(pictures))
        np.testing.assert_array_equal(found["rejected"], declined)


def test_a_classifier_of_another_model_is_refused(tmp_path, tiny, tiny_tokenizer):
    tiny.classifier(["cat", "dog"]).save(tmp_path / "pets")
    other = saved(tmp_path / "model", tiny_tokenizer, name="other")
    with pytest.raises(keshin.LabelError, match="was made with the model 'tiny'"):
        export(other, tmp_path / "out", format="onnx", classifier=tmp_path / "pets")
    with pytest.raises(keshin.KeshinError, match="'onnx', not into 'openclip'"):
        export(tiny, tmp_path / "out", format="openclip", classifier=tmp_path / "pets")
    assert not (tmp_path / "out").exists()


REFUSED = {
    "small ResNet": ("openclip", "no residual network .* onnx, keshin"),
    "small ResNet ": ("transformers", "ViT image towers only.* onnx, keshin"),
    "CLIP's ResNet": ("transformers", "ViT image towers only.* openclip, onnx, keshin"),
    "two activations": ("openclip", "one 'quick_gelu' .* gelu and quick_gelu .* transformers"),
    "not causal": ("transformers", "causal text tower.* openclip"),
    "oblong": ("transformers", "square pictures only"),
    "oblong ": ("openclip", "rule of its own"),
    "lanczos": ("openclip", "does not resize by 'lanczos'"),
    "SigLIP of no name": ("openclip", "from timm by name, and none there has 1 layers"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_a_format_cannot_hold_is_said(tmp_path, tiny_tokenizer, case):
    base = tiny_config(tiny_tokenizer)
    picture, text = base.preprocess, base.text
    small = ResNet(image_size=(16, 16), patch_size=4, widths=(8, 8), layers=(1, 1))
    big = ModifiedResNet(image_size=(32, 32), width=8, layers=(1, 1, 1, 1), heads=4)
    pooled = PooledVisionTransformer(
        image_size=(16, 16), patch_size=8, width=16, layers=1, heads=2, mlp_width=32,
        activation="gelu", layer_norm_eps=1e-6,
    )  # fmt: skip
    oblong = {
        "vision": replace(base.vision, image_size=(16, 32)),
        "preprocess": replace(picture, size=(16, 32)),
    }
    changes = {
        "small ResNet": {"vision": small},
        "CLIP's ResNet": {"vision": big, "preprocess": replace(picture, size=(32, 32))},
        "two activations": {"text": replace(text, activation="quick_gelu")},
        "not causal": {"text": replace(text, causal=False)},
        "oblong": oblong,
        "lanczos": {"preprocess": replace(picture, interpolation="lanczos")},
        "SigLIP of no name": {"vision": pooled},
    }[case.strip()]
    folder = saved(tmp_path / "model", tiny_tokenizer, **changes)
    form, said = REFUSED[case]
    with pytest.raises(keshin.CheckpointError, match=said):
        export(folder, tmp_path / "out", format=form)
    assert not (tmp_path / "out").exists()
    assert export(folder, tmp_path / "out", format="onnx").difference < 1e-5


def test_padding_that_is_seen_needs_a_token_of_its_own(tmp_path, tiny_tokenizer):
    text = replace(tiny_config(tiny_tokenizer).text, pool="last")
    folder = saved(tmp_path / "model", tiny_tokenizer, text=text)
    with pytest.raises(keshin.CheckpointError, match="does not list as a special one"):
        export(folder, tmp_path / "out", format="openclip")


def test_every_siglip_of_timm_is_found_by_its_facts(tiny_tokenizer):
    for name, (heads, activation) in TIMM.items():
        _, size, patch, _, side = name.split("_")
        width, layers, inner = TIMM_SIZES[size]
        vision = PooledVisionTransformer(
            image_size=(int(side), int(side)), patch_size=int(patch[5:]), width=width,
            layers=layers, heads=heads, mlp_width=inner, activation=activation,
            layer_norm_eps=1e-6,
        )  # fmt: skip
        config = tiny_config(tiny_tokenizer)
        picture = replace(config.preprocess, size=vision.image_size)
        config = replace(config, vision=vision, embed_dim=width, preprocess=picture)
        sheet = to_open_clip(config, tiny_tokenizer).sheets["open_clip_config.json"]
        assert sheet["model_cfg"]["vision_cfg"]["timm_model_name"] == name


def test_a_folder_with_files_is_left_alone(tmp_path, tiny_folder):
    out = tmp_path / "out"
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    with pytest.raises(keshin.CheckpointError, match=r"'notes.txt'.* --force"):
        export(tiny_folder, out)
    done = export(tiny_folder, out, force=True)
    assert "notes.txt" not in done.files
    assert not (out / "notes.txt").exists()
    (out / "sub").mkdir()
    with pytest.raises(keshin.CheckpointError, match="holds the folder 'sub'"):
        export(tiny_folder, out, force=True)
    for place in (tiny_folder, tiny_folder.parent):
        with pytest.raises(keshin.CheckpointError, match="the model itself"):
            export(tiny_folder, place, force=True)
    (tmp_path / "file").write_text("")
    with pytest.raises(keshin.CheckpointError, match="is no folder"):
        export(tiny_folder, tmp_path / "file")


def test_a_full_disk_leaves_what_was_there(tmp_path, tiny_folder, monkeypatch):
    out = export(tiny_folder, tmp_path / "out").folder
    before = {p.name: p.read_bytes() for p in out.iterdir()}

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(writing, "replace_folder", full)
    with pytest.raises(keshin.CheckpointError, match=r"No space left.* unchanged"):
        export(tiny_folder, out, format="onnx", force=True)
    assert {p.name: p.read_bytes() for p in out.iterdir()} == before
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_words_that_are_no_choice(tmp_path, tiny_folder):
    with pytest.raises(keshin.KeshinError, match="no format 'tflite'"):
        export(tiny_folder, tmp_path / "out", format="tflite")
    with pytest.raises(keshin.KeshinError, match="no dtype 'int8'"):
        export(tiny_folder, tmp_path / "out", dtype="int8")


def test_brain_floats_become_full_ones(tmp_path, tiny_folder):
    """NumPy has no bfloat16, and ONNX files for any program should hold none."""
    folder = tmp_path / "model"
    shutil.copytree(tiny_folder, folder)
    stored = TensorFile(tiny_folder / "model.safetensors")
    header, data = {}, b""
    for name in stored.infos:
        array = stored.read_float32(name)
        halves = (np.ascontiguousarray(array).view(np.uint32) >> 16).astype("<u2").tobytes()
        place = [len(data), len(data) + len(halves)]
        header[name] = {"dtype": "BF16", "shape": array.shape, "data_offsets": place}
        data += halves
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    raw = len(text).to_bytes(8, "little") + text + data
    (folder / "model.safetensors").write_bytes(raw)
    for form in FORMATS:
        assert export(folder, tmp_path / form, format=form).difference < 1e-6
    model = onnx.load(tmp_path / "onnx" / "image.onnx")
    assert {t.data_type for t in model.graph.initializer} <= {
        onnx.TensorProto.FLOAT, onnx.TensorProto.INT64,
    }  # fmt: skip


def test_a_loaded_model_is_exported_as_it_was_loaded(tmp_path, tiny_folder):
    """Its files may lack facts that were given when it was loaded."""
    out = export(tiny_folder, tmp_path / "bare", format="openclip").folder
    sheet = json.loads((out / "open_clip_config.json").read_text())
    del sheet["preprocess_cfg"]["mean"]
    (out / "open_clip_config.json").write_text(json.dumps(sheet))
    with pytest.raises(keshin.CheckpointError, match="mean"):
        export(out, tmp_path / "no")
    model = keshin.load(out, facts={"mean": [0.5, 0.5, 0.5]}, threads=1)
    assert export(model, tmp_path / "yes").difference == 0.0


def test_lower_case_cleaning_of_open_clip_is_for_clips_own_kind(tmp_path, tiny_folder):
    out = export(tiny_folder, tmp_path / "out", format="openclip").folder
    file = json.loads((out / "tokenizer.json").read_text())
    file["model"]["end_of_word_suffix"] = None
    (out / "tokenizer.json").write_text(json.dumps(file))
    with pytest.raises(keshin.CheckpointError, match=r"'clean' to 'lower', but .* OpenAI's kind"):
        keshin.load(out)


@pytest.mark.parametrize("kind", ["SigLIP", "XLM-R"])
def test_other_towers_as_onnx(tmp_path, tiny_tokenizer, kind):
    base = tiny_config(tiny_tokenizer)
    blocks = {"heads": 2, "mlp_width": 40, "activation": "gelu_tanh", "layer_norm_eps": 1e-6}
    if kind == "SigLIP":
        vision = PooledVisionTransformer(
            image_size=(20, 20), patch_size=8, width=16, layers=2, **blocks
        )
        text = replace(base.text, causal=False, pool="last", projection_bias=True)
        picture = replace(base.preprocess, size=(20, 20), resize="squash")
        changes = {"vision": vision, "text": text, "preprocess": picture}
        changes["score"] = ScoreFacts(kind="sigmoid")
    else:
        text = RobertaText(
            context_length=24, vocab_size=tiny_tokenizer.vocab_size, positions=30, pad=0, width=16,
            layers=2, pool="mean", projection_width=20, **blocks,
        )  # fmt: skip
        changes = {"text": text}
    folder = saved(tmp_path / "model", tiny_tokenizer, **changes)
    done = export(folder, tmp_path / "out", format="onnx")
    assert done.difference < 1e-5
    model = keshin.load(folder, threads=1)
    session = onnxruntime.InferenceSession(done.folder / "text.onnx")
    onnx.checker.check_model(str(done.folder / "text.onnx"), full_check=True)
    words = model.encoder.tokenizer(TEXTS[:3])
    fill = session.get_modelmeta().custom_metadata_map["keshin.fill_to_context"]
    assert fill == ("yes" if kind == "SigLIP" else "no")
    ids = words.pad_to(24) if kind == "SigLIP" else words.ids
    (vectors,) = session.run(["vectors"], {"ids": ids})
    np.testing.assert_allclose(vectors, model.encode_texts(TEXTS[:3]), atol=1e-5)
    if kind == "XLM-R":
        with pytest.raises(keshin.CheckpointError, match=r"xlm-roberta-base .* onnx, keshin"):
            export(folder, tmp_path / "no", format="openclip")
        with pytest.raises(keshin.CheckpointError, match=r"XLM-R .* onnx, keshin"):
            export(folder, tmp_path / "no", format="transformers")
