"""What keshin exports, loaded by the real programs: the same features as the model.

Small models with random weights; SigLIP in OpenCLIP has timm's full size, since it goes by name.
"""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import logging
from types import SimpleNamespace

import numpy as np
import pytest
from msgspec.structs import replace

open_clip = pytest.importorskip("open_clip")
transformers = pytest.importorskip("transformers")
torch = pytest.importorskip("torch")

import onnx  # noqa: E402
import onnxruntime  # noqa: E402
import tokenizers  # noqa: E402
from PIL import Image  # noqa: E402
from tokenizers import AddedToken, models, normalizers, pre_tokenizers, processors  # noqa: E402

import keshin  # noqa: E402
from conftest import random_tensors, tiny_config  # noqa: E402
from keshin.core.checkpoint import load_checkpoint, save_checkpoint  # noqa: E402
from keshin.core.config import (  # noqa: E402
    ModifiedResNet,
    PooledVisionTransformer,
    PreprocessFacts,
    RobertaText,
    ScoreFacts,
    TokenizerFacts,
)
from keshin.core.tokenizer import Tokenizer  # noqa: E402

pytestmark = [pytest.mark.peers, pytest.mark.filterwarnings("ignore")]
logging.getLogger().setLevel(logging.ERROR)
LIMIT = 1e-5
TEXTS = ["a", "A photo of a Cat, and a dog!", "it's 3 red   birds", "化身と猫の写真", "word " * 90]


def unit(x):
    x = np.asarray(x, np.float64)
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def picture():
    noise = np.random.default_rng(3).integers(0, 256, (40, 57, 3), np.uint8)
    return Image.fromarray(noise).resize((114, 80), Image.Resampling.BICUBIC)


def saved(tmp_path, tokenizer, spread=0.3, **changes):
    config = tiny_config(tokenizer, **changes)
    return config, save_checkpoint(tmp_path / "model", config, tuned(config, spread), tokenizer)


def tuned(config, spread):
    tensors = random_tensors(config)
    for name, array in tensors.items():
        if name.endswith("running_var"):
            tensors[name] = np.abs(array) + np.float32(0.5)
        elif array.ndim > 1:
            tensors[name] = array * np.float32(spread / 0.3)
    return tensors


def vit(base, **changes):
    return replace(base.vision, **changes)


def check_open_clip(tmp_path, folder, images=True):
    """Features, and pictures and texts as OpenCLIP itself prepares them."""
    name = f"local-dir:{keshin.export(folder, tmp_path / 'out', format='openclip').folder}"
    peer, _, prepare = open_clip.create_model_and_transforms(name)
    ids = open_clip.get_tokenizer(name)(TEXTS)
    model = keshin.load(folder, threads=1)
    with torch.inference_mode():
        pixels = prepare(picture())[None]
        theirs_images = peer.eval().encode_image(pixels).numpy()
        theirs_texts = peer.encode_text(ids).numpy()
    np.testing.assert_allclose(model.preprocess([picture()]), pixels.numpy(), atol=2e-2)
    mine = model.encoder.towers.image_features(pixels.numpy())
    assert abs(unit(mine) - unit(theirs_images)).max() < LIMIT
    assert abs(model.encode_texts(TEXTS) - unit(theirs_texts)).max() < LIMIT
    assert float(peer.logit_scale.exp()) == pytest.approx(model.encoder.logit_scale)
    return peer


KINDS = {
    "vit": {},
    "quick": {"both": {"activation": "quick_gelu"}},
    "tanh, eps, odd mlp": {
        "both": {"activation": "gelu_tanh", "layer_norm_eps": 1e-6, "mlp_width": 71}
    },
    "four heads": {"both": {"heads": 4}},
    "last, not causal": {"text": {"pool": "last", "causal": True}},
    "bias": {"text": {"projection_bias": True}},
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("vocabulary", ["own", "OpenAI's"])
def test_vits_in_open_clip(tmp_path, tiny_tokenizer, kind, vocabulary):
    if vocabulary == "own" and kind == "last, not causal":
        pytest.skip("its padding is seen, and is no special token")
    tokenizer = tiny_tokenizer if vocabulary == "own" else Tokenizer.clip(24)
    base, how = tiny_config(tokenizer), KINDS[kind]
    both = how.get("both", {})
    config = {
        "vision": replace(base.vision, **both),
        "text": replace(base.text, **both, **how.get("text", {})),
    }
    _, folder = saved(tmp_path, tokenizer, **config)
    check_open_clip(tmp_path, folder)


def test_a_resnet_in_open_clip(tmp_path, tiny_tokenizer):
    tower = ModifiedResNet(image_size=(64, 64), width=8, layers=(1, 2, 1, 1), heads=4)
    facts = replace(tiny_config(tiny_tokenizer).preprocess, size=(64, 64))
    _, folder = saved(tmp_path, tiny_tokenizer, spread=0.15, vision=tower, preprocess=facts)
    check_open_clip(tmp_path, folder)


def test_oblong_squashed_and_sigmoid_in_open_clip(tmp_path, tiny_tokenizer):
    base = tiny_config(tiny_tokenizer)
    facts = replace(base.preprocess, size=(16, 32), resize="squash", interpolation="bilinear")
    _, folder = saved(
        tmp_path, tiny_tokenizer, vision=vit(base, image_size=(16, 32)), preprocess=facts,
        score=ScoreFacts(kind="sigmoid"),
    )  # fmt: skip
    peer = check_open_clip(tmp_path, folder)
    assert float(peer.logit_bias) == pytest.approx(load_checkpoint(folder).logit_bias)


@pytest.mark.parametrize("vocabulary", ["own", "OpenAI's"])
@pytest.mark.parametrize("kind", ["vit", "quick", "tanh, eps, odd mlp", "four heads", "squash"])
def test_vits_in_transformers(tmp_path, tiny_tokenizer, kind, vocabulary):
    tokenizer = tiny_tokenizer if vocabulary == "own" else Tokenizer.clip(24)
    base = tiny_config(tokenizer)
    both = KINDS.get(kind, {}).get("both", {})
    resize = "squash" if kind == "squash" else "shorter-side"
    _, folder = saved(
        tmp_path, tokenizer, vision=replace(base.vision, **both), text=replace(base.text, **both),
        preprocess=replace(base.preprocess, resize=resize),
    )  # fmt: skip
    out = keshin.export(folder, tmp_path / "out", format="transformers").folder
    peer = transformers.CLIPModel.from_pretrained(out).eval()
    processor = transformers.CLIPProcessor.from_pretrained(out)
    model = keshin.load(folder, threads=1)
    inputs = processor(
        text=TEXTS, images=picture(), return_tensors="pt", padding=True, truncation=True
    )
    near_transformers(model, peer, inputs)
    assert float(peer.logit_scale.exp()) == pytest.approx(model.encoder.logit_scale)


def near_transformers(model, peer, inputs):
    with torch.inference_mode():
        images = peer.get_image_features(pixel_values=inputs["pixel_values"]).pooler_output
        texts = peer.get_text_features(input_ids=inputs["input_ids"]).pooler_output
    pixels = inputs["pixel_values"].numpy()
    np.testing.assert_allclose(model.preprocess([picture()]), pixels, atol=3e-2)
    mine = model.encoder.towers.image_features(pixels)
    assert abs(unit(mine) - unit(images)).max() < LIMIT
    assert abs(model.encode_texts(TEXTS) - unit(texts)).max() < LIMIT


def t5(cleaning, length):
    """A small Unigram tokenizer as SigLIP's are: no start, "</s>" at the end, "<pad>" after it."""
    backend = tokenizers.Tokenizer(models.Unigram())
    backend.normalizer = normalizers.NFKC()
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    specials = ["<pad>", "</s>", "<unk>"]
    trainer = tokenizers.trainers.UnigramTrainer(
        vocab_size=120, special_tokens=[AddedToken(s, normalized=False) for s in specials],
        unk_token="<unk>", show_progress=False,
    )  # fmt: skip
    backend.train_from_iterator([*TEXTS * 4, "abcdefghijklmnopqrstuvwxyz"], trainer)
    backend.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", 1)]
    )
    facts = TokenizerFacts(cleaning=cleaning, start=None, end=1, pad=0)
    return Tokenizer(backend, facts, length)


def siglip(tokenizer, **size):
    facts = {"heads": 4, "mlp_width": 50, "activation": "gelu_tanh", "layer_norm_eps": 1e-6}
    vision = PooledVisionTransformer(**{
        "image_size": (32, 32), "patch_size": 16, "width": 16, "layers": 2, **facts, **size,
    })  # fmt: skip
    words = replace(
        tiny_config(tokenizer).text, **facts, causal=False, pool="last", projection_bias=True
    )
    return {
        "vision": vision, "text": words, "embed_dim": vision.width,
        "score": ScoreFacts(kind="sigmoid"),
        "preprocess": PreprocessFacts(
            size=vision.image_size, resize="squash", interpolation="bicubic",
            mean=(0.5,) * 3, std=(0.5,) * 3,
        ),
    }  # fmt: skip


@pytest.mark.parametrize("cleaning", ["canonical", "lower"])
def test_siglip_in_transformers(tmp_path, cleaning):
    tokenizer = t5(cleaning, 24)
    _, folder = saved(tmp_path, tokenizer, **siglip(tokenizer))
    out = keshin.export(folder, tmp_path / "out", format="transformers").folder
    peer = transformers.SiglipModel.from_pretrained(out).eval()
    inputs = transformers.AutoTokenizer.from_pretrained(out)(
        TEXTS, padding="max_length", truncation=True, return_tensors="pt"
    )
    shown = transformers.AutoImageProcessor.from_pretrained(out)(picture(), return_tensors="pt")
    model = keshin.load(folder, threads=1)
    near_transformers(model, peer, {**inputs, **shown})
    assert float(peer.logit_bias) == pytest.approx(model.encoder.logit_bias)


@pytest.mark.slow
def test_siglip_in_open_clip(tmp_path):
    tokenizer = t5("canonical", 24)
    size = {
        "image_size": (256, 256), "patch_size": 32, "width": 768, "layers": 12, "heads": 12,
        "mlp_width": 3072,
    }  # fmt: skip
    _, folder = saved(tmp_path, tokenizer, spread=0.03, **siglip(tokenizer, **size))
    peer = check_open_clip(tmp_path, folder)
    assert float(peer.logit_bias) == pytest.approx(load_checkpoint(folder).logit_bias)


def test_halves_in_both(tmp_path, tiny_tokenizer):
    _, folder = saved(tmp_path, tiny_tokenizer)
    model = keshin.load(folder, threads=1)
    for form in ("openclip", "transformers"):
        done = keshin.export(folder, tmp_path / form, format=form, dtype="fp16")
        again = keshin.load(done.folder, threads=1)
        assert 0 < done.difference < 1e-2
        assert abs(again.encode_texts(TEXTS) - model.encode_texts(TEXTS)).max() < 2e-2
    peer = transformers.CLIPModel.from_pretrained(tmp_path / "transformers")
    assert peer.dtype in (torch.float16, torch.float32)
    open_clip.create_model(f"local-dir:{tmp_path / 'openclip'}")


def test_onnx_files_beside_open_clip(tmp_path, tiny_tokenizer):
    """The same pixels and ids in ONNX Runtime, from the files alone, and in OpenCLIP."""
    _, folder = saved(tmp_path, tiny_tokenizer)
    peer = check_open_clip(tmp_path, folder)
    out = keshin.export(folder, tmp_path / "onnx", format="onnx").folder
    pixels = np.random.default_rng(0).standard_normal((3, 3, 16, 16)).astype(np.float32)
    ids = tiny_tokenizer(TEXTS).ids
    with torch.inference_mode():
        images = peer.encode_image(torch.from_numpy(pixels)).numpy()
        texts = peer.encode_text(torch.from_numpy(tiny_tokenizer(TEXTS).pad_to(24).copy())).numpy()
    for name, inputs, expected in (
        ("image", {"pixels": pixels}, images),
        ("text", {"ids": ids}, texts),
    ):
        onnx.checker.check_model(str(out / f"{name}.onnx"), full_check=True)
        session = onnxruntime.InferenceSession(out / f"{name}.onnx")
        features, vectors = session.run(["features", "vectors"], inputs)
        np.testing.assert_allclose(features, expected, rtol=1e-4, atol=LIMIT * abs(expected).max())
        assert abs(vectors - unit(expected)).max() < LIMIT


def test_xlm_r_in_open_clip(tmp_path, monkeypatch):
    """Narrow and shallow; the configuration that OpenCLIP would fetch is handed to it."""
    from keshin.core.foreign import write_open_clip

    tokenizer = xlm_r(16)
    shape = (48, 2, 12, 50, tokenizer.vocab_size, 40, 1)
    monkeypatch.setitem(write_open_clip.XLM_R, "xlm-roberta-base", shape)
    text = RobertaText(
        context_length=16, vocab_size=shape[4], positions=40, pad=1, width=48, layers=2, heads=12,
        mlp_width=50, activation="gelu", layer_norm_eps=1e-5, pool="mean", projection_width=32,
    )  # fmt: skip
    _, folder = saved(tmp_path, tokenizer, text=text)
    config = transformers.XLMRobertaConfig(
        vocab_size=shape[4], hidden_size=48, num_hidden_layers=2, num_attention_heads=12,
        intermediate_size=50, max_position_embeddings=40, type_vocab_size=1, layer_norm_eps=1e-5,
        pad_token_id=1, bos_token_id=0, eos_token_id=2,
    )  # fmt: skip
    known = SimpleNamespace(from_pretrained=lambda _: config)
    monkeypatch.setattr(open_clip.hf_model, "AutoConfig", known)
    check_open_clip(tmp_path, folder)


def xlm_r(length):
    """A small Unigram tokenizer with XLM-R's special tokens."""
    backend = tokenizers.Tokenizer(models.Unigram())
    backend.normalizer = normalizers.NFKC()
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    specials = ["<s>", "<pad>", "</s>", "<unk>"]
    trainer = tokenizers.trainers.UnigramTrainer(
        vocab_size=120, special_tokens=[AddedToken(s, normalized=False) for s in specials],
        unk_token="<unk>", show_progress=False,
    )  # fmt: skip
    backend.train_from_iterator([*TEXTS * 4, "abcdefghijklmnopqrstuvwxyz"], trainer)
    backend.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    return Tokenizer(backend, TokenizerFacts(cleaning="mend", start=0, end=2, pad=1), length)
