"""ONNX graphs piece by piece: a writer that keeps weights where they are, and CLIP's layers on it.

Weights are external data that points into the safetensors file, so a runtime maps them. They are
used as they are stored: ``Gemm`` with ``transB`` takes PyTorch's (out, in) matrices, and a slice of
rows or another shape of the same bytes is only another offset and other dimensions.

Shape letters: B pictures or texts, L tokens, D width, H heads, d = D / H. Nodes are standard ONNX;
measured on a CPU, ONNX Runtime's own attention operators were no faster (docs/decisions.md).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from onnx import ModelProto, TensorProto, ValueInfoProto, helper

from keshin.core.checkpoint import TensorFile

OPSET = 20  # ONNX Runtime 1.17 and later; the first with Gelu
IR_VERSION = 9
MICROSOFT = "com.microsoft"
"""The domain of ONNX Runtime's own operators; only modes other than fp32 use any."""
SUPPLIED = "supplied in memory"
ELEMENT_TYPES = {
    "F32": TensorProto.FLOAT,
    "F16": TensorProto.FLOAT16,
    "BF16": TensorProto.BFLOAT16,
}


@dataclass(frozen=True)
class Projection:
    """A weight matrix (outputs, ...) of a linear layer with its bias, or some of its rows."""

    weight: str
    bias: str = ""
    """"" is none."""
    rows: tuple[int, int] | None = None

    @property
    def key(self) -> str:
        """Names it among all of a tower."""
        return self.weight if self.rows is None else f"{self.weight}[{self.rows[0]}]"

    def matrix(self, graph: Graph) -> str:
        """(outputs, inputs), as it lies in the checkpoint."""
        shape = graph.tensors.infos[self.weight].shape
        flat = None if len(shape) == 2 else (shape[0], math.prod(shape[1:]))
        return graph.weight(self.weight, flat, self.rows)

    def offset(self, graph: Graph) -> str:
        """The bias (outputs,), or ""."""
        return graph.weight(self.bias, rows=self.rows) if self.bias else ""


class Layers(Protocol):
    """How the layers with a weight matrix are computed: exactly, or as a mode of precision says."""

    def affine(self, graph: Graph, x: str, layer: Projection, floor: float | None) -> str:
        """(n, inputs) -> (n, outputs): ``x W' + b``. No value of ``x`` lies below ``floor``."""
        ...

    def norm(self, graph: Graph, x: str, name: str, eps: float) -> str:
        """A LayerNorm that only layers of this kind read, so that they may agree on a scale."""
        ...


class Exact:
    """In float32, with the weights as they lie in the checkpoint."""

    def affine(self, graph: Graph, x: str, layer: Projection, floor: float | None) -> str:
        del floor
        parts = [each for each in (layer.matrix(graph), layer.offset(graph)) if each]
        return graph.op("Gemm", x, *parts, transB=1)

    def norm(self, graph: Graph, x: str, name: str, eps: float) -> str:
        return layer_norm(graph, x, name, eps)


EXACT = Exact()


class Graph:
    """Collects nodes and weights; values are known by their names."""

    def __init__(self, tensors: TensorFile, layers: Layers = EXACT) -> None:
        self.tensors = tensors
        self.layers = layers
        # Runtimes refuse links that leave a folder, as download caches have: name the file itself.
        self.location = tensors.path.resolve().name
        self._nodes: list[Any] = []
        self._initializers: dict[str, TensorProto] = {}
        self._widened: dict[str, str] = {}

    def op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """Add a node with one output; gives the output's name."""
        output = f"{kind}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(kind, inputs, [output], output, **attributes))
        return output

    def constant(self, value: npt.ArrayLike) -> str:
        """Numbers that the graph itself holds; Python's become int64 and float32."""
        array = np.asarray(value)
        if array.dtype == np.float64:
            array = array.astype(np.float32)
        name = f"constant_{array.dtype}_{array.shape}_{array.tobytes().hex()}"
        if name not in self._initializers:
            kind = helper.np_dtype_to_tensor_dtype(array.dtype)
            self._initializers[name] = helper.make_tensor(
                name, kind, array.shape, array.tobytes(), raw=True
            )
        return name

    def supplied(self, name: str, array: npt.NDArray[Any]) -> str:
        """Numbers that whoever runs the graph hands over under this name, in memory."""
        if name not in self._initializers:
            kind = helper.np_dtype_to_tensor_dtype(array.dtype)
            tensor = TensorProto(name=name, dims=array.shape, data_type=kind)
            tensor.data_location = TensorProto.EXTERNAL
            tensor.external_data.add(key="location", value=SUPPLIED)
            self._initializers[name] = tensor
        return name

    def weight(
        self, name: str, shape: Sequence[int] | None = None, rows: tuple[int, int] | None = None
    ) -> str:
        """A tensor of the checkpoint as float32: all of it or some rows, perhaps reshaped."""
        info = self.tensors.infos[name]
        dims, offset, size = info.shape, info.offset, info.nbytes
        if rows is not None:
            step = size // dims[0]
            dims = (rows[1] - rows[0], *dims[1:])
            offset, size = offset + rows[0] * step, dims[0] * step
        dims = tuple(shape) if shape is not None else dims
        key = name if (rows, shape) == (None, None) else f"{name}[{offset}:{offset + size}]{dims}"
        if key not in self._initializers:
            tensor = TensorProto(name=key, dims=dims, data_type=ELEMENT_TYPES[info.dtype])
            tensor.data_location = TensorProto.EXTERNAL
            place = {"location": self.location, "offset": str(offset), "length": str(size)}
            for entry, value in place.items():
                tensor.external_data.add(key=entry, value=value)
            self._initializers[key] = tensor
        if info.dtype == "F32":
            return key
        if key not in self._widened:
            self._widened[key] = self.op("Cast", key, to=TensorProto.FLOAT)
        return self._widened[key]

    def model(self, inputs: Sequence[ValueInfoProto], features: str, width: int) -> ModelProto:
        """The finished graph, with one output (n, width) named ``features``."""
        self._nodes.append(helper.make_node("Identity", [features], ["features"], "features"))
        output = helper.make_tensor_value_info("features", TensorProto.FLOAT, ["n", width])
        graph = helper.make_graph(
            self._nodes, "keshin", inputs, [output], list(self._initializers.values())
        )
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(MICROSOFT, 1)]
        return helper.make_model(
            graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="keshin"
        )


def linear(graph: Graph, x: str, name: str, floor: float | None = None) -> str:
    """(n, inputs) -> (n, outputs) with PyTorch's ``Linear`` called ``name``.

    ``floor`` is a number that no value of ``x`` lies below, where one is known.
    """
    return graph.layers.affine(graph, x, Projection(f"{name}.weight", f"{name}.bias"), floor)


def layer_norm(graph: Graph, x: str, name: str, eps: float) -> str:
    """Normalise the last axis."""
    scale, bias = graph.weight(f"{name}.weight"), graph.weight(f"{name}.bias")
    return graph.op("LayerNormalization", x, scale, bias, axis=-1, epsilon=eps)


def _quick_gelu(graph: Graph, x: str) -> str:
    gate = graph.op("Sigmoid", graph.op("Mul", x, graph.constant(1.702)))
    return graph.op("Mul", x, gate)


ACTIVATIONS: dict[str, Callable[[Graph, str], str]] = {
    "quick_gelu": _quick_gelu,
    "gelu": lambda graph, x: graph.op("Gelu", x),
    "gelu_tanh": lambda graph, x: graph.op("Gelu", x, approximate="tanh"),
}


ACTIVATION_FLOOR = -0.171
"""No activation of the table gives less: their least values are -0.164, -0.16997 and -0.17004."""
