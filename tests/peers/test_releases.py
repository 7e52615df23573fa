"""Every row of the table of releases says what OpenCLIP's own registry says."""

import pytest

open_clip = pytest.importorskip("open_clip")

from keshin.core.foreign.open_clip_options import (  # noqa: E402
    ModelOptions,
    TextOptions,
    VisionOptions,
    check_options,
)
from keshin.core.foreign.open_clip_towers import check_towers  # noqa: E402
from keshin.core.foreign.weights import structured  # noqa: E402
from keshin.facts.releases import releases  # noqa: E402

pytestmark = [pytest.mark.peers, pytest.mark.filterwarnings("ignore")]
ROWS = list(releases().values())
RESIZE = {"shortest": "shorter-side", "squash": "squash"}
TOKENIZERS = {  # vocabulary -> ours
    49408: "clip", 32000: "siglip", 250000: "mt5", 256000: "gemma",
}  # fmt: skip
POOLS = {"argmax": "end-of-text", "last": "last"}


def model_config(row):
    config = open_clip.get_model_config(row.architecture)
    assert config, f"open_clip has no model {row.architecture}"
    return config


@pytest.mark.parametrize("row", ROWS, ids=[row.name for row in ROWS])
def test_registry(row):
    config = open_clip.pretrained.get_pretrained_cfg(row.architecture, row.tag)
    assert config, f"open_clip has no weights {row.architecture}:{row.tag}"
    assert config["hf_hub"].rstrip("/") == row.repo
    assert tuple(config["mean"]) == row.mean
    assert tuple(config["std"]) == row.std
    assert config["interpolation"] == row.interpolation
    assert RESIZE[config["resize_mode"]] == row.resize
    assert config.get("quick_gelu", False) == (row.activation == "quick_gelu")
    if row.original:
        assert f"/{row.original.sha256}/{row.original.file}" in config["url"]


@pytest.mark.parametrize("row", ROWS, ids=[row.name for row in ROWS])
def test_architecture(row):
    config = model_config(row)
    vision, text = config["vision_cfg"], config["text_cfg"]
    assert vision["image_size"] == row.image_size
    assert config["embed_dim"] == row.embed_dim
    if "timm_model_name" not in vision:
        assert vision.get("head_width", 64) == row.head_width
    if "hf_model_name" in text:
        assert text["hf_model_name"].startswith(row.tokenizer)
        assert text["hf_pooler_type"] == "mean_pooler"
        assert (row.pool, row.causal) == ("mean", False)
        return
    assert text["context_length"] == row.context_length
    assert TOKENIZERS[text["vocab_size"]] == row.tokenizer
    assert text.get("no_causal_mask", False) != row.causal
    assert POOLS[text.get("pool_type", "argmax")] == row.pool
    assert text.get("norm_kwargs", {}).get("eps", 1e-5) == row.layer_norm_eps
    clean = text.get("tokenizer_kwargs", {}).get("clean", "lower")
    assert {"lower": "clip", "canonicalize": "canonical"}[clean] == row.cleaning
    assert ("init_logit_bias" in config) == row.logit_bias
    if row.text_head_width:
        assert text["width"] // text["heads"] == row.text_head_width


@pytest.mark.parametrize("row", ROWS, ids=[row.name for row in ROWS])
def test_the_reader_has_all_that_the_architecture_asks_for(row):
    config = model_config(row)
    towers = []
    for part, kind in (
        (config, ModelOptions), (config["vision_cfg"], VisionOptions),
        (config["text_cfg"], TextOptions),
    ):  # fmt: skip
        check_options(part, kind, row.architecture)
        towers.append(structured(part, kind, row.architecture))
    check_towers(towers[1], towers[2], row.architecture)
