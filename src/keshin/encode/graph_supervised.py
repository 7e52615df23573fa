"""The ResNets that were trained on ImageNet's labels, as ONNX graphs: the paper's baseline.

He et al. 2016 with the stride in the 3 x 3 convolution ("v1.5"), as torchvision and timm publish
them. Depth and widths are read off the tensors, so that ResNet-50, -101 and -152 are the same code.
"""

from __future__ import annotations

import re
from typing import Literal, TypeAlias

from onnx import ModelProto, TensorProto, helper

from keshin.core.tensors import TensorFile
from keshin.encode.blocks import Graph, linear
from keshin.encode.graph import convolution
from keshin.errors import CheckpointError

Output: TypeAlias = Literal["features", "logits"]
STAGES = 4
SIDE = 7
"""Of the first convolution, in pixels."""


def supervised_graph(tensors: TensorFile, output: Output = "features") -> ModelProto:
    """``pixels`` (n, 3, h, w) -> ``features``: (n, 2048) after the average pool of a ResNet-50, or
    the (n, 1000) logits. Raises ``CheckpointError`` for tensors of another network."""
    blocks = _blocks(tensors)
    graph = Graph(tensors)
    x = graph.op("Relu", convolution(graph, "pixels", "conv1", "bn1", 2, SIDE // 2))
    x = graph.op("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
    for stage, count in enumerate(blocks, start=1):
        for index in range(count):
            name = f"layer{stage}.{index}"
            x = _bottleneck(graph, x, name, 2 if stage > 1 and index == 0 else 1)
    x = graph.op("ReduceMean", x, graph.constant([2, 3]), keepdims=0)
    if output == "logits":
        x = linear(graph, x, "fc")
    pixels = helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["n", 3, "h", "w"])
    return graph.model([pixels], x, supervised_width(tensors, output))


def supervised_width(tensors: TensorFile, output: Output) -> int:
    """How many numbers the network gives for a picture."""
    classes, width = tensors.infos["fc.weight"].shape
    return classes if output == "logits" else width


def _bottleneck(graph: Graph, x: str, name: str, stride: int) -> str:
    y = graph.op("Relu", convolution(graph, x, f"{name}.conv1", f"{name}.bn1", 1, 0))
    y = graph.op("Relu", convolution(graph, y, f"{name}.conv2", f"{name}.bn2", stride, 1))
    y = convolution(graph, y, f"{name}.conv3", f"{name}.bn3", 1, 0)
    if f"{name}.downsample.0.weight" in graph.tensors.infos:
        x = convolution(graph, x, f"{name}.downsample.0", f"{name}.downsample.1", stride, 0)
    return graph.op("Relu", graph.op("Add", y, x))


def _blocks(tensors: TensorFile) -> list[int]:
    """Bottlenecks of each stage, after a look whether every tensor is where it should be."""
    shapes = {name: info.shape for name, info in tensors.infos.items()}
    wanted = set(_norm("bn1")) | {"conv1.weight", "fc.weight", "fc.bias"}
    counts = []
    for stage in range(1, STAGES + 1):
        found = {int(m[1]) for m in (re.match(rf"layer{stage}\.(\d+)\.", n) for n in shapes) if m}
        counts.append(len(found))
        for index in range(len(found)):
            name = f"layer{stage}.{index}"
            for part in (1, 2, 3):
                wanted |= {f"{name}.conv{part}.weight", *_norm(f"{name}.bn{part}")}
            if index == 0:
                wanted |= {f"{name}.downsample.0.weight", *_norm(f"{name}.downsample.1")}
    named = {name for name in shapes if not name.endswith("num_batches_tracked")}
    if 0 in counts or named != wanted:
        odd = sorted(named ^ wanted)[:3]
        raise CheckpointError(
            f"{tensors.path} is no ResNet of bottlenecks in torchvision's layout"
            f"{f' (look at {odd})' if odd else ''}. Give a ResNet-50, -101 or -152 of torchvision "
            "or timm, not one of the variants (resnet50d, resnext, wide or senet)."
        )
    sides = {3: SIDE, **{shapes[f"layer{s}.{i}.conv1.weight"][0]: 3 for s, i in _each(counts)}}
    firsts = ["conv1", *(f"layer{s}.{i}.conv2" for s, i in _each(counts))]
    for name in firsts:
        out, inputs, *kernel = shapes[f"{name}.weight"]
        if kernel != [sides.get(inputs)] * 2 or (name != "conv1" and out != inputs):
            raise CheckpointError(
                f"{tensors.path}: {name} has the shape {shapes[f'{name}.weight']}, which is not a "
                "ResNet's (a ResNeXt's convolutions are in groups). Give a plain ResNet."
            )
    return counts


def _norm(name: str) -> list[str]:
    return [f"{name}.{part}" for part in ("weight", "bias", "running_mean", "running_var")]


def _each(counts: list[int]) -> list[tuple[int, int]]:
    return [(stage, i) for stage, count in enumerate(counts, start=1) for i in range(count)]
