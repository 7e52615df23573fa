"""The fact sheet of a checkpoint: everything that changes an answer and is not a weight.

A fact sheet is read from ``keshin.json``. It is strict: unknown names, wrong types and missing
facts are errors, since a guessed fact (activation, mean, resize rule, pooling) gives answers that
look right and are not. Sources: the paper, section 2.4 and appendix F; OpenAI's released code.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

import msgspec

from keshin.errors import CheckpointError

FORMAT = 1

Positive = Annotated[int, msgspec.Meta(gt=0)]
Size = tuple[Positive, Positive]
Activation = Literal["quick_gelu", "gelu"]


class Facts(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of all parts of the fact sheet: immutable, named, no unknown fields."""


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
    def step(self) -> int:
        """Both sides of the image must be multiples of this."""
        return self.patch_size

    @property
    def grid(self) -> tuple[int, int]:
        """(rows, columns) of patches."""
        height, width = self.image_size
        return height // self.patch_size, width // self.patch_size


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
    def step(self) -> int:
        """Both sides of the image must be multiples of this: five halvings."""
        return 32

    @property
    def grid(self) -> tuple[int, int]:
        """(rows, columns) that the attention pooling sees."""
        height, width = self.image_size
        return height // self.step, width // self.step


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
    def step(self) -> int:
        """Pixels, in each direction, that one position of the last stage stands for."""
        return self.patch_size << (len(self.widths) - 1)

    @property
    def grid(self) -> tuple[int, int]:
        """(rows, columns) that are averaged."""
        height, width = self.image_size
        return height // self.step, width // self.step


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

    @property
    def trims(self) -> bool:
        """Whether padding cannot change a feature, so that a batch runs at its longest text."""
        return self.causal and self.pool != "last"


VisionFacts = VisionTransformer | ModifiedResNet | ResNet
TextFacts = TextTransformer


class TokenizerFacts(Facts, frozen=True):
    """What ``tokenizer.json`` does not say about how text becomes ids."""

    cleaning: Literal["clip", "whitespace", "none"]
    """``clip``: ftfy, HTML entities, white space, lower case, as the reference does."""
    start: int | None
    end: int
    pad: int


class PreprocessFacts(Facts, frozen=True):
    """How a picture becomes the numbers that the image tower sees."""

    size: Size
    """(height, width) in pixels."""
    resize: Literal["shorter-side", "squash"]
    """``shorter-side``: the shorter side to ``size``, then the centre; ``squash``: both sides."""
    interpolation: Literal["bicubic", "bilinear", "nearest", "lanczos"]
    mean: tuple[float, float, float]
    """Per channel (R, G, B), for values in 0..1."""
    std: tuple[float, float, float]

    def __post_init__(self) -> None:
        if min(self.size) < 1:
            raise ValueError(f"size must be at least (1, 1) pixels, not {self.size}")
        if not (all(map(math.isfinite, self.mean)) and all(0 < s < math.inf for s in self.std)):
            raise ValueError(f"mean must be finite and std positive: {self.mean}, {self.std}")


class ScoreFacts(Facts, frozen=True):
    """How a cosine becomes a score (paper section 2.3)."""

    kind: Literal["softmax", "sigmoid"]


class Config(Facts, frozen=True):
    """The whole fact sheet of one checkpoint."""

    format: int
    name: str
    embed_dim: Positive
    vision: VisionFacts
    text: TextFacts
    tokenizer: TokenizerFacts
    preprocess: PreprocessFacts
    score: ScoreFacts
    licence: str = "unknown"
    source: str = "unknown"

    def __post_init__(self) -> None:
        problems = list(_contradictions(self))
        if problems:
            raise ValueError("; ".join(problems))


def _contradictions(config: Config) -> list[str]:
    """Facts that cannot be true together, as sentences without a full stop."""
    found = []
    vision, text, tokens = config.vision, config.text, config.tokenizer
    if config.format != FORMAT:
        found.append(
            f"format is {config.format}, this keshin reads format {FORMAT}: update keshin or "
            "export the checkpoint again"
        )
    if config.preprocess.size != vision.image_size:
        found.append(
            f"preprocess.size is {list(config.preprocess.size)} but vision.image_size is "
            f"{list(vision.image_size)}: the tower sees what preprocessing makes, so set both alike"
        )
    step = vision.step
    if any(side % step for side in vision.image_size):
        found.append(f"vision.image_size {list(vision.image_size)} is not a multiple of {step}")
    if isinstance(vision, VisionTransformer) and vision.width % vision.heads:
        found.append(f"vision.width {vision.width} is not a multiple of heads {vision.heads}")
    if isinstance(vision, ModifiedResNet) and (vision.width * 32) % vision.heads:
        found.append(f"32 x vision.width {vision.width} is not a multiple of heads {vision.heads}")
    if isinstance(vision, ResNet) and len(vision.widths) != len(vision.layers):
        found.append(
            f"vision.widths names {len(vision.widths)} stages, vision.layers {len(vision.layers)}"
        )
    if text.width % text.heads:
        found.append(f"text.width {text.width} is not a multiple of heads {text.heads}")
    for name, value in (("start", tokens.start), ("end", tokens.end), ("pad", tokens.pad)):
        if value is not None and not 0 <= value < text.vocab_size:
            found.append(
                f"tokenizer.{name} is {value}, outside the vocabulary of {text.vocab_size} ids"
            )
    return found


def parse_config(data: bytes, *, origin: str) -> Config:
    """Read a fact sheet from JSON bytes; ``origin`` names the file in error messages.

    Raises ``CheckpointError`` for facts that are missing, unknown, of the wrong type or in
    contradiction.
    """
    try:
        return msgspec.json.decode(data, type=Config)
    except msgspec.ValidationError as error:
        raise CheckpointError(f"{origin}: {_explain(str(error))}") from error
    except msgspec.DecodeError as error:
        raise CheckpointError(
            f"{origin} is not valid JSON ({error}). Restore the file or export it again."
        ) from error


def _explain(message: str) -> str:
    """msgspec's one-line message as a sentence with a hint."""
    text, _, place = message.partition(" - at ")
    where = place.strip("`").removeprefix("$").removeprefix(".") or "the fact sheet"
    if "missing required field" in text:
        name = text.rsplit("`", 2)[-2]
        full = name if where == "the fact sheet" else f"{where}.{name}"
        return (
            f"the fact '{full}' is missing. keshin does not guess it; "
            "add it as the model was trained (docs/concepts/checkpoint.md explains each fact)."
        )
    if "unknown field" in text:
        name = text.rsplit("`", 2)[-2]
        return f"{where} has a field '{name}' that keshin does not know. Check its spelling."
    return f"{where}: {text}."


def dump_config(config: Config) -> bytes:
    """The fact sheet as indented JSON, with every fact written out."""
    return msgspec.json.format(msgspec.json.encode(config), indent=2) + b"\n"


def describe(config: Config) -> dict[str, Any]:
    """The fact sheet as plain Python values."""
    return dict(msgspec.to_builtins(config))
