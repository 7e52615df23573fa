"""CLIP's towers in PyTorch, for training and as the reference of the ONNX graphs.

Parameter names and shapes are OpenAI's, so that a released state dict loads as it is. Every
difference between models is a field of the fact sheet; the two tables ``VISION`` and ``TEXT`` at
the end choose a tower by its kind. Shape letters: B pictures or texts, L tokens, D width, E joint
embedding, H heads. Sources: the paper, section 2.4 and Figure 3; Radford et al. 2019 for the text
Transformer; He et al. 2018 and Zhang 2019 for the ResNet changes.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from keshin.core.config import (
    Config,
    ModifiedResNet,
    ResNet,
    TextTransformer,
    VisionTransformer,
)


class QuickGELU(nn.Module):
    """``x * sigmoid(1.702 x)``, the GELU approximation of OpenAI's weights."""

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(1.702 * x)


ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {"quick_gelu": QuickGELU, "gelu": nn.GELU}


class SelfAttention(nn.Module):
    """Multi-head self-attention with one matrix for queries, keys and values."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)

    def forward(self, x: Tensor, causal: bool) -> Tensor:  # (B, L, D) -> (B, L, D)
        batch, length, width = x.shape
        qkv = F.linear(x, self.in_proj_weight, self.in_proj_bias)
        q, k, v = qkv.view(batch, length, 3, self.heads, width // self.heads).unbind(2)
        mixed = F.scaled_dot_product_attention(
            q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), is_causal=causal
        )
        return cast(Tensor, self.out_proj(mixed.transpose(1, 2).reshape(batch, length, width)))


class ResidualBlock(nn.Module):
    """A pre-norm Transformer block."""

    def __init__(self, facts: VisionTransformer | TextTransformer) -> None:
        super().__init__()
        width, eps = facts.width, facts.layer_norm_eps
        self.attn = SelfAttention(width, facts.heads)
        self.ln_1 = nn.LayerNorm(width, eps=eps)
        self.mlp = nn.Sequential(
            OrderedDict(
                c_fc=nn.Linear(width, facts.mlp_width),
                gelu=ACTIVATIONS[facts.activation](),
                c_proj=nn.Linear(facts.mlp_width, width),
            )
        )
        self.ln_2 = nn.LayerNorm(width, eps=eps)

    def forward(self, x: Tensor, causal: bool) -> Tensor:
        x = x + self.attn(self.ln_1(x), causal)
        return cast(Tensor, x + self.mlp(self.ln_2(x)))


class Transformer(nn.Module):
    """A stack of residual blocks."""

    def __init__(self, facts: VisionTransformer | TextTransformer, causal: bool) -> None:
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
        width = self.facts.width
        inner = width**-0.5 * (2 * self.facts.layers) ** -0.5
        for block in cast("list[ResidualBlock]", list(self.resblocks)):
            nn.init.normal_(block.attn.in_proj_weight, std=width**-0.5)
            nn.init.normal_(block.attn.out_proj.weight, std=inner)
            nn.init.zeros_(block.attn.out_proj.bias)
            nn.init.normal_(cast(nn.Linear, block.mlp.c_fc).weight, std=(2 * width) ** -0.5)
            nn.init.normal_(cast(nn.Linear, block.mlp.c_proj).weight, std=inner)


class VisionTransformerTower(nn.Module):
    """ViT: (B, 3, h, w) pictures -> (B, E) features, not normalised."""

    def __init__(self, facts: VisionTransformer, embed_dim: int) -> None:
        super().__init__()
        rows, columns = facts.grid
        width, eps = facts.width, facts.layer_norm_eps
        self.conv1 = nn.Conv2d(3, width, facts.patch_size, facts.patch_size, bias=False)
        self.class_embedding = nn.Parameter(width**-0.5 * torch.randn(width))
        self.positional_embedding = nn.Parameter(
            width**-0.5 * torch.randn(rows * columns + 1, width)
        )
        self.ln_pre = nn.LayerNorm(width, eps=eps)
        self.transformer = Transformer(facts, causal=False)
        self.ln_post = nn.LayerNorm(width, eps=eps)
        self.proj = nn.Parameter(width**-0.5 * torch.randn(width, embed_dim))
        self.transformer.initialise()

    def forward(self, pictures: Tensor) -> Tensor:
        x = self.conv1(pictures).flatten(2).transpose(1, 2)  # (B, patches, D)
        first = self.class_embedding.to(x.dtype).expand(x.shape[0], 1, -1)
        x = torch.cat([first, x], dim=1) + self.positional_embedding.to(x.dtype)
        x = self.transformer(self.ln_pre(x))
        return cast(Tensor, self.ln_post(x[:, 0]) @ self.proj)


class Bottleneck(nn.Module):
    """A residual bottleneck whose stride is an average pool (anti-aliased)."""

    EXPANSION = 4

    def __init__(self, channels: int, planes: int, stride: int) -> None:
        super().__init__()
        out = planes * self.EXPANSION
        self.conv1 = nn.Conv2d(channels, planes, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.avgpool: nn.Module = nn.AvgPool2d(stride) if stride > 1 else nn.Identity()
        self.conv3 = nn.Conv2d(planes, out, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out)
        self.downsample: nn.Module = nn.Identity()
        if stride > 1 or channels != out:
            pool = nn.AvgPool2d(stride) if stride > 1 else nn.Identity()
            shortcut = nn.Conv2d(channels, out, 1, bias=False)
            self.downsample = nn.Sequential(
                OrderedDict([("-1", pool), ("0", shortcut), ("1", nn.BatchNorm2d(out))])
            )

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.avgpool(F.relu(self.bn2(self.conv2(y))))
        return F.relu(self.bn3(self.conv3(y)) + self.downsample(x))


class AttentionPool(nn.Module):
    """Attention pooling with the mean as the query: (B, C, h, w) -> (B, E)."""

    def __init__(self, positions: int, channels: int, heads: int, embed_dim: int) -> None:
        super().__init__()
        self.heads = heads
        self.positional_embedding = nn.Parameter(
            torch.randn(positions + 1, channels) * channels**-0.5
        )
        self.q_proj, self.k_proj, self.v_proj = (nn.Linear(channels, channels) for _ in range(3))
        self.c_proj = nn.Linear(channels, embed_dim)

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(2).transpose(1, 2)  # (B, L, C)
        x = torch.cat([x.mean(dim=1, keepdim=True), x], dim=1)
        x = x + self.positional_embedding.to(x.dtype)
        batch, length, channels = x.shape
        head = channels // self.heads
        q = self.q_proj(x[:, :1]).view(batch, 1, self.heads, head).transpose(1, 2)
        k = self.k_proj(x).view(batch, length, self.heads, head).transpose(1, 2)
        v = self.v_proj(x).view(batch, length, self.heads, head).transpose(1, 2)
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2)
        return cast(Tensor, self.c_proj(mixed.reshape(batch, channels)))


class ModifiedResNetTower(nn.Module):
    """ModifiedResNet: (B, 3, h, w) pictures -> (B, E) features, not normalised."""

    def __init__(self, facts: ModifiedResNet, embed_dim: int) -> None:
        super().__init__()
        width = facts.width
        self.conv1 = nn.Conv2d(3, width // 2, 3, stride=2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width // 2)
        self.conv2 = nn.Conv2d(width // 2, width // 2, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width // 2)
        self.conv3 = nn.Conv2d(width // 2, width, 3, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(width)
        channels = width
        for stage, blocks in enumerate(facts.layers):
            planes = width * 2**stage
            layer = nn.Sequential()
            for index in range(blocks):
                stride = 2 if stage > 0 and index == 0 else 1
                layer.append(Bottleneck(channels, planes, stride))
                channels = planes * Bottleneck.EXPANSION
            self.add_module(f"layer{stage + 1}", layer)
        rows, columns = facts.grid
        self.attnpool = AttentionPool(rows * columns, channels, facts.heads, embed_dim)
        self._initialise(channels)

    def _initialise(self, channels: int) -> None:
        for projection in self.attnpool.children():
            nn.init.normal_(cast(nn.Linear, projection).weight, std=channels**-0.5)
        for module in self.modules():
            if isinstance(module, Bottleneck):  # each block starts as the identity
                nn.init.zeros_(module.bn3.weight)

    def stem(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(x)))
        x = F.relu(self.bn2(self.conv2(x)))
        return F.avg_pool2d(F.relu(self.bn3(self.conv3(x))), 2)

    def forward(self, pictures: Tensor) -> Tensor:
        x = self.stem(pictures)
        for stage in range(1, 5):
            x = self.get_submodule(f"layer{stage}")(x)
        return cast(Tensor, self.attnpool(x))


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions beside a shortcut, which is averaged where the block strides."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        nn.init.zeros_(self.bn2.weight)  # each block starts as its shortcut
        self.downsample: nn.Module = nn.Identity()
        if stride > 1 or channels != width:
            pool = nn.AvgPool2d(stride) if stride > 1 else nn.Identity()
            shortcut = nn.Conv2d(channels, width, 1, bias=False)
            self.downsample = nn.Sequential(
                OrderedDict([("-1", pool), ("0", shortcut), ("1", nn.BatchNorm2d(width))])
            )

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + self.downsample(x))


class ResNetTower(nn.Module):
    """ResNet of basic blocks: (B, 3, h, w) pictures -> (B, E) features, not normalised."""

    def __init__(self, facts: ResNet, embed_dim: int) -> None:
        super().__init__()
        channels, side = facts.widths[0], facts.patch_size
        self.stages = len(facts.widths)
        self.conv1 = nn.Conv2d(3, channels, side, side, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        for stage, (width, blocks) in enumerate(zip(facts.widths, facts.layers, strict=True)):
            layer = nn.Sequential()
            for index in range(blocks):
                layer.append(BasicBlock(channels, width, 2 if stage > 0 and index == 0 else 1))
                channels = width
            self.add_module(f"layer{stage + 1}", layer)
        self.proj = nn.Parameter(channels**-0.5 * torch.randn(channels, embed_dim))

    def forward(self, pictures: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(pictures)))
        for stage in range(1, self.stages + 1):
            x = self.get_submodule(f"layer{stage}")(x)
        return x.mean(dim=(2, 3)) @ self.proj


Ends = Tensor
POOLS: dict[str, Callable[[Tensor, Ends], Tensor]] = {
    "end-of-text": lambda x, ends: x[torch.arange(len(x), device=x.device), ends],
    "last": lambda x, ends: x[:, -1],
    "first": lambda x, ends: x[:, 0],
}


class CLIP(nn.Module):
    """Both towers and the logit scale (paper, Figure 3). ``logit_scale`` is the logarithm.

    The text tower's parameters sit at the top level, as in OpenAI's state dict.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        text = config.text
        self.visual = VISION[type(config.vision)](config.vision, config.embed_dim)
        self.transformer = Transformer(text, causal=text.causal)
        self.token_embedding = nn.Embedding(text.vocab_size, text.width)
        self.positional_embedding = nn.Parameter(
            0.01 * torch.randn(text.context_length, text.width)
        )
        self.ln_final = nn.LayerNorm(text.width, eps=text.layer_norm_eps)
        self.text_projection = nn.Parameter(
            text.width**-0.5 * torch.randn(text.width, config.embed_dim)
        )
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))
        nn.init.normal_(self.token_embedding.weight, std=0.02)
        self.transformer.initialise()

    def recompute(self, on: bool = True) -> None:
        """Recompute Transformer blocks in the backward pass, to save memory."""
        for module in self.modules():
            if isinstance(module, Transformer):
                module.recompute = on

    def image_features(self, pictures: Tensor) -> Tensor:
        """(B, 3, h, w) preprocessed pictures -> (B, E), not normalised."""
        return cast(Tensor, self.visual(pictures))

    def text_features(self, ids: Tensor, ends: Tensor) -> Tensor:
        """(B, L) ids, L up to the context length, and (B,) end-of-text positions -> (B, E)."""
        x = self.token_embedding(ids) + self.positional_embedding[: ids.shape[1]]
        x = self.transformer(x)
        x = POOLS[self.config.text.pool](x, ends)
        return cast(Tensor, self.ln_final(x) @ self.text_projection)

    def forward(self, pictures: Tensor, ids: Tensor, ends: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Unit image features (B, E), unit text features (T, E) and the scale ``exp(s)``."""
        images = F.normalize(self.image_features(pictures).float(), dim=-1)
        texts = F.normalize(self.text_features(ids, ends).float(), dim=-1)
        return images, texts, self.logit_scale.exp()


VISION: dict[type, Callable[..., nn.Module]] = {
    VisionTransformer: VisionTransformerTower,
    ModifiedResNet: ModifiedResNetTower,
    ResNet: ResNetTower,
}
