"""Convolutions in 8 bits: a pass over the finished graph of a tower, and its numbers.

Values stay integers from one convolution to the next, so their scales cannot be found while
running; they are found beforehand, from the exact tower's values on made pictures, with room to
spare (``ROOM``), since larger values are cut. The pass puts a pair of QuantizeLinear and
DequantizeLinear where values are rounded, which runtimes turn into integer convolutions, sums and
pools (ONNX, "QDQ" form). Batch normalisation is folded into weights with a scale for each output
channel (Jacob et al. 2018, section 3.2).

The first convolution, which sees the pixels, and what follows the last one stay in float32.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import ModelProto, NodeProto, TensorProto, helper

from keshin.core.checkpoint import TensorFile
from keshin.encode.blocks import SUPPLIED

Array = npt.NDArray[Any]
Run = Callable[[ModelProto], list[Array]]
"""A graph -> all of its outputs for some made inputs."""

ROUNDED = ("Conv", "Add", "AveragePool")
"""Values that flow into one of these are rounded."""
FEWEST_CHANNELS = 8
"""A convolution of fewer input channels, as the first, stays exact."""
ROOM = 1.2
"""Times the largest value seen: how far the scale reaches."""


@dataclass(frozen=True)
class Convolution:
    """A convolution with its batch normalisation, as the exact graph has them."""

    conv: NodeProto
    norm: NodeProto


def _convolutions(
    model: ModelProto, tensors: TensorFile
) -> tuple[list[Convolution], dict[str, str]]:
    """Those to be quantised, and the checkpoint's name of each weight in the graph."""
    names = {name: name for name in tensors.infos}
    nodes = model.graph.node
    names |= {n.output[0]: n.input[0] for n in nodes if n.op_type == "Cast" and n.input[0] in names}
    norms = {node.input[0]: node for node in nodes if node.op_type == "BatchNormalization"}
    found = [
        Convolution(node, norms[node.output[0]])
        for node in nodes
        if node.op_type == "Conv"
        and node.output[0] in norms
        and tensors.infos[names[node.input[1]]].shape[1] >= FEWEST_CHANNELS
    ]
    return found, names


def _points(model: ModelProto, convolutions: list[Convolution]) -> list[str]:
    """The values that are rounded: what flows between the convolutions."""
    chosen = {id(c.conv) for c in convolutions}
    weighted = {id(c.norm) for c in convolutions}
    readers: dict[str, list[NodeProto]] = defaultdict(list)
    for node in model.graph.node:
        for value in node.input:
            readers[value].append(node)
    points = []
    for node in model.graph.node:
        makes = node.op_type in ("Relu", "AveragePool") or id(node) in weighted
        taken = any(
            reader.op_type in ROUNDED and (reader.op_type != "Conv" or id(reader) in chosen)
            for reader in readers[node.output[0]]
        )
        if makes and taken:
            points.append(node.output[0])
    return points


def quantise_convolutions(model: ModelProto, tensors: TensorFile, run: Run) -> dict[str, Array]:
    """The weights and scales that ``with_integers`` needs, by name; empty if there is nothing."""
    convolutions, names = _convolutions(model, tensors)
    if not convolutions:
        return {}
    points = _points(model, convolutions)
    scales = _scales(model, points, run)
    found: dict[str, Array] = {}
    for value, (scale, zero) in scales.items():
        found[f"{value}#step"], found[f"{value}#zero"] = scale, zero
    for each in convolutions:
        weight = names[each.conv.input[1]]
        gain, shift, mean, variance = (
            tensors.read_float32(names[name]).astype(np.float64) for name in each.norm.input[1:5]
        )
        factor = gain / np.sqrt(variance + _epsilon(each.norm))
        matrix = tensors.read_float32(weight) * factor[:, None, None, None]
        largest = np.abs(matrix).max(axis=(1, 2, 3))
        step = np.where(largest > 0, largest / 127, 1).astype(np.float32)
        bias_step = step * scales[each.conv.input[0]][0]
        bias = np.clip(np.rint((shift - mean * factor) / bias_step), -(2**30), 2**30)
        found |= {
            f"{weight}#conv": np.rint(matrix / step[:, None, None, None]).astype(np.int8),
            f"{weight}#step": step,
            f"{weight}#bias": bias.astype(np.int32),
            f"{weight}#bias-step": bias_step.astype(np.float32),
        }
    return found


def _epsilon(norm: NodeProto) -> float:
    return next(float(a.f) for a in norm.attribute if a.name == "epsilon")


def _scales(model: ModelProto, points: list[str], run: Run) -> dict[str, tuple[Array, Array]]:
    """The step and the zero of every point, from its least and its largest value."""
    watched = ModelProto()
    watched.CopyFrom(model)
    for value in points:
        for kind in ("ReduceMin", "ReduceMax"):
            name = f"{value}#{kind}"
            watched.graph.node.append(helper.make_node(kind, [value], [name], keepdims=0))
            watched.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, []))
    seen = run(watched)[len(model.graph.output) :]
    found = {}
    for value, least, largest in zip(points, seen[::2], seen[1::2], strict=True):
        low, high = ROOM * min(float(least), 0.0), ROOM * max(float(largest), 0.0)
        step = (high - low) / 255 or 1.0
        zero = np.rint(-low / step)
        found[value] = np.array(step, np.float32), np.array(zero, np.uint8)
    return found


def with_integers(
    model: ModelProto, tensors: TensorFile, arrays: Mapping[str, Array]
) -> ModelProto:
    """The same tower with the convolutions in ``arrays`` in 8 bits; the exact one if none is."""
    convolutions, names = _convolutions(model, tensors)
    convolutions = [c for c in convolutions if f"{names[c.conv.input[1]]}#conv" in arrays]
    if not convolutions:
        return model
    replaced = {id(c.conv): c for c in convolutions}
    dropped = {id(c.norm) for c in convolutions}
    points = set(_points(model, convolutions))
    rounded = {value: f"{value}#rounded" for value in points}
    nodes: list[NodeProto] = []
    used: list[str] = []

    def pair(value: str) -> None:
        parts = [f"{value}#step", f"{value}#zero"]
        used.extend(parts)
        nodes.append(helper.make_node("QuantizeLinear", [value, *parts], [f"{value}#q"]))
        nodes.append(helper.make_node("DequantizeLinear", [f"{value}#q", *parts], [rounded[value]]))

    for node in model.graph.node:
        if id(node) in dropped:
            continue
        new = NodeProto()
        new.CopyFrom(node)
        if each := replaced.get(id(node)):
            weight = names[node.input[1]]
            floats = []
            for integers, step in (("conv", "step"), ("bias", "bias-step")):
                parts = [f"{weight}#{integers}", f"{weight}#{step}"]
                used.extend(parts)
                floats.append(f"{weight}#{integers}-float")
                nodes.append(helper.make_node("DequantizeLinear", parts, floats[-1:], axis=0))
            new.input[:] = [node.input[0], *floats]
            new.output[0] = each.norm.output[0]
        new.input[:] = [rounded.get(value, value) for value in new.input]
        nodes.append(new)
        if new.output[0] in points:
            pair(new.output[0])
    return _rebuilt(model, nodes, {name: arrays[name] for name in used})


def _rebuilt(model: ModelProto, nodes: list[NodeProto], arrays: Mapping[str, Array]) -> ModelProto:
    """The graph with other nodes, without the initializers that none of them reads."""
    new = ModelProto()
    new.CopyFrom(model)
    del new.graph.node[:], new.graph.initializer[:]
    read = {value for node in nodes for value in node.input}
    kept = [t for t in model.graph.initializer if t.name in read]
    casts = [n for n in nodes if n.op_type != "Cast" or n.output[0] in read]
    new.graph.node.extend(casts)
    new.graph.initializer.extend(kept)
    for name, array in arrays.items():
        kind = helper.np_dtype_to_tensor_dtype(array.dtype)
        tensor = TensorProto(name=name, dims=array.shape, data_type=kind)
        if array.ndim == 0:  # runtimes look at scales while they build: keep them in the graph
            tensor.raw_data = array.tobytes()
        else:
            tensor.data_location = TensorProto.EXTERNAL
            tensor.external_data.add(key="location", value=SUPPLIED)
        new.graph.initializer.append(tensor)
    return new
