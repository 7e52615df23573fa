"""How each method trains: the numbers, in one table. No PyTorch here."""

from __future__ import annotations

import math
from typing import Literal, TypeAlias, get_args

import msgspec

Method: TypeAlias = Literal["zero-shot", "text", "linear", "lora", "full"]
METHODS: tuple[Method, ...] = get_args(Method)
"""From simple to complex: the order in which the rule prefers them."""
SAID: dict[str, str] = {
    "zero-shot": "zero-shot, nothing is trained",
    "text": "probe started from the texts",
    "linear": "linear probe",
    "lora": "low-rank adapters",
    "full": "full fine-tune, smaller rates below",
}
HEADS: tuple[Method, ...] = ("text", "linear")
WHOLE: tuple[Method, ...] = ("lora", "full")
"""Those that change the towers, and need PyTorch."""
SHARES = (0.25, 0.5, 0.75, 1.0)
"""Of the way from the old weights to the tuned ones."""


class Plan(msgspec.Struct, frozen=True):
    """One way to train whole models."""

    rate: float
    epochs: int
    rank: int = 0
    """Of the adapters; 0: all weights are trained."""
    layer_decay: float = 1.0
    batch: int = 32
    least_steps: int = 40
    weight_decay: float = 0.1
    warmup: float = 0.1
    """Share of the steps."""
    max_grad_norm: float = 1.0
    seed: int = 0

    def steps(self, pictures: int) -> int:
        """Optimiser steps for so many pictures."""
        return max(self.least_steps, math.ceil(self.epochs * pictures / self.batch))


PLANS: dict[str, Plan] = {
    "lora": Plan(rate=1e-3, epochs=15, rank=8, weight_decay=0.0),
    "full": Plan(rate=1e-4, epochs=15, layer_decay=0.75),
}
"""Found on CIFAR-10's training pictures (docs/decisions.md)."""
