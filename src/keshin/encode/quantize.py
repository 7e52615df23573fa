"""Quantise a tower's weights: which layers, in which form, and which channels stay in float32.

What the modes mean is the table ``MODES``; the study behind it is ``benchmarks/
quantization_study.py`` and its table in ``docs/decisions.md``. Channels that stay in float32 are
found by running the exact tower once on inputs made from a fixed seed. Outliers of trained
Transformers are a matter of the weights: the same channels are large whatever the input. And since
the scales of activations are found while running, an input that is unlike these loses nothing but
a little precision.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from onnx import ModelProto

from keshin.core.checkpoint import TensorFile
from keshin.core.config import Config
from keshin.encode.blocks import Layers, Projection
from keshin.encode.convolutions import quantise_convolutions, with_integers
from keshin.encode.precision import TOP, Observing, Stored, part

Array = npt.NDArray[Any]
FloatArray = npt.NDArray[np.float32]
Form = Literal["rows", "blocks", "exact"]
Builder = Callable[[Config, TensorFile, Layers], ModelProto]
Run = Callable[[ModelProto, Mapping[str, Array], Mapping[str, Array]], list[Array]]
"""A graph, what is supplied to it, and its inputs -> all of its outputs."""


@dataclass(frozen=True)
class Mode:
    """What one mode does with the layers of a tower."""

    form: Form
    """Of linear layers."""
    convolutions: bool
    """Whether convolutions run in 8 bits too."""


MODES: dict[str, Mode] = {
    "fp32": Mode("exact", convolutions=False),
    "int8-safe": Mode("blocks", convolutions=False),
    "int8": Mode("rows", convolutions=True),
}
OUTLIER = 5.0
"""A channel is one if its largest value is so many times the median channel's."""
MOST_OUTLIERS = 1 / 32
"""Of all channels; only the largest are left out of the 8-bit product."""
FEWEST_INPUTS = 16
"""Smaller layers stay exact: there is nothing to gain."""
BLOCK = 128
"""Inputs that share a scale in the form ``blocks``."""
SAMPLES = 8
SMOOTHING = 0.5
"""The power of a channel's size, relative to the median's, that its weights take over."""
MASSIVE = 5.0
"""A layer writes massive channels if its largest output weighs so many times the median one."""
ONE = np.ones(1, np.float32)


def sample_inputs(config: Config) -> dict[str, dict[str, Array]]:
    """Inputs of both towers, by tower, from a fixed seed: made pictures and made texts."""
    dice = np.random.default_rng(0)
    height, width = config.vision.image_size
    rows, columns = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None]
    fall = 1 / np.maximum(np.hypot(rows, columns), 1 / max(height, width))  # as in photographs
    noise = dice.standard_normal((SAMPLES, 3, height, width))
    pixels = np.fft.irfft2(np.fft.rfft2(noise) * fall, s=(height, width))
    pixels /= pixels.std(axis=(1, 2, 3), keepdims=True)
    pixels += dice.standard_normal((SAMPLES, 3, 1, 1))
    text, tokens = config.text, config.tokenizer
    length = text.context_length if not text.trims else min(text.context_length, 16)
    ids = dice.integers(0, text.vocab_size, (SAMPLES, length))
    ends = dice.integers(length // 2, length, SAMPLES)
    if tokens.start is not None:
        ids[:, 0] = tokens.start
    for row, end in zip(ids, ends, strict=True):
        row[end] = tokens.end
        row[end + 1 :] = tokens.pad
    return {"image": {"pixels": pixels.astype(np.float32)}, "text": {"ids": ids, "ends": ends}}


def quantise(
    build: Builder,
    config: Config,
    tensors: TensorFile,
    mode: str,
    inputs: Mapping[str, Array],
    run: Run,
) -> dict[str, Array]:
    """All that a tower needs in a mode beside its checkpoint, by name."""
    how = MODES[mode]
    found = quantise_linears(build, config, tensors, how.form, inputs, run)
    if how.convolutions:
        model = build(config, tensors, Stored(found))
        found |= quantise_convolutions(model, tensors, lambda watched: run(watched, found, inputs))
    return found


def quantised_graph(
    build: Builder, config: Config, tensors: TensorFile, arrays: Mapping[str, Array]
) -> ModelProto:
    """The graph of a tower that uses what ``quantise`` made; the exact one if that is empty."""
    return with_integers(build(config, tensors, Stored(arrays)), tensors, arrays)


def quantise_linears(
    build: Builder,
    config: Config,
    tensors: TensorFile,
    form: Form,
    inputs: Mapping[str, Array],
    run: Run,
) -> dict[str, Array]:
    """The linear layers of a tower in ``form``, as ``precision.Stored`` reads them."""
    watch = Observing()
    model = build(config, tensors, watch)
    keys = watch.expose(model)
    if not keys or form == "exact":
        return {}
    amplitudes = run(model, {}, inputs)[1:]
    largest = {key: a.ravel() for key, a in zip(keys, amplitudes, strict=True)}
    found, factors = _smoothed(watch, tensors, largest)
    for key in keys:
        factor = factors.get(watch.sources.get(key, ""), ONE)
        matrix = np.asarray(_matrix(tensors, watch.layers[key]) * factor, np.float32)
        careful = form == "rows" and key not in watch.sources and is_massive(matrix)
        flows = np.asarray(largest[key] / factor, np.float32)
        found |= quantise_linear(key, matrix, flows, "blocks" if careful else form)
    return found


def is_massive(matrix: FloatArray) -> bool:
    """Whether a layer (outputs, inputs) writes some channels far larger than the others.

    That is the layer that makes the massive channels of a trained Transformer. Its error is the
    largest of a tower, so it gets scales for blocks of inputs.
    """
    largest = np.abs(matrix).max(axis=1)
    return bool(largest.max() > MASSIVE * np.median(largest))


def _matrix(tensors: TensorFile, layer: Projection) -> FloatArray:
    """(outputs, inputs)."""
    whole = tensors.read_float32(layer.weight)
    rows = whole if layer.rows is None else whole[slice(*layer.rows)]
    return rows.reshape(len(rows), -1)


def _smoothed(
    watch: Observing, tensors: TensorFile, largest: Mapping[str, FloatArray]
) -> tuple[dict[str, Array], dict[str, FloatArray]]:
    """LayerNorms with other gains and biases, and by what the inputs of their readers grow.

    What the gain of a channel loses, the weights that read it gain: the product is the same, and
    no channel takes the 8 bits of the others (Xiao et al. 2022, SmoothQuant, section 4).
    """
    readers: dict[str, list[str]] = {}
    for key, norm in watch.sources.items():
        readers.setdefault(norm, []).append(key)
    found: dict[str, Array] = {}
    factors: dict[str, FloatArray] = {}
    for norm, keys in readers.items():
        flows = largest[keys[0]]
        if len(flows) < FEWEST_INPUTS:
            continue
        factor = factors[norm] = smoothing(flows)
        for name, stored in (("weight", "gain"), ("bias", "shift")):
            found[part(norm, stored)] = tensors.read_float32(f"{norm}.{name}") / factor
    return found, factors


def smoothing(flows: FloatArray) -> FloatArray:
    """(inputs,) what to divide each channel by: more than 1 where it stands out."""
    typical = max(float(np.median(flows)), 1e-12)
    return np.asarray(np.maximum(flows / typical, 1) ** SMOOTHING, np.float32)


def quantise_linear(
    weight: str, matrix: FloatArray, amplitude: FloatArray, form: Form
) -> dict[str, Array]:
    """The parts of one layer (outputs, inputs), given the largest value of every input."""
    if form == "exact" or matrix.shape[1] < FEWEST_INPUTS:
        return {}
    parts: dict[str, Array] = {}
    outliers = find_outliers(amplitude)
    if len(outliers):
        kept = np.ones(matrix.shape[1], np.float32)
        kept[outliers] = 0
        parts |= {
            "outliers": outliers,
            "columns": np.ascontiguousarray(matrix[:, outliers].T),
            "kept": kept,
        }
        matrix = matrix * kept
    parts |= as_rows(matrix) if form == "rows" else as_blocks(matrix, BLOCK)
    return {part(weight, name): array for name, array in parts.items()}


def find_outliers(amplitude: FloatArray) -> npt.NDArray[np.int64]:
    """The channels that would take the precision of the others, in ascending order."""
    limit = max(1, int(len(amplitude) * MOST_OUTLIERS))
    largest = np.argsort(-amplitude, kind="stable")[:limit]
    return np.sort(largest[amplitude[largest] > OUTLIER * np.median(amplitude)])


def as_rows(matrix: FloatArray) -> dict[str, Array]:
    """(outputs, inputs) -> int8 (inputs, outputs) and a scale for each output."""
    scale = _scale(np.abs(matrix).max(axis=1))
    integers = np.rint(matrix / scale[:, None]).astype(np.int8)
    return {"rows": np.ascontiguousarray(integers.T), "scale": scale}


def as_blocks(matrix: FloatArray, block: int) -> dict[str, Array]:
    """(outputs, inputs) -> uint8 (outputs, blocks, block), 128 is zero, and a scale for each."""
    outputs, inputs = matrix.shape
    block = min(block, 1 << (inputs.bit_length() - 1))
    count = -(-inputs // block)
    padded = np.zeros((outputs, count * block), np.float32)
    padded[:, :inputs] = matrix
    padded = padded.reshape(outputs, count, block)
    scale = _scale(np.abs(padded).max(axis=2))
    integers = (np.rint(padded / scale[..., None]) + (TOP + 1)).astype(np.uint8)
    return {"blocks": integers, "scale": scale, "inputs": np.array(inputs)}


def _scale(largest: FloatArray) -> FloatArray:
    """The step at which the largest value is ``TOP``; 1 where all are zero."""
    return np.where(largest > 0, largest / TOP, 1).astype(np.float32)
