"""The towers as ONNX files that need nothing else of keshin: weights and facts are inside.

The graphs are those that keshin runs (``graph.py``), with three additions: the end of each text is
found in the graph, so that ids are its only input; ``vectors``, the features at unit length, stand
beside ``features``; and a classifier can be baked in. Nodes are standard ONNX.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import ModelProto, TensorProto, helper

from keshin.core.checkpoint import TensorFile
from keshin.core.config import Config
from keshin.encode.blocks import MICROSOFT
from keshin.encode.graph import image_graph, text_graph

EMBEDDED_LIMIT = 1_800_000_000
"""Bytes of weights up to which a file holds them itself; a protocol buffer ends at 2 GiB."""
ALIGNMENT = 4096  # of tensors in a file of weights, so that they can be mapped

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Head:
    """A classifier to bake in: k classes, d wide."""

    weights: FloatArray
    """(k, d), unit length."""
    background: FloatArray
    """(m, d), unit length; m may be 0."""
    scale: float
    bias: float
    kind: str
    """``softmax`` or ``sigmoid``."""
    least_score: float | None = None
    least_cosine: float | None = None

    @property
    def declines(self) -> bool:
        """Whether there is an output ``rejected``."""
        return bool(
            self.least_score is not None or self.least_cosine is not None or len(self.background)
        )


def image_file(config: Config, tensors: TensorFile) -> ModelProto:
    """``pixels`` (n, 3, h, w) float32 -> ``features`` and ``vectors`` (n, d)."""
    model = image_graph(config, tensors)
    _add_vectors(model, config.embed_dim)
    return _standard(model)


def text_file(config: Config, tensors: TensorFile) -> ModelProto:
    """``ids`` (n, length) int64 -> ``features`` and ``vectors`` (n, d).

    Towers that see padding want rows filled to the context (``length`` is then fixed).
    """
    model = text_graph(config, tensors)
    graph = model.graph
    nodes = [
        _constant("end_id", np.array(config.tokenizer.end, np.int64)),
        helper.make_node("Equal", ["ids", "end_id"], ["is_end"]),
        helper.make_node("Cast", ["is_end"], ["end_flags"], to=TensorProto.INT32),
        helper.make_node("ArgMax", ["end_flags"], ["ends"], axis=1, keepdims=0),
    ]
    for index, node in enumerate(nodes):
        graph.node.insert(index, node)
    del graph.input[1]
    if not config.text.trims:
        graph.input[0].type.tensor_type.shape.dim[1].dim_value = config.text.context_length
    _add_vectors(model, config.embed_dim)
    return _standard(model)


def classifier_file(config: Config, tensors: TensorFile, head: Head) -> ModelProto:
    """``pixels`` -> ``scores``, ``cosines`` (n, k), and ``rejected`` (n,) if the head declines."""
    model = image_file(config, tensors)
    graph, count = model.graph, len(head.weights)
    nodes = [
        _constant("class_weights", np.ascontiguousarray(head.weights.T)),
        helper.make_node("MatMul", ["vectors", "class_weights"], ["cosines"]),
        _constant("scale", np.array(head.scale, np.float32)),
        helper.make_node("Mul", ["cosines", "scale"], ["scaled"]),
        _constant("bias", np.array(head.bias, np.float32)),
        helper.make_node("Add", ["scaled", "bias"], ["logits"]),
    ]
    if head.kind == "softmax":
        nodes.append(helper.make_node("Softmax", ["logits"], ["scores"], axis=-1))
    else:
        nodes.append(helper.make_node("Sigmoid", ["logits"], ["scores"]))
    nodes += _rejection(head)
    graph.node.extend(nodes)
    del graph.output[:]
    for name in ("scores", "cosines"):
        graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", count]))
    if head.declines:
        graph.output.append(helper.make_tensor_value_info("rejected", TensorProto.BOOL, ["n"]))
    return model


def _rejection(head: Head) -> list[Any]:
    """The rules of ``classify/rejection.py``, any of which declines."""
    if not head.declines:
        return []
    rules: list[str] = []
    nodes = [_constant("last_axis", np.array([-1], np.int64))]
    for name, values, least in (
        ("score", "scores", head.least_score),
        ("cosine", "cosines", head.least_cosine),
    ):
        if least is not None or (name == "cosine" and len(head.background)):
            nodes.append(
                helper.make_node("ReduceMax", [values, "last_axis"], [f"best_{name}"], keepdims=0)
            )
        if least is not None:
            nodes.append(_constant(f"least_{name}", np.array(least, np.float32)))
            low = f"{name}_is_low"
            nodes.append(helper.make_node("Less", [f"best_{name}", f"least_{name}"], [low]))
            rules.append(low)
    if len(head.background):
        nodes += [
            _constant("background", np.ascontiguousarray(head.background.T)),
            helper.make_node("MatMul", ["vectors", "background"], ["background_cosines"]),
            helper.make_node(
                "ReduceMax", ["background_cosines", "last_axis"], ["best_background"], keepdims=0
            ),
            helper.make_node("Greater", ["best_background", "best_cosine"], ["background_wins"]),
        ]
        rules.append("background_wins")
    for number, rule in enumerate(rules[1:], start=1):
        nodes.append(helper.make_node("Or", [rules[0], rule], [f"declined_{number}"]))
        rules[0] = f"declined_{number}"
    return [*nodes, helper.make_node("Identity", [rules[0]], ["rejected"])]


def write_onnx(
    path: Path,
    model: ModelProto,
    tensors: TensorFile,
    metadata: Mapping[str, str],
    limit: int = EMBEDDED_LIMIT,
) -> list[str]:
    """Write the file, with its weights inside or, beyond ``limit`` bytes, in ``NAME.data`` beside.

    Gives the names of all files written.
    """
    helper.set_model_props(model, dict(metadata))
    outside = [t for t in model.graph.initializer if t.data_location == TensorProto.EXTERNAL]
    total = sum(int(_place(tensor)["length"]) for tensor in outside)
    if total <= limit:
        for tensor in outside:
            data = _stored(tensor, tensors)
            del tensor.external_data[:]
            tensor.data_location = TensorProto.DEFAULT
            tensor.raw_data = data
        path.write_bytes(model.SerializeToString())
        return [path.name]
    beside = path.with_name(f"{path.name}.data")
    with beside.open("xb") as file:
        for tensor in outside:
            data = _stored(tensor, tensors)
            file.write(b"\0" * (-file.tell() % ALIGNMENT))
            place = {"location": beside.name, "offset": file.tell(), "length": len(data)}
            file.write(data)
            del tensor.external_data[:]
            for key, value in place.items():
                tensor.external_data.add(key=key, value=str(value))
    path.write_bytes(model.SerializeToString())
    return [path.name, beside.name]


def _place(tensor: TensorProto) -> dict[str, str]:
    return {entry.key: entry.value for entry in tensor.external_data}


def _stored(tensor: TensorProto, tensors: TensorFile) -> bytes:
    place = _place(tensor)
    offset, length = int(place["offset"]), int(place["length"])
    with tensors.path.open("rb") as file:
        file.seek(offset)
        return file.read(length)


def _constant(name: str, value: npt.NDArray[Any]) -> Any:
    kind = helper.np_dtype_to_tensor_dtype(value.dtype)
    tensor = helper.make_tensor(name, kind, value.shape, value.tobytes(), raw=True)
    return helper.make_node("Constant", [], [name], value=tensor)


def _add_vectors(model: ModelProto, width: int) -> None:
    graph = model.graph
    graph.node.extend(
        [
            _constant("feature_axis", np.array([1], np.int64)),
            helper.make_node("ReduceL2", ["features", "feature_axis"], ["lengths"], keepdims=1),
            helper.make_node("Div", ["features", "lengths"], ["vectors"]),
        ]
    )
    graph.output.append(helper.make_tensor_value_info("vectors", TensorProto.FLOAT, ["n", width]))


def _standard(model: ModelProto) -> ModelProto:
    """Without the domain of ONNX Runtime's own operators, of which the exact graphs use none."""
    kept = [entry for entry in model.opset_import if entry.domain != MICROSOFT]
    del model.opset_import[:]
    model.opset_import.extend(kept)
    return model
