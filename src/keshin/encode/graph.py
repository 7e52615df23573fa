"""The towers as ONNX graphs, from a fact sheet and the tensors of a checkpoint, without PyTorch.

They compute what ``torch_model.py`` computes; a parity test holds the two together. The tables
``VISION``, ``TEXT`` and ``POSITIONS`` at the end choose by kind. Sources: the paper, section 2.4,
and appendix A.3 for what a linear probe reads.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from onnx import ModelProto, TensorProto, ValueInfoProto, helper

from keshin.core.checkpoint import TensorFile
from keshin.core.config import (
    Config,
    ModifiedResNet,
    PooledVisionTransformer,
    ResNet,
    RobertaText,
    TextTransformer,
    VisionTransformer,
)
from keshin.encode.attention import Readout, Stream, single_query_attention, transformer
from keshin.encode.blocks import EXACT, Graph, Layers, Projection, layer_norm, linear
from keshin.encode.graph_roberta import roberta_text
from keshin.encode.graph_siglip import pooled_vit
from keshin.encode.patches import patch_tokens

EXPANSION = 4  # of a bottleneck
STEM_STRIDES = (2, 1, 1)
"""Of the three convolutions before the average pool."""


def image_graph(config: Config, tensors: TensorFile, layers: Layers = EXACT) -> ModelProto:
    """``pixels`` (n, 3, h, w) float32 -> ``features`` (n, embed_dim), not normalised."""
    graph = Graph(tensors, layers)
    features = VISION[type(config.vision)](graph, "pixels", config.vision)
    if config.vision.projected:
        features = graph.op("MatMul", features, graph.weight("visual.proj"))
    return graph.model([_pixels(config)], features, config.embed_dim)


def probe_graph(config: Config, tensors: TensorFile, layers: Layers = EXACT) -> ModelProto:
    """``pixels`` -> ``features`` (n, probe_dim): what a linear probe reads."""
    graph = Graph(tensors, layers)
    features = VISION[type(config.vision)](graph, "pixels", config.vision)
    return graph.model([_pixels(config)], features, config.probe_dim)


def _pixels(config: Config) -> ValueInfoProto:
    shape: list[str | int | None] = ["n", 3, *config.vision.image_size]
    return helper.make_tensor_value_info("pixels", TensorProto.FLOAT, shape)


def text_graph(config: Config, tensors: TensorFile, layers: Layers = EXACT) -> ModelProto:
    """``ids`` (n, length) and ``ends`` (n,), both int64 -> ``features`` (n, embed_dim)."""
    graph = Graph(tensors, layers)
    features = TEXT[type(config.text)](graph, "ids", "ends", config.text)
    ids = helper.make_tensor_value_info("ids", TensorProto.INT64, ["n", "length"])
    ends = helper.make_tensor_value_info("ends", TensorProto.INT64, ["n"])
    return graph.model([ids, ends], features, config.embed_dim)


def vit(graph: Graph, pixels: str, facts: VisionTransformer) -> str:
    """A ViT: the patches and a class token, whose final feature is what is read."""
    rows, columns = facts.grid
    width, length = facts.width, rows * columns + 1
    x = patch_tokens(graph, pixels, facts)
    count = graph.op("Shape", pixels, start=0, end=1)
    shape = graph.op("Concat", graph.constant([1]), count, graph.constant([width]), axis=0)
    first = graph.op("Expand", graph.weight("visual.class_embedding"), shape)
    x = graph.op("Concat", first, x, axis=0)  # (L, B, D)
    places = graph.weight("visual.positional_embedding", [length, 1, width])
    x = graph.op("Reshape", graph.op("Add", x, places), graph.constant([-1, width]))
    x = layer_norm(graph, x, "visual.ln_pre", facts.layer_norm_eps)
    readout = Readout(lambda x: graph.op("Gather", x, graph.constant(0), axis=0), mask=None)
    stream = Stream(graph.constant([length]), length_first=True)
    x = transformer(graph, x, "visual.", facts, stream, readout)
    return layer_norm(graph, x, "visual.ln_post", facts.layer_norm_eps)


def modified_resnet(graph: Graph, pixels: str, facts: ModifiedResNet) -> str:
    """A ModifiedResNet with attention pooling. Runtimes fold the batch normalisation."""
    x = pixels
    for number, stride in enumerate(STEM_STRIDES, start=1):
        x = convolution(graph, x, f"visual.conv{number}", f"visual.bn{number}", stride, 1)
        x = graph.op("Relu", x)
    x = _average_pool(graph, x)
    channels = facts.width
    for stage, blocks in enumerate(facts.layers):
        out = facts.width * 2**stage * EXPANSION
        for index in range(blocks):
            name = f"visual.layer{stage + 1}.{index}"
            halve = stage > 0 and index == 0
            x = _bottleneck(graph, x, name, halve, project=halve or channels != out)
            channels = out
    return _attention_pool(graph, x, "visual.attnpool", channels, facts.heads)


def convolution(graph: Graph, x: str, conv: str, norm: str, stride: int, padding: int) -> str:
    """A convolution with its batch normalisation, by the names of both."""
    kernel = graph.tensors.infos[f"{conv}.weight"].shape[2:]
    x = graph.op(
        "Conv",
        x,
        graph.weight(f"{conv}.weight"),
        kernel_shape=kernel,
        strides=[stride, stride],
        pads=[padding] * 4,
    )
    parts = ("weight", "bias", "running_mean", "running_var")
    return graph.op(
        "BatchNormalization", x, *(graph.weight(f"{norm}.{part}") for part in parts), epsilon=1e-5
    )


def _average_pool(graph: Graph, x: str) -> str:
    return graph.op("AveragePool", x, kernel_shape=[2, 2], strides=[2, 2])


def _shortcut(graph: Graph, x: str, name: str, halve: bool, project: bool) -> str:
    """Beside a residual block: averaged where it strides, projected where the shape changes."""
    if not project:
        return x
    x = _average_pool(graph, x) if halve else x
    return convolution(graph, x, f"{name}.downsample.0", f"{name}.downsample.1", 1, 0)


def _bottleneck(graph: Graph, x: str, name: str, halve: bool, project: bool) -> str:
    """Three convolutions beside a shortcut; the stride is an average pool in both."""
    y = graph.op("Relu", convolution(graph, x, f"{name}.conv1", f"{name}.bn1", 1, 0))
    y = graph.op("Relu", convolution(graph, y, f"{name}.conv2", f"{name}.bn2", 1, 1))
    y = _average_pool(graph, y) if halve else y
    y = convolution(graph, y, f"{name}.conv3", f"{name}.bn3", 1, 0)
    return graph.op("Relu", graph.op("Add", y, _shortcut(graph, x, name, halve, project)))


def resnet(graph: Graph, pixels: str, facts: ResNet) -> str:
    """A ResNet of basic blocks, averaged over all positions."""
    x = convolution(graph, pixels, "visual.conv1", "visual.bn1", facts.patch_size, 0)
    x = graph.op("Relu", x)
    channels = facts.widths[0]
    for stage, (width, blocks) in enumerate(zip(facts.widths, facts.layers, strict=True)):
        for index in range(blocks):
            name = f"visual.layer{stage + 1}.{index}"
            halve = stage > 0 and index == 0
            x = _basic_block(graph, x, name, halve, project=halve or channels != width)
            channels = width
    return graph.op("ReduceMean", x, graph.constant([2, 3]), keepdims=0)


def _basic_block(graph: Graph, x: str, name: str, halve: bool, project: bool) -> str:
    """Two convolutions beside a shortcut; the first strides, the shortcut is averaged."""
    stride = 2 if halve else 1
    y = graph.op("Relu", convolution(graph, x, f"{name}.conv1", f"{name}.bn1", stride, 1))
    y = convolution(graph, y, f"{name}.conv2", f"{name}.bn2", 1, 1)
    return graph.op("Relu", graph.op("Add", y, _shortcut(graph, x, name, halve, project)))


def _attention_pool(graph: Graph, x: str, name: str, channels: int, heads: int) -> str:
    """(B, C, h, w) -> (B, E): the mean asks all positions."""
    x = graph.op("Reshape", x, graph.constant([0, channels, -1]))
    x = graph.op("Transpose", x, perm=[0, 2, 1])
    mean = graph.op("ReduceMean", x, graph.constant([1]), keepdims=1)
    x = graph.op("Concat", mean, x, axis=1)
    x = graph.op("Add", x, graph.weight(f"{name}.positional_embedding"))
    query = graph.op("Gather", x, graph.constant(0), axis=1)
    q, k, v = (Projection(f"{name}.{p}_proj.weight", f"{name}.{p}_proj.bias") for p in "qkv")
    mixed = single_query_attention(graph, query, x, (q, k, v), heads, mask=None)
    return linear(graph, mixed, f"{name}.c_proj")


def text_transformer(graph: Graph, ids: str, ends: str, facts: TextTransformer) -> str:
    """The text tower at any length up to the context; the feature at one position is projected."""
    length = graph.op("Shape", ids, start=1, end=2)
    zero, one = graph.constant([0]), graph.constant([1])
    positions = graph.op("Slice", graph.weight("positional_embedding"), zero, length, zero)
    x = graph.op("Gather", graph.weight("token_embedding.weight"), ids)
    x = graph.op("Add", x, positions)
    x = graph.op("Reshape", x, graph.constant([-1, facts.width]))
    place = POSITIONS[facts.pool](graph, ends, length)  # (B,)
    mask, seen = None, None
    if facts.causal:
        last = graph.op("Squeeze", length, zero)
        columns = graph.op("Range", graph.constant(0), last, graph.constant(1))
        mask = hide_later(graph, columns, graph.op("Unsqueeze", columns, one))  # (L, L)
        seen = hide_later(graph, columns, graph.op("Unsqueeze", place, graph.constant([1, 2])))
    where = graph.op("Unsqueeze", place, one)
    readout = Readout(lambda x: graph.op("GatherND", x, where, batch_dims=1), seen)
    x = transformer(graph, x, "", facts, Stream(length, mask), readout)
    return text_head(graph, x, facts)


def text_head(graph: Graph, x: str, facts: TextTransformer) -> str:
    """The token that stands for a text (B, D) to its feature (B, E)."""
    x = layer_norm(graph, x, "ln_final", facts.layer_norm_eps)
    if facts.projection_bias:
        return linear(graph, x, "text_projection")
    return graph.op("MatMul", x, graph.weight("text_projection"))


def hide_later(graph: Graph, columns: str, place: str) -> str:
    """Minus infinity where a column comes after the place, else zero."""
    later = graph.op("Greater", columns, place)
    return graph.op("Where", later, graph.constant(-np.inf), graph.constant(0.0))


def _last(graph: Graph, ends: str, length: str) -> str:
    last = graph.op("Sub", length, graph.constant([1]))
    return graph.op("Expand", last, graph.op("Shape", ends))


def _first(graph: Graph, ends: str, length: str) -> str:
    return graph.op("Expand", graph.constant([0]), graph.op("Shape", ends))


POSITIONS: dict[str, Callable[[Graph, str, str], str]] = {
    "end-of-text": lambda graph, ends, length: ends,
    "last": _last,
    "first": _first,
}
VISION: dict[type, Callable[[Graph, str, Any], str]] = {
    VisionTransformer: vit,
    ModifiedResNet: modified_resnet,
    ResNet: resnet,
    PooledVisionTransformer: pooled_vit,
}
"""Each gives what a linear probe reads; what is ``projected`` (core/towers.py) comes after."""
TEXT: dict[type, Callable[[Graph, str, str, Any], str]] = {
    TextTransformer: text_transformer,
    RobertaText: roberta_text,
}
