"""A model as transformers saves and loads it: ``CLIPModel`` or ``SiglipModel``, and a processor.

The inverse of ``transformers.py`` and ``transformers_siglip.py``. The kind of image tower decides
the class; what the class fixes (causal text, pooling, score) must be so here too.
"""

from __future__ import annotations

import string
from typing import Any

import msgspec

from keshin.core.config import (
    Config,
    PooledVisionTransformer,
    TextTransformer,
    VisionTransformer,
)
from keshin.core.foreign.keys import KeyTable
from keshin.core.foreign.outward import Outward, refuse
from keshin.core.foreign.preprocessor import FILES, RESAMPLE
from keshin.core.foreign.transformers import LEGACY_END, TRANSFORMERS_KEYS
from keshin.core.foreign.transformers_common import CONFIG, WEIGHTS
from keshin.core.foreign.transformers_siglip import SIGLIP_KEYS
from keshin.core.foreign.write_vocabulary import SETTINGS, is_of_clips_kind, tokenizer_settings
from keshin.core.stated import FILE as STATEMENT
from keshin.core.tokenizer import END, START, Tokenizer
from keshin.errors import CheckpointError

LAYOUT = "transformers"
ACTIVATIONS = {"gelu_tanh": "gelu_pytorch_tanh"}
"""Where transformers has other names than the fact sheet."""
LOWER = {"type": "Lowercase"}
CANONICAL = (
    {"type": "Replace", "pattern": {"String": "_"}, "content": " "},
    *(
        {"type": "Replace", "pattern": {"String": sign}, "content": ""}
        for sign in string.punctuation
        if sign != "_"
    ),
    LOWER,
    {"type": "Replace", "pattern": {"Regex": r"\s+"}, "content": " "},
    {"type": "Strip", "strip_left": True, "strip_right": True},
)
STEPS: dict[str, tuple[Any, ...]] = {"lower": (LOWER,), "canonical": CANONICAL}
"""What a SigLIP tokenizer's file must do first, since its class is a plain one."""


def to_transformers(config: Config, tokenizer: Tokenizer, dtype: str) -> Outward:
    """``dtype`` as PyTorch names it. Raises ``CheckpointError`` for what the classes lack."""
    vision, text = config.vision, config.text
    if not isinstance(text, TextTransformer):
        raise _no(config, "its CLIP and SigLIP classes have no XLM-R text tower", "onnx, keshin")
    if vision.image_size[0] != vision.image_size[1]:
        raise _no(config, "its classes take square pictures only", "openclip, onnx, keshin")
    if isinstance(vision, VisionTransformer):
        return _clip(config, vision, text, tokenizer, dtype)
    if isinstance(vision, PooledVisionTransformer):
        return _siglip(config, vision, text, tokenizer, dtype)
    others = "openclip, onnx, keshin" if hasattr(vision, "heads") else "onnx, keshin"
    raise _no(config, "its CLIP has ViT image towers only, and this is a ResNet", others)


def _no(config: Config, reason: str, others: str) -> CheckpointError:
    return refuse(config, LAYOUT, reason, others)


def _clip(
    config: Config, vision: VisionTransformer, text: TextTransformer, words: Tokenizer, dtype: str
) -> Outward:
    causal = text.causal and text.pool == "end-of-text" and not text.projection_bias
    if not causal or config.score.kind != "softmax":
        raise _no(
            config,
            "its CLIPModel has a causal text tower read at the end of the text, a projection "
            "without bias, and softmax scores",
            "openclip, onnx, keshin",
        )
    named = words.backend.token_to_id(START) == words.facts.start
    if not named or not is_of_clips_kind(words) or words.backend.token_to_id(END) == LEGACY_END:
        raise _no(config, "its CLIP tokenizer is of OpenAI's kind only", "openclip, onnx, keshin")
    sheet = {
        "architectures": ["CLIPModel"],
        "model_type": "clip",
        "projection_dim": config.embed_dim,
        "torch_dtype": dtype,
        "text_config": {
            "model_type": "clip_text_model",
            **_text(text, words),
            "projection_dim": config.embed_dim,
        },
        "vision_config": {
            "model_type": "clip_vision_model",
            **_vision(vision),
            "projection_dim": config.embed_dim,
        },
    }
    notes = (
        "transformers prepares texts without OpenAI's mending (ftfy, HTML entities): texts that "
        "need none give the same tokens.",
        "transformers ignores the EXIF rotation of photographs, which keshin applies.",
    )
    return _folder(
        TRANSFORMERS_KEYS, sheet, _pictures(config, "CLIP"),
        tokenizer_settings(config, words, "CLIPTokenizer"), {}, notes,
    )  # fmt: skip


def _siglip(
    config: Config,
    vision: PooledVisionTransformer,
    text: TextTransformer,
    words: Tokenizer,
    dtype: str,
) -> Outward:
    same = not text.causal and text.pool == "last" and text.projection_bias
    if not same or config.score.kind != "sigmoid":
        raise _no(
            config,
            "its SiglipModel has a text tower that sees everything and is read at the last place, "
            "a projection with bias, and sigmoid scores",
            "openclip, onnx, keshin",
        )
    if words.facts.cleaning not in STEPS:
        raise _no(
            config, f"its SigLIP has no cleaning like '{words.facts.cleaning}'", "onnx, keshin"
        )
    sheet = {
        "architectures": ["SiglipModel"],
        "model_type": "siglip",
        "torch_dtype": dtype,
        "text_config": {
            "model_type": "siglip_text_model",
            **_text(text, words),
            "projection_size": config.embed_dim,
        },
        "vision_config": {
            "model_type": "siglip_vision_model",
            **_vision(vision),
            "vision_use_head": True,
        },
    }
    settings = tokenizer_settings(config, words, "PreTrainedTokenizerFast")
    notes = (
        f"Texts must be filled to {text.context_length} tokens (padding='max_length').",
        "transformers ignores the EXIF rotation of photographs, which keshin applies.",
    )
    extra = {STATEMENT: {"cleaning": words.facts.cleaning}, "tokenizer.json": _cleaning_file(words)}
    return _folder(SIGLIP_KEYS, sheet, _pictures(config, "Siglip"), settings, extra, notes)


def _folder(
    table: KeyTable,
    sheet: Any,
    pictures: Any,
    settings: dict[str, Any],
    extra: dict[str, Any],
    notes: tuple[str, ...],
) -> Outward:
    return Outward(
        table=table,
        weights=WEIGHTS[0],
        sheets={CONFIG: sheet, FILES[0]: pictures, SETTINGS: settings, **extra},
        vocabulary="tokenizer.json" not in extra,
        notes=notes,
    )


def _text(text: TextTransformer, words: Tokenizer) -> dict[str, Any]:
    facts = words.facts
    return {
        **_blocks(text),
        "vocab_size": text.vocab_size,
        "max_position_embeddings": text.context_length,
        "bos_token_id": facts.start,
        "eos_token_id": facts.end,
        "pad_token_id": facts.end if text.trims else facts.pad,
    }


def _vision(vision: VisionTransformer | PooledVisionTransformer) -> dict[str, Any]:
    return {
        **_blocks(vision),
        "image_size": vision.image_size[0],
        "patch_size": vision.patch_size,
        "num_channels": 3,
    }


def _blocks(
    part: VisionTransformer | PooledVisionTransformer | TextTransformer,
) -> dict[str, Any]:
    return {
        "hidden_size": part.width,
        "intermediate_size": part.mlp_width,
        "num_hidden_layers": part.layers,
        "num_attention_heads": part.heads,
        "hidden_act": ACTIVATIONS.get(part.activation, part.activation),
        "layer_norm_eps": part.layer_norm_eps,
        "attention_dropout": 0.0,
    }


def _pictures(config: Config, family: str) -> dict[str, Any]:
    """``preprocessor_config.json``; SigLIP's processor of transformers has no crop."""
    facts = config.preprocess
    height, width = facts.size
    sides = {"height": height, "width": width}
    crop = facts.resize == "shorter-side"
    if crop and family == "Siglip":
        raise _no(config, "its SigLIP scales both sides and cuts nothing", "openclip, onnx, keshin")
    return {
        "image_processor_type": f"{family}ImageProcessor",
        "processor_class": f"{family}Processor",
        "do_resize": True,
        "size": {"shortest_edge": height} if crop else sides,
        "resample": {name: number for number, name in RESAMPLE.items()}[facts.interpolation],
        **({"do_center_crop": crop, "crop_size": sides} if crop else {"do_center_crop": False}),
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(facts.mean),
        "image_std": list(facts.std),
        "do_convert_rgb": True,
    }


def _cleaning_file(words: Tokenizer) -> Any:
    """``tokenizer.json`` that cleans texts itself; cleaning twice changes nothing."""
    file = msgspec.json.decode(words.backend.to_str())
    steps = [*STEPS[words.facts.cleaning]]
    if file["normalizer"] is not None:
        steps.append(file["normalizer"])
    file["normalizer"] = {"type": "Sequence", "normalizers": steps}
    return file
