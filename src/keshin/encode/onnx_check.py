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


def open_file(path: Path) -> ort.InferenceSession:
    """An ONNX file on the processor, opened from the disk as any program would."""
    options = ort.SessionOptions()
    options.log_severity_level = QUIET
    return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def run_file(
    path: Path, inputs: Mapping[str, npt.NDArray[Any]], outputs: Sequence[str]
) -> list[npt.NDArray[Any]]:
    """Some outputs of an ONNX file."""
    return list(open_file(path).run(list(outputs), dict(inputs)))


def distance(encoder: Encoder, image: Path, text: Path) -> float:
    """The largest difference of any number of any unit vector, over made pictures and some texts.

    Batches of one and of several are run, and texts of several lengths.
    """
    config, worst = encoder.config, 0.0
    pixels = sample_inputs(config)["image"]["pixels"].astype(np.float32)[:4]
    expected = _unit(encoder.towers.image_features(pixels))
    session = open_file(image)
    for rows in (slice(0, 1), slice(0, 4)):
        (found,) = session.run(["vectors"], {"pixels": pixels[rows]})
        worst = max(worst, _apart(found, expected[rows]))
    tokens = encoder.tokenizer(TEXTS)
    ids = tokens.ids if config.text.trims else tokens.pad_to(config.text.context_length)
    expected = _unit(encoder.towers.text_features(ids, tokens.ends))
    session = open_file(text)  # in the place of the other, whose memory is free then
    for rows in (slice(0, 1), slice(0, len(TEXTS))):
        (found,) = session.run(["vectors"], {"ids": ids[rows]})
        worst = max(worst, _apart(found, expected[rows]))
    return worst


def _apart(found: npt.NDArray[Any], expected: FloatArray) -> float:
    """Not finite, or of another shape, counts as infinitely far."""
    if found.shape != expected.shape or not np.isfinite(found).all():
        return float("inf")
    return float(np.abs(found - expected).max())


def _unit(features: FloatArray) -> FloatArray:
    return np.asarray(features / np.linalg.norm(features, axis=1, keepdims=True), np.float32)
