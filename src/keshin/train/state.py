"""What a run needs to go on exactly where it was: written atomically, read without unpickling."""

from __future__ import annotations

import hashlib
import os
import pickle
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import torch
from torch import nn

from keshin.encode.torch_model import CLIP
from keshin.errors import TrainingError
from keshin.train.distributed import ALONE, World
from keshin.train.guard import Guard, guard_of
from keshin.train.optim import WeightAverage
from keshin.train.recipe import Recipe
from keshin.train.sharding import cut_all, cut_states, local, whole

STATE = "state.pt"
BEFORE = "state-before.pt"
"""The checkpoint before the last one."""
PENDING = f"{BEFORE}.tmp"


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
    guard: Guard = field(default_factory=Guard)

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """All that is trained."""
        yield from self.model.named_parameters()
        if self.head is not None:
            yield from self.head.named_parameters(prefix="head")

    def finite(self, world: World) -> bool:
        """Whether all weights of all processes are numbers, and so worth keeping."""
        pieces = [local(p.detach()) for _, p in self.named_parameters()]
        largest = torch.stack([p.abs().amax().float() for p in pieces if p.numel()]).amax()
        return not world.max((~torch.isfinite(largest)).float().reshape(1))[0]


def digest(recipe: Recipe) -> str:
    """Identifies what a run computes; how it runs (device, logging) may change on resumption."""
    computed = msgspec.to_builtins(recipe)
    seed = computed.pop("run")["seed"]
    for shown in ("validate", "samples", "guard"):
        computed.pop(shown)
    computed["data"].pop("workers")
    computed["lock"].pop("features")
    for source in computed["data"]["sources"]:
        source.pop("keep_gb")
    return hashlib.sha256(msgspec.json.encode([computed, seed], order="deterministic")).hexdigest()


def save_state(
    folder: Path, state: State, recipe: Recipe, world: World = ALONE, *, keep: bool = True
) -> None:
    """Write ``state.pt``: a temporary file, flushed to the disk, then renamed.

    All processes call it, since each may hold a piece of what is written; the first one writes.
    ``keep``: the one before stays as ``state-before.pt``, if the recipe may go back to it.
    """
    values = {
        "recipe": digest(recipe),
        "step": state.step,
        "model": whole(state.model.state_dict()),
        "optimizer": whole(state.optimizer.state_dict()),
        "average": whole(state.average.tensors) if state.average else None,
        "head": whole(state.head.state_dict()) if state.head is not None else None,
        "guard": state.guard.values(),
    }
    if not world.first:
        return
    temporary = folder / f"{STATE}.tmp"
    try:
        with temporary.open("wb") as file:
            torch.save(values, file)
            file.flush()
            os.fsync(file.fileno())
        if keep and recipe.guard.attempts > 1 and (folder / STATE).exists():
            _link(folder / STATE, folder / PENDING)
        temporary.replace(folder / STATE)
        settle(folder)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise TrainingError(
            f"Cannot write the checkpoint {folder / STATE}: {error.strerror}. The one before is "
            "whole; free some space and start again with the same command to go on from it."
        ) from error


def _link(old: Path, new: Path) -> None:
    new.unlink(missing_ok=True)
    try:
        new.hardlink_to(old)
    except OSError:  # a file system without links
        shutil.copyfile(old, new)


def settle(folder: Path) -> None:
    """Finish what ``save_state`` began, were it killed between its two steps: the last checkpoint
    and the one before it change together."""
    pending = folder / PENDING
    if pending.exists():
        if (folder / STATE).exists() and pending.samefile(folder / STATE):
            pending.unlink()  # the new one was not yet there
        else:
            pending.replace(folder / BEFORE)


def load_state(
    folder: Path, state: State, recipe: Recipe, world: World = ALONE, *, name: str = ""
) -> str:
    """Take up a checkpoint; its file's name, or none if there is no checkpoint.

    Without a ``name`` it is the last one, or the one before where some process cannot read it.
    Raises ``TrainingError`` if there are some and none can be read, or if it belongs elsewhere.
    """
    device, reasons = state.model.logit_scale.device, []
    for file in [name] if name else [STATE, BEFORE]:
        values, reason = _read(folder / file)
        unread = world.max(torch.tensor([float(values is None)], device=device))
        if values is not None and not unread[0]:
            _take_up(values, state, recipe, folder / file)
            return file
        reasons += [reason] if reason else []
    if reasons:
        raise TrainingError(f"{reasons[0]} Remove it to start from the beginning.")
    return ""


def _read(path: Path) -> tuple[dict[str, Any] | None, str]:
    """What a file holds; nothing, with the reason unless the file is not there."""
    if not path.exists():
        return None, ""
    try:
        return torch.load(path, map_location="cpu", weights_only=True), ""
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        return None, f"{path} cannot be read ({error})."


def _take_up(values: dict[str, Any], state: State, recipe: Recipe, path: Path) -> None:
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
    state.guard = guard_of(values.get("guard"))
