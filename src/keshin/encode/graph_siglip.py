"""The image tower of the SigLIP family as an ONNX graph: a ViT that is read by a learned query.

Computes what ``torch_vision.py``'s ``PooledVisionTransformerTower`` computes. Sources: Zhai et al.
2022 (attention pooling, section 3.2) and 2023 (SigLIP); big_vision's ``vit.py``.
"""

from __future__ import annotations

from keshin.core.config import PooledVisionTransformer
from keshin.encode.blocks import (
    Graph,
    Projection,
    layer_norm,
    linear,
    pre_norm_block,
    pre_norm_mlp,
    single_query_attention,
)


def pooled_vit(graph: Graph, pixels: str, facts: PooledVisionTransformer) -> str:
    """Patches without a class token; (B, 3, h, w) -> (B, D)."""
    rows, columns = facts.grid
    width, side, length = facts.width, facts.patch_size, rows * columns
    kernel, bias = graph.weight("visual.conv1.weight"), graph.weight("visual.conv1.bias")
    x = graph.op("Conv", pixels, kernel, bias, kernel_shape=[side, side], strides=[side, side])
    x = graph.op("Reshape", x, graph.constant([0, width, length]))
    x = graph.op("Transpose", x, perm=[0, 2, 1])
    x = graph.op("Add", x, graph.weight("visual.positional_embedding"))
    x = graph.op("Reshape", x, graph.constant([-1, width]))
    tokens = graph.constant([length])
    for index in range(facts.layers):
        name = f"visual.transformer.resblocks.{index}"
        x = pre_norm_block(graph, x, name, facts, tokens, mask=None)
    x = layer_norm(graph, x, "visual.ln_post", facts.layer_norm_eps)
    x = graph.op("Reshape", x, graph.constant([-1, length, width]))
    return _attention_pool(graph, x, facts)


def _attention_pool(graph: Graph, tokens: str, facts: PooledVisionTransformer) -> str:
    """(B, L, D) -> (B, D). The query is the same for every picture, so it is computed once."""
    name, width = "visual.attnpool", facts.width
    probe = graph.weight(f"{name}.probe", [1, width])
    weight, bias = f"{name}.attn.in_proj_weight", f"{name}.attn.in_proj_bias"
    q, k, v = (Projection(weight, bias, (i * width, (i + 1) * width)) for i in range(3))
    mixed = single_query_attention(graph, probe, tokens, (q, k, v), facts.heads, mask=None)
    x = linear(graph, mixed, f"{name}.attn.out_proj")
    return pre_norm_mlp(graph, x, name, facts)
