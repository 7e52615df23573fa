"""The layout of transformers for SigLIP, and for SigLIP 2 at a fixed resolution (``SiglipModel``).

``config.json`` may leave out what equals the defaults of ``SiglipTextConfig`` and
``SiglipVisionConfig``. The text is pooled at the last place of a row filled up to the context, and
every token sees every other, fillings too: so the class computes, and so the models were trained.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from keshin.core.cleaning import CleaningName
from keshin.core.config import Positive
from keshin.core.foreign.assembly import ForeignModel, assemble
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
from keshin.core.foreign.vocabulary import SETTINGS, read_settings, read_vocabulary
from keshin.core.foreign.weights import find_weights, read_weights, sides, structured
from keshin.errors import CheckpointError

HEAD = "vision_model.head."
SIGLIP_KEYS = KeyTable(
    "transformers (SigLIP)",
    (
        ("logit_scale", "logit_scale", "unwrap"),
        ("logit_bias", "logit_bias", "unwrap"),
        ("text_model.embeddings.token_embedding.weight", "token_embedding.weight", "same"),
        ("text_model.embeddings.position_embedding.weight", "positional_embedding", "same"),
        *block_rows("text_model.encoder.layers.{i}.", "transformer.resblocks.{i}."),
        ("text_model.final_layer_norm.weight", "ln_final.weight", "same"),
        ("text_model.final_layer_norm.bias", "ln_final.bias", "same"),
        ("text_model.head.weight", "text_projection.weight", "same"),
        ("text_model.head.bias", "text_projection.bias", "same"),
        ("vision_model.embeddings.patch_embedding.weight", "visual.conv1.weight", "same"),
        ("vision_model.embeddings.patch_embedding.bias", "visual.conv1.bias", "same"),
        (
            "vision_model.embeddings.position_embedding.weight",
            "visual.positional_embedding",
            "same",
        ),
        *block_rows("vision_model.encoder.layers.{i}.", "visual.transformer.resblocks.{i}."),
        ("vision_model.post_layernorm.weight", "visual.ln_post.weight", "same"),
        ("vision_model.post_layernorm.bias", "visual.ln_post.bias", "same"),
        (f"{HEAD}probe", "visual.attnpool.probe", "unwrap twice"),
        (f"{HEAD}attention.in_proj_weight", "visual.attnpool.attn.in_proj_weight", "same"),
        (f"{HEAD}attention.in_proj_bias", "visual.attnpool.attn.in_proj_bias", "same"),
        (f"{HEAD}attention.out_proj.weight", "visual.attnpool.attn.out_proj.weight", "same"),
        (f"{HEAD}attention.out_proj.bias", "visual.attnpool.attn.out_proj.bias", "same"),
        (f"{HEAD}layernorm.weight", "visual.attnpool.ln_2.weight", "same"),
        (f"{HEAD}layernorm.bias", "visual.attnpool.ln_2.bias", "same"),
        (f"{HEAD}mlp.fc1.weight", "visual.attnpool.mlp.c_fc.weight", "same"),
        (f"{HEAD}mlp.fc1.bias", "visual.attnpool.mlp.c_fc.bias", "same"),
        (f"{HEAD}mlp.fc2.weight", "visual.attnpool.mlp.c_proj.weight", "same"),
        (f"{HEAD}mlp.fc2.bias", "visual.attnpool.mlp.c_proj.bias", "same"),
    ),
    ignored=("text_model.embeddings.position_ids", "vision_model.embeddings.position_ids"),
)
CLEANING: dict[str, CleaningName] = {
    "SiglipTokenizer": "canonical",
    "Siglip2Tokenizer": "lower",
    "GemmaTokenizer": "lower",
    "GemmaTokenizerFast": "lower",
}
"""What the models of a ``tokenizer_class`` were given; docs/decisions.md has the sources."""


class TextOptions(TowerOptions):
    """What is read of ``text_config``."""

    hidden_size: Positive = 768
    intermediate_size: Positive = 3072
    hidden_act: str = "gelu_pytorch_tanh"
    layer_norm_eps: float = 1e-6
    vocab_size: Positive = 32000
    max_position_embeddings: Positive = 64
    projection_size: Positive | None = None


class VisionOptions(TowerOptions):
    """What is read of ``vision_config``."""

    hidden_size: Positive = 768
    intermediate_size: Positive = 3072
    hidden_act: str = "gelu_pytorch_tanh"
    layer_norm_eps: float = 1e-6
    num_channels: Positive = 3
    image_size: Positive | list[Positive] = 224
    patch_size: Positive | list[Positive] = 16
    vision_use_head: bool = True


class Options(msgspec.Struct):
    """What is read of ``config.json``."""

    text_config: TextOptions = msgspec.field(default_factory=TextOptions)
    vision_config: VisionOptions = msgspec.field(default_factory=VisionOptions)


def read_siglip(
    path: Path, sheet: Mapping[str, Any], facts: Mapping[str, Any] | None = None
) -> ForeignModel:
    """Read a folder that ``SiglipModel.save_pretrained`` and the processor's wrote."""
    origin = str(path / CONFIG)
    options = structured(sheet, Options, origin)
    text_part, vision_part = options.text_config, options.vision_config
    if not vision_part.vision_use_head:
        raise CheckpointError(
            f"{origin}: vision_config sets 'vision_use_head' to false, a tower without pooling. "
            "keshin needs the whole model."
        )
    known = Known(path, facts)
    text = {
        "kind": "transformer",
        "context_length": text_part.max_position_embeddings,
        "vocab_size": text_part.vocab_size,
        **tower_facts(text_part, known, f"{origin}: text_config"),
        "causal": known.say("causal", False, "the layout"),
        "pool": known.say("pool", "last", "the layout"),
        "projection_bias": True,
    }
    vision = {
        "kind": "vit-attention-pool",
        "image_size": sides(vision_part.image_size),
        "patch_size": patch_side(vision_part.patch_size, vision_part.num_channels, origin),
        **tower_facts(vision_part, known, f"{origin}: vision_config"),
    }
    read_preprocessor(path, sides(vision_part.image_size), known)
    tokenizer = read_vocabulary(path, _cleaning(path, known), text_part.max_position_embeddings)
    weights = find_weights(path, WEIGHTS)
    tensors = SIGLIP_KEYS.import_tensors(read_weights(weights), origin=str(weights))
    embed_dim = text_part.projection_size or text_part.hidden_size
    towers = {"embed_dim": embed_dim, "vision": vision, "text": text}
    return assemble(known, SIGLIP_KEYS, tensors, tokenizer, towers, score="sigmoid")


def _cleaning(path: Path, known: Known) -> CleaningName:
    """As the caller says, or as the class of the tokenizer tells."""
    name = read_settings(path).get("tokenizer_class")
    cleaning: CleaningName | None = known.optional("cleaning", CLEANING.get(str(name)))
    if cleaning is None:
        raise CheckpointError(
            f"{path / SETTINGS} has the 'tokenizer_class' {name!r}, which does not tell how texts "
            "were cleaned. State it as facts={'cleaning': ...}: 'canonical' for SigLIP (no "
            "punctuation, lower case), 'lower' for SigLIP 2."
        )
    return cleaning
