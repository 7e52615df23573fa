"""The parts of a run: most of it with less of each picture, its finish with all.

A token that is not computed is time for another picture, and what is learnt from small or partly
hidden pictures mostly holds for whole ones; a short finish makes good the rest (FLIP, CLIPA,
RECLIP). Which part a step belongs to is a function of its number, so a run goes on where it was.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from msgspec.structs import replace

from keshin.encode.torch_model import CLIP
from keshin.encode.torch_positions import make_smooth
from keshin.train.data import Batch, batches
from keshin.train.recipe import Recipe

if TYPE_CHECKING:
    from keshin.train.run import Run


@dataclass(frozen=True)
class Phase:
    """Steps ``start`` to ``stop``, and how much of each picture they see."""

    start: int
    stop: int
    size: tuple[int, int]
    """(height, width) of the pictures."""
    patch_dropout: float


def phases(recipe: Recipe, steps: int) -> list[Phase]:
    """The parts of a run of ``steps`` steps; none is empty."""
    augment, finish = recipe.augment, recipe.finish
    own = recipe.model.vision.image_size
    last = 0 if finish is None else min(steps, max(1, round(finish.share * steps)))
    parts = [Phase(0, steps - last, augment.image_size or own, augment.patch_dropout)]
    if finish is not None:
        parts.append(Phase(steps - last, steps, own, finish.patch_dropout))
    return [part for part in parts if part.stop > part.start]


def stream(run: Run) -> Iterator[Batch]:
    """The batches of a run from where it is to its end; the model is set to the part of each."""
    recipe = run.recipe
    for part in phases(recipe, run.steps):
        start = max(part.start, run.state.step)
        if start < part.stop:
            run.state.model.leave_out_patches(part.patch_dropout)
            yield from batches(run.pool.at(part.size), recipe, start, part.stop, run.world)


def begin_small(model: CLIP, recipe: Recipe) -> None:
    """Make the new positions of a model fit for a beginning on small pictures."""
    small, facts = recipe.augment.image_size, model.config.vision
    if small is None:
        return
    grid = replace(facts, image_size=small).grid
    for name, parameter in model.visual.named_parameters():
        if name.endswith("positional_embedding"):
            make_smooth(parameter, facts.grid, grid)
