"""What a run needs to go on exactly where it was: written atomically, read without unpickling."""

from __future__ import annotations

import hashlib
import os
import pickle
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import torch
from torch import nn

from keshin.encode.torch_model import CLIP
from keshin.errors import TrainingError
from keshin.train.optim import WeightAverage
from keshin.train.recipe import Recipe

STATE = "state.pt"


@dataclass
class State:
    """The moving parts of a run. The data position is the step: see ``data.Stream``; so is the state
    of all randomness: see ``passes``."""

    model: CLIP
    optimizer: torch.optim.Optimizer
    average: WeightAverage | None
    head: nn.Linear | None = None
    """See ``DistillPart.head``."""
    step: int = 0

    def parameters(self) -> Iterator[nn.Parameter]:
        """All that is trained."""
        yield from self.model.parameters()
        yield from self.head.parameters() if self.head is not None else ()


def digest(recipe: Recipe) -> str:
    """Identifies what a run computes; how it runs (device, logging) may change on resumption."""
    computed = msgspec.to_builtins(recipe)
    seed = computed.pop("run")["seed"]
    computed.pop("validate")
    computed["data"].pop("workers")
    return hashlib.sha256(msgspec.json.encode([computed, seed], order="deterministic")).hexdigest()


def save_state(folder: Path, state: State, recipe: Recipe) -> None:
    """Write ``state.pt``: a temporary file, flushed to the disk, then renamed."""
    values = {
        "recipe": digest(recipe),
        "step": state.step,
        "model": state.model.state_dict(),
        "optimizer": state.optimizer.state_dict(),
        "average": state.average.tensors if state.average else None,
        "head": state.head.state_dict() if state.head is not None else None,
    }
    temporary = folder / f"{STATE}.tmp"
    try:
        with temporary.open("wb") as file:
            torch.save(values, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(folder / STATE)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise TrainingError(
            f"Cannot write the checkpoint {folder / STATE}: {error.strerror}. The one before is "
            "whole; free some space and start again with the same command to go on from it."
        ) from error


def load_state(folder: Path, state: State, recipe: Recipe) -> bool:
    """Take up ``state.pt`` if there is one. Raises ``TrainingError`` if it belongs elsewhere."""
    path = folder / STATE
    if not path.exists():
        return False
    try:
        values: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise TrainingError(
            f"{path} cannot be read ({error}). Remove it to start from the beginning."
        ) from error
    if values["recipe"] != digest(recipe):
        raise TrainingError(
            f"{path} was written by another recipe. Choose another output folder, restore the "
            "recipe, or start anew with --restart."
        )
    state.model.load_state_dict(values["model"])
    state.optimizer.load_state_dict(values["optimizer"])
    if state.average is not None:
        state.average.tensors = values["average"]
    if state.head is not None:
        state.head.load_state_dict(values["head"])
    state.step = values["step"]
    return True
