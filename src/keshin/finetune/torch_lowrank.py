"""Low-rank adapters (LoRA, Hu et al. 2021): few numbers are trained beside frozen weights.

A weight W (out, in) becomes ``W + B A`` with B (out, r) zero and A (r, in) random at the start. The
matrix of queries, keys and values is three matrices, each with an adapter of its own. A convolution
is a matrix of its output channels by all it reads, so towers without attention have adapters too.
Afterwards the sum is written in the place of W, and the model is an ordinary one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from keshin.encode.torch_model import CLIP

STACKED = "in_proj_weight"
"""Queries, keys and values, one above the other."""
ADAPTED = re.compile(
    r"\.(attn\.in_proj_weight|attn\.out_proj\.weight|mlp\.c_fc\.weight|mlp\.c_proj\.weight"
    r"|attnpool\.[qkvc]_proj\.weight|layer\d+\..*conv\d\.weight)$"
)
"""The projections of attention and MLP, and the convolutions of residual blocks."""


class LowRank(nn.Module):
    """What is added to one weight: (out, ...) -> (out, ...)."""

    def __init__(self, weight: Tensor, rank: int, parts: int, generator: torch.Generator) -> None:
        super().__init__()
        rows, columns = len(weight) // parts, weight[0].numel()
        rank = min(rank, rows, columns)
        start = torch.randn(parts, rank, columns, generator=generator) * columns**-0.5
        self.down = nn.Parameter(start.to(weight))
        self.up = nn.Parameter(torch.zeros(parts, rows, rank, dtype=weight.dtype).to(weight))

    def forward(self, weight: Tensor) -> Tensor:
        return weight + (self.up @ self.down).reshape(weight.shape)


def adapt(model: CLIP, rank: int, seed: int) -> list[nn.Parameter]:
    """Freeze the model and put adapters on it; the numbers that are trained."""
    model.requires_grad_(False)
    generator = torch.Generator().manual_seed(seed)
    places = [name for name, _ in model.named_parameters() if ADAPTED.search("." + name)]
    for name in places:
        owner, _, last = name.rpartition(".")
        module = model.get_submodule(owner)
        weight = getattr(module, last)
        made = LowRank(weight, rank, 3 if last == STACKED else 1, generator)
        parametrize.register_parametrization(module, last, made, unsafe=True)
    return [p for p in model.parameters() if p.requires_grad]


def merge(model: CLIP) -> CLIP:
    """The adapters' sums in the place of the weights: an ordinary model, all of it free again."""
    for module, name in list(_adapted(model)):
        parametrize.remove_parametrizations(module, name, leave_parametrized=True)
    return model.requires_grad_(True)


def _adapted(model: nn.Module) -> Iterator[tuple[nn.Module, str]]:
    for module in list(model.modules()):
        if parametrize.is_parametrized(module):
            yield from ((module, name) for name in list(module.parametrizations))  # type: ignore[arg-type]
