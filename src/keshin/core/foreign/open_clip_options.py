"""Every option of ``open_clip_config.json``: read, without effect, or supported at one value only.

The usual values are those of ``open_clip`` 3.3, whose files leave them out.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import msgspec

from keshin.core.cleaning import CleaningName
from keshin.core.config import Activation, Positive
from keshin.core.foreign.known import Colours
from keshin.errors import CheckpointError


class ModelOptions(msgspec.Struct):
    """What is read of ``model_cfg``."""

    embed_dim: Positive
    vision_cfg: dict[str, Any]
    text_cfg: dict[str, Any]
    quick_gelu: bool = False
    init_logit_bias: float | None = None


class VisionOptions(msgspec.Struct):
    """What is read of ``vision_cfg``."""

    layers: Positive | list[Positive] = 12
    width: Positive = 768
    head_width: Positive = 64
    mlp_ratio: float = 4.0
    patch_size: Positive | None = 16
    image_size: Positive | list[Positive] = 224
    norm_kwargs: dict[str, Any] | None = None
    act_kwargs: dict[str, Any] | None = None
    timm_model_name: str | None = None
    timm_pool: str = "avg"
    timm_proj: str = "linear"


class TextOptions(msgspec.Struct):
    """What is read of ``text_cfg``."""

    context_length: Positive = 77
    vocab_size: Positive = 49408
    width: Positive = 512
    heads: Positive = 8
    layers: Positive = 12
    mlp_ratio: float = 4.0
    norm_kwargs: dict[str, Any] | None = None
    no_causal_mask: bool = False
    act_kwargs: dict[str, Any] | None = None
    pool_type: str = "argmax"
    eos_id: int = 2
    proj_bias: bool = False
    proj_type: str = "linear"
    hf_model_name: str | None = None
    hf_pooler_type: str = "mean_pooler"
    hf_proj_type: str = "mlp"
    hf_tokenizer_name: str | None = None
    tokenizer_kwargs: dict[str, Any] | None = None


class PictureOptions(msgspec.Struct):
    """What is read of ``preprocess_cfg``. Mean and std must be stated."""

    size: Positive | list[Positive] | None = None
    mode: str = "RGB"
    mean: float | Colours | None = None
    std: float | Colours | None = None
    interpolation: str | None = None
    resize_mode: str | None = None


POOLS = {"argmax": "end-of-text", "eos": "end-of-text", "last": "last", "first": "first"}
RESIZE = {"shortest": "shorter-side", "squash": "squash"}
CLEANING: dict[str, CleaningName] = {
    "whitespace": "mend",
    "canonicalize": "canonical",
    "lower": "clip",
}
"""What ``tokenizer_kwargs`` calls 'clean'; for tokenizers of transformers only. 'lower' is OpenAI's
rule, and keshin has it for byte pairs of OpenAI's kind."""
TIMM: dict[str, tuple[int, Activation]] = {
    "vit_base_patch16_siglip_224": (12, "gelu"),
    "vit_base_patch16_siglip_256": (12, "gelu"),
    "vit_base_patch16_siglip_384": (12, "gelu"),
    "vit_base_patch16_siglip_512": (12, "gelu"),
    "vit_base_patch32_siglip_256": (12, "gelu_tanh"),
    "vit_large_patch16_siglip_256": (16, "gelu"),
    "vit_large_patch16_siglip_384": (16, "gelu"),
    "vit_large_patch16_siglip_512": (16, "gelu_tanh"),
    "vit_so400m_patch14_siglip_224": (16, "gelu"),
    "vit_so400m_patch14_siglip_378": (16, "gelu"),
    "vit_so400m_patch14_siglip_384": (16, "gelu"),
    "vit_so400m_patch16_siglip_256": (16, "gelu_tanh"),
    "vit_so400m_patch16_siglip_384": (16, "gelu_tanh"),
    "vit_so400m_patch16_siglip_512": (16, "gelu_tanh"),
    "vit_giantopt_patch16_siglip_256": (16, "gelu_tanh"),
    "vit_giantopt_patch16_siglip_384": (16, "gelu_tanh"),
}
"""Heads and activation of timm's image towers (timm 1.0.31); the tensors' shapes show the rest."""
HUGGING_FACE: dict[str, int] = {
    "xlm-roberta-base": 12,
    "xlm-roberta-large": 16,
    "FacebookAI/xlm-roberta-base": 12,
    "FacebookAI/xlm-roberta-large": 16,
}
"""Heads of transformers' text towers; the tensors' shapes show the rest."""
INTERPOLATION = {"bicubic": "bicubic", "bilinear": "bilinear", "random": "bicubic"}

# No effect on a finished model all of whose other options are supported.
IDLE = {
    ModelOptions: (
        "custom_text",
        "init_logit_scale",
        "nonscalar_logit_scale",
        "output_dict",
        "cast_dtype",
    ),
    VisionOptions: (
        "patch_dropout",
        "output_tokens",
        "image_seq_len",
        "attn_pooler_queries",
        "attn_pooler_heads",
        "timm_model_pretrained",
        "timm_proj_bias",
        "timm_drop",
        "timm_drop_path",
        "timm_model_kwargs",
    ),
    TextOptions: (
        "pad_id",
        "bos_id",
        "output_tokens",
        "hf_model_pretrained",
        "hf_model_config",
    ),
    PictureOptions: ("fill_color",),
}
# An effect that keshin does not have: supported at OpenCLIP's usual value only.
TOWERS_FIXED: dict[str, Any] = {
    "ls_init_value": None,
    "final_ln_after_pool": False,
    "block_type": None,
    "qk_norm": False,
    "scaled_cosine_attn": False,
    "scale_heads": False,
    "scale_attn_inner": False,
    "scale_attn": False,
    "scale_fc": False,
}
FIXED: dict[type, dict[str, Any]] = {
    ModelOptions: {},
    VisionOptions: {
        **TOWERS_FIXED,
        "attentional_pool": False,
        "no_ln_pre": False,
        "pos_embed_type": "learnable",
        "pool_type": "tok",
    },
    TextOptions: {
        **TOWERS_FIXED,
        "text_arch": "clip",
        "variable_text": False,
        "tokenizer_mode": None,
        "tokenizer_type": "",
        "embed_cls": False,
    },
    PictureOptions: {},
}


def check_options(part: Mapping[str, Any], kind: type[msgspec.Struct], origin: str) -> None:
    """Refuse options that would change an answer and are not supported, or are not known."""
    known: Collection[str] = (*kind.__struct_fields__, *IDLE[kind])
    for name, value in part.items():
        if name in FIXED[kind]:
            usual = FIXED[kind][name]
            if value != usual and (value or usual):  # {} and None, 0 and False are one
                raise CheckpointError(
                    f"{origin} sets '{name}' to {value!r}, which keshin does not support yet: "
                    f"only {usual!r} is."
                )
        elif name not in known:
            raise CheckpointError(
                f"{origin} sets '{name}' (to {value!r}), which keshin does not know, so that it "
                "cannot tell what the model computes."
            )
