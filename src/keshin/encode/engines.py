"""What computes the towers, by name. Each engine is imported when it is asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from keshin.core.checkpoint import Checkpoint
from keshin.encode.encoder import Encoder
from keshin.errors import KeshinError, require

ENGINES = ("onnx", "openvino", "torch")
Provider = str | tuple[str, Mapping[str, Any]]


def open_encoder(
    checkpoint: Checkpoint,
    engine: str = "onnx",
    *,
    mode: str = "fp32",
    threads: int | None = None,
    providers: Sequence[Provider] | None = None,
    device: str | None = None,
    prepack: bool = True,
    cache: Path | None = None,
) -> Encoder:
    """A checkpoint as an encoder; the arguments are those of ``keshin.load``.

    Raises ``KeshinError`` for options that do not go together, and ``MissingExtra``.
    """
    if engine not in ENGINES:
        raise KeshinError(f"There is no engine '{engine}'. There are: {', '.join(ENGINES)}.")
    if providers is not None and engine != "onnx":
        instead = "name PyTorch's device instead" if engine == "torch" else "leave them out"
        raise KeshinError(f"providers belong to engine='onnx'; {instead}.")
    if device is not None and engine != "torch":
        instead = "name ONNX Runtime's providers" if engine == "onnx" else "OpenVINO has none here"
        raise KeshinError(f"device belongs to engine='torch'; {instead}.")
    if engine == "torch":
        require("torch", extra="train")
        from keshin.encode.torch_towers import torch_encoder

        return torch_encoder(checkpoint, device, mode, threads)
    if engine == "openvino":
        require("openvino", extra="openvino")
        from keshin.encode.openvino import openvino_encoder

        return openvino_encoder(checkpoint, threads, mode)
    from keshin.encode.runtime import onnx_encoder  # here: it takes 0.2 s to import

    return onnx_encoder(
        checkpoint, threads=threads, providers=providers, prepack=prepack, mode=mode, cache=cache
    )
