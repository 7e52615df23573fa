"""The names of OpenCLIP's tensors: its own towers, and those that it takes from other packages.

SigLIP's image towers are timm's, under ``visual.trunk.``; XLM-R text towers are those of
transformers, under ``text.transformer.``. A table joins one kind of image and of text tower.
"""

from __future__ import annotations

from typing import Literal

from keshin.core.foreign.keys import KeyTable, Row
from keshin.core.foreign.openai import OPENAI_KEYS, TEXT_NAMES, VISION_NAMES, rows

VisionPart = Literal["own", "timm"]
TextPart = Literal["own", "custom", "hugging-face"]

TRUNK, POOL, OUR_POOL = "visual.trunk.", "visual.trunk.attn_pool.", "visual.attnpool."
TRUNK_BLOCK, OUR_TRUNK_BLOCK = "visual.trunk.blocks.{i}.", "visual.transformer.resblocks.{i}."
TIMM_ROWS: tuple[Row, ...] = (
    (f"{TRUNK}patch_embed.proj.weight", "visual.conv1.weight", "same"),
    (f"{TRUNK}patch_embed.proj.bias", "visual.conv1.bias", "same"),
    (f"{TRUNK}pos_embed", "visual.positional_embedding", "unwrap"),
    (f"{TRUNK_BLOCK}norm1.weight", f"{OUR_TRUNK_BLOCK}ln_1.weight", "same"),
    (f"{TRUNK_BLOCK}norm1.bias", f"{OUR_TRUNK_BLOCK}ln_1.bias", "same"),
    (f"{TRUNK_BLOCK}attn.qkv.weight", f"{OUR_TRUNK_BLOCK}attn.in_proj_weight", "same"),
    (f"{TRUNK_BLOCK}attn.qkv.bias", f"{OUR_TRUNK_BLOCK}attn.in_proj_bias", "same"),
    (f"{TRUNK_BLOCK}attn.proj.weight", f"{OUR_TRUNK_BLOCK}attn.out_proj.weight", "same"),
    (f"{TRUNK_BLOCK}attn.proj.bias", f"{OUR_TRUNK_BLOCK}attn.out_proj.bias", "same"),
    (f"{TRUNK_BLOCK}norm2.weight", f"{OUR_TRUNK_BLOCK}ln_2.weight", "same"),
    (f"{TRUNK_BLOCK}norm2.bias", f"{OUR_TRUNK_BLOCK}ln_2.bias", "same"),
    (f"{TRUNK_BLOCK}mlp.fc1.weight", f"{OUR_TRUNK_BLOCK}mlp.c_fc.weight", "same"),
    (f"{TRUNK_BLOCK}mlp.fc1.bias", f"{OUR_TRUNK_BLOCK}mlp.c_fc.bias", "same"),
    (f"{TRUNK_BLOCK}mlp.fc2.weight", f"{OUR_TRUNK_BLOCK}mlp.c_proj.weight", "same"),
    (f"{TRUNK_BLOCK}mlp.fc2.bias", f"{OUR_TRUNK_BLOCK}mlp.c_proj.bias", "same"),
    (f"{TRUNK}norm.weight", "visual.ln_post.weight", "same"),
    (f"{TRUNK}norm.bias", "visual.ln_post.bias", "same"),
    (f"{POOL}latent", f"{OUR_POOL}probe", "unwrap twice"),
    (f"{POOL}{{q_kv}}.weight", f"{OUR_POOL}attn.in_proj_weight", "concat"),
    (f"{POOL}{{q_kv}}.bias", f"{OUR_POOL}attn.in_proj_bias", "concat"),
    (f"{POOL}proj.weight", f"{OUR_POOL}attn.out_proj.weight", "same"),
    (f"{POOL}proj.bias", f"{OUR_POOL}attn.out_proj.bias", "same"),
    (f"{POOL}norm.weight", f"{OUR_POOL}ln_2.weight", "same"),
    (f"{POOL}norm.bias", f"{OUR_POOL}ln_2.bias", "same"),
    (f"{POOL}mlp.fc1.weight", f"{OUR_POOL}mlp.c_fc.weight", "same"),
    (f"{POOL}mlp.fc1.bias", f"{OUR_POOL}mlp.c_fc.bias", "same"),
    (f"{POOL}mlp.fc2.weight", f"{OUR_POOL}mlp.c_proj.weight", "same"),
    (f"{POOL}mlp.fc2.bias", f"{OUR_POOL}mlp.c_proj.bias", "same"),
)
EMBEDDINGS = "text.transformer.embeddings."
LAYER, BLOCK = "text.transformer.encoder.layer.{i}.", "transformer.resblocks.{i}."
HUGGING_FACE_ROWS: tuple[Row, ...] = (
    (f"{EMBEDDINGS}word_embeddings.weight", "token_embedding.weight", "same"),
    (f"{EMBEDDINGS}position_embeddings.weight", "positional_embedding", "same"),
    (f"{EMBEDDINGS}token_type_embeddings.weight", "token_type_embedding", "unwrap"),
    (f"{EMBEDDINGS}LayerNorm.weight", "ln_embedding.weight", "same"),
    (f"{EMBEDDINGS}LayerNorm.bias", "ln_embedding.bias", "same"),
    (f"{LAYER}attention.self.{{query}}.weight", f"{BLOCK}attn.in_proj_weight", "concat"),
    (f"{LAYER}attention.self.{{query}}.bias", f"{BLOCK}attn.in_proj_bias", "concat"),
    (f"{LAYER}attention.output.dense.weight", f"{BLOCK}attn.out_proj.weight", "same"),
    (f"{LAYER}attention.output.dense.bias", f"{BLOCK}attn.out_proj.bias", "same"),
    (f"{LAYER}attention.output.LayerNorm.weight", f"{BLOCK}ln_1.weight", "same"),
    (f"{LAYER}attention.output.LayerNorm.bias", f"{BLOCK}ln_1.bias", "same"),
    (f"{LAYER}intermediate.dense.weight", f"{BLOCK}mlp.c_fc.weight", "same"),
    (f"{LAYER}intermediate.dense.bias", f"{BLOCK}mlp.c_fc.bias", "same"),
    (f"{LAYER}output.dense.weight", f"{BLOCK}mlp.c_proj.weight", "same"),
    (f"{LAYER}output.dense.bias", f"{BLOCK}mlp.c_proj.bias", "same"),
    (f"{LAYER}output.LayerNorm.weight", f"{BLOCK}ln_2.weight", "same"),
    (f"{LAYER}output.LayerNorm.bias", f"{BLOCK}ln_2.bias", "same"),
    ("text.proj.0.weight", "text_projection.c_fc.weight", "same"),
    ("text.proj.2.weight", "text_projection.c_proj.weight", "same"),
)
PROJECTION = ("text_projection.weight", "text_projection.bias")  # where it has a bias
VISION_ROWS: dict[VisionPart, tuple[Row, ...]] = {"own": rows(VISION_NAMES), "timm": TIMM_ROWS}
TEXT_ROWS: dict[TextPart, tuple[Row, ...]] = {
    "own": rows(TEXT_NAMES),
    "custom": rows((*TEXT_NAMES, *PROJECTION), prefix="text."),
    "hugging-face": HUGGING_FACE_ROWS,
}
POSITION_IDS = f"{EMBEDDINGS}position_ids"  # older versions of transformers saved the count


def open_clip_keys(vision: VisionPart, text: TextPart) -> KeyTable:
    """The table of one combination."""
    return KeyTable(
        f"OpenCLIP ({vision} image tower, {text} text tower)",
        (*rows(("logit_scale", "logit_bias")), *VISION_ROWS[vision], *TEXT_ROWS[text]),
        ignored=(*OPENAI_KEYS.ignored, POSITION_IDS),
    )
