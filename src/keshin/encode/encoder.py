"""Pictures and texts to unit vectors, whatever computes the towers.

``Towers`` is what a runtime provides (ONNX Runtime, PyTorch, ...): numbers in, features out.
``Encoder`` joins towers with the tokenizer and the preprocessing of the same checkpoint; everything
above (classifiers, search, evaluation, validation while training) sees only an ``Encoder``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from keshin.core.checkpoint import Checkpoint
from keshin.core.config import Config
from keshin.core.late_tokenizer import LateTokenizer
from keshin.core.pictures import Failure, Mode, Picture, preprocess
from keshin.core.tokenizer import Tokenizer, Truncation
from keshin.encode.picture_encoder import Kind, PictureEncoder
from keshin.encode.pipeline import Pipeline
from keshin.encode.texts import text_features
from keshin.errors import TokenizerError

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]

TEXTS_AT_ONCE = 32768
"""Bounds the memory that the tokens of many texts take."""


class Towers(Protocol):
    """The two towers of one model, as functions of arrays."""

    def image_features(self, pixels: FloatArray) -> FloatArray:
        """(n, 3, h, w) preprocessed pictures -> (n, d) features, not normalised."""
        ...

    def probe_features(self, pixels: FloatArray) -> FloatArray:
        """(n, 3, h, w) preprocessed pictures -> (n, probe_dim): what a linear probe reads."""
        ...

    def text_features(self, ids: IntArray, ends: IntArray) -> FloatArray:
        """(n, length) token ids and (n,) end-of-text positions -> (n, d), not normalised."""
        ...


@dataclass
class Encoder:
    """One model, ready to turn pictures and texts into unit vectors."""

    config: Config
    tokenizer: Tokenizer
    towers: Towers
    logit_scale: float
    """The factor of the cosine, ``exp(s)`` of the paper's Figure 3."""
    logit_bias: float = 0.0
    """Added after scaling; only sigmoid models have one."""
    batch_size: int = 32
    mode: str = "fp32"
    """The precision of the towers; vectors of other modes differ a little."""
    engine: str = "onnx"
    """What computes the towers; vectors of others differ by rounding."""
    decode: Mode = "exact"
    """How pictures are read: see ``keshin.core.pictures``."""
    threads: int | None = None
    """That read pictures while the towers run; None: as many as there are cores."""
    identify: Callable[[], str] = field(default=str, repr=False)
    """Gives the fingerprint; called only when that is asked for, since it reads all weights."""
    recognise: Callable[[], str] = field(default=str, repr=False)
    """Gives the mark; it reads next to nothing, but holds only where the files lie."""
    on_truncation: Callable[[Truncation], None] | None = field(default=None, repr=False)

    @property
    def computed(self) -> str:
        """Engine and precision in a word, for what is kept apart by them."""
        return self.mode if self.engine == "onnx" else f"{self.engine} {self.mode}"

    @property
    def mark(self) -> str:
        """Tells, on this machine, whether weights and facts are those of before; "" is unknown."""
        return self.recognise()

    @property
    def fingerprint(self) -> str:
        """Identifies weights and facts: with the same ``mode``, equal fingerprints give equal
        vectors. "" is unknown."""
        return self.identify()

    def preprocess(self, pictures: Sequence[Picture]) -> FloatArray:
        """What the image tower sees: (n, 3, h, w) float32. Raises ``PictureError``."""
        height, width = self.config.preprocess.size
        pixels = np.empty((len(pictures), 3, height, width), np.float32)
        for row, picture in zip(pixels, pictures, strict=True):
            row[...] = preprocess(picture, self.config.preprocess, mode=self.decode)
        return pixels

    def encode_images(self, pictures: Sequence[Picture]) -> FloatArray:
        """(n, d) float32 vectors of unit length. Raises ``PictureError`` for the first bad one."""
        return self.pictures().encode_images(pictures)

    def try_images(
        self, pictures: Iterable[Picture]
    ) -> Iterator[tuple[list[int], FloatArray, list[Failure]]]:
        """Encode group by group and go on after a picture that cannot be read.

        Yields, for each group of ``batch_size`` pictures in order, the places of those that were
        read, their (k, d) unit vectors and the failures. A bad picture does not change the vectors
        of the others. The pictures are taken from an iterator as they are needed.
        """
        return self.pictures().try_images(pictures)

    def pipeline(self) -> Pipeline[Any]:
        """Reads pictures in threads and runs the image tower beside them."""
        return self.pictures().pipeline()

    def pictures(self, kind: Kind = "joint") -> PictureEncoder:
        """The image side alone, giving the features of a kind."""
        config, towers = self.config, self.towers

        def joint(pixels: FloatArray) -> FloatArray:
            return _unit(towers.image_features(pixels))

        def probe(pixels: FloatArray) -> FloatArray:
            return towers.probe_features(pixels)

        width, encode = {"joint": (config.embed_dim, joint), "probe": (config.probe_dim, probe)}[
            kind
        ]
        return PictureEncoder(
            name=config.name,
            preprocess=config.preprocess,
            width=width,
            encode=encode,
            batch_size=self.batch_size,
            mode=self.computed,
            decode=self.decode,
            threads=self.threads,
            kind=kind,
            identify=self.identify,
        )

    def encode_texts(self, texts: Sequence[str]) -> FloatArray:
        """(n, d) float32 vectors of unit length.

        A vector does not depend on the texts beside it. A text that is longer than the context is
        cut and reported through ``on_truncation``.
        """
        if isinstance(texts, str):
            raise TokenizerError(f"Expected a list of texts, got one: {texts!r}. Pass [text].")
        vectors = np.empty((len(texts), self.config.embed_dim), np.float32)
        for start in range(0, len(texts), TEXTS_AT_ONCE):
            tokens = self.tokenizer(texts[start : start + TEXTS_AT_ONCE])
            for truncation in tokens.truncated:
                if self.on_truncation is not None:
                    moved = dataclasses.replace(truncation, index=start + truncation.index)
                    self.on_truncation(moved)
            for rows, features in text_features(self.towers, self.config.text, tokens):
                vectors[start + rows] = _unit(features)
        return vectors


def encoder_of(
    checkpoint: Checkpoint, towers: Towers, *, engine: str, mode: str, threads: int | None
) -> Encoder:
    """The encoder of a checkpoint whose towers ``engine`` computes.

    The tokenizer is read with the first text, and a ``CheckpointError`` about it comes then.
    """
    mark = checkpoint.mark  # of the files as they are opened; later ones are not what runs

    def recognise() -> str:
        return mark if mark == checkpoint.mark else ""

    return Encoder(
        config=checkpoint.config,
        tokenizer=LateTokenizer(checkpoint.tokenizer),
        towers=towers,
        logit_scale=checkpoint.logit_scale,
        logit_bias=checkpoint.logit_bias,
        mode=mode,
        engine=engine,
        identify=lambda: checkpoint.fingerprint,
        recognise=recognise,
        threads=threads,
    )


def _unit(features: FloatArray) -> FloatArray:
    length = np.linalg.norm(features, axis=1, keepdims=True)
    return np.asarray(features / np.maximum(length, 1e-12), np.float32)  # zero stays zero
