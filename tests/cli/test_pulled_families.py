"""A release of every family from its name to an answer: pulled from a hub, read, described.

The folders are laid out as OpenCLIP publishes them and have its options, of smaller size.
"""

import json

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner
from tokenizers import Tokenizer as Backend
from tokenizers import decoders, models, normalizers, pre_tokenizers
from tokenizers.processors import TemplateProcessing

import keshin
from hub import serve
from keshin.cli.main import main
from keshin.core.config import parse_config
from keshin.core.foreign.open_clip_keys import open_clip_keys
from keshin.core.shapes import expected_shapes
from keshin.core.tensors import write_tensors
from keshin.facts import releases

SIDE, VOCABULARY = 32, 40
BLOCKS = {"layers": 2, "layer_norm_eps": 1e-5}
VIT = {"image_size": SIDE, "layers": 2, "width": 16, "head_width": 8, "patch_size": 16}
CLIP_TEXT = {"context_length": 77, "vocab_size": 49408, "width": 8, "heads": 2, "layers": 1}
SIGLIP_TEXT = {
    "context_length": 64, "vocab_size": VOCABULARY, "hf_tokenizer_name": "timm/elsewhere",
    "tokenizer_kwargs": {"clean": "canonicalize"}, "heads": 2, "layers": 2,
    "no_causal_mask": True, "pool_type": "last", "norm_kwargs": {"eps": 1e-6},
}  # fmt: skip
TANH = {"act_kwargs": {"approximate": "tanh"}}
XLMR_TEXT = {
    "hf_model_name": "xlm-roberta-base", "hf_tokenizer_name": "xlm-roberta-base",
    "hf_pooler_type": "mean_pooler",
}  # fmt: skip
T5, GEMMA, ROBERTA = (
    (["<pad>", "</s>", "<unk>"], "$A </s>", "</s>"),
    (["<pad>", "<eos>", "<unk>"], "$A <eos>", "<pad>"),
    (["<s>", "<pad>", "</s>", "<unk>"], "<s> $A </s>", "<pad>"),
)


def timm(name):
    return {
        "image_size": SIDE, "timm_model_name": name, "timm_model_pretrained": False,
        "timm_pool": "map", "timm_proj": "none",
    }  # fmt: skip


# Release: (embed_dim, options of model_cfg, vision_cfg, text_cfg, special tokens)
MODELS = {
    "openai/ViT-B-32": (12, {"quick_gelu": True}, VIT, CLIP_TEXT, None),
    "laion2b/ViT-B-32": (12, {}, VIT, CLIP_TEXT, None),
    "datacomp-xl/ViT-B-32": (12, {}, VIT, CLIP_TEXT, None),
    "dfn2b/ViT-B-16": (12, {"quick_gelu": True}, VIT, CLIP_TEXT, None),
    "metaclip-400m/ViT-B-32": (12, {"quick_gelu": True}, VIT, CLIP_TEXT, None),
    "siglip/ViT-B-16": (
        24, {}, timm("vit_base_patch16_siglip_224"), {**SIGLIP_TEXT, "proj_bias": True}, T5,
    ),
    "siglip/ViT-SO400M-16-i18n-256": (
        32, {}, timm("vit_so400m_patch16_siglip_256"),
        {**SIGLIP_TEXT, "proj_type": "none", "mlp_ratio": 3.7362}, T5,
    ),
    "siglip2/ViT-B-32-256": (
        24, {}, timm("vit_base_patch32_siglip_256"),
        {**SIGLIP_TEXT, **TANH, "proj_bias": True}, GEMMA,
    ),
    "laion5b/xlm-roberta-base-ViT-B-32": (12, {}, VIT, XLMR_TEXT, ROBERTA),
}  # fmt: skip


def sheet(row, embed_dim, vision, text):
    """The fact sheet of which the made weights are, in keshin's own terms."""
    sides = {"image_size": [SIDE, SIDE], "patch_size": 16}
    if "timm_model_name" in vision:
        blocks = {**BLOCKS, "width": embed_dim, "mlp_width": 20, "activation": "gelu"}
        tower = {"kind": "vit-attention-pool", "heads": 4, **sides, **blocks}
    else:
        blocks = {**BLOCKS, "width": 16, "mlp_width": 64, "activation": "gelu"}
        tower = {"kind": "vit", "heads": 2, **sides, **blocks}
    if "hf_model_name" in text:
        words = {
            "kind": "roberta", "context_length": 77, "vocab_size": VOCABULARY, "positions": 90,
            "pad": 1, **BLOCKS, "width": 24, "heads": 12, "mlp_width": 20, "activation": "gelu",
            "pool": "mean", "projection_width": 6,
        }  # fmt: skip
    else:
        width = text.get("width", embed_dim)
        words = {
            "kind": "transformer", "context_length": text["context_length"],
            "vocab_size": text["vocab_size"], **BLOCKS, "width": width, "heads": 2,
            "mlp_width": int(width * text.get("mlp_ratio", 4)), "layers": text["layers"],
            "activation": "gelu", "causal": row.causal, "pool": row.pool,
            "projection_bias": text.get("proj_bias", False),
        }  # fmt: skip
    facts = {
        "format": 1, "name": "made", "embed_dim": embed_dim, "vision": tower, "text": words,
        "tokenizer": {"cleaning": "none", "start": None, "end": 2, "pad": 1},
        "preprocess": {
            "size": [SIDE, SIDE], "resize": "squash", "interpolation": "bicubic",
            "mean": row.mean, "std": row.std,
        },
        "score": {"kind": row.score},
    }  # fmt: skip
    return parse_config(msgspec.json.encode(facts), origin="test")


def vocabulary(specials, surround, pad):
    """The two files of a small Unigram tokenizer."""
    letters = ["\u2581", *"abcdefghijklmnopqrstuvwxyz!_猫犬写真の"]
    pieces = [(name, 0.0) for name in specials] + [(letter, -3.0) for letter in letters]
    backend = Backend(models.Unigram(pieces, unk_id=specials.index("<unk>")))
    backend.normalizer = normalizers.NFKC()
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.decoder = decoders.Metaspace()
    backend.add_special_tokens(specials)
    named = [(name, backend.token_to_id(name)) for name in specials]
    backend.post_processor = TemplateProcessing(single=surround, special_tokens=named)
    settings = {"pad_token": pad, "tokenizer_class": "PreTrainedTokenizerFast"}
    return {
        "tokenizer.json": backend.to_str().encode(),
        "tokenizer_config.json": json.dumps(settings).encode(),
    }


def published(name, scratch):
    """The files of a release's repository."""
    row = releases.get(name)
    embed_dim, options, vision, text, specials = MODELS[name]
    text = {"width": embed_dim, **text} if "tokenizer_kwargs" in text else text
    config = sheet(row, embed_dim, vision, text)
    dice = np.random.default_rng(0)
    tensors = {
        n: 0.3 * dice.standard_normal(s, np.float32).reshape(s)
        for n, s in expected_shapes(config).items()
    }
    if text.get("proj_type") == "none":
        del tensors["text_projection"]
    table = open_clip_keys(
        "timm" if "timm_model_name" in vision else "own",
        "hugging-face" if "hf_model_name" in text else "custom" if specials else "own",
    )
    write_tensors(scratch, table.export_tensors(tensors))
    if row.logit_bias:
        options = {**options, "init_logit_bias": -10, "custom_text": True}
    content = {
        "model_cfg": {"embed_dim": embed_dim, **options, "vision_cfg": vision, "text_cfg": text},
        "preprocess_cfg": {
            "mean": row.mean, "std": row.std, "interpolation": row.interpolation,
            "resize_mode": {"shorter-side": "shortest"}.get(row.resize, row.resize),
        },
    }  # fmt: skip
    return {
        "open_clip_config.json": json.dumps(content).encode(),
        "open_clip_model.safetensors": scratch.read_bytes(),
        **(vocabulary(*specials) if specials else {}),
    }


def run(*arguments):
    result = CliRunner().invoke(main, [*map(str, arguments)])
    assert result.exit_code == 0, result.stderr
    return result


@pytest.mark.parametrize("name", MODELS)
def test_from_its_name_to_an_answer(name, tmp_path, monkeypatch, pictures):
    row = releases.get(name)
    for variable in ("HF_HUB_OFFLINE", "HF_TOKEN", "KESHIN_DEBUG"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with serve({row.repo: published(name, tmp_path / "made.safetensors")}) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        run("pull", name)
    model = keshin.load(name, threads=1)
    facts = model.config
    assert facts.name == name
    assert facts.licence == row.licence
    assert facts.tokenizer.cleaning == row.cleaning
    assert facts.score.kind == row.score
    assert (facts.text.pool, facts.text.context_length) == (row.pool, row.context_length)

    vectors = model.encode_texts(["A cat!", "a_dog", "猫の写真"])
    assert np.isfinite(vectors).all()
    assert abs(vectors[0] - vectors[1]).max() > 1e-3
    found = model.classifier(["cat", "dog"], templates="a {}").predict([pictures / "red.png"])
    assert len(found) == 1

    info = json.loads(run("info", name, "-f", "json").stdout)
    assert info["facts"]["tokenizer"]["cleaning"] == row.cleaning
    assert info["commit"]
    assert name in run("info", name).stdout
    # The small sizes differ from the table's; what else does is known to the table as uncertain.
    differing = {sentence.partition(":")[0] for sentence in info["uncertain"] if "says" in sentence}
    known = {sentence.partition(":")[0] for sentence in row.uncertain}
    assert differing - {"image_size", "embed_dim"} <= known


def test_the_release_that_is_named_fills_only_what_the_files_leave_open(tmp_path):
    """The facts of SigLIP's rows are no bare weights', and the table's GELU is not OpenCLIP's."""
    name = "siglip/ViT-B-16"
    folder = tmp_path / "mine"
    folder.mkdir()
    files = published(name, tmp_path / "made.safetensors")
    content = json.loads(files["open_clip_config.json"])
    del content["preprocess_cfg"]
    files["open_clip_config.json"] = json.dumps(content).encode()
    for file, data in files.items():
        (folder / file).write_bytes(data)
    with pytest.raises(keshin.CheckpointError, match=r"\n  mean: .*\n  std: "):
        keshin.load(folder)
    model = keshin.load(folder, facts=name, threads=1)
    assert model.config.preprocess.mean == (0.5, 0.5, 0.5)
    assert model.config.vision.activation == "gelu"
