"""Published checkpoints: where each is, and the facts that its weights lack (``releases.toml``).

The table is read when it is first asked for. A release is found by keshin's name
(``openai/ViT-B-32``), by its repository, or by OpenCLIP's ``ViT-B-32:openai``.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from keshin.errors import CheckpointError

TABLE = Path(__file__).with_name("releases.toml")
MANY = "multi"
"""Stands for about a hundred languages, Japanese among them."""
BYTES_A_WEIGHT = 4  # most repositories hold float32

Colours = tuple[float, float, float]
Count = Annotated[int, msgspec.Meta(gt=0)]
Sha256 = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]


class Original(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The file that the publisher himself serves, where its hash is public."""

    file: str
    sha256: Sha256


class Release(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One published checkpoint."""

    name: str
    family: str
    architecture: str
    """OpenCLIP's name of the model, and its ``tag`` for the weights."""
    tag: str
    repo: str
    """On the Hugging Face hub."""
    revision: str | None = None
    layout: Literal["open_clip", "transformers"]
    """Which reader of ``core/foreign`` its files need."""

    image_size: Count
    embed_dim: Count
    head_width: Count
    text_head_width: Count | None = None
    parameters: Count
    activation: Literal["quick_gelu", "gelu", "gelu_tanh"]
    layer_norm_eps: float
    mean: Colours
    std: Colours
    resize: Literal["shorter-side", "squash"]
    interpolation: Literal["bicubic", "bilinear"]
    context_length: Count
    causal: bool
    pool: Literal["end-of-text", "last", "first", "mean"]
    tokenizer: Literal["clip", "siglip", "mt5", "gemma", "xlm-roberta"]
    cleaning: Literal["clip", "mend", "canonical"]
    score: Literal["softmax", "sigmoid"]
    logit_bias: bool = False
    """Whether the score adds a bias, which the weights then hold."""

    languages: tuple[str, ...]
    licence: str
    paper: str
    imagenet: float | None = None
    """Published zero-shot accuracy, in per cent; ``source`` says by whom."""
    source: str
    original: Original | None = None
    uncertain: tuple[str, ...] = ()

    @property
    def about_bytes(self) -> int:
        """The size of the weights, estimated as float32; only the hub knows the real one."""
        return BYTES_A_WEIGHT * self.parameters

    def reads(self, language: str) -> bool:
        """Whether texts of a language (``en``, ``ja``) were part of the training."""
        return language in self.languages or MANY in self.languages

    def statements(self) -> dict[str, Any]:
        """The facts in the terms in which a caller states them to ``core.foreign``."""
        names = ("activation", "head_width", "layer_norm_eps", "causal", "pool", "tokenizer")
        picture = ("mean", "std", "resize", "interpolation")
        found = {name: getattr(self, name) for name in (*names, *picture)}
        if self.text_head_width not in (None, self.head_width):
            found["text_head_width"] = self.text_head_width
        return found

    def differences(self, facts: Mapping[str, Any]) -> list[str]:
        """Where a fact sheet, as plain values, says otherwise than this row; as sentences."""
        text, picture = facts["text"], facts["preprocess"]
        pairs = {
            "image_size": (self.image_size, picture["size"][0]),
            "embed_dim": (self.embed_dim, facts["embed_dim"]),
            "resize": (self.resize, picture["resize"]),
            "interpolation": (self.interpolation, picture["interpolation"]),
            "mean": (self.mean, tuple(picture["mean"])),
            "std": (self.std, tuple(picture["std"])),
            "activation": (self.activation, facts["vision"].get("activation", self.activation)),
            "context_length": (self.context_length, text["context_length"]),
            "causal": (self.causal, text.get("causal", self.causal)),
            "pool": (self.pool, text.get("pool", self.pool)),
            "layer_norm_eps": (
                self.layer_norm_eps,
                facts["vision"].get("layer_norm_eps", self.layer_norm_eps),
            ),
            "cleaning": (self.cleaning, facts["tokenizer"]["cleaning"]),
            "score": (self.score, facts["score"]["kind"]),
        }
        return [
            f"{name}: keshin's table says {ours!r}, the files say {theirs!r}, which is used"
            for name, (ours, theirs) in pairs.items()
            if ours != theirs
        ]


@cache
def releases() -> Mapping[str, Release]:
    """All rows by name, in the order of the table."""
    return {row.name: row for row in rows(_table())}


def sources() -> Mapping[str, str]:
    """The sources of the accuracies in full, by the word in ``Release.source``."""
    content: dict[str, str] = _table()["sources"]
    return content


def rows(table: Mapping[str, Any]) -> list[Release]:
    """The rows of a table, each with its family's and its architecture's facts."""
    found = []
    for family, shared in table["families"].items():
        for row in shared["releases"]:
            facts = {**shared, **table["architectures"][row["architecture"]], **row}
            del facts["releases"]
            facts |= {"family": family, **table["colours"][facts.pop("colours")]}
            found.append(msgspec.convert(facts, Release))
    return found


def find(name: str) -> Release | None:
    """The release meant by a name, or ``None``. Case and ``/``, ``@`` or ``-`` do not matter."""
    return _index().get(_plain(name))


def get(name: str) -> Release:
    """The same. Raises ``CheckpointError`` that names what is near."""
    release = find(name)
    if release is None:
        raise CheckpointError(f"keshin knows no release '{name}'. {near(name)}")
    return release


def near(name: str) -> str:
    """A sentence on which names may have been meant."""
    plain = {_plain(known): known for known in releases()}
    close = [plain[key] for key in difflib.get_close_matches(_plain(name), plain, n=3)]
    hint = f"Did you mean {' or '.join(close)}? " if close else ""
    return f"{hint}`keshin models` lists all {len(plain)}."


def by_sha256(digest: str) -> Release | None:
    """The release whose original file has this hash."""
    return next(
        (row for row in releases().values() if row.original and row.original.sha256 == digest),
        None,
    )


@cache
def _table() -> dict[str, Any]:
    return tomllib.loads(TABLE.read_text(encoding="utf-8"))


@cache
def _index() -> Mapping[str, Release]:
    """Every accepted spelling; the first row of a repository stands for it."""
    found: dict[str, Release] = {}
    for row in releases().values():
        for spelling in (row.name, row.repo, f"{row.architecture}:{row.tag}"):
            found.setdefault(_plain(spelling), row)
    return found


def _plain(name: str) -> str:
    return re.sub(r"[/@:_-]+", "-", name.lower().removesuffix("px"))
