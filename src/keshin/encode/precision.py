"""How linear layers are computed in each mode: the policy that the graph builder asks.

A layer's weights are stored in one of two forms beside the float32 of the checkpoint:

- ``rows``: 8-bit weights with a scale for each output; activations are rounded to 8 bits with a
  scale for each row (token), found while running. The product is one integer matrix product.
- ``blocks``: 8-bit weights with a scale for each block of inputs; the runtime rounds activations
  block by block. Slower, so only ``int8-safe`` and layers that write massive channels use it.

Trained Transformers have a few channels that are far larger than the rest. Where a LayerNorm makes
them, its gains shrink and the weights that read it grow by as much (Xiao et al. 2022, SmoothQuant).
Elsewhere their columns of the weights stay in float32 and their share is added (Dettmers et al.
2022, LLM.int8, section 3). Which channels those are is found once, when weights are quantised.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import ModelProto, TensorProto, helper

from keshin.encode.blocks import EXACT, MICROSOFT, Graph, Projection, layer_norm

Array = npt.NDArray[Any]
Arrays = Mapping[str, Array]

BITS = 8
INT8_ACCURACY = 4
"""The accuracy level of ``MatMulNBits`` at which activations are rounded to int8 in blocks."""
TOP = 127
"""Of symmetric 8-bit values; activations are stored shifted by ``MIDDLE``."""
MIDDLE = 128
LOW_ZERO = 16
"""The zero of activations that have a floor: 16 steps below it, 239 above."""
SMALLEST = 1e-12
"""Least scale of a row, so that a row of zeros stays one."""


def part(key: str, name: str) -> str:
    """The name under which a part of a quantised layer is stored: ``rows``, ``scale``, ..."""
    return f"{key}#{name}"


def in_blocks(arrays: Arrays) -> bool:
    """Whether a layer is in the form ``blocks``, whose product needs its weights rearranged."""
    return any(name.endswith("#blocks") for name in arrays)


@dataclass(frozen=True)
class Stored:
    """Linear layers computed with the quantised weights that there are; the others exactly."""

    arrays: Arrays

    def affine(self, graph: Graph, x: str, layer: Projection, floor: float | None) -> str:
        """(n, inputs) -> (n, outputs), as ``blocks.Layers`` says."""
        for form, kernel in (("rows", _rows), ("blocks", _blocks)):
            if part(layer.key, form) not in self.arrays:
                continue
            if part(layer.key, "outliers") not in self.arrays:
                return kernel(graph, x, self, layer.key, layer.offset(graph), floor)
            x, added = self._without_outliers(graph, x, layer)
            return graph.op("Add", kernel(graph, x, self, layer.key, "", floor), added)
        return EXACT.affine(graph, x, layer, floor)

    def norm(self, graph: Graph, x: str, name: str, eps: float) -> str:
        """With gains that spread what is large over the weights that follow, if there are any."""
        if part(name, "gain") not in self.arrays:
            return layer_norm(graph, x, name, eps)
        parts = (self.get(graph, name, each) for each in ("gain", "shift"))
        return graph.op("LayerNormalization", x, *parts, axis=-1, epsilon=eps)

    def get(self, graph: Graph, key: str, name: str) -> str:
        """A part of a quantised layer, as a value of the graph."""
        stored = part(key, name)
        return graph.supplied(stored, self.arrays[stored])

    def _without_outliers(self, graph: Graph, x: str, layer: Projection) -> tuple[str, str]:
        """``x`` with its outlier channels set to zero, and what these add, with the bias."""
        few = graph.op("Gather", x, self.get(graph, layer.key, "outliers"), axis=1)
        columns = self.get(graph, layer.key, "columns")
        offset = [each for each in (layer.offset(graph),) if each]
        added = graph.op("Gemm", few, columns, *offset)
        return graph.op("Mul", x, self.get(graph, layer.key, "kept")), added


def _rows(graph: Graph, x: str, stored: Stored, key: str, bias: str, floor: float | None) -> str:
    """``scale_row * scale_column * (integers of x) (integers of W) + bias``; no bias is ""."""
    axis = graph.constant([1])
    largest = graph.op("ReduceMax", x, axis, keepdims=1)
    if floor is None:
        top, zero = TOP, MIDDLE
        least = graph.constant(SMALLEST)
        negative = graph.op("Neg", graph.op("ReduceMin", x, axis, keepdims=1))
        scale = graph.op("Max", largest, negative, least)
    else:  # nothing lies far below zero: almost all steps go to what is above
        zero = LOW_ZERO if floor < 0 else 0
        top = 255 - zero
        scale = graph.op("Max", largest, graph.constant(max(SMALLEST, -floor * top / LOW_ZERO)))
    step, shift = graph.constant(1 / top), graph.constant(np.uint8(zero))
    integers = graph.op("QuantizeLinear", graph.op("Div", x, scale), step, shift)
    product = graph.op(
        "MatMulIntegerToFloat",
        integers,
        stored.get(graph, key, "rows"),
        step,
        stored.get(graph, key, "scale"),
        shift,
        domain=MICROSOFT,
    )
    scaled = graph.op("Mul", product, scale)
    return graph.op("Add", scaled, bias) if bias else scaled


def _blocks(graph: Graph, x: str, stored: Stored, key: str, bias: str, floor: float | None) -> str:
    del floor
    outputs, _, block = stored.arrays[part(key, "blocks")].shape
    inputs = int(stored.arrays[part(key, "inputs")])  # the last block may be filled up
    return graph.op(
        "MatMulNBits",
        x,
        stored.get(graph, key, "blocks"),
        stored.get(graph, key, "scale"),
        "",
        "",
        bias,
        domain=MICROSOFT,
        K=inputs,
        N=outputs,
        bits=BITS,
        block_size=block,
        accuracy_level=INT8_ACCURACY,
    )


class Observing:
    """Exact layers; remembers which there are and lets the graph give what flows into them."""

    def __init__(self) -> None:
        self.layers: dict[str, Projection] = {}
        self.sources: dict[str, str] = {}
        """layer -> the LayerNorm that only linear layers read, if its input is that."""
        self._norms: dict[str, str] = {}
        self._largest: dict[str, str] = {}

    def affine(self, graph: Graph, x: str, layer: Projection, floor: float | None) -> str:
        """(n, inputs) -> (n, outputs), as ``blocks.Layers`` says."""
        key = layer.key
        self.layers[key] = layer
        if x in self._norms:
            self.sources[key] = self._norms[x]
        self._largest[key] = graph.op("ReduceMax", graph.op("Abs", x), graph.constant([0]))
        return EXACT.affine(graph, x, layer, floor)

    def norm(self, graph: Graph, x: str, name: str, eps: float) -> str:
        """As ``blocks.Layers`` says."""
        value = layer_norm(graph, x, name, eps)
        self._norms[value] = name
        return value

    def expose(self, model: ModelProto) -> list[str]:
        """Make the largest value of every channel (1, inputs) an output; the layers, in order."""
        for value in self._largest.values():
            model.graph.output.append(helper.make_tensor_value_info(value, TensorProto.FLOAT, None))
        return list(self._largest)
