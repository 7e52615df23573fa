"""The text towers in PyTorch, chosen by their kind through ``TEXT`` at the end.

A tower's parameters sit at the top level of the model, as in OpenAI's state dict. So a kind is two
functions: one puts the parameters on a module, one computes features with them. Sources: Radford
et al. 2019 for the Transformer; Liu et al. 2019 and OpenCLIP's ``HFTextEncoder`` for RoBERTa.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from keshin.core.config import RobertaText, TextTransformer
from keshin.encode.torch_blocks import SelfAttention, Transformer, initialise, mlp

Ends = Tensor
POOLS: dict[str, Callable[[Tensor, Ends], Tensor]] = {
    "end-of-text": lambda x, ends: x[torch.arange(len(x), device=x.device), ends],
    "last": lambda x, ends: x[:, -1],
    "first": lambda x, ends: x[:, 0],
}


def add_transformer(model: nn.Module, facts: TextTransformer, embed_dim: int) -> None:
    """Put the parameters of the paper's text tower on ``model``."""
    width = facts.width
    model.transformer = blocks = Transformer(facts, causal=facts.causal)
    model.token_embedding = embedding = nn.Embedding(facts.vocab_size, width)
    model.positional_embedding = nn.Parameter(0.01 * torch.randn(facts.context_length, width))
    model.ln_final = nn.LayerNorm(width, eps=facts.layer_norm_eps)
    projection = width**-0.5 * torch.randn(width, embed_dim)
    if facts.projection_bias:
        linear = nn.Linear(width, embed_dim)
        nn.init.zeros_(linear.bias)
        linear.weight = nn.Parameter(projection.T.contiguous())
        model.text_projection = linear
    else:
        model.text_projection = nn.Parameter(projection)
    nn.init.normal_(embedding.weight, std=0.02)
    blocks.initialise()


def transformer_features(model: Any, facts: TextTransformer, ids: Tensor, ends: Ends) -> Tensor:
    """(B, L) ids, L up to the context length, and (B,) end-of-text positions -> (B, E)."""
    x = model.token_embedding(ids) + model.positional_embedding[: ids.shape[1]]
    x = model.ln_final(POOLS[facts.pool](model.transformer(x), ends))
    projection = model.text_projection
    return cast(Tensor, projection(x) if facts.projection_bias else x @ projection)


class PostNormBlock(nn.Module):
    """A block whose LayerNorms come after the sums."""

    def __init__(self, facts: RobertaText) -> None:
        super().__init__()
        self.attn = SelfAttention(facts.width, facts.heads)
        self.ln_1 = nn.LayerNorm(facts.width, eps=facts.layer_norm_eps)
        self.mlp = mlp(facts)
        self.ln_2 = nn.LayerNorm(facts.width, eps=facts.layer_norm_eps)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        x = self.ln_1(x + self.attn(x, causal=False, mask=mask))
        return cast(Tensor, self.ln_2(x + self.mlp(x)))


class PostNormTransformer(nn.Module):
    """A stack of post-norm blocks."""

    def __init__(self, facts: RobertaText) -> None:
        super().__init__()
        self.recompute = False  # activation checkpointing, switched on by the trainer
        self.resblocks = nn.ModuleList(PostNormBlock(facts) for _ in range(facts.layers))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        for block in self.resblocks:
            if self.recompute and torch.is_grad_enabled():
                x = cast(Tensor, checkpoint(block, x, mask, use_reentrant=False))
            else:
                x = block(x, mask)
        return x


def add_roberta(model: nn.Module, facts: RobertaText, embed_dim: int) -> None:
    """Put the parameters of a RoBERTa text tower on ``model``."""
    width = facts.width
    model.token_embedding = embedding = nn.Embedding(facts.vocab_size, width)
    model.positional_embedding = nn.Parameter(0.02 * torch.randn(facts.positions, width))
    model.token_type_embedding = nn.Parameter(torch.zeros(width))
    model.ln_embedding = nn.LayerNorm(width, eps=facts.layer_norm_eps)
    model.transformer = blocks = PostNormTransformer(facts)
    model.text_projection = nn.Sequential(
        OrderedDict(
            c_fc=nn.Linear(width, facts.projection_width, bias=False),
            gelu=nn.GELU(),
            c_proj=nn.Linear(facts.projection_width, embed_dim, bias=False),
        )
    )
    nn.init.normal_(embedding.weight, std=0.02)
    initialise(blocks.resblocks, facts)


def roberta_features(model: Any, facts: RobertaText, ids: Tensor, ends: Ends) -> Tensor:
    """(B, L) ids -> (B, E). Padding is not seen, so that any length gives the same."""
    del ends
    seen = ids != facts.pad
    places = seen.cumsum(dim=1) * seen + facts.pad
    x = model.token_embedding(ids) + model.positional_embedding[places]
    x = model.ln_embedding(x + model.token_type_embedding)
    x = model.transformer(x, seen[:, None, None, :])
    share = seen / seen.sum(dim=1, keepdim=True)
    return cast(Tensor, model.text_projection((share.to(x.dtype)[:, None] @ x)[:, 0]))


@dataclass(frozen=True)
class TextKind:
    """One kind of text tower."""

    add: Callable[[nn.Module, Any, int], None]
    features: Callable[[Any, Any, Tensor, Ends], Tensor]


TEXT: dict[type, TextKind] = {
    TextTransformer: TextKind(add_transformer, transformer_features),
    RobertaText: TextKind(add_roberta, roberta_features),
}
