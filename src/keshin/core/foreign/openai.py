"""OpenAI's layout: one file of weights, under the names that keshin uses too.

The file states shapes and nothing else, so what the shapes do not show must be stated beside it.
Source: the released models and ``build_model`` of openai/CLIP.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import isqrt
from pathlib import Path
from typing import Any

from keshin.core.config import parse_config
from keshin.core.foreign.assembly import ForeignModel, Layout, assemble, joined
from keshin.core.foreign.keys import Array, KeyTable, Row
from keshin.core.foreign.known import STATEMENTS, Known
from keshin.core.foreign.pickled import PICKLED
from keshin.core.foreign.weights import read_weights
from keshin.core.tokenizer import Tokenizer
from keshin.errors import CheckpointError

TEXT_NAMES = (
    "token_embedding.weight",
    "positional_embedding",
    "transformer.resblocks.{i}.attn.in_proj_weight",
    "transformer.resblocks.{i}.attn.in_proj_bias",
    "transformer.resblocks.{i}.attn.out_proj.weight",
    "transformer.resblocks.{i}.attn.out_proj.bias",
    "transformer.resblocks.{i}.ln_1.weight",
    "transformer.resblocks.{i}.ln_1.bias",
    "transformer.resblocks.{i}.mlp.c_fc.weight",
    "transformer.resblocks.{i}.mlp.c_fc.bias",
    "transformer.resblocks.{i}.mlp.c_proj.weight",
    "transformer.resblocks.{i}.mlp.c_proj.bias",
    "transformer.resblocks.{i}.ln_2.weight",
    "transformer.resblocks.{i}.ln_2.bias",
    "ln_final.weight",
    "ln_final.bias",
    "text_projection",
)
VISION_NAMES = (
    "visual.conv1.weight",  # the patches of a ViT, the first convolution of a ResNet
    "visual.class_embedding",
    "visual.positional_embedding",
    "visual.ln_pre.weight",
    "visual.ln_pre.bias",
    "visual.transformer.resblocks.{i}.attn.in_proj_weight",
    "visual.transformer.resblocks.{i}.attn.in_proj_bias",
    "visual.transformer.resblocks.{i}.attn.out_proj.weight",
    "visual.transformer.resblocks.{i}.attn.out_proj.bias",
    "visual.transformer.resblocks.{i}.ln_1.weight",
    "visual.transformer.resblocks.{i}.ln_1.bias",
    "visual.transformer.resblocks.{i}.mlp.c_fc.weight",
    "visual.transformer.resblocks.{i}.mlp.c_fc.bias",
    "visual.transformer.resblocks.{i}.mlp.c_proj.weight",
    "visual.transformer.resblocks.{i}.mlp.c_proj.bias",
    "visual.transformer.resblocks.{i}.ln_2.weight",
    "visual.transformer.resblocks.{i}.ln_2.bias",
    "visual.ln_post.weight",
    "visual.ln_post.bias",
    "visual.proj",
    "visual.conv2.weight",
    "visual.conv3.weight",
    "visual.bn{i}.weight",
    "visual.bn{i}.bias",
    "visual.bn{i}.running_mean",
    "visual.bn{i}.running_var",
    "visual.layer{i}.{j}.conv{k}.weight",
    "visual.layer{i}.{j}.bn{k}.weight",
    "visual.layer{i}.{j}.bn{k}.bias",
    "visual.layer{i}.{j}.bn{k}.running_mean",
    "visual.layer{i}.{j}.bn{k}.running_var",
    "visual.layer{i}.{j}.downsample.0.weight",
    "visual.layer{i}.{j}.downsample.1.weight",
    "visual.layer{i}.{j}.downsample.1.bias",
    "visual.layer{i}.{j}.downsample.1.running_mean",
    "visual.layer{i}.{j}.downsample.1.running_var",
    "visual.attnpool.positional_embedding",
    "visual.attnpool.q_proj.weight",
    "visual.attnpool.q_proj.bias",
    "visual.attnpool.k_proj.weight",
    "visual.attnpool.k_proj.bias",
    "visual.attnpool.v_proj.weight",
    "visual.attnpool.v_proj.bias",
    "visual.attnpool.c_proj.weight",
    "visual.attnpool.c_proj.bias",
)
COUNTERS = (  # batches seen in training: no answer depends on them
    "visual.bn{i}.num_batches_tracked",
    "visual.layer{i}.{j}.bn{k}.num_batches_tracked",
    "visual.layer{i}.{j}.downsample.1.num_batches_tracked",
)


def rows(names: tuple[str, ...], prefix: str = "") -> tuple[Row, ...]:
    """Rows for names that differ at most by a prefix."""
    return tuple((prefix + name, name, "same") for name in names)


OPENAI_KEYS = KeyTable(
    "OpenAI",
    rows(("logit_scale", *TEXT_NAMES, *VISION_NAMES)),
    ignored=("input_resolution", "context_length", "vocab_size", *COUNTERS),
)


def _matches(path: Path) -> bool:
    return path.is_file() and path.suffix in (".safetensors", *PICKLED)


def read_openai(path: Path, facts: Mapping[str, Any] | None = None) -> ForeignModel:
    """Read a bare file of weights; ``facts``, or a ``keshin.json`` beside it, say the rest."""
    tensors = OPENAI_KEYS.import_tensors(read_weights(path), origin=str(path))
    sheet = path.with_name("keshin.json")
    if sheet.is_file():
        if facts:
            raise CheckpointError(f"Both facts= and {sheet} describe {path}. Give one of them.")
        config = parse_config(sheet.read_bytes(), origin=str(sheet))
        beside = path.with_name("tokenizer.json")
        length = config.text.context_length
        tokenizer = (
            Tokenizer.load(beside, config.tokenizer, length)
            if beside.is_file()
            else Tokenizer.clip(length)
        )
        if any(
            getattr(tokenizer.facts, name) != getattr(config.tokenizer, name)
            for name in ("cleaning", "start", "end", "pad")
        ):
            raise CheckpointError(
                f"{sheet} describes another tokenizer than OpenAI's. Put its tokenizer.json "
                f"beside {path}."
            )
        return joined(config, OPENAI_KEYS, tensors, tokenizer, origin=str(path))
    known = Known(path, facts)
    stated = known.require(STATEMENTS)
    stated["text_head_width"] = known.optional("text_head_width", stated["head_width"])
    if stated["tokenizer"] != "clip":
        raise CheckpointError(
            f"facts= states the tokenizer {stated['tokenizer']!r}; beside a bare file of weights "
            "only 'clip' can be stated. For another one, write a keshin.json and a tokenizer.json."
        )
    towers = infer_towers(tensors, stated, origin=str(path))
    tokenizer = Tokenizer.clip(towers["text"]["context_length"])
    return assemble(known, OPENAI_KEYS, tensors, tokenizer, towers)


def infer_towers(
    tensors: Mapping[str, Array], stated: Mapping[str, Any], *, origin: str
) -> dict[str, Any]:
    """What the shapes show, in the fact sheet's terms; ``stated`` holds what they do not."""

    def shape(name: str) -> tuple[int, ...]:
        if name not in tensors:
            raise CheckpointError(f"{origin} lacks '{name}', without which it is no CLIP model.")
        return tensors[name].shape

    def blocks(prefix: str, fact: str) -> dict[str, Any]:
        width = shape(f"{prefix}resblocks.0.ln_1.weight")[0]
        head_width = stated.get(fact, stated["head_width"])
        if width % head_width:
            raise CheckpointError(
                f"{origin}: the stated {fact} {head_width} does not divide the width {width} of "
                f"{prefix.rstrip('.')}."
            )
        return {
            "width": width,
            "layers": _count(tensors, f"{prefix}resblocks."),
            "heads": width // head_width,
            "mlp_width": shape(f"{prefix}resblocks.0.mlp.c_fc.weight")[0],
            "activation": stated["activation"],
            "layer_norm_eps": stated["layer_norm_eps"],
        }

    context_length = shape("positional_embedding")[0]
    text = {
        "kind": "transformer",
        "context_length": context_length,
        "vocab_size": shape("token_embedding.weight")[0],
        **blocks("transformer.", "text_head_width"),
        "causal": stated["causal"],
        "pool": stated["pool"],
    }
    vision: dict[str, Any]
    if "visual.proj" in tensors:
        patch = shape("visual.conv1.weight")[-1]
        side = patch * _grid(shape("visual.positional_embedding")[0], origin)
        vision = {"kind": "vit", "patch_size": patch, **blocks("visual.transformer.", "head_width")}
    else:
        width = shape("visual.layer1.0.conv1.weight")[0]
        side = 32 * _grid(shape("visual.attnpool.positional_embedding")[0], origin)
        vision = {
            "kind": "modified-resnet",
            "width": width,
            "layers": [_count(tensors, f"visual.layer{stage}.") for stage in (1, 2, 3, 4)],
            "heads": width * 32 // stated["head_width"],
        }
    vision["image_size"] = [side, side]
    return {"embed_dim": shape("text_projection")[1], "vision": vision, "text": text}


def _count(tensors: Mapping[str, Array], prefix: str) -> int:
    return len({name[len(prefix) :].split(".")[0] for name in tensors if name.startswith(prefix)})


def _grid(positions: int, origin: str) -> int:
    side = isqrt(positions - 1)
    if side * side + 1 != positions:
        raise CheckpointError(
            f"{origin} has {positions} picture positions, which are no square and a class token. "
            "State the size of its pictures in a keshin.json beside it."
        )
    return side


OPENAI = Layout("OpenAI", "one .pt or .safetensors file", _matches, read_openai)
