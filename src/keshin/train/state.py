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
from keshin.train.distributed import ALONE, World
from keshin.train.optim import WeightAverage
from keshin.train.recipe import Recipe
from keshin.train.sharding import cut_all, cut_states, whole

STATE = "state.pt"


@dataclass
class State:
    """The moving parts of a run. The data position is the step: see ``data.Stream``; so is the
    state of all randomness: see ``passes``."""

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
    computed["lock"].pop("features")
    for source in computed["data"]["sources"]:
        source.pop("keep_gb")
    return hashlib.sha256(msgspec.json.encode([computed, seed], order="deterministic")).hexdigest()


def save_state(folder: Path, state: State, recipe: Recipe, world: World = ALONE) -> None:
    """Write ``state.pt``: a temporary file, flushed to the disk, then renamed.

    All processes call it, since each may hold a piece of what is written; the first one writes.
    """
    values = {
        "recipe": digest(recipe),
        "step": state.step,
        "model": whole(state.model.state_dict()),
        "optimizer": whole(state.optimizer.state_dict()),
        "average": whole(state.average.tensors) if state.average else None,
        "head": whole(state.head.state_dict()) if state.head is not None else None,
    }
    if not world.first:
        return
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
    own = state.model.state_dict()
    state.model.load_state_dict(cut_all(values["model"], own))
    state.optimizer.load_state_dict(cut_states(values["optimizer"], state.optimizer))
    if state.average is not None:
        state.average.tensors = cut_all(values["average"], own)
    if state.head is not None:
        state.head.load_state_dict(cut_all(values["head"], state.head.state_dict()))
    state.step = values["step"]
    return True
