"""Names and shapes of the tensors that a fact sheet calls for: OpenAI's state dict as a table.

``num_batches_tracked`` of batch normalisation is left out: no answer depends on it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any

from keshin.core.config import (
    BlockFacts,
    Config,
    ModifiedResNet,
    PooledVisionTransformer,
    ResNet,
    RobertaText,
    TextTransformer,
    VisionTransformer,
)

Shape = tuple[int, ...]
Named = Iterator[tuple[str, Shape]]

EXPANSION = 4  # of a bottleneck


def expected_shapes(config: Config) -> dict[str, Shape]:
    """Every tensor of a checkpoint with this fact sheet."""
    return dict(named_shapes(config))


def named_shapes(config: Config) -> Named:
    """The same, one by one: a reader can stop where a damaged sheet asks for a billion layers."""
    vision = VISION[type(config.vision)](config.vision, config.embed_dim)
    text = TEXT[type(config.text)](config.text, config.embed_dim)
    yield "logit_scale", ()
    if config.score.kind == "sigmoid":
        yield "logit_bias", ()
    yield from chain(text, _under("visual.", vision))


def _under(prefix: str, named: Named) -> Named:
    for name, shape in named:
        yield prefix + name, shape


def _linear(name: str, inputs: int, outputs: int) -> Named:
    yield f"{name}.weight", (outputs, inputs)
    yield f"{name}.bias", (outputs,)


def _layer_norm(name: str, width: int) -> Named:
    yield f"{name}.weight", (width,)
    yield f"{name}.bias", (width,)


def _batch_norm(name: str, channels: int) -> Named:
    for part in ("weight", "bias", "running_mean", "running_var"):
        yield f"{name}.{part}", (channels,)


def _transformer(facts: BlockFacts) -> Named:
    width = facts.width
    for index in range(facts.layers):
        block = f"transformer.resblocks.{index}"
        yield from _attention(f"{block}.attn", width)
        yield from _layer_norm(f"{block}.ln_1", width)
        yield from _mlp(f"{block}.mlp", width, facts.mlp_width)
        yield from _layer_norm(f"{block}.ln_2", width)


def _attention(name: str, width: int) -> Named:
    yield f"{name}.in_proj_weight", (3 * width, width)
    yield f"{name}.in_proj_bias", (3 * width,)
    yield from _linear(f"{name}.out_proj", width, width)


def _mlp(name: str, width: int, inner: int) -> Named:
    yield from _linear(f"{name}.c_fc", width, inner)
    yield from _linear(f"{name}.c_proj", inner, width)


def vit_shapes(facts: VisionTransformer, embed_dim: int) -> Named:
    """The image tower of the ViT family, without ``visual.``."""
    rows, columns = facts.grid
    width, side = facts.width, facts.patch_size
    yield "conv1.weight", (width, 3, side, side)
    yield "class_embedding", (width,)
    yield "positional_embedding", (rows * columns + 1, width)
    yield from _layer_norm("ln_pre", width)
    yield from _transformer(facts)
    yield from _layer_norm("ln_post", width)
    yield "proj", (width, embed_dim)


def pooled_vit_shapes(facts: PooledVisionTransformer, embed_dim: int) -> Named:
    """The image tower of the SigLIP family, without ``visual.``; ``embed_dim`` is its width."""
    rows, columns = facts.grid
    width, side = facts.width, facts.patch_size
    yield "conv1.weight", (width, 3, side, side)
    yield "conv1.bias", (width,)
    yield "positional_embedding", (rows * columns, width)
    yield from _transformer(facts)
    yield from _layer_norm("ln_post", width)
    yield "attnpool.probe", (width,)
    yield from _attention("attnpool.attn", width)
    yield from _layer_norm("attnpool.ln_2", width)
    yield from _mlp("attnpool.mlp", width, facts.mlp_width)


def _shortcut(name: str, channels: int, out: int, stride: int) -> Named:
    """Beside a residual block; nothing where the block changes no shape."""
    if stride > 1 or channels != out:
        yield f"{name}.0.weight", (out, channels, 1, 1)
        yield from _batch_norm(f"{name}.1", out)


def _bottleneck(name: str, channels: int, planes: int, stride: int) -> Named:
    out = planes * EXPANSION
    yield f"{name}.conv1.weight", (planes, channels, 1, 1)
    yield from _batch_norm(f"{name}.bn1", planes)
    yield f"{name}.conv2.weight", (planes, planes, 3, 3)
    yield from _batch_norm(f"{name}.bn2", planes)
    yield f"{name}.conv3.weight", (out, planes, 1, 1)
    yield from _batch_norm(f"{name}.bn3", out)
    yield from _shortcut(f"{name}.downsample", channels, out, stride)


def resnet_shapes(facts: ModifiedResNet, embed_dim: int) -> Named:
    """The image tower of the ResNet family, without ``visual.``."""
    width = facts.width
    half = width // 2
    stem: list[Shape] = [(half, 3, 3, 3), (half, half, 3, 3), (width, half, 3, 3)]
    for index, shape in enumerate(stem, start=1):
        yield f"conv{index}.weight", shape
        yield from _batch_norm(f"bn{index}", shape[0])
    channels = width
    for stage, blocks in enumerate(facts.layers):
        planes = width * 2**stage
        for index in range(blocks):
            stride = 2 if stage > 0 and index == 0 else 1
            yield from _bottleneck(f"layer{stage + 1}.{index}", channels, planes, stride)
            channels = planes * EXPANSION
    rows, columns = facts.grid
    yield "attnpool.positional_embedding", (rows * columns + 1, channels)
    for part in ("q_proj", "k_proj", "v_proj"):
        yield from _linear(f"attnpool.{part}", channels, channels)
    yield from _linear("attnpool.c_proj", channels, embed_dim)


def _basic_block(name: str, channels: int, width: int, stride: int) -> Named:
    yield f"{name}.conv1.weight", (width, channels, 3, 3)
    yield from _batch_norm(f"{name}.bn1", width)
    yield f"{name}.conv2.weight", (width, width, 3, 3)
    yield from _batch_norm(f"{name}.bn2", width)
    yield from _shortcut(f"{name}.downsample", channels, width, stride)


def basic_resnet_shapes(facts: ResNet, embed_dim: int) -> Named:
    """The image tower of basic blocks, without ``visual.``."""
    channels, side = facts.widths[0], facts.patch_size
    yield "conv1.weight", (channels, 3, side, side)
    yield from _batch_norm("bn1", channels)
    for stage, (width, blocks) in enumerate(zip(facts.widths, facts.layers, strict=True)):
        for index in range(blocks):
            stride = 2 if stage > 0 and index == 0 else 1
            yield from _basic_block(f"layer{stage + 1}.{index}", channels, width, stride)
            channels = width
    yield "proj", (channels, embed_dim)


def text_shapes(facts: TextTransformer, embed_dim: int) -> Named:
    """The text tower, which sits at the top level of OpenAI's state dict."""
    yield "token_embedding.weight", (facts.vocab_size, facts.width)
    yield "positional_embedding", (facts.context_length, facts.width)
    yield from _transformer(facts)
    yield from _layer_norm("ln_final", facts.width)
    if facts.projection_bias:
        yield from _linear("text_projection", facts.width, embed_dim)
    else:
        yield "text_projection", (facts.width, embed_dim)


def roberta_shapes(facts: RobertaText, embed_dim: int) -> Named:
    """The text tower of the RoBERTa family, with the blocks' names of the other towers."""
    width, inner = facts.width, facts.projection_width
    yield "token_embedding.weight", (facts.vocab_size, width)
    yield "positional_embedding", (facts.positions, width)
    yield "token_type_embedding", (width,)
    yield from _layer_norm("ln_embedding", width)
    yield from _transformer(facts)
    yield "text_projection.c_fc.weight", (inner, width)
    yield "text_projection.c_proj.weight", (embed_dim, inner)


VISION: dict[type, Callable[[Any, int], Named]] = {
    VisionTransformer: vit_shapes,
    ModifiedResNet: resnet_shapes,
    ResNet: basic_resnet_shapes,
    PooledVisionTransformer: pooled_vit_shapes,
}
TEXT: dict[type, Callable[[Any, int], Named]] = {
    TextTransformer: text_shapes,
    RobertaText: roberta_shapes,
}
