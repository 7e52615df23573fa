"""OpenCLIP's options of the two towers, as the fact sheet states them.

OpenCLIP's own towers are described by their options. Of the towers of other packages a file gives
the name only; their shapes are read off the tensors, and what shapes do not show is in the tables
of ``open_clip_options.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from keshin.core.config import Activation
from keshin.core.foreign.keys import Array
from keshin.core.foreign.known import Known
from keshin.core.foreign.open_clip_options import (
    HUGGING_FACE,
    POOLS,
    TIMM,
    TextOptions,
    VisionOptions,
)
from keshin.core.foreign.openai import count_blocks
from keshin.core.foreign.weights import sides
from keshin.core.tokenizer import Tokenizer
from keshin.errors import CheckpointError

ROBERTA_EPS, TIMM_EPS = 1e-5, 1e-6
BLOCKS, VISUAL_BLOCKS = "transformer.resblocks.", "visual.transformer.resblocks."


def check_towers(vision: VisionOptions, text: TextOptions, origin: str) -> None:
    """Refuse towers of other packages that keshin does not have."""
    name, head = vision.timm_model_name, (vision.timm_pool, vision.timm_proj)
    if name is not None and (name not in TIMM or head != ("map", "none")):
        raise CheckpointError(
            f"{origin}: vision_cfg sets 'timm_model_name' to '{name}' with 'timm_pool' "
            f"{head[0]!r} and 'timm_proj' {head[1]!r}. keshin supports timm's SigLIP towers with "
            "'map' and 'none'."
        )
    if text.proj_type not in ("linear", "none"):
        raise CheckpointError(
            f"{origin}: text_cfg sets 'proj_type' to {text.proj_type!r}. keshin supports 'linear' "
            "and 'none'."
        )
    name, head = text.hf_model_name, (text.hf_pooler_type, text.hf_proj_type)
    if name is not None and (name not in HUGGING_FACE or head != ("mean_pooler", "mlp")):
        raise CheckpointError(
            f"{origin}: text_cfg sets 'hf_model_name' to '{name}' with 'hf_pooler_type' "
            f"{head[0]!r} and 'hf_proj_type' {head[1]!r}. keshin supports "
            f"{', '.join(HUGGING_FACE)} with 'mean_pooler' and 'mlp'."
        )


def vision_facts(
    options: VisionOptions, tensors: Mapping[str, Array], quick: bool, known: Known, origin: str
) -> dict[str, Any]:
    """The image tower. ``tensors`` have our names already."""
    image_size = sides(options.image_size)
    if options.timm_model_name is not None:
        return {**_timm(options, tensors, known, origin), "image_size": image_size}
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
        **_blocks(options, options.width // options.head_width, quick, known, origin),
    }


def _timm(
    options: VisionOptions, tensors: Mapping[str, Array], known: Known, origin: str
) -> dict[str, Any]:
    heads, activation = TIMM[options.timm_model_name or ""]
    return {
        "kind": "vit-attention-pool",
        "patch_size": _shape(tensors, "visual.conv1.weight", origin)[-1],
        **_shapes_of_blocks(tensors, VISUAL_BLOCKS, origin),
        "heads": heads,
        "activation": known.say("activation", activation, f"{origin}.timm_model_name"),
        "layer_norm_eps": known.say("layer_norm_eps", TIMM_EPS, f"{origin}.timm_model_name"),
    }


def text_facts(
    options: TextOptions,
    tensors: Mapping[str, Array],
    tokenizer: Tokenizer,
    quick: bool,
    known: Known,
    origin: str,
) -> dict[str, Any]:
    """The text tower. ``tensors`` have our names already."""
    if options.hf_model_name is not None:
        return _hugging_face(options, tensors, tokenizer, known, origin)
    return {
        "kind": "transformer",
        "context_length": options.context_length,
        "vocab_size": options.vocab_size,
        **_blocks(options, options.heads, quick, known, origin),
        "causal": known.say("causal", not options.no_causal_mask, origin),
        "pool": known.say("pool", _pool(options, tokenizer, origin), origin),
        "projection_bias": options.proj_bias and options.proj_type == "linear",
    }


def without_projection(
    options: TextOptions, tensors: Mapping[str, Array], embed_dim: int, origin: str
) -> dict[str, Array]:
    """What stands for the projection that a text tower does not have: the identity, which changes
    no bit. Nothing for the others.
    """
    if options.proj_type == "linear" or options.hf_model_name is not None:
        return {}
    if options.width != embed_dim or "text_projection" in tensors:
        raise CheckpointError(
            f"{origin} sets 'proj_type' to 'none', so that the width {options.width} must be "
            f"embed_dim, which is {embed_dim}, and the weights must hold no projection."
        )
    return {"text_projection": np.eye(embed_dim, dtype=np.float32)}


def _pool(options: TextOptions, tokenizer: Tokenizer, origin: str) -> str:
    """At 'argmax' the text's feature is that of its largest id, at 'eos' that of ``eos_id``."""
    end, pool = tokenizer.facts.end, options.pool_type
    places = {"argmax": tokenizer.vocab_size - 1, "eos": options.eos_id}
    if pool not in POOLS or places.get(pool, end) != end:
        raise CheckpointError(
            f"{origin} sets 'pool_type' to {pool!r} and 'eos_id' to {options.eos_id}, but the "
            f"tokenizer, of {tokenizer.vocab_size} ids, ends texts with {end}. keshin supports "
            f"{', '.join(POOLS)}, where 'argmax' and 'eos' are the end of the text."
        )
    return POOLS[pool]


def _hugging_face(
    options: TextOptions,
    tensors: Mapping[str, Array],
    tokenizer: Tokenizer,
    known: Known,
    origin: str,
) -> dict[str, Any]:
    return {
        "kind": "roberta",
        "context_length": options.context_length,
        "vocab_size": _shape(tensors, "token_embedding.weight", origin)[0],
        "positions": _shape(tensors, "positional_embedding", origin)[0],
        "pad": tokenizer.facts.pad,
        **_shapes_of_blocks(tensors, BLOCKS, origin),
        "heads": HUGGING_FACE[options.hf_model_name or ""],
        "activation": known.say("activation", "gelu", f"{origin}.hf_model_name"),
        "layer_norm_eps": known.say("layer_norm_eps", ROBERTA_EPS, f"{origin}.hf_model_name"),
        "pool": "mean",
        "projection_width": _shape(tensors, "text_projection.c_fc.weight", origin)[0],
    }


def _blocks(
    options: VisionOptions | TextOptions, heads: int, quick: bool, known: Known, origin: str
) -> dict[str, Any]:
    """What both of OpenCLIP's own Transformers state."""
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
        "activation": known.say("activation", _activation(options, quick, origin), origin),
        "layer_norm_eps": epsilon,
    }


def _activation(options: VisionOptions | TextOptions, quick: bool, origin: str) -> Activation:
    details = options.act_kwargs or {}
    if not details:
        return "quick_gelu" if quick else "gelu"
    if details == {"approximate": "tanh"} and not quick:
        return "gelu_tanh"
    raise CheckpointError(
        f"{origin} sets 'act_kwargs' to {details!r}, with 'quick_gelu' {quick}. keshin supports "
        "GELU, GELU with {'approximate': 'tanh'} and QuickGELU."
    )


def _shapes_of_blocks(tensors: Mapping[str, Array], prefix: str, origin: str) -> dict[str, Any]:
    inner, width = _shape(tensors, f"{prefix}0.mlp.c_fc.weight", origin)
    return {"width": width, "layers": count_blocks(tensors, prefix), "mlp_width": inner}


def _shape(tensors: Mapping[str, Array], name: str, origin: str) -> tuple[int, ...]:
    if name not in tensors:
        raise CheckpointError(f"{origin}: the weights lack what is '{name}' in keshin's names.")
    return tensors[name].shape
