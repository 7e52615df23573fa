"""The towers run by OpenVINO: the engine for bfloat16 on processors that have it.

The graphs are those of ONNX Runtime, built in memory. OpenVINO's reader takes external weights only
from the graph's own folder, and copies them; so they enter as parameters, which are then replaced
by constants that lie where the checkpoint is mapped. Needs the extra ``openvino``.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import openvino as ov
from onnx import ModelProto, TensorProto, helper

from keshin.core.checkpoint import Checkpoint
from keshin.encode.blocks import EXACT
from keshin.encode.encoder import Encoder, FloatArray, IntArray, encoder_of
from keshin.encode.graph import image_graph, probe_graph, text_graph
from keshin.encode.graph_tree import text_tree_graph
from keshin.encode.pipeline import available_cores
from keshin.encode.prefix_tree import PrefixTree
from keshin.errors import KeshinError

DEVICE = "CPU"
PRECISIONS = {"fp32": "f32", "bf16": "bf16"}
"""Mode -> OpenVINO's name of the numbers that it computes with."""
STORED = {
    TensorProto.FLOAT: (np.float32, ov.Type.f32),
    TensorProto.FLOAT16: (np.float16, ov.Type.f16),
    TensorProto.BFLOAT16: (np.uint16, ov.Type.bf16),
}
"""How the weights of a checkpoint lie in NumPy, which lacks bfloat16, and in OpenVINO."""


class OpenVinoTowers:
    """Both towers of a checkpoint. Each is compiled when it is first needed."""

    def __init__(
        self, checkpoint: Checkpoint, *, threads: int | None = None, mode: str = "fp32"
    ) -> None:
        self.checkpoint = checkpoint
        self.threads = available_cores() if threads is None else threads
        if self.threads < 1:
            raise KeshinError(f"threads is {threads}. Use 1 or more, or None for all cores.")
        self._core = ov.Core()
        self.mode = _checked(mode, self._core.get_property(DEVICE, "OPTIMIZATION_CAPABILITIES"))

    def image_features(self, pixels: FloatArray) -> FloatArray:
        """(n, 3, h, w) preprocessed pictures -> (n, d) features, not normalised."""
        return self._images.run({"pixels": pixels})

    def probe_features(self, pixels: FloatArray) -> FloatArray:
        """(n, 3, h, w) preprocessed pictures -> (n, P) features before the projection."""
        return self._probes.run({"pixels": pixels})

    def text_features(self, ids: IntArray, ends: IntArray) -> FloatArray:
        """(n, length) token ids and (n,) end-of-text positions -> (n, d), not normalised."""
        return self._texts.run({"ids": ids, "ends": ends})

    def text_tree_features(self, tree: PrefixTree) -> FloatArray:
        """The b texts of a prefix tree -> (b, d), not normalised; of causal towers only."""
        return self._trees.run(vars(tree))

    @cached_property
    def _images(self) -> _Tower:
        return self._tower(image_graph(self.checkpoint.config, self.checkpoint.tensors, EXACT))

    @cached_property
    def _probes(self) -> _Tower:
        if not self.checkpoint.config.vision.projected:
            return self._images  # the same features
        return self._tower(probe_graph(self.checkpoint.config, self.checkpoint.tensors, EXACT))

    @cached_property
    def _texts(self) -> _Tower:
        return self._tower(text_graph(self.checkpoint.config, self.checkpoint.tensors, EXACT))

    @cached_property
    def _trees(self) -> _Tower:
        return self._tower(text_tree_graph(self.checkpoint.config, self.checkpoint.tensors, EXACT))

    def _tower(self, graph: ModelProto) -> _Tower:
        settings = {
            "INFERENCE_PRECISION_HINT": PRECISIONS[self.mode],
            "INFERENCE_NUM_THREADS": self.threads,
            "NUM_STREAMS": 1,
            # Threads bound to cores would fight with those that decode pictures.
            "ENABLE_CPU_PINNING": False,
        }
        mapped = np.memmap(self.checkpoint.tensors.path, np.uint8, mode="c")
        model, weights = _read(self._core, graph, mapped)
        return _Tower(self._core.compile_model(model, DEVICE, settings), weights)


class _Tower:
    """A compiled graph, asked by one thread at a time."""

    def __init__(self, compiled: Any, weights: list[ov.Tensor]) -> None:
        self._weights = weights  # OpenVINO holds no reference to what it shares
        self._request = compiled.create_infer_request()
        self._read = {name for each in compiled.inputs for name in each.get_names()}
        self._lock = threading.Lock()

    def run(self, inputs: Mapping[str, npt.NDArray[Any]]) -> FloatArray:
        """The inputs by name -> the only output."""
        read = {name: array for name, array in inputs.items() if name in self._read}
        with self._lock:
            found = self._request.infer(read, share_inputs=True)
            return np.array(found["features"], np.float32)  # what it gives is written over


def _read(
    core: ov.Core, graph: ModelProto, mapped: npt.NDArray[np.uint8]
) -> tuple[ov.Model, list[ov.Tensor]]:
    """The graph as OpenVINO's, its weights where ``mapped`` holds the file of the checkpoint.

    Also those weights, which must live as long as the model.
    """
    own = [t for t in graph.graph.initializer if t.data_location != TensorProto.EXTERNAL]
    weights = [t for t in graph.graph.initializer if t.data_location == TensorProto.EXTERNAL]
    del graph.graph.initializer[:]
    graph.graph.initializer.extend(own)
    for each in weights:
        value = helper.make_tensor_value_info(each.name, each.data_type, each.dims)
        graph.graph.input.append(value)
    model = core.read_model(graph.SerializeToString())
    parameters = {each.get_friendly_name(): each for each in model.get_parameters()}
    shared = []
    for each in weights:
        place = {entry.key: entry.value for entry in each.external_data}
        start, size = int(place["offset"]), int(place["length"])
        numbers, kind = STORED[each.data_type]
        array = np.ndarray(tuple(each.dims), numbers, mapped[start : start + size])
        shared.append(ov.Tensor(array, array.shape, kind))
        constant = ov.op.Constant(shared[-1], shared_memory=True)
        parameter = parameters[each.name]
        parameter.output(0).replace(constant.output(0))
        model.remove_parameter(parameter)
    model.validate_nodes_and_infer_types()
    return model, shared


def _checked(mode: str, able: list[str]) -> str:
    if mode not in PRECISIONS:
        raise KeshinError(
            f"OpenVINO runs the modes {' and '.join(PRECISIONS)} here, not '{mode}'. "
            "Use engine='onnx' for int8."
        )
    if mode == "bf16" and "BF16" not in able:
        raise KeshinError(
            "This processor has no bfloat16 products (AVX-512 BF16 or AMX), so bf16 would be "
            "slower than fp32. Use mode='fp32', or engine='onnx' with mode='int8'."
        )
    return mode


def openvino_encoder(
    checkpoint: Checkpoint, threads: int | None = None, mode: str = "fp32"
) -> Encoder:
    """A checkpoint as an encoder that OpenVINO runs on the processor."""
    towers = OpenVinoTowers(checkpoint, threads=threads, mode=mode)
    return encoder_of(checkpoint, towers, engine="openvino", mode=mode, threads=threads)
