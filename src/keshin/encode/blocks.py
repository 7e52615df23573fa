"""ONNX graphs piece by piece: a writer that keeps weights where they are, and CLIP's layers on it.

Weights are external data that points into the safetensors file, so a runtime maps them. They are
used as they are stored: ``Gemm`` with ``transB`` takes PyTorch's (out, in) matrices, and a slice of
rows or another shape of the same bytes is only another offset and other dimensions.

A stream of tokens is two-dimensional, (batch x length, width), and becomes (batch, length, width)
where tokens meet. Shape letters: B pictures or texts, L tokens, D width, H heads, d = D / H.
Nodes are standard ONNX; measured on a CPU, ONNX Runtime's own attention operators were no faster
(docs/decisions.md).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from onnx import ModelProto, TensorProto, ValueInfoProto, helper

from keshin.core.checkpoint import TensorFile
from keshin.core.config import BlockFacts, TextTransformer, VisionTransformer

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


class Layers(Protocol):
    """How the layers with a weight matrix are computed: exactly, or as a mode of precision says."""

    def affine(self, graph: Graph, x: str, weight: str, bias: str, floor: float | None) -> str:
        """(n, inputs) -> (n, outputs): ``x W' + b``. No value of ``x`` lies below ``floor``."""
        ...


class Exact:
    """In float32, with the weights as they lie in the checkpoint."""

    def affine(self, graph: Graph, x: str, weight: str, bias: str, floor: float | None) -> str:
        del floor
        return graph.op("Gemm", x, graph.weight(weight), graph.weight(bias), transB=1)


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


@dataclass(frozen=True)
class Projection:
    """The rows of one weight matrix, with its bias, that make queries, keys or values."""

    weight: str
    bias: str
    rows: tuple[int, int] | None = None


def linear(graph: Graph, x: str, name: str, floor: float | None = None) -> str:
    """(n, inputs) -> (n, outputs) with PyTorch's ``Linear`` called ``name``.

    ``floor`` is a number that no value of ``x`` lies below, where one is known.
    """
    return graph.layers.affine(graph, x, f"{name}.weight", f"{name}.bias", floor)


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


@dataclass(frozen=True)
class Tree:
    """Tokens that lie as nodes of a prefix tree (encode/prefix_tree.py): graph inputs."""

    keys: str
    """(G, K) nodes that each chunk of C nodes sees; the last C are its own."""
    before: str
    """(1,) K - C."""
    paths: str
    """(B, L) nodes of each text."""


def attention(
    graph: Graph,
    x: str,
    name: str,
    heads: int,
    length: str,
    mask: str | None,
    tree: Tree | None = None,
) -> str:
    """Self-attention of every token: (B L, D) -> (B L, D). ``mask`` is added to the scores.

    In a tree the tokens are (G C, D), and ``length`` is K.
    """
    out, width = graph.tensors.infos[f"{name}.out_proj.weight"].shape
    weight, bias = f"{name}.in_proj_weight", f"{name}.in_proj_bias"
    packed = graph.layers.affine(graph, x, weight, bias, None)
    if tree is not None:
        packed = graph.op("Gather", packed, tree.keys, axis=0)  # (G, K, 3 D)
    shape = graph.op(
        "Concat",
        graph.constant([-1]),
        length,
        graph.constant([3, heads, width // heads]),
        axis=0,
    )
    parts = graph.op("Transpose", graph.op("Reshape", packed, shape), perm=[2, 0, 3, 1, 4])
    q, k, v = (graph.op("Gather", parts, graph.constant(index), axis=0) for index in range(3))
    if tree is not None:
        q = graph.op("Slice", q, tree.before, length, graph.constant([2]))
    scores = graph.op("MatMul", q, graph.op("Transpose", k, perm=[0, 1, 3, 2]))
    scores = graph.op("Mul", scores, graph.constant((width // heads) ** -0.5))
    if mask is not None:
        scores = graph.op("Add", scores, mask)
    mixed = graph.op("MatMul", graph.op("Softmax", scores, axis=-1), v)  # (B, H, L, d)
    mixed = graph.op("Transpose", mixed, perm=[0, 2, 1, 3])
    mixed = graph.op("Reshape", mixed, graph.constant([-1, out]))
    return linear(graph, mixed, f"{name}.out_proj")


def single_query_attention(
    graph: Graph,
    query: str,
    tokens: str,
    parts: tuple[Projection, Projection, Projection],
    heads: int,
    mask: str | None,
) -> str:
    """Attention of one query (B, D) to its tokens (B, L, D), before the output projection.

    ``q . (K x) = (q K) . x`` and ``sum p (V x) = V (sum p x)``: keys and values of the tokens are
    never made, which saves almost all of the work. The keys' bias adds the same to every score of
    a head, so softmax does not see it.
    """
    q, k, v = parts
    width = graph.tensors.infos[q.weight].shape[1]
    split = [heads, width // heads, width]
    bias = graph.weight(q.bias, rows=q.rows)
    row = graph.op("Gemm", query, graph.weight(q.weight, rows=q.rows), bias, transB=1)
    row = graph.op("Reshape", row, graph.constant([-1, heads, width // heads]))
    row = graph.op("Mul", row, graph.constant((width // heads) ** -0.5))
    by_head = graph.op("Transpose", row, perm=[1, 0, 2])  # (H, B, d)
    keyed = graph.op("MatMul", by_head, graph.weight(k.weight, split, k.rows))  # (H, B, D)
    keyed = graph.op("Transpose", keyed, perm=[1, 0, 2])
    scores = graph.op("MatMul", keyed, graph.op("Transpose", tokens, perm=[0, 2, 1]))  # (B, H, L)
    if mask is not None:
        scores = graph.op("Add", scores, mask)
    mixed = graph.op("MatMul", graph.op("Softmax", scores, axis=-1), tokens)  # (B, H, D)
    mixed = graph.op("Transpose", mixed, perm=[1, 2, 0])  # (H, D, B)
    mixed = graph.op("MatMul", graph.weight(v.weight, split, v.rows), mixed)  # (H, d, B)
    mixed = graph.op("Transpose", mixed, perm=[2, 0, 1])
    mixed = graph.op("Reshape", mixed, graph.constant([-1, width]))
    return graph.op("Add", mixed, graph.weight(v.bias, rows=v.rows))


@dataclass(frozen=True)
class Readout:
    """Which token of a stream stands for the whole, for the last block."""

    pick: Callable[[str], str]
    """(B, L, D) -> (B, D)."""
    mask: str | None
    """Added to the scores (B, H, L) of the token that is picked."""


def transformer(
    graph: Graph,
    x: str,
    prefix: str,
    facts: VisionTransformer | TextTransformer,
    length: str,
    mask: str | None,
    readout: Readout,
    tree: Tree | None = None,
) -> str:
    """Pre-norm blocks: (B L, D) -> (B, D). The last one computes only the token that is read."""
    for index in range(facts.layers - 1):
        name = f"{prefix}transformer.resblocks.{index}"
        normed = layer_norm(graph, x, f"{name}.ln_1", facts.layer_norm_eps)
        mixed = attention(graph, normed, f"{name}.attn", facts.heads, length, mask, tree)
        x = pre_norm_mlp(graph, graph.op("Add", x, mixed), name, facts)
    name = f"{prefix}transformer.resblocks.{facts.layers - 1}"
    width = facts.width
    if tree is not None:
        tokens = graph.op("Gather", x, tree.paths, axis=0)
    else:
        shape = graph.op("Concat", graph.constant([-1]), length, graph.constant([width]), axis=0)
        tokens = graph.op("Reshape", x, shape)
    normed = layer_norm(graph, tokens, f"{name}.ln_1", facts.layer_norm_eps)
    weight, bias = f"{name}.attn.in_proj_weight", f"{name}.attn.in_proj_bias"
    q, k, v = (Projection(weight, bias, (i * width, (i + 1) * width)) for i in range(3))
    mixed = single_query_attention(
        graph, readout.pick(normed), normed, (q, k, v), facts.heads, readout.mask
    )
    mixed = linear(graph, mixed, f"{name}.attn.out_proj")
    return pre_norm_mlp(graph, graph.op("Add", readout.pick(tokens), mixed), name, facts)


def pre_norm_block(
    graph: Graph, x: str, name: str, facts: BlockFacts, length: str, mask: str | None
) -> str:
    """A whole block, for towers that read all tokens of the last one: (B L, D) -> (B L, D)."""
    normed = layer_norm(graph, x, f"{name}.ln_1", facts.layer_norm_eps)
    mixed = attention(graph, normed, f"{name}.attn", facts.heads, length, mask)
    return pre_norm_mlp(graph, graph.op("Add", x, mixed), name, facts)


def pre_norm_mlp(graph: Graph, x: str, name: str, facts: BlockFacts) -> str:
    """The second half of a block: ``x + mlp(ln_2(x))``, (n, D) -> (n, D)."""
    normed = layer_norm(graph, x, f"{name}.ln_2", facts.layer_norm_eps)
    inner = ACTIVATIONS[facts.activation](graph, linear(graph, normed, f"{name}.mlp.c_fc"))
    return graph.op("Add", x, linear(graph, inner, f"{name}.mlp.c_proj", ACTIVATION_FLOOR))
