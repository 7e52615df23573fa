"""How linear layers are computed in each mode: the policy that the graph builder asks.

A layer's weights are stored in one of two forms beside the float32 of the checkpoint:

- ``rows``: 8-bit weights with a scale for each output; activations are rounded to 8 bits with a
  scale for each row (token), found while running. The product is one integer matrix product.
- ``blocks``: 8-bit weights with a scale for each block of inputs; the runtime rounds activations
  block by block.

Both leave out the few input channels that are far larger than the rest, which trained Transformers
have (Dettmers et al. 2022, LLM.int8, section 3): their columns of the weights stay in float32 and
their share is added. Which channels those are is found once, when the weights are quantised.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import ModelProto, TensorProto, helper

from keshin.encode.blocks import EXACT, MICROSOFT, Graph

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


def part(weight: str, name: str) -> str:
    """The name under which a part of a quantised weight is stored: ``q``, ``scale``, ..."""
    return f"{weight}#{name}"


@dataclass(frozen=True)
class Stored:
    """Linear layers computed with the quantised weights that there are; the others exactly."""

    arrays: Arrays

    def affine(self, graph: Graph, x: str, weight: str, bias: str, floor: float | None) -> str:
        """(n, inputs) -> (n, outputs), as ``blocks.Layers`` says."""
        for form, kernel in (("rows", _rows), ("blocks", _blocks)):
            if part(weight, form) not in self.arrays:
                continue
            if part(weight, "outliers") not in self.arrays:
                return kernel(graph, x, self, weight, graph.weight(bias), floor)
            x, added = self._without_outliers(graph, x, weight, graph.weight(bias))
            return graph.op("Add", kernel(graph, x, self, weight, "", floor), added)
        return EXACT.affine(graph, x, weight, bias, floor)

    def get(self, graph: Graph, weight: str, name: str) -> str:
        """A part of a quantised weight, as a value of the graph."""
        key = part(weight, name)
        return graph.supplied(key, self.arrays[key])

    def _without_outliers(self, graph: Graph, x: str, weight: str, bias: str) -> tuple[str, str]:
        """``x`` with its outlier channels set to zero, and what these add, with the bias."""
        few = graph.op("Gather", x, self.get(graph, weight, "outliers"), axis=1)
        added = graph.op("Gemm", few, self.get(graph, weight, "columns"), bias)
        return graph.op("Mul", x, self.get(graph, weight, "kept")), added


def _rows(graph: Graph, x: str, stored: Stored, weight: str, bias: str, floor: float | None) -> str:
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
        stored.get(graph, weight, "rows"),
        step,
        stored.get(graph, weight, "scale"),
        shift,
        domain=MICROSOFT,
    )
    scaled = graph.op("Mul", product, scale)
    return graph.op("Add", scaled, bias) if bias else scaled


def _blocks(
    graph: Graph, x: str, stored: Stored, weight: str, bias: str, floor: float | None
) -> str:
    del floor
    outputs, _, block = stored.arrays[part(weight, "blocks")].shape
    inputs = graph.tensors.infos[weight].shape[1]
    return graph.op(
        "MatMulNBits",
        x,
        stored.get(graph, weight, "blocks"),
        stored.get(graph, weight, "scale"),
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
        self.inputs: dict[str, str] = {}
        """weight -> the value that it is multiplied with."""

    def affine(self, graph: Graph, x: str, weight: str, bias: str, floor: float | None) -> str:
        """(n, inputs) -> (n, outputs), as ``blocks.Layers`` says."""
        self.inputs[weight] = graph.op("ReduceMax", graph.op("Abs", x), graph.constant([0]))
        return EXACT.affine(graph, x, weight, bias, floor)

    def expose(self, model: ModelProto) -> list[str]:
        """Make the largest value of every channel (1, inputs) an output; the weights, in order."""
        for value in self.inputs.values():
            model.graph.output.append(helper.make_tensor_value_info(value, TensorProto.FLOAT, None))
        return list(self.inputs)
