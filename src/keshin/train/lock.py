"""Towers that are not trained, whole or but for their upper layers (LiT, Zhai et al. 2022)."""

from __future__ import annotations

from msgspec.structs import asdict
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from keshin.encode.torch_model import CLIP
from keshin.train.layer_rates import IMAGE, TEXT, depths, tower_of
from keshin.train.methods import LockPart
from keshin.train.recipe import AugmentPart, Recipe


def lock(model: CLIP, part: LockPart) -> list[nn.Module]:
    """Take the locked parameters out of training.

    Returns the modules that must be in evaluation mode while the others train: a locked tower sees
    all patches, and its batch statistics are those that it came with. Called before the optimiser
    is made, and before the processes share their gradients.
    """
    locked = {tower for tower, on in ((IMAGE, part.image), (TEXT, part.text)) if on}
    named = dict(model.named_parameters())
    above = depths(named)
    for name, parameter in named.items():
        if tower_of(name) in locked and above[name] >= part.unlocked:
            parameter.requires_grad_(False)
    if part.image and not part.unlocked:
        return [model.visual]
    norms = [m for m in model.modules() if isinstance(m, _BatchNorm)]
    return [norm for norm in norms if not norm.weight.requires_grad]


def lost(recipe: Recipe) -> str:
    """Which augmentation a run with kept features goes without, for the log; "" if none."""
    if not recipe.keeps_features:
        return ""
    plain = asdict(AugmentPart())
    changes = asdict(recipe.augment)
    named = [f"{name} = {value}" for name, value in changes.items() if value != plain[name]]
    return ", ".join(["the random place of the crop", *named])
