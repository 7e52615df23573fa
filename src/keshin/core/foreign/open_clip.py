"""OpenCLIP's layout: ``open_clip_config.json`` and its weights, as ``open_clip`` 3 saves them.

Absent options have the value that OpenCLIP gives them, since its files leave out what is usual.
Every option must be known: one that would change an answer and is not supported is an error.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from keshin.core.foreign.assembly import ForeignModel, Layout, assemble
from keshin.core.foreign.keys import KeyTable
from keshin.core.foreign.known import Known
from keshin.core.foreign.open_clip_options import (
    INTERPOLATION,
    POOLS,
    RESIZE,
    ModelOptions,
    PictureOptions,
    TextOptions,
    VisionOptions,
    check_options,
)
from keshin.core.foreign.openai import OPENAI_KEYS, TEXT_NAMES, VISION_NAMES, rows
from keshin.core.foreign.weights import find_weights, read_json, read_weights, sides, structured
from keshin.core.tokenizer import Tokenizer
from keshin.errors import CheckpointError

CONFIG = "open_clip_config.json"
WEIGHTS = (
    "open_clip_model.safetensors",
    "open_clip_model.safetensors.index.json",
    "open_clip_pytorch_model.bin",
)
END_ID = 49407  # of OpenAI's tokenizer, which these models use
OpenCLIP = TypeVar("OpenCLIP", bound=msgspec.Struct)

OPEN_CLIP_KEYS = KeyTable("OpenCLIP", OPENAI_KEYS.rows, OPENAI_KEYS.ignored)
OPEN_CLIP_CUSTOM_TEXT_KEYS = KeyTable(
    "OpenCLIP (custom_text)",
    (*rows(("logit_scale", *VISION_NAMES)), *rows(TEXT_NAMES, prefix="text.")),
    ignored=OPENAI_KEYS.ignored,
)


def read_open_clip(path: Path, facts: Mapping[str, Any] | None = None) -> ForeignModel:
    """Read a folder with ``open_clip_config.json``."""
    origin = str(path / CONFIG)
    sheet = read_json(path / CONFIG)
    known = Known(path, facts)
    model = _options(sheet.get("model_cfg"), ModelOptions, f"{origin}: model_cfg")
    known.say("activation", "quick_gelu" if model.quick_gelu else "gelu", origin)
    vision = _vision(model.vision_cfg, known, f"{origin}: vision_cfg")
    text = _text(model.text_cfg, known, f"{origin}: text_cfg")
    _picture(
        sheet.get("preprocess_cfg", {}), vision["image_size"], known, f"{origin}: preprocess_cfg"
    )
    known.say("tokenizer", "clip", origin)
    weights = find_weights(path, WEIGHTS)
    stored = read_weights(weights)
    custom = any(name.startswith("text.") for name in stored)
    table = OPEN_CLIP_CUSTOM_TEXT_KEYS if custom else OPEN_CLIP_KEYS
    tensors = table.import_tensors(stored, origin=str(weights))
    tokenizer = Tokenizer.clip(text["context_length"])
    towers = {"embed_dim": model.embed_dim, "vision": vision, "text": text}
    return assemble(known, table, tensors, tokenizer, towers)


def _options(part: Any, kind: type[OpenCLIP], origin: str) -> OpenCLIP:
    options = structured(part, kind, origin)
    check_options(part, kind, origin)
    return options


def _vision(part: Any, known: Known, origin: str) -> dict[str, Any]:
    options = _options(part, VisionOptions, origin)
    image_size = sides(options.image_size)
    if isinstance(options.layers, list):
        return {
            "kind": "modified-resnet",
            "image_size": image_size,
            "width": options.width,
            "layers": options.layers,
            "heads": options.width * 32 // options.head_width,
        }
    return {
        "kind": "vit",
        "image_size": image_size,
        "patch_size": options.patch_size,
        **_blocks(options, options.width // options.head_width, known, origin),
    }


def _text(part: Any, known: Known, origin: str) -> dict[str, Any]:
    options = _options(part, TextOptions, origin)
    pool = options.pool_type
    if pool not in POOLS or (pool == "eos" and options.eos_id != END_ID):
        raise CheckpointError(
            f"{origin} sets 'pool_type' to {pool!r} and 'eos_id' to {options.eos_id}. keshin "
            f"supports {', '.join(POOLS)}, with the id {END_ID} of OpenAI's end of text."
        )
    return {
        "kind": "transformer",
        "context_length": options.context_length,
        "vocab_size": options.vocab_size,
        **_blocks(options, options.heads, known, origin),
        "causal": known.say("causal", not options.no_causal_mask, origin),
        "pool": known.say("pool", POOLS[pool], origin),
    }


def _blocks(
    options: VisionOptions | TextOptions, heads: int, known: Known, origin: str
) -> dict[str, Any]:
    """What both Transformers state."""
    norm = dict(options.norm_kwargs or {})
    epsilon = known.say("layer_norm_eps", norm.pop("eps", 1e-5), origin)
    if norm:
        raise CheckpointError(
            f"{origin} sets 'norm_kwargs' to {options.norm_kwargs!r}; keshin supports 'eps' only."
        )
    return {
        "width": options.width,
        "layers": options.layers,
        "heads": heads,
        "mlp_width": int(options.width * options.mlp_ratio),
        **known.require(["activation"]),
        "layer_norm_eps": epsilon,
    }


def _picture(part: Any, image_size: list[int], known: Known, origin: str) -> None:
    options = _options(part, PictureOptions, origin)
    for fact, colours in (("mean", options.mean), ("std", options.std)):
        if colours is not None:
            known.say(fact, [colours] * 3 if isinstance(colours, float) else colours, origin)
    resize, interpolation = options.resize_mode or "shortest", options.interpolation or "bicubic"
    for name, value, choices in (
        ("resize_mode", resize, RESIZE),
        ("interpolation", interpolation, INTERPOLATION),
    ):
        if value not in choices:
            raise CheckpointError(
                f"{origin} sets '{name}' to {value!r}, which keshin does not support yet: it has "
                f"{', '.join(choices)}."
            )
    known.say("resize", RESIZE[resize], origin)
    known.say("interpolation", INTERPOLATION[interpolation], origin)
    if options.size is not None and sides(options.size) != image_size:
        raise CheckpointError(
            f"{origin} sets 'size' to {sides(options.size)}, but vision_cfg's image_size is "
            f"{image_size}. Correct the one that is wrong."
        )
    if options.mode != "RGB":
        raise CheckpointError(f"{origin} sets 'mode' to {options.mode!r}; keshin has 'RGB' only.")
    if resize == "shortest" and image_size[0] != image_size[1]:
        raise CheckpointError(
            f"{origin}: OpenCLIP resizes to an 'image_size' of {image_size} by a rule of its own, "
            "which keshin does not support yet. Square pictures and 'squash' are."
        )


OPEN_CLIP = Layout(
    "OpenCLIP", f"a folder with {CONFIG}", lambda path: (path / CONFIG).is_file(), read_open_clip
)
