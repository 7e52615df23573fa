"""The towers run by PyTorch: on a GPU, for validation while training, as the others' yardstick."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch

from keshin.core.checkpoint import Checkpoint
from keshin.encode.encoder import Encoder, FloatArray, IntArray
from keshin.encode.torch_model import CLIP
from keshin.errors import KeshinError

MODES = ("fp32", "bf16")
COUNTER = "num_batches_tracked"  # of batch normalisation; no answer depends on it


class TorchTowers:
    """Both towers of a model, in evaluation mode for the time of each call.

    In ``bf16`` products are made in bfloat16 and the rest in float32 (autocast). Attention is
    PyTorch's ``scaled_dot_product_attention`` in both.
    """

    def __init__(self, model: CLIP, device: str | torch.device = "cpu", mode: str = "fp32") -> None:
        if mode not in MODES:
            raise KeshinError(
                f"PyTorch runs the modes {' and '.join(MODES)}, not '{mode}'. "
                "Use engine='onnx' for int8."
            )
        self.device = torch.device(device)
        self.model = model.to(self.device)
        self.mode = mode

    def image_features(self, pixels: FloatArray) -> FloatArray:
        """(n, 3, h, w) preprocessed pictures -> (n, d) features, not normalised."""
        return self._run(self.model.image_features, pixels)

    def probe_features(self, pixels: FloatArray) -> FloatArray:
        """(n, 3, h, w) preprocessed pictures -> (n, probe_dim): what a linear probe reads."""
        return self._run(self.model.probe_features, pixels)

    def text_features(self, ids: IntArray, ends: IntArray) -> FloatArray:
        """(n, length) token ids and (n,) end-of-text positions -> (n, d), not normalised."""
        return self._run(self.model.text_features, ids, ends)

    def _run(self, function: Any, *arrays: npt.NDArray[Any]) -> FloatArray:
        training = self.model.training
        self.model.eval()
        try:
            half = torch.autocast(self.device.type, torch.bfloat16, enabled=self.mode == "bf16")
            with torch.inference_mode(), half:
                tensors = (torch.from_numpy(np.ascontiguousarray(a)) for a in arrays)
                features = function(*(tensor.to(self.device) for tensor in tensors))
                return cast(FloatArray, features.float().cpu().numpy())
        finally:
            self.model.train(training)


def load_model(checkpoint: Checkpoint) -> CLIP:
    """The model of a checkpoint, in float32 and in evaluation mode."""
    model = CLIP(checkpoint.config)
    names = checkpoint.tensors.infos
    state = {name: torch.from_numpy(checkpoint.tensors.read_float32(name).copy()) for name in names}
    counters = {name: value for name, value in model.state_dict().items() if name.endswith(COUNTER)}
    model.load_state_dict({**counters, **state}, strict=True)
    return model.eval()


def torch_encoder(
    checkpoint: Checkpoint,
    device: str | None = None,
    mode: str = "fp32",
    threads: int | None = None,
) -> Encoder:
    """A checkpoint as an encoder that PyTorch runs; the default device is the best there is."""
    device = best_device() if device is None else device
    if threads is not None:
        torch.set_num_threads(threads)
    try:
        towers = TorchTowers(load_model(checkpoint), device, mode)
    except (RuntimeError, AssertionError) as error:  # PyTorch's for a device that is not there
        raise KeshinError(
            f"PyTorch cannot use the device '{device}': {str(error).splitlines()[0]} "
            f"Here '{best_device()}' works."
        ) from error
    return Encoder(
        config=checkpoint.config,
        tokenizer=checkpoint.tokenizer(),
        towers=towers,
        logit_scale=checkpoint.logit_scale,
        logit_bias=checkpoint.logit_bias,
        mode=mode,
        engine="torch",
        identify=lambda: checkpoint.fingerprint,
        threads=threads,
    )


def best_device() -> str:
    """``cuda``, ``mps`` or ``cpu``, whichever comes first and is there."""
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def to_tensors(model: CLIP) -> dict[str, npt.NDArray[np.float32]]:
    """The state of a model as a checkpoint stores it."""
    return {
        name: value.detach().float().cpu().numpy()
        for name, value in model.state_dict().items()
        if not name.endswith(COUNTER)
    }
