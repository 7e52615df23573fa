"""The causal text tower over the nodes of a prefix tree (encode/prefix_tree.py) in ONNX."""

from __future__ import annotations

from onnx import ModelProto, TensorProto, helper

from keshin.core.checkpoint import TensorFile
from keshin.core.config import Config, TextTransformer
from keshin.encode.attention import Readout, Stream, Tree, transformer
from keshin.encode.blocks import EXACT, Graph, Layers
from keshin.encode.graph import hide_later, text_head

INPUTS: tuple[tuple[str, int, list[str | int | None]], ...] = (
    ("ids", TensorProto.INT64, ["nodes"]),
    ("positions", TensorProto.INT64, ["nodes"]),
    ("keys", TensorProto.INT64, ["chunks", "seen"]),
    ("mask", TensorProto.FLOAT, ["chunks", 1, "chunk", "seen"]),
    ("paths", TensorProto.INT64, ["n", "length"]),
    ("places", TensorProto.INT64, ["n"]),
)
"""The arrays of a ``PrefixTree``, by their names."""


def text_tree_graph(config: Config, tensors: TensorFile, layers: Layers = EXACT) -> ModelProto:
    """The arrays of a ``PrefixTree`` of n texts -> ``features`` (n, embed_dim), not normalised."""
    if not isinstance(config.text, TextTransformer) or not config.text.causal:
        raise TypeError("Only causal towers compute a prefix tree.")
    graph = Graph(tensors, layers)
    inputs = [helper.make_tensor_value_info(name, kind, shape) for name, kind, shape in INPUTS]
    return graph.model(inputs, text_tree_transformer(graph, config.text), config.embed_dim)


def text_tree_transformer(graph: Graph, facts: TextTransformer) -> str:
    """What ``text_transformer`` computes, of each node once."""
    x = graph.op("Gather", graph.weight("token_embedding.weight"), "ids")
    positions = graph.op("Gather", graph.weight("positional_embedding"), "positions")
    x = graph.op("Add", x, positions)
    keys = graph.op("Transpose", "keys", perm=[1, 0])
    tree = Tree(keys, graph.op("Shape", "mask", start=2, end=3), "paths")
    length = graph.op("Shape", "paths", start=1, end=2)
    last = graph.op("Squeeze", length, graph.constant([0]))
    columns = graph.op("Range", graph.constant(0), last, graph.constant(1))
    where = graph.op("Unsqueeze", "places", graph.constant([1]))
    later = hide_later(graph, columns, graph.op("Unsqueeze", where, graph.constant([2])))
    readout = Readout(lambda x: graph.op("GatherND", x, where, batch_dims=1), later)
    x = transformer(graph, x, "", facts, Stream(length, "mask", tree=tree), readout)
    return text_head(graph, x, facts)
