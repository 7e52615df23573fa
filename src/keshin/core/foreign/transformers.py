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
from keshin.core.foreign.keys import KeyTable
from keshin.core.foreign.known import Known
from keshin.core.foreign.preprocessor import read_preprocessor
from keshin.core.foreign.transformers_common import (
    CONFIG,
    WEIGHTS,
    TowerOptions,
    block_rows,
    patch_side,
    tower_facts,
)
from keshin.core.foreign.transformers_siglip import read_siglip
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

TRANSFORMERS_KEYS = KeyTable(
    "transformers",
    (
        ("logit_scale", "logit_scale", "same"),
        ("text_model.embeddings.token_embedding.weight", "token_embedding.weight", "same"),
        ("text_model.embeddings.position_embedding.weight", "positional_embedding", "same"),
        *block_rows("text_model.encoder.layers.{i}.", "transformer.resblocks.{i}."),
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
        *block_rows("vision_model.encoder.layers.{i}.", "visual.transformer.resblocks.{i}."),
        ("vision_model.post_layernorm.weight", "visual.ln_post.weight", "same"),
        ("vision_model.post_layernorm.bias", "visual.ln_post.bias", "same"),
        ("visual_projection.weight", "visual.proj", "transpose"),
    ),
    ignored=("text_model.embeddings.position_ids", "vision_model.embeddings.position_ids"),
)


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
    kind = sheet.get("model_type")
    if kind == "siglip":
        return read_siglip(path, sheet, facts)
    if kind != "clip":
        raise CheckpointError(
            f"{origin}: 'model_type' is {kind!r}. keshin reads 'clip' and 'siglip' (SigLIP, and "
            "SigLIP 2 at a fixed resolution) from transformers folders; others, NaFlex models "
            "('siglip2') among them, are not supported yet."
        )
    options = structured(sheet, Options, origin)
    text_part = options.text_config_dict or options.text_config or TextOptions()
    vision_part = options.vision_config_dict or options.vision_config or VisionOptions()
    known = Known(path, facts)
    text = {
        "kind": "transformer",
        "context_length": text_part.max_position_embeddings,
        "vocab_size": text_part.vocab_size,
        **tower_facts(text_part, known, f"{origin}: text_config"),
        "causal": known.say("causal", True, "the layout"),
        "pool": known.say("pool", "end-of-text", "the layout"),
    }
    vision = {
        "kind": "vit",
        "image_size": sides(vision_part.image_size),
        "patch_size": patch_side(vision_part.patch_size, vision_part.num_channels, origin),
        **tower_facts(vision_part, known, f"{origin}: vision_config"),
    }
    read_preprocessor(path, sides(vision_part.image_size), known)
    tokenizer = _tokenizer(path, text_part.max_position_embeddings, known)
    _check_end(text_part.eos_token_id, tokenizer, origin)
    weights = find_weights(path, WEIGHTS)
    tensors = TRANSFORMERS_KEYS.import_tensors(read_weights(weights), origin=str(weights))
    towers = {"embed_dim": options.projection_dim, "vision": vision, "text": text}
    return assemble(known, TRANSFORMERS_KEYS, tensors, tokenizer, towers)


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
