"""The facts of the towers: every kind of image and text tower, as part of a fact sheet.

A kind is a class with a tag; shapes, the PyTorch towers and the ONNX graphs choose by it. Sources:
the paper, section 2.4, and those named at each class.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

Positive = Annotated[int, msgspec.Meta(gt=0)]
Size = tuple[Positive, Positive]
Activation = Literal["quick_gelu", "gelu", "gelu_tanh"]
"""``x * sigmoid(1.702 x)``; the exact GELU; its approximation by tanh (SigLIP)."""


class Facts(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of all parts of the fact sheet: immutable, named, no unknown fields."""


def _cells(size: Size, side: int) -> tuple[int, int]:
    """(rows, columns) of whole squares of ``side`` pixels."""
    height, width = size
    return height // side, width // side


class VisionTransformer(Facts, frozen=True, tag_field="kind", tag="vit"):
    """An image tower of the ViT family (paper section 2.4)."""

    image_size: Size
    """(height, width) in pixels."""
    patch_size: Positive
    """Side of a square patch in pixels; divides both sides of the image."""
    width: Positive
    layers: Positive
    heads: Positive
    mlp_width: Positive
    activation: Activation
    layer_norm_eps: float

    @property
    def projected(self) -> int | None:
        """Width of what ``visual.proj`` projects, which a linear probe reads."""
        return self.width

    @property
    def step(self) -> int:
        """Both sides of the image must be multiples of this."""
        return self.patch_size

    @property
    def grid(self) -> tuple[int, int]:
        """(rows, columns) of patches."""
        return _cells(self.image_size, self.patch_size)


class ModifiedResNet(Facts, frozen=True, tag_field="kind", tag="modified-resnet"):
    """An image tower of the ResNet family with attention pooling (paper section 2.4)."""

    image_size: Size
    width: Positive
    """Channels of the first stage; the pooled feature has 32 times as many."""
    layers: tuple[Positive, Positive, Positive, Positive]
    """Bottleneck blocks in each of the four stages."""
    heads: Positive
    """Heads of the attention pooling."""

    @property
    def projected(self) -> int | None:
        """None: the attention pooling gives the joint embedding, and a probe reads that."""
        return None

    @property
    def step(self) -> int:
        """Both sides of the image must be multiples of this: five halvings."""
        return 32

    @property
    def grid(self) -> tuple[int, int]:
        """(rows, columns) that the attention pooling sees."""
        return _cells(self.image_size, self.step)


class ResNet(Facts, frozen=True, tag_field="kind", tag="resnet"):
    """An image tower of basic residual blocks on patches (He et al. 2016), averaged and projected.

    For small pictures on a processor, which computes few wide convolutions at low resolution faster
    than the many narrow ones of a ``ModifiedResNet`` (docs/decisions.md has the measurements).
    """

    image_size: Size
    patch_size: Positive
    """Side of the square patches that the stem turns into features, in pixels."""
    widths: tuple[Positive, ...]
    """Channels of each stage; every stage after the first halves rows and columns."""
    layers: tuple[Positive, ...]
    """Basic blocks (two 3 x 3 convolutions) of each stage."""

    @property
    def projected(self) -> int | None:
        """Width of the averaged feature that ``visual.proj`` projects; a linear probe reads it."""
        return self.widths[-1]

    @property
    def step(self) -> int:
        """Pixels, in each direction, that one position of the last stage stands for."""
        return self.patch_size << (len(self.widths) - 1)

    @property
    def grid(self) -> tuple[int, int]:
        """(rows, columns) that are averaged."""
        return _cells(self.image_size, self.step)


class PooledVisionTransformer(Facts, frozen=True, tag_field="kind", tag="vit-attention-pool"):
    """An image tower of the SigLIP family (Zhai et al. 2023, Tschannen et al. 2025).

    A ViT without class token and projection, whose convolution has a bias; a learned query attends
    to all patches at the end, and a LayerNorm with an MLP follows (Zhai et al. 2022, "MAP head").
    """

    image_size: Size
    """(height, width) in pixels. What fills no whole patch at the right and bottom is not seen:
    SigLIP reads 384 pixels in patches of 14."""
    patch_size: Positive
    width: Positive
    """Of the patches' features and of the joint embedding."""
    layers: Positive
    heads: Positive
    """Of every block and of the pooling."""
    mlp_width: Positive
    activation: Activation
    layer_norm_eps: float

    @property
    def projected(self) -> int | None:
        """None: the attention pooling gives the joint embedding, and a probe reads that."""
        return None

    @property
    def step(self) -> int:
        """Both sides of the image must be multiples of this."""
        return 1

    @property
    def grid(self) -> tuple[int, int]:
        """(rows, columns) of whole patches."""
        return _cells(self.image_size, self.patch_size)


class TextTransformer(Facts, frozen=True, tag_field="kind", tag="transformer"):
    """The text tower: a pre-norm Transformer over byte-pair tokens (paper section 2.4)."""

    context_length: Positive
    vocab_size: Positive
    width: Positive
    layers: Positive
    heads: Positive
    mlp_width: Positive
    activation: Activation
    layer_norm_eps: float
    causal: bool
    pool: Literal["end-of-text", "last", "first"]
    """The position whose feature stands for the text."""
    projection_bias: bool = False
    """Whether the projection adds a bias (SigLIP); sheets older than this fact have none."""

    @property
    def trims(self) -> bool:
        """Whether padding cannot change a feature, so that a batch runs at its longest text."""
        return self.causal and self.pool != "last"


class RobertaText(Facts, frozen=True, tag_field="kind", tag="roberta"):
    """A text tower of the RoBERTa family (Liu et al. 2019; Conneau et al. 2020 for XLM-R).

    Post-norm blocks that see the whole text but not its padding; the mean over the text, then an
    MLP of two matrices without bias (OpenCLIP's ``HFTextEncoder``).
    """

    context_length: Positive
    vocab_size: Positive
    positions: Positive
    """Rows of the position table; the first token of a text takes row ``pad + 1``."""
    pad: Annotated[int, msgspec.Meta(ge=0)]
    """The id that is not seen; equals ``tokenizer.pad``."""
    width: Positive
    layers: Positive
    heads: Positive
    mlp_width: Positive
    activation: Activation
    layer_norm_eps: float
    pool: Literal["mean"]
    projection_width: Positive
    """Between the two matrices of the projection, whose activation is the exact GELU."""

    @property
    def trims(self) -> bool:
        """Padding is masked, so that a batch runs at its longest text."""
        return True


VisionFacts = VisionTransformer | ModifiedResNet | ResNet | PooledVisionTransformer
TextFacts = TextTransformer | RobertaText
BlockFacts = VisionTransformer | PooledVisionTransformer | TextTransformer | RobertaText
"""The kinds that are made of Transformer blocks."""
