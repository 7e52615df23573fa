"""What CLIP's and SigLIP's folders of transformers have in common."""

from __future__ import annotations

from typing import Any

import msgspec

from keshin.core.config import Positive
from keshin.core.foreign.keys import Row
from keshin.core.foreign.known import Known
from keshin.core.foreign.weights import sides
from keshin.errors import CheckpointError

CONFIG = "config.json"
WEIGHTS = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)

BLOCK_ROWS: tuple[Row, ...] = (
    ("self_attn.{qkv}_proj.weight", "attn.in_proj_weight", "concat"),
    ("self_attn.{qkv}_proj.bias", "attn.in_proj_bias", "concat"),
    ("self_attn.out_proj.weight", "attn.out_proj.weight", "same"),
    ("self_attn.out_proj.bias", "attn.out_proj.bias", "same"),
    ("layer_norm1.weight", "ln_1.weight", "same"),
    ("layer_norm1.bias", "ln_1.bias", "same"),
    ("mlp.fc1.weight", "mlp.c_fc.weight", "same"),
    ("mlp.fc1.bias", "mlp.c_fc.bias", "same"),
    ("mlp.fc2.weight", "mlp.c_proj.weight", "same"),
    ("mlp.fc2.bias", "mlp.c_proj.bias", "same"),
    ("layer_norm2.weight", "ln_2.weight", "same"),
    ("layer_norm2.bias", "ln_2.bias", "same"),
)


def block_rows(foreign: str, ours: str) -> tuple[Row, ...]:
    """The rows of all blocks of one tower."""
    return tuple((foreign + theirs, ours + name, how) for theirs, name, how in BLOCK_ROWS)


class TowerOptions(msgspec.Struct):
    """What is read of both towers' options."""

    hidden_size: Positive
    intermediate_size: Positive
    num_hidden_layers: Positive = 12
    num_attention_heads: Positive = 12
    hidden_act: str = "quick_gelu"
    layer_norm_eps: float = 1e-5


ACTIVATIONS = {"gelu_pytorch_tanh": "gelu_tanh", "gelu_fast": "gelu_tanh", "gelu_new": "gelu_tanh"}
"""Where transformers has other names than the fact sheet."""


def tower_facts(options: TowerOptions, known: Known, origin: str) -> dict[str, Any]:
    """The part of the fact sheet that every tower has."""
    activation = ACTIVATIONS.get(options.hidden_act, options.hidden_act)
    return {
        "width": options.hidden_size,
        "layers": options.num_hidden_layers,
        "heads": options.num_attention_heads,
        "mlp_width": options.intermediate_size,
        "activation": known.say("activation", activation, f"{origin}.hidden_act"),
        "layer_norm_eps": known.say("layer_norm_eps", options.layer_norm_eps, origin),
    }


def patch_side(size: int | list[int], channels: int, origin: str) -> int:
    """The side of the patches, which must be square and have three channels."""
    patch = sides(size)
    if channels != 3 or len(set(patch)) != 1:
        raise CheckpointError(
            f"{origin}: vision_config has patches of {patch} and {channels} "
            "channels; keshin supports square patches of three."
        )
    return patch[0]
