"""Parameters by their depth in a tower: smaller learning rates below, or none at all.

When trained weights are trained further, the lower layers, which see what is general, should move
least. The layer-wise rates are those of BEiT (Bao et al. 2021, appendix) and earlier of ULMFiT
(Howard and Ruder 2018, section 3.2): ``decay`` to the power of how many layers lie above.

A layer is a block of a Transformer or a stage of a ResNet. Below the first one lie the embeddings
or the stem, above the last one what turns its output into an embedding, at the full rate. The
optimiser reads names, which are OpenAI's for all kinds of towers; the model does not know of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from torch import nn

from keshin.train.recipe import OptimPart

LAYER = re.compile(r"(?:^|\.)(?:transformer\.resblocks\.(\d+)|layer(\d+))\.")
"""Blocks are counted from 0, stages from 1."""
BELOW = {
    *("conv1", "bn1", "conv2", "bn2", "conv3", "bn3"),
    *("class_embedding", "positional_embedding", "ln_pre"),
    *("token_embedding", "token_type_embedding", "ln_embedding"),
}
"""What lies below the first layer, where it belongs to the tower itself."""
NEITHER = ("logit_scale", "logit_bias")
IMAGE, TEXT, NONE = "image", "text", ""


def tower_of(name: str) -> str:
    """``image``, ``text``, or "" for what belongs to neither (the scale, a teacher's head)."""
    name = name.removeprefix("model.")
    if name.startswith("visual."):
        return IMAGE
    return NONE if name in NEITHER or name.startswith("head.") else TEXT


def depths(names: Iterable[str]) -> dict[str, int]:
    """How many layers lie above each parameter in its tower; 0 for what belongs to neither.

    The names are those of a ``CLIP`` or of ``passes.Towers``.
    """
    heights = {name: _height(name) for name in names}
    tops = {
        tower: 1
        + max((h or 0 for name, h in heights.items() if tower_of(name) == tower), default=0)
        for tower in (IMAGE, TEXT)
    }
    found = {}
    for name, height in heights.items():
        top = tops.get(tower_of(name), 0)
        found[name] = 0 if height is None or not top else top - height
    return found


def _height(name: str) -> int | None:
    """0 below the first layer, n in the n-th; None above the last."""
    if layer := LAYER.search(name):
        block, stage = layer.groups()
        return int(block) + 1 if block else int(stage)
    own = name.removeprefix("model.").removeprefix("visual.")
    return 0 if tower_of(name) and own.split(".")[0] in BELOW else None


def parameter_groups(model: nn.Module, optim: OptimPart) -> list[dict[str, Any]]:
    """The trained parameters of ``model`` in groups for AdamW, each parameter in one of them.

    Gains, biases and single numbers (vectors, scalars) are not decayed (paper, section 2.5). A
    group's ``rate`` is the share of the learning rate that it takes; ``step.take_step`` sets
    ``lr`` by it. Parameters that do not ask for gradients (see ``lock``) are in no group.
    """
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    places = depths(name for name, _ in model.named_parameters())
    groups: dict[tuple[int, bool], list[nn.Parameter]] = {}
    for name, parameter in trained.items():
        depth = places[name] if optim.layer_decay != 1 else 0
        groups.setdefault((depth, parameter.ndim >= 2), []).append(parameter)
    return [
        {
            "params": parameters,
            "lr": optim.learning_rate * optim.layer_decay**depth,
            "rate": optim.layer_decay**depth,
            "weight_decay": optim.weight_decay if decayed else 0.0,
        }
        for (depth, decayed), parameters in sorted(
            groups.items(), key=lambda item: (item[0][0], not item[0][1])
        )
    ]
