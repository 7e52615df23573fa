"""The towers run by PyTorch: validation while training, and the yardstick of other runtimes."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch

from keshin.core.checkpoint import Checkpoint
from keshin.encode.encoder import FloatArray, IntArray
from keshin.encode.torch_model import CLIP

COUNTER = "num_batches_tracked"  # of batch normalisation; no answer depends on it


class TorchTowers:
    """Both towers of a model, in evaluation mode for the time of each call."""

    def __init__(self, model: CLIP, device: str | torch.device = "cpu") -> None:
        self.model = model.to(device)
        self.device = torch.device(device)

    def image_features(self, pixels: FloatArray) -> FloatArray:
        """(n, 3, h, w) preprocessed pictures -> (n, d) features, not normalised."""
        return self._run(self.model.image_features, pixels)

    def text_features(self, ids: IntArray, ends: IntArray) -> FloatArray:
        """(n, length) token ids and (n,) end-of-text positions -> (n, d), not normalised."""
        return self._run(self.model.text_features, ids, ends)

    def _run(self, function: Any, *arrays: npt.NDArray[Any]) -> FloatArray:
        training = self.model.training
        self.model.eval()
        try:
            with torch.inference_mode():
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


def to_tensors(model: CLIP) -> dict[str, npt.NDArray[np.float32]]:
    """The state of a model as a checkpoint stores it."""
    return {
        name: value.detach().float().cpu().numpy()
        for name, value in model.state_dict().items()
        if not name.endswith(COUNTER)
    }
