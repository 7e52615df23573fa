"""ONNX files as any program would run them, beside keshin's own towers: how far are they apart?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from keshin.encode.encoder import Encoder, FloatArray
from keshin.encode.quantize import sample_inputs

TEXTS = ("a", "a photo of a cat.", "two red birds and one green tree", "猫の写真")
QUIET = 3  # errors only


def run_file(
    path: Path, inputs: Mapping[str, npt.NDArray[Any]], outputs: Sequence[str]
) -> list[npt.NDArray[Any]]:
    """The outputs of an ONNX file on the processor, opened from the disk."""
    options = ort.SessionOptions()
    options.log_severity_level = QUIET
    session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return list(session.run(list(outputs), dict(inputs)))


def distance(encoder: Encoder, image: Path, text: Path) -> float:
    """The largest difference of any number of any unit vector, over made pictures and some texts.

    Batches of one and of several are run, and texts of several lengths.
    """
    config, worst = encoder.config, 0.0
    pixels = sample_inputs(config)["image"]["pixels"].astype(np.float32)[:4]
    expected = _unit(encoder.towers.image_features(pixels))
    for rows in (slice(0, 1), slice(0, 4)):
        (found,) = run_file(image, {"pixels": pixels[rows]}, ["vectors"])
        worst = max(worst, _apart(found, expected[rows]))
    tokens = encoder.tokenizer(TEXTS)
    ids = tokens.ids if config.text.trims else tokens.pad_to(config.text.context_length)
    expected = _unit(encoder.towers.text_features(ids, tokens.ends))
    for rows in (slice(0, 1), slice(0, len(TEXTS))):
        (found,) = run_file(text, {"ids": ids[rows]}, ["vectors"])
        worst = max(worst, _apart(found, expected[rows]))
    return worst


def _apart(found: npt.NDArray[Any], expected: FloatArray) -> float:
    """Not finite, or of another shape, counts as infinitely far."""
    if found.shape != expected.shape or not np.isfinite(found).all():
        return float("inf")
    return float(np.abs(found - expected).max())


def _unit(features: FloatArray) -> FloatArray:
    return np.asarray(features / np.linalg.norm(features, axis=1, keepdims=True), np.float32)
