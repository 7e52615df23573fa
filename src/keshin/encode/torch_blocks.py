"""Transformer blocks in PyTorch, which the ViTs and the text towers share.

Parameter names are OpenAI's. Shape letters: B pictures or texts, L tokens, D width, H heads.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from keshin.core.config import BlockFacts


class QuickGELU(nn.Module):
    """``x * sigmoid(1.702 x)``, the GELU approximation of OpenAI's weights."""

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(1.702 * x)


ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "quick_gelu": QuickGELU,
    "gelu": nn.GELU,
    "gelu_tanh": lambda: nn.GELU(approximate="tanh"),
}


class SelfAttention(nn.Module):
    """Multi-head self-attention with one matrix for queries, keys and values."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)

    def forward(self, x: Tensor, causal: bool, mask: Tensor | None = None) -> Tensor:
        """(B, L, D) -> (B, L, D). ``mask`` is true where a token may be seen: (B, 1, 1, L)."""
        batch, length, width = x.shape
        qkv = F.linear(x, self.in_proj_weight, self.in_proj_bias)
        q, k, v = qkv.view(batch, length, 3, self.heads, width // self.heads).unbind(2)
        mixed = F.scaled_dot_product_attention(
            q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), mask, is_causal=causal
        )
        return cast(Tensor, self.out_proj(mixed.transpose(1, 2).reshape(batch, length, width)))

    def ask(self, query: Tensor, x: Tensor) -> Tensor:
        """What one query (D,) gathers from all tokens: (B, L, D) -> (B, D)."""
        batch, length, width = x.shape
        weights, biases = self.in_proj_weight.chunk(3), self.in_proj_bias.chunk(3)
        head = width // self.heads
        q = F.linear(query, weights[0], biases[0]).view(1, self.heads, 1, head)
        k, v = (
            F.linear(x, weight, bias).view(batch, length, self.heads, head).transpose(1, 2)
            for weight, bias in zip(weights[1:], biases[1:], strict=True)
        )
        mixed = F.scaled_dot_product_attention(q.expand(batch, -1, -1, -1), k, v)
        return cast(Tensor, self.out_proj(mixed.reshape(batch, width)))


def mlp(facts: BlockFacts) -> nn.Sequential:
    """Two linear layers with an activation between."""
    return nn.Sequential(
        OrderedDict(
            c_fc=nn.Linear(facts.width, facts.mlp_width),
            gelu=ACTIVATIONS[facts.activation](),
            c_proj=nn.Linear(facts.mlp_width, facts.width),
        )
    )


class ResidualBlock(nn.Module):
    """A pre-norm Transformer block."""

    def __init__(self, facts: BlockFacts) -> None:
        super().__init__()
        width, eps = facts.width, facts.layer_norm_eps
        self.attn = SelfAttention(width, facts.heads)
        self.ln_1 = nn.LayerNorm(width, eps=eps)
        self.mlp = mlp(facts)
        self.ln_2 = nn.LayerNorm(width, eps=eps)

    def forward(self, x: Tensor, causal: bool) -> Tensor:
        x = x + self.attn(self.ln_1(x), causal)
        return cast(Tensor, x + self.mlp(self.ln_2(x)))


class Transformer(nn.Module):
    """A stack of residual blocks."""

    def __init__(self, facts: BlockFacts, causal: bool) -> None:
        super().__init__()
        self.facts, self.causal = facts, causal
        self.recompute = False  # activation checkpointing, switched on by the trainer
        self.resblocks = nn.Sequential(*(ResidualBlock(facts) for _ in range(facts.layers)))

    def forward(self, x: Tensor) -> Tensor:
        for block in self.resblocks:
            if self.recompute and torch.is_grad_enabled():
                x = cast(Tensor, checkpoint(block, x, self.causal, use_reentrant=False))
            else:
                x = block(x, self.causal)
        return x

    def initialise(self) -> None:
        """Depth-scaled normal weights, as GPT-2 and OpenAI's CLIP use."""
        initialise(self.resblocks, self.facts)


def initialise(blocks: nn.Module, facts: BlockFacts) -> None:
    """Depth-scaled normal weights for residual blocks, pre-norm or post-norm."""
    width = facts.width
    inner = width**-0.5 * (2 * facts.layers) ** -0.5
    for block in cast("list[ResidualBlock]", list(blocks.children())):
        nn.init.normal_(block.attn.in_proj_weight, std=width**-0.5)
        nn.init.normal_(block.attn.out_proj.weight, std=inner)
        nn.init.zeros_(block.attn.out_proj.bias)
        nn.init.normal_(cast(nn.Linear, block.mlp.c_fc).weight, std=(2 * width) ** -0.5)
        nn.init.normal_(cast(nn.Linear, block.mlp.c_proj).weight, std=inner)
