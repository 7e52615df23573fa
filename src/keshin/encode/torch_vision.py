"""The image towers in PyTorch, chosen by their kind through ``VISION`` at the end.

Sources: the paper, section 2.4; He et al. 2018 and Zhang 2019 for the ResNet changes; Zhai et al.
2022 and 2023 for SigLIP.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from keshin.core.config import (
    ModifiedResNet,
    PooledVisionTransformer,
    ResNet,
    VisionTransformer,
)
from keshin.encode.torch_blocks import SelfAttention, Transformer, mlp
from keshin.encode.torch_positions import Grid, on_grid


class Tower(nn.Module):
    """An image tower: what a linear probe reads of a picture, then the joint embedding."""

    projected = True
    """Whether there is a projection, as the facts of the tower say."""
    proj: Tensor
    """(P, E), if there is one."""

    def probe(self, pictures: Tensor) -> Tensor:
        """(B, 3, h, w) pictures -> (B, P) features before the projection."""
        raise NotImplementedError

    def forward(self, pictures: Tensor) -> Tensor:
        """(B, 3, h, w) pictures -> (B, E) features, not normalised."""
        x = self.probe(pictures)
        return x @ self.proj if self.projected else x


class PatchDropout(nn.Module):
    """Leaves out a random share of each picture's patches while training (FLIP, Li et al. 2023)."""

    def __init__(self) -> None:
        super().__init__()
        self.share = 0.0  # set by the trainer

    def forward(self, x: Tensor) -> Tensor:
        """(B, L, D) -> (B, L', D), L' = L x (1 - share), at least 1."""
        if not (self.training and self.share):
            return x
        kept = max(1, round(x.shape[1] * (1 - self.share)))
        chosen = torch.rand(x.shape[:2], device=x.device).topk(kept, dim=1).indices
        return x.gather(1, chosen[..., None].expand(-1, -1, x.shape[2]))


class VisionTransformerTower(Tower):
    """ViT: the class token after the last LayerNorm, projected."""

    def __init__(self, facts: VisionTransformer, embed_dim: int) -> None:
        super().__init__()
        self.grid = rows, columns = facts.grid
        width, eps = facts.width, facts.layer_norm_eps
        self.conv1 = nn.Conv2d(3, width, facts.patch_size, facts.patch_size, bias=False)
        self.class_embedding = nn.Parameter(width**-0.5 * torch.randn(width))
        self.positional_embedding = nn.Parameter(
            width**-0.5 * torch.randn(rows * columns + 1, width)
        )
        self.dropout = PatchDropout()
        self.ln_pre = nn.LayerNorm(width, eps=eps)
        self.transformer = Transformer(facts, causal=False)
        self.ln_post = nn.LayerNorm(width, eps=eps)
        self.proj = nn.Parameter(width**-0.5 * torch.randn(width, embed_dim))
        self.transformer.initialise()

    def probe(self, pictures: Tensor) -> Tensor:
        x = self.conv1(pictures)
        positions = on_grid(self.positional_embedding, self.grid, (x.shape[2], x.shape[3]))
        positions = positions.to(x.dtype)
        x = x.flatten(2).transpose(1, 2)  # (B, patches, D)
        first = (self.class_embedding.to(x.dtype) + positions[0]).expand(x.shape[0], 1, -1)
        x = torch.cat([first, self.dropout(x + positions[1:])], dim=1)
        x = self.transformer(self.ln_pre(x))
        return cast(Tensor, self.ln_post(x[:, 0]))


class ProbePool(nn.Module):
    """A learned query that attends to all patches, then LayerNorm and MLP: (B, L, D) -> (B, D)."""

    def __init__(self, facts: PooledVisionTransformer) -> None:
        super().__init__()
        width = facts.width
        self.probe = nn.Parameter(width**-0.5 * torch.randn(width))
        self.attn = SelfAttention(width, facts.heads)
        self.ln_2 = nn.LayerNorm(width, eps=facts.layer_norm_eps)
        self.mlp = mlp(facts)
        nn.init.normal_(self.attn.in_proj_weight, std=width**-0.5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.attn.ask(self.probe.to(x.dtype), x)
        return cast(Tensor, x + self.mlp(self.ln_2(x)))


class PooledVisionTransformerTower(Tower):
    """SigLIP's ViT: a learned query reads all patches."""

    projected = False

    def __init__(self, facts: PooledVisionTransformer, embed_dim: int) -> None:
        super().__init__()
        del embed_dim  # the fact sheet holds it equal to the width
        self.grid = rows, columns = facts.grid
        width = facts.width
        self.conv1 = nn.Conv2d(3, width, facts.patch_size, facts.patch_size)
        self.positional_embedding = nn.Parameter(width**-0.5 * torch.randn(rows * columns, width))
        self.dropout = PatchDropout()
        self.transformer = Transformer(facts, causal=False)
        self.ln_post = nn.LayerNorm(width, eps=facts.layer_norm_eps)
        self.attnpool = ProbePool(facts)
        self.transformer.initialise()

    def probe(self, pictures: Tensor) -> Tensor:
        x = self.conv1(pictures)
        positions = on_grid(self.positional_embedding, self.grid, (x.shape[2], x.shape[3]))
        x = x.flatten(2).transpose(1, 2)  # (B, patches, D)
        x = self.transformer(self.dropout(x + positions.to(x.dtype)))
        return cast(Tensor, self.attnpool(self.ln_post(x)))


def _shortcut(channels: int, out: int, stride: int) -> nn.Module:
    """Beside a residual block: averaged where it strides, projected where the shape changes."""
    if stride == 1 and channels == out:
        return nn.Identity()
    pool = nn.AvgPool2d(stride) if stride > 1 else nn.Identity()
    conv = nn.Conv2d(channels, out, 1, bias=False)
    return nn.Sequential(OrderedDict([("-1", pool), ("0", conv), ("1", nn.BatchNorm2d(out))]))


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
        self.downsample = _shortcut(channels, out, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.avgpool(F.relu(self.bn2(self.conv2(y))))
        return F.relu(self.bn3(self.conv3(y)) + self.downsample(x))


class AttentionPool(nn.Module):
    """Attention pooling with the mean as the query: (B, C, h, w) -> (B, E)."""

    def __init__(self, grid: Grid, channels: int, heads: int, embed_dim: int) -> None:
        super().__init__()
        self.grid, self.heads = grid, heads
        self.positional_embedding = nn.Parameter(
            torch.randn(grid[0] * grid[1] + 1, channels) * channels**-0.5
        )
        self.q_proj, self.k_proj, self.v_proj = (nn.Linear(channels, channels) for _ in range(3))
        self.c_proj = nn.Linear(channels, embed_dim)

    def forward(self, x: Tensor) -> Tensor:
        positions = on_grid(self.positional_embedding, self.grid, (x.shape[2], x.shape[3]))
        x = x.flatten(2).transpose(1, 2)  # (B, L, C)
        x = torch.cat([x.mean(dim=1, keepdim=True), x], dim=1)
        x = x + positions.to(x.dtype)
        batch, length, channels = x.shape
        head = channels // self.heads
        q = self.q_proj(x[:, :1]).view(batch, 1, self.heads, head).transpose(1, 2)
        k = self.k_proj(x).view(batch, length, self.heads, head).transpose(1, 2)
        v = self.v_proj(x).view(batch, length, self.heads, head).transpose(1, 2)
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2)
        return cast(Tensor, self.c_proj(mixed.reshape(batch, channels)))


class ModifiedResNetTower(Tower):
    """ModifiedResNet with attention pooling."""

    projected = False

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
        self.attnpool = AttentionPool(facts.grid, channels, facts.heads, embed_dim)
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

    def probe(self, pictures: Tensor) -> Tensor:
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
        self.downsample = _shortcut(channels, width, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + self.downsample(x))


class ResNetTower(Tower):
    """ResNet of basic blocks, averaged over all positions and projected."""

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

    def probe(self, pictures: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(pictures)))
        for stage in range(1, self.stages + 1):
            x = self.get_submodule(f"layer{stage}")(x)
        return x.mean(dim=(2, 3))


VISION: dict[type, Callable[..., Tower]] = {
    VisionTransformer: VisionTransformerTower,
    ModifiedResNet: ModifiedResNetTower,
    ResNet: ResNetTower,
    PooledVisionTransformer: PooledVisionTransformerTower,
}
