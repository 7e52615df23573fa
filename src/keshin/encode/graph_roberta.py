"""The text tower of the RoBERTa family as an ONNX graph: post-norm blocks and a mean over the text.

Computes what ``torch_text.py``'s RoBERTa functions compute. Sources: Liu et al. 2019; OpenCLIP's
``HFTextEncoder`` for mean and projection.
"""

from __future__ import annotations

import numpy as np
from onnx import TensorProto

from keshin.core.config import RobertaText
from keshin.encode.attention import Stream, attention
from keshin.encode.blocks import ACTIVATION_FLOOR, ACTIVATIONS, Graph, layer_norm, linear


def roberta_text(graph: Graph, ids: str, ends: str, facts: RobertaText) -> str:
    """(B, L) ids -> (B, E). Padding is not seen, so that any length gives the same."""
    del ends
    seen = graph.op("Not", graph.op("Equal", ids, graph.constant(facts.pad)))  # (B, L)
    x = _embedding(graph, ids, seen, facts)
    hidden = graph.op("Where", seen, graph.constant(0.0), graph.constant(-np.inf))
    mask = graph.op("Unsqueeze", hidden, graph.constant([1, 2]))  # (B, 1, 1, L)
    length = graph.op("Shape", ids, start=1, end=2)
    stream = Stream(length, mask)
    for index in range(facts.layers):
        x = _block(graph, x, f"transformer.resblocks.{index}", facts, stream)
    x = _mean(graph, stream.tokens(graph, x, facts.width), seen)
    inner = _matrix(graph, x, "text_projection.c_fc.weight")
    return _matrix(graph, graph.op("Gelu", inner), "text_projection.c_proj.weight")


def _embedding(graph: Graph, ids: str, seen: str, facts: RobertaText) -> str:
    """Tokens, positions counted from the row after the padding's, and the one type: (B L, D)."""
    ones = graph.op("Cast", seen, to=TensorProto.INT64)
    order = graph.op("Mul", graph.op("CumSum", ones, graph.constant(1)), ones)
    places = graph.op("Add", order, graph.constant(facts.pad))
    x = graph.op("Gather", graph.weight("token_embedding.weight"), ids)
    x = graph.op("Add", x, graph.weight("token_type_embedding"))
    x = graph.op("Add", x, graph.op("Gather", graph.weight("positional_embedding"), places))
    x = graph.op("Reshape", x, graph.constant([-1, facts.width]))
    return layer_norm(graph, x, "ln_embedding", facts.layer_norm_eps)


def _block(graph: Graph, x: str, name: str, facts: RobertaText, stream: Stream) -> str:
    mixed = attention(graph, x, f"{name}.attn", facts.heads, stream)
    x = layer_norm(graph, graph.op("Add", x, mixed), f"{name}.ln_1", facts.layer_norm_eps)
    inner = ACTIVATIONS[facts.activation](graph, linear(graph, x, f"{name}.mlp.c_fc"))
    x = graph.op("Add", x, linear(graph, inner, f"{name}.mlp.c_proj", ACTIVATION_FLOOR))
    return layer_norm(graph, x, f"{name}.ln_2", facts.layer_norm_eps)


def _mean(graph: Graph, x: str, seen: str) -> str:
    """(B, L, D) -> (B, D) over the tokens that are seen."""
    ones = graph.op("Cast", seen, to=TensorProto.FLOAT)
    count = graph.op("ReduceSum", ones, graph.constant([1]), keepdims=1)
    share = graph.op("Unsqueeze", graph.op("Div", ones, count), graph.constant([1]))  # (B, 1, L)
    return graph.op("Squeeze", graph.op("MatMul", share, x), graph.constant([1]))


def _matrix(graph: Graph, x: str, name: str) -> str:
    return graph.op("Gemm", x, graph.weight(name), transB=1)
