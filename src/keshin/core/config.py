"""The fact sheet of a checkpoint: everything that changes an answer and is not a weight.

A fact sheet is read from ``keshin.json``. It is strict: unknown names, wrong types and missing
facts are errors, since a guessed fact (activation, mean, resize rule, pooling) gives answers that
look right and are not. Sources: the paper, section 2.4 and appendix F; OpenAI's released code.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import msgspec

from keshin.core.towers import (
    Activation,
    BlockFacts,
    Facts,
    ModifiedResNet,
    PooledVisionTransformer,
    Positive,
    ResNet,
    RobertaText,
    Size,
    TextFacts,
    TextTransformer,
    VisionFacts,
    VisionTransformer,
)
from keshin.errors import CheckpointError

__all__ = [
    "FORMAT",
    "Activation",
    "BlockFacts",
    "Config",
    "Facts",
    "ModifiedResNet",
    "PooledVisionTransformer",
    "Positive",
    "PreprocessFacts",
    "ResNet",
    "RobertaText",
    "ScoreFacts",
    "Size",
    "TextFacts",
    "TextTransformer",
    "TokenizerFacts",
    "VisionFacts",
    "VisionTransformer",
    "describe",
    "dump_config",
    "parse_config",
]

FORMAT = 1


class TokenizerFacts(Facts, frozen=True):
    """What ``tokenizer.json`` does not say about how text becomes ids."""

    cleaning: Literal["clip", "whitespace", "none", "mend", "lower", "canonical"]
    """``clip``: ftfy, HTML entities, white space, lower case, as the reference does, with OpenAI's
    own word rule. ``mend``: the same but for case and words; ``lower``: lower case only;
    ``canonical``: ``mend``, lower case and no ASCII punctuation (core/cleaning.py)."""
    start: int | None
    end: int
    pad: int


class PreprocessFacts(Facts, frozen=True, omit_defaults=True):
    """How a picture becomes the numbers that the image tower sees."""

    size: Size
    """(height, width) in pixels."""
    resize: Literal["shorter-side", "squash"]
    """``shorter-side``: the shorter side to ``size``, then the centre; ``squash``: both sides."""
    interpolation: Literal["bicubic", "bilinear", "nearest", "lanczos"]
    mean: tuple[float, float, float]
    """Per channel (R, G, B), for values in 0..1."""
    std: tuple[float, float, float]
    shorter: int | None = None
    """Pixels of the shorter side after the resize where that is more than the crop keeps, as for
    networks that were trained on ImageNet (256 for a crop of 224). None: as long as the crop."""

    def __post_init__(self) -> None:
        if min(self.size) < 1:
            raise ValueError(f"size must be at least (1, 1) pixels, not {self.size}")
        if self.shorter is not None and (
            self.resize != "shorter-side" or not max(self.size) == min(self.size) <= self.shorter
        ):
            raise ValueError(
                f"shorter is {self.shorter}: that needs resize 'shorter-side' and a square size "
                f"that is not larger, not {self.resize} and {list(self.size)}"
            )
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

    @property
    def probe_dim(self) -> int:
        """Width of the features that a linear probe reads (paper, appendix A.3): those before the
        projection, or after the attention pooling of towers that have no projection."""
        return self.vision.projected or self.embed_dim

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
    transformers = (VisionTransformer, PooledVisionTransformer)
    if isinstance(vision, transformers) and vision.width % vision.heads:
        found.append(f"vision.width {vision.width} is not a multiple of heads {vision.heads}")
    if isinstance(vision, ModifiedResNet) and (vision.width * 32) % vision.heads:
        found.append(f"32 x vision.width {vision.width} is not a multiple of heads {vision.heads}")
    if isinstance(vision, ResNet) and len(vision.widths) != len(vision.layers):
        found.append(
            f"vision.widths names {len(vision.widths)} stages, vision.layers {len(vision.layers)}"
        )
    if isinstance(vision, PooledVisionTransformer):
        if 0 in vision.grid:
            found.append(f"vision.image_size {list(vision.image_size)} holds no whole patch")
        if vision.width != config.embed_dim:
            found.append(
                f"vision.width is {vision.width} but embed_dim {config.embed_dim}: this kind of "
                "tower has no projection, so set both alike"
            )
    if isinstance(text, RobertaText):
        if text.pad != tokens.pad:
            found.append(f"text.pad is {text.pad} but tokenizer.pad is {tokens.pad}")
        if text.pad + 1 + text.context_length > text.positions:
            found.append(
                f"text.positions {text.positions} end before text.context_length "
                f"{text.context_length} from row {text.pad + 1} on"
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
