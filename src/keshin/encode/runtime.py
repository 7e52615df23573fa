"""The towers run by ONNX Runtime, and the encoder made of them.

The graphs are built in memory and handed over as bytes; the weights are found through the
checkpoint's own folder, mapped. Nothing is written, so a checkpoint may lie in a folder that is
read-only. Modes other than fp32 get their weights from ``quantize.py`` through a cache.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
from onnx import ModelProto, TensorProto

from keshin.core.checkpoint import Checkpoint
from keshin.core.hashes import sha256_of
from keshin.encode.blocks import EXACT
from keshin.encode.encoder import Encoder, FloatArray, IntArray, encoder_of
from keshin.encode.engines import Provider
from keshin.encode.graph import image_graph, probe_graph, text_graph
from keshin.encode.graph_tree import text_tree_graph
from keshin.encode.pipeline import available_cores
from keshin.encode.precision import in_blocks
from keshin.encode.prefix_tree import PrefixTree
from keshin.encode.quantize import MODES, Builder, quantise, quantised_graph, sample_inputs
from keshin.encode.quantized_cache import cache_key, cached
from keshin.errors import KeshinError

CPU = "CPUExecutionProvider"
DEFAULT_PROVIDERS = (CPU,)
WEIGHTS_FOLDER = "session.model_external_initializers_file_folder_path"
SPINNING = "session.intra_op.allow_spinning"
NO_PREPACKING = "session.disable_prepacking"
EXACT_PRODUCTS = "session.x64quantprecision"
"""Makes 8-bit products exact on x86 processors whose instructions cut their sums at 16 bits."""
QUIET = 3  # errors only

Array = npt.NDArray[Any]


class OnnxTowers:
    """Both towers of a checkpoint. Each session is made when it is first needed.

    ``prepack`` rearranges the weights for speed, which takes a copy of them and, for a ViT-B/32,
    0.3 s; a program that encodes a dozen pictures and ends is done sooner without. ``mode`` is one
    of ``quantize.MODES``; ``cache`` is the folder where quantised weights are kept.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        *,
        threads: int | None = None,
        providers: Sequence[Provider] | None = None,
        prepack: bool = True,
        mode: str = "fp32",
        cache: Path | None = None,
    ) -> None:
        self.checkpoint = checkpoint
        self.mode = _checked_mode(mode)
        self.prepack = prepack
        self.cache = cache
        self.threads = available_cores() if threads is None else threads
        if self.threads < 1:
            raise KeshinError(f"threads is {threads}. Use 1 or more, or None for all cores.")
        self.providers = _checked_providers(DEFAULT_PROVIDERS if providers is None else providers)
        if mode != "fp32" and set(self.providers) != {CPU}:
            raise KeshinError(
                f"The mode {mode} is for the processor ({CPU}), not for "
                f"{', '.join(self.providers)}. Use mode='fp32' there."
            )

    def image_features(self, pixels: FloatArray) -> FloatArray:
        """(n, 3, h, w) preprocessed pictures -> (n, d) features, not normalised."""
        return cast(FloatArray, self._images.run(["features"], {"pixels": pixels})[0])

    def probe_features(self, pixels: FloatArray) -> FloatArray:
        """(n, 3, h, w) preprocessed pictures -> (n, probe_dim): what a linear probe reads."""
        return cast(FloatArray, self._probes.run(["features"], {"pixels": pixels})[0])

    def text_features(self, ids: IntArray, ends: IntArray) -> FloatArray:
        """(n, length) token ids and (n,) end-of-text positions -> (n, d), not normalised."""
        return cast(FloatArray, self._texts.run(["features"], {"ids": ids, "ends": ends})[0])

    def text_tree_features(self, tree: PrefixTree) -> FloatArray:
        """The b texts of a prefix tree -> (b, d), not normalised; of causal towers only."""
        return cast(FloatArray, self._trees.run(["features"], vars(tree))[0])

    @cached_property
    def _images(self) -> ort.InferenceSession:
        return self._tower("image", image_graph)

    @cached_property
    def _probes(self) -> ort.InferenceSession:
        if not self.checkpoint.config.vision.projected:
            return self._images  # the same features
        return self._tower("image", image_graph, probe_graph)

    @cached_property
    def _texts(self) -> ort.InferenceSession:
        return self._tower("text", text_graph)

    @cached_property
    def _trees(self) -> ort.InferenceSession:
        return self._tower("text", text_graph, text_tree_graph)

    def _tower(
        self, tower: str, build: Builder, run: Builder | None = None
    ) -> ort.InferenceSession:
        """``run`` is another graph of the same layers: ``build`` shows how to quantise them."""
        checkpoint, tensors, run = self.checkpoint, self.checkpoint.tensors, run or build
        if self.mode == "fp32":
            return self._session(run(checkpoint.config, tensors, EXACT), {})
        exact = build(checkpoint.config, tensors, EXACT)
        weights = sha256_of(tensors.path).hex()
        key = cache_key(weights, exact.SerializeToString(), self.mode)
        inputs = sample_inputs(checkpoint.config)[tower]

        def make() -> dict[str, Array]:
            return quantise(build, checkpoint.config, tensors, self.mode, inputs, self._run)

        arrays = cached(self.cache, key, make)
        return self._session(quantised_graph(run, checkpoint.config, tensors, arrays), arrays)

    def _run(
        self, model: ModelProto, arrays: Mapping[str, Array], inputs: Mapping[str, Array]
    ) -> list[Array]:
        return cast(list[Array], self._session(model, arrays).run(None, dict(inputs)))

    def _session(self, model: ModelProto, arrays: Mapping[str, Array]) -> ort.InferenceSession:
        prepack = self.prepack or in_blocks(arrays)
        weights = self.checkpoint.tensors.path
        options = _options(weights, threads=self.threads, prepack=prepack)
        supplied = [
            tensor.name
            for tensor in model.graph.initializer
            if tensor.name in arrays and tensor.data_location == TensorProto.EXTERNAL
        ]
        if supplied:
            values = [
                ort.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(arrays[name]))
                for name in supplied
            ]
            options.add_external_initializers(supplied, values)
        session = _open(model, options, self.providers)
        session.keshin_arrays = arrays  # mapped or in memory: they must live as long as it does
        return session


def picture_session(
    model: ModelProto, weights: Path, threads: int | None = None
) -> Callable[[FloatArray], FloatArray]:
    """A graph from ``pixels`` to ``features`` as a function, on the processor, in float32.

    ``weights`` is the safetensors file that the graph points into.
    """
    threads = available_cores() if threads is None else threads
    options = _options(weights, threads=threads, prepack=True)
    session = _open(model, options, _checked_providers(DEFAULT_PROVIDERS))

    def run(pixels: FloatArray) -> FloatArray:
        return cast(FloatArray, session.run(["features"], {"pixels": pixels})[0])

    return run


def _options(weights: Path, *, threads: int, prepack: bool) -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1  # the graphs are chains: no two nodes run at once
    options.log_severity_level = QUIET
    for entry, value in {
        # Threads that spin while they wait would take a core from those that decode pictures.
        SPINNING: "0",
        NO_PREPACKING: "0" if prepack else "1",
        WEIGHTS_FOLDER: str(weights.resolve().parent),
        EXACT_PRODUCTS: "0" if sums_in_32_bits() else "1",
    }.items():
        options.add_session_config_entry(entry, value)
    return options


def _open(
    model: ModelProto, options: ort.SessionOptions, providers: dict[str, dict[str, Any]]
) -> ort.InferenceSession:
    """A session on the providers asked for, or a sentence why not."""
    asked = list(providers)
    try:
        session = ort.InferenceSession(
            model.SerializeToString(),
            options,
            providers=asked,
            provider_options=list(providers.values()),
        )
    except Exception as error:  # ONNX Runtime raises classes of its own, one for each status
        if asked == [CPU]:
            raise
        raise KeshinError(
            f"ONNX Runtime cannot run this model on {', '.join(asked)}: {error}. "
            f"Correct the provider's options, or use {CPU}."
        ) from error
    check_providers(asked, session.get_providers())
    return session


def check_providers(asked: Sequence[str], used: Sequence[str]) -> None:
    """Warn where a provider that was asked for is not used; refuse if none of them is.

    ONNX Runtime itself falls back to the processor and only logs it.
    """
    missing = [name for name in asked if name not in used]
    if not missing:
        return
    said = f"ONNX Runtime could not start {', '.join(missing)}"
    if CPU not in asked and len(missing) == len(asked):
        raise KeshinError(
            f"{said}. See that its driver and libraries are installed, or add {CPU} to the "
            "providers to fall back to the processor."
        )
    warnings.warn(f"{said}; the model runs on {used[0]}.", stacklevel=2)


def _checked_mode(mode: str) -> str:
    if mode == "bf16":
        raise KeshinError(
            "ONNX Runtime has no bfloat16 products for this processor. Use engine='openvino' or "
            "engine='torch' for bf16, or one of the modes fp32, int8-safe and int8."
        )
    if mode not in MODES:
        raise KeshinError(f"There is no mode '{mode}'. There are: {', '.join(MODES)}.")
    return mode


def _checked_providers(given: Sequence[Provider]) -> dict[str, dict[str, Any]]:
    """Providers with their options, in order. Raises ``KeshinError`` for one that is not there."""
    pairs = [(each, {}) if isinstance(each, str) else (each[0], dict(each[1])) for each in given]
    found: dict[str, dict[str, Any]] = dict(pairs)
    if unknown := set(found) - set(ort.get_available_providers()):
        raise KeshinError(
            f"This ONNX Runtime has no {', '.join(sorted(unknown))}; it has "
            f"{', '.join(ort.get_available_providers())}. "
            "Choose one of these, or install the onnxruntime package that brings it."
        )
    return found


def sums_in_32_bits(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether this processor is known to add 8-bit products without cutting (VNNI, AMX)."""
    try:
        words = set(cpuinfo.read_text(encoding="utf-8", errors="replace").split())
    except OSError:
        return False
    return bool(words & {"avx512_vnni", "avx_vnni", "amx_int8"})


def onnx_encoder(
    checkpoint: Checkpoint,
    threads: int | None = None,
    providers: Sequence[Provider] | None = None,
    prepack: bool = True,
    mode: str = "fp32",
    cache: Path | None = None,
) -> Encoder:
    """A checkpoint as an encoder that runs without PyTorch."""
    towers = OnnxTowers(
        checkpoint, threads=threads, providers=providers, prepack=prepack, mode=mode, cache=cache
    )
    return encoder_of(checkpoint, towers, engine="onnx", mode=mode, threads=threads)
