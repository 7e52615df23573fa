"""The layout of Hugging Face's transformers for CLIP: ``config.json``, weights, tokenizer.

``config.json`` may leave out what equals the defaults of the classes ``CLIPTextConfig`` and
``CLIPVisionConfig``, as transformers 4 does. How pictures are prepared: ``preprocessor.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from keshin.core.config import Positive, TokenizerFacts
from keshin.core.foreign.assembly import ForeignModel, Layout, assemble
from keshin.core.foreign.keys import KeyTable, Row
from keshin.core.foreign.known import Known
from keshin.core.foreign.preprocessor import read_preprocessor
from keshin.core.foreign.weights import (
    find_weights,
    first_of,
    read_json,
    read_weights,
    sides,
    structured,
)
from keshin.core.tokenizer import END, START, SUFFIX, Tokenizer
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


def _blocks(foreign: str, ours: str) -> tuple[Row, ...]:
    return tuple((foreign + theirs, ours + name, how) for theirs, name, how in BLOCK_ROWS)


TRANSFORMERS_KEYS = KeyTable(
    "transformers",
    (
        ("logit_scale", "logit_scale", "same"),
        ("text_model.embeddings.token_embedding.weight", "token_embedding.weight", "same"),
        ("text_model.embeddings.position_embedding.weight", "positional_embedding", "same"),
        *_blocks("text_model.encoder.layers.{i}.", "transformer.resblocks.{i}."),
        ("text_model.final_layer_norm.weight", "ln_final.weight", "same"),
        ("text_model.final_layer_norm.bias", "ln_final.bias", "same"),
        ("text_projection.weight", "text_projection", "transpose"),
        ("vision_model.embeddings.class_embedding", "visual.class_embedding", "same"),
        ("vision_model.embeddings.patch_embedding.weight", "visual.conv1.weight", "same"),
        (
            "vision_model.embeddings.position_embedding.weight",
            "visual.positional_embedding",
            "same",
        ),
        ("vision_model.pre_layrnorm.weight", "visual.ln_pre.weight", "same"),  # spelt so there
        ("vision_model.pre_layrnorm.bias", "visual.ln_pre.bias", "same"),
        *_blocks("vision_model.encoder.layers.{i}.", "visual.transformer.resblocks.{i}."),
        ("vision_model.post_layernorm.weight", "visual.ln_post.weight", "same"),
        ("vision_model.post_layernorm.bias", "visual.ln_post.bias", "same"),
        ("visual_projection.weight", "visual.proj", "transpose"),
    ),
    ignored=("text_model.embeddings.position_ids", "vision_model.embeddings.position_ids"),
)


class TowerOptions(msgspec.Struct):
    """What is read of both towers' options."""

    hidden_size: Positive
    intermediate_size: Positive
    num_hidden_layers: Positive = 12
    num_attention_heads: Positive = 12
    hidden_act: str = "quick_gelu"
    layer_norm_eps: float = 1e-5


class TextOptions(TowerOptions):
    """What is read of ``text_config``, with the defaults of ``CLIPTextConfig``."""

    hidden_size: Positive = 512
    intermediate_size: Positive = 2048
    num_attention_heads: Positive = 8
    vocab_size: Positive = 49408
    max_position_embeddings: Positive = 77
    eos_token_id: int = 49407


class VisionOptions(TowerOptions):
    """What is read of ``vision_config``, with the defaults of ``CLIPVisionConfig``."""

    hidden_size: Positive = 768
    intermediate_size: Positive = 3072
    num_channels: Positive = 3
    image_size: Positive | list[Positive] = 224
    patch_size: Positive | list[Positive] = 32


class Options(msgspec.Struct):
    """What is read of ``config.json``. The older ``..._dict``, where it stands, replaces all."""

    text_config: TextOptions | None = None
    vision_config: VisionOptions | None = None
    text_config_dict: TextOptions | None = None
    vision_config_dict: VisionOptions | None = None
    projection_dim: Positive = 512


LEGACY_END = 2  # what old files state for eos_token_id; it then means the largest id of a text


def _matches(path: Path) -> bool:
    return (path / CONFIG).is_file()


def read_transformers(path: Path, facts: Mapping[str, Any] | None = None) -> ForeignModel:
    """Read a folder that ``CLIPModel.save_pretrained`` and the processor's wrote."""
    origin = str(path / CONFIG)
    sheet = read_json(path / CONFIG)
    if sheet.get("model_type") != "clip":
        raise CheckpointError(
            f"{origin}: 'model_type' is {sheet.get('model_type')!r}. keshin reads 'clip' from "
            "transformers folders; other kinds of model are not supported yet."
        )
    options = structured(sheet, Options, origin)
    text_part = options.text_config_dict or options.text_config or TextOptions()
    vision_part = options.vision_config_dict or options.vision_config or VisionOptions()
    known = Known(path, facts)
    text = {
        "kind": "transformer",
        "context_length": text_part.max_position_embeddings,
        "vocab_size": text_part.vocab_size,
        **_tower(text_part, known, f"{origin}: text_config"),
        "causal": known.say("causal", True, "the layout"),
        "pool": known.say("pool", "end-of-text", "the layout"),
    }
    patch = sides(vision_part.patch_size)
    if vision_part.num_channels != 3 or len(set(patch)) != 1:
        raise CheckpointError(
            f"{origin}: vision_config has patches of {patch} and {vision_part.num_channels} "
            "channels; keshin supports square patches of three."
        )
    vision = {
        "kind": "vit",
        "image_size": sides(vision_part.image_size),
        "patch_size": patch[0],
        **_tower(vision_part, known, f"{origin}: vision_config"),
    }
    read_preprocessor(path, sides(vision_part.image_size), known)
    tokenizer = _tokenizer(path, text_part.max_position_embeddings, known)
    _check_end(text_part.eos_token_id, tokenizer, origin)
    weights = find_weights(path, WEIGHTS)
    tensors = TRANSFORMERS_KEYS.import_tensors(read_weights(weights), origin=str(weights))
    towers = {"embed_dim": options.projection_dim, "vision": vision, "text": text}
    return assemble(known, TRANSFORMERS_KEYS, tensors, tokenizer, towers)


def _tower(options: TowerOptions, known: Known, origin: str) -> dict[str, Any]:
    return {
        "width": options.hidden_size,
        "layers": options.num_hidden_layers,
        "heads": options.num_attention_heads,
        "mlp_width": options.intermediate_size,
        "activation": known.say("activation", options.hidden_act, f"{origin}.hidden_act"),
        "layer_norm_eps": known.say("layer_norm_eps", options.layer_norm_eps, origin),
    }


def _tokenizer(path: Path, context_length: int, known: Known) -> Tokenizer:
    """From ``tokenizer.json``, or OpenAI's if ``vocab.json`` holds the same or the caller says so.

    The row's filling has no effect in a causal tower, so that OpenAI's 0 is taken.
    """
    if (file := first_of(path, ("tokenizer.json",))) is not None:
        model = read_json(file).get("model")
        ids = model.get("vocab") if isinstance(model, dict) else None
        likely = isinstance(model, dict) and model.get("end_of_word_suffix") == SUFFIX
        if not likely or not isinstance(ids, dict) or not {START, END} <= ids.keys():
            raise CheckpointError(
                f"{file} is not a tokenizer of CLIP's kind (byte pairs that end words with "
                f"'{SUFFIX}', and '{START}' and '{END}'). Others are not supported yet."
            )
        facts = TokenizerFacts(cleaning="clip", start=ids[START], end=ids[END], pad=0)
        return Tokenizer.load(file, facts, context_length)
    tokenizer = Tokenizer.clip(context_length)
    if (file := first_of(path, ("vocab.json",))) is not None:
        if read_json(file) != tokenizer.backend.get_vocab():
            raise CheckpointError(
                f"{file} is not OpenAI's vocabulary. Save the tokenizer as tokenizer.json "
                "(save_pretrained of a fast tokenizer does) so that keshin can read it."
            )
        return tokenizer
    known.require(["tokenizer"])
    return tokenizer


def _check_end(stated: int, tokenizer: Tokenizer, origin: str) -> None:
    """The text's feature is taken at the end token; both programs must mean the same token."""
    end, largest = tokenizer.facts.end, tokenizer.vocab_size - 1
    if (largest if stated == LEGACY_END else stated) != end:
        raise CheckpointError(
            f"{origin}: text_config takes the feature of a text at the token {stated!r} "
            f"({LEGACY_END} stands for the largest, {largest}), but the tokenizer ends texts with "
            f"{end}. Correct the one that is wrong."
        )


TRANSFORMERS = Layout("transformers", f"a folder with {CONFIG}", _matches, read_transformers)
