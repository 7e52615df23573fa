"""AdamW, its groups, the schedule and the moving average of the weights."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from keshin.train.layer_rates import parameter_groups
from keshin.train.recipe import OptimPart


def make_optimizer(model: nn.Module, recipe: OptimPart) -> torch.optim.AdamW:
    """AdamW with decoupled weight decay on weights only (paper, section 2.5).

    See ``layer_rates`` for its groups.
    """
    return torch.optim.AdamW(
        parameter_groups(model, recipe),
        lr=recipe.learning_rate,
        betas=(recipe.beta1, recipe.beta2),
        eps=recipe.eps,
        fused=True,
    )


def learning_rate(step: int, steps: int, recipe: OptimPart) -> float:
    """Linear warm-up, then a cosine down to zero; ``step`` counts from 0."""
    if step < recipe.warmup:
        return recipe.learning_rate * (step + 1) / recipe.warmup
    progress = (step - recipe.warmup) / max(1, steps - recipe.warmup)
    return recipe.learning_rate * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


class WeightAverage:
    """Exponential moving average of all parameters and buffers of a model."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.tensors = {name: value.detach().clone() for name, value in _state(model)}

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Take in the weights after ``step``; young averages forget faster."""
        decay = min(self.decay, (1 + step) / (10 + step))
        for name, value in _state(model):
            mean = self.tensors[name]
            if value.is_floating_point():
                mean.lerp_(value, 1 - decay)
            else:
                mean.copy_(value)


def _state(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from model.state_dict().items()
