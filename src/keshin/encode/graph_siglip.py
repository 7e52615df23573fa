"""The image tower of the SigLIP family as an ONNX graph: a ViT that is read by a learned query.

Computes what ``torch_vision.py``'s ``PooledVisionTransformerTower`` computes. Sources: Zhai et al.
2022 (attention pooling, section 3.2) and 2023 (SigLIP); big_vision's ``vit.py``.
"""

from __future__ import annotations

from keshin.core.config import PooledVisionTransformer
from keshin.encode.attention import (
    Stream,
    pre_norm_block,
    pre_norm_mlp,
    projections,
    single_query_attention,
)
from keshin.encode.blocks import Graph, layer_norm, linear
from keshin.encode.patches import patch_tokens


def pooled_vit(graph: Graph, pixels: str, facts: PooledVisionTransformer) -> str:
    """Patches without a class token; (B, 3, h, w) -> (B, D)."""
    rows, columns = facts.grid
    width, length = facts.width, rows * columns
    x = patch_tokens(graph, pixels, facts, "visual.conv1.bias")
    x = graph.op("Add", x, graph.weight("visual.positional_embedding", [length, 1, width]))
    x = graph.op("Reshape", x, graph.constant([-1, width]))
    stream = Stream(graph.constant([length]), length_first=True)
    for index in range(facts.layers):
        name = f"visual.transformer.resblocks.{index}"
        x = pre_norm_block(graph, x, name, facts, stream)
    x = layer_norm(graph, x, "visual.ln_post", facts.layer_norm_eps)
    return _attention_pool(graph, stream.tokens(graph, x, width), facts)


def _attention_pool(graph: Graph, tokens: str, facts: PooledVisionTransformer) -> str:
    """(L, B, D) -> (B, D). The query is the same for every picture, so it is computed once."""
    name, width = "visual.attnpool", facts.width
    probe = graph.weight(f"{name}.probe", [1, width])
    parts = projections(f"{name}.attn", width)
    mixed = single_query_attention(
        graph, probe, tokens, parts, facts.heads, mask=None, length_first=True
    )
    x = linear(graph, mixed, f"{name}.attn.out_proj")
    return pre_norm_mlp(graph, x, name, facts)
