"""A checkpoint: a directory with weights, fact sheet and tokenizer that belong together.

``model.safetensors`` holds the weights under OpenAI's parameter names, ``keshin.json`` the facts,
``tokenizer.json`` the vocabulary. Reading checks each against the others; writing puts a whole new
directory in the place of the old one, or changes nothing.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy.typing as npt

from keshin.core.cache import mark_of
from keshin.core.config import Config, dump_config, parse_config
from keshin.core.hashes import sha256_of
from keshin.core.shapes import expected_shapes, named_shapes
from keshin.core.tensors import WRITTEN_TYPES, TensorFile, TensorInfo, write_tensors
from keshin.core.tokenizer import END, START, Tokenizer
from keshin.core.writing import entries, flush_folder, replace_folder
from keshin.errors import CheckpointError, TokenizerError

__all__ = [
    "FACTS",
    "TOKENIZER",
    "WEIGHTS",
    "Checkpoint",
    "TensorFile",
    "TensorInfo",
    "expected_shapes",
    "load_checkpoint",
    "save_checkpoint",
]

WEIGHTS, FACTS, TOKENIZER = "model.safetensors", "keshin.json", "tokenizer.json"
FILES = (WEIGHTS, FACTS, TOKENIZER)
STORED_TYPES = ("F32", "F16", "BF16")
LARGEST_FACTS = 1_000_000  # bytes; real ones have about a thousand
NAMED = 5  # tensors that one error message lists

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Checkpoint:
    """One model as data. The tokenizer is read, and checked, when it is first asked for."""

    directory: Path
    config: Config
    tensors: TensorFile

    def tokenizer(self) -> Tokenizer:
        """The tokenizer. Raises ``CheckpointError`` if it does not belong to the weights."""
        return self._tokenizer

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        path = self.directory / TOKENIZER
        try:
            tokenizer = Tokenizer.load(path, self.config.tokenizer, self.config.text.context_length)
        except TokenizerError as error:
            raise CheckpointError(f"{path} does not go with {FACTS}: {error}") from error
        _check_tokenizer(tokenizer, self.config, str(path))
        return tokenizer

    @cached_property
    def logit_scale(self) -> float:
        """The factor of the cosine: ``exp`` of the stored logarithm (paper, Figure 3)."""
        return math.exp(float(self.tensors.read_float32("logit_scale")))

    @cached_property
    def logit_bias(self) -> float:
        """What is added to the scaled cosine; 0 for models whose score is a softmax."""
        if self.config.score.kind != "sigmoid":
            return 0.0
        return float(self.tensors.read_float32("logit_bias"))

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over those of all three files; reads all of the weights the first time."""
        digests = (sha256_of(self.directory / name) for name in FILES)
        return hashlib.sha256(b"".join(digests)).hexdigest()

    @property
    def mark(self) -> str:
        """What ``mark_of`` says of the three files: cheap, and good for caches on this machine."""
        return mark_of(self.directory / name for name in FILES)


def load_checkpoint(directory: str | Path) -> Checkpoint:
    """Read a checkpoint; the weights are mapped, not read.

    Raises ``CheckpointError`` for missing files and for facts and tensors that do not go together.
    """
    directory = Path(directory)
    if not directory.is_dir():
        raise CheckpointError(f"There is no directory {directory}. A checkpoint is a directory.")
    missing = [name for name in FILES if not (directory / name).is_file()]
    if missing:
        raise CheckpointError(
            f"{directory} is not a whole checkpoint: {_listed(missing)} missing. It needs "
            f"{WEIGHTS}, {FACTS} and {TOKENIZER}; export or download it again."
        )
    config = _read_facts(directory / FACTS)
    tensors = TensorFile(directory / WEIGHTS)
    shapes = {name: info.shape for name, info in tensors.infos.items()}
    types = {name: info.dtype for name, info in tensors.infos.items()}
    _check_tensors(config, shapes, types, STORED_TYPES, str(tensors.path))
    scale = float(tensors.read_float32("logit_scale"))
    if not math.isfinite(scale) or scale > 80:  # exp(80) is near the end of float32
        raise CheckpointError(
            f"{tensors.path}: 'logit_scale' is {scale}. It is the logarithm of the factor, "
            f"at most about 4.6; the training diverged or the file is damaged."
        )
    checkpoint = Checkpoint(directory, config, tensors)
    if not math.isfinite(checkpoint.logit_bias):
        raise CheckpointError(
            f"{tensors.path}: 'logit_bias' is {checkpoint.logit_bias}. "
            "The training diverged or the file is damaged."
        )
    return checkpoint


def save_checkpoint(
    directory: str | Path, config: Config, tensors: Mapping[str, Array], tokenizer: Tokenizer
) -> Path:
    """Write a checkpoint, whole or not at all, in the place of one that may be there already.

    Raises ``CheckpointError``, before anything is written, if config, tensors and tokenizer do not
    go together, or if ``directory`` holds other files, which would be lost.
    """
    directory = Path(directory).resolve()
    facts = dump_config(config)
    _check_saved(directory, parse_config(facts, origin=FACTS), tensors, tokenizer)
    directory.parent.mkdir(parents=True, exist_ok=True)
    scratch = directory.with_name(f".{directory.name}.{secrets.token_hex(4)}.tmp")
    try:
        scratch.mkdir()
        write_tensors(scratch / WEIGHTS, tensors)
        _write(scratch / FACTS, facts)
        tokenizer.save(scratch / TOKENIZER)
        flush_folder(scratch)
        replace_folder(scratch, directory)
        flush_folder(directory.parent)
    except OSError as error:
        raise CheckpointError(
            f"Cannot write the checkpoint {directory}: {error.strerror or error}. "
            "What was there before is unchanged."
        ) from error
    finally:
        _discard(scratch)
    return directory


def _read_facts(path: Path) -> Config:
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST_FACTS + 1)
    except OSError as error:
        raise CheckpointError(f"Cannot read {path}: {error.strerror}.") from error
    if len(data) > LARGEST_FACTS:
        raise CheckpointError(
            f"{path} is larger than {LARGEST_FACTS} bytes, so it is no fact sheet. "
            "Restore the file or export the checkpoint again."
        )
    try:
        return parse_config(data, origin=str(path))
    except RecursionError as error:
        raise CheckpointError(
            f"{path} is nested too deeply to be a fact sheet. "
            "Restore the file or export the checkpoint again."
        ) from error


def _check_tensors(
    config: Config,
    shapes: Mapping[str, tuple[int, ...]],
    types: Mapping[str, str],
    allowed: tuple[str, ...],
    origin: str,
) -> None:
    """Names, shapes and types against the fact sheet; reports the first few of each problem."""
    missing: list[str] = []
    unlike: list[str] = []
    known = set()
    for name, shape in named_shapes(config):
        known.add(name)
        if name not in shapes:
            missing.append(name)
            if len(missing) > NAMED:  # a sheet may ask for a billion layers: stop here
                break
        elif shapes[name] != shape:
            unlike.append(f"'{name}' is {list(shapes[name])}, the facts say {list(shape)}")
    if missing:
        raise CheckpointError(
            f"{origin} lacks {_listed(missing)}, which {FACTS} calls for. "
            "Correct 'layers' and 'kind' there, or export the checkpoint again."
        )
    if unlike:
        raise CheckpointError(
            f"{origin} does not go with {FACTS}: {_listed(unlike, quote=False)}. "
            "Correct the sizes there, or export the checkpoint again."
        )
    if extra := sorted(shapes.keys() - known):
        raise CheckpointError(
            f"{origin} also holds {_listed(extra)}, which {FACTS} has no use for. "
            "Correct 'layers' and 'kind' there, or leave those tensors out."
        )
    if wrong := [f"'{name}' is {kind}" for name, kind in types.items() if kind not in allowed]:
        raise CheckpointError(
            f"{origin}: {_listed(wrong, quote=False)}; weights are {', '.join(allowed)}. "
            "Convert them and save the file again."
        )


def _check_tokenizer(tokenizer: Tokenizer, config: Config, origin: str) -> None:
    facts, text = config.tokenizer, config.text
    if tokenizer.vocab_size > text.vocab_size:
        raise CheckpointError(
            f"{origin} has {tokenizer.vocab_size} tokens, but text.vocab_size is "
            f"{text.vocab_size}: the tokenizer belongs to another model."
        )
    for fact, token in (("start", START), ("end", END)):
        stated, actual = getattr(facts, fact), tokenizer.backend.token_to_id(token)
        if actual is not None and stated != actual:
            raise CheckpointError(
                f"{origin} gives {token} the id {actual}, but tokenizer.{fact} in {FACTS} is "
                f"{stated}. Correct the one that is wrong."
            )


def _check_saved(
    directory: Path, config: Config, tensors: Mapping[str, Array], tokenizer: Tokenizer
) -> None:
    shapes = {name: array.shape for name, array in tensors.items()}
    types = {name: array.dtype.name for name, array in tensors.items()}
    _check_tensors(config, shapes, types, tuple(WRITTEN_TYPES), "The state to be saved")
    _check_tokenizer(tokenizer, config, "The tokenizer to be saved")
    stated, length = config.tokenizer, config.text.context_length
    for fact in ("cleaning", "start", "end", "pad"):
        if getattr(tokenizer.facts, fact) != getattr(stated, fact):
            raise CheckpointError(
                f"The tokenizer to be saved has {fact} {getattr(tokenizer.facts, fact)!r}, the "
                f"fact sheet says {getattr(stated, fact)!r}. Take both from the same model."
            )
    if tokenizer.context_length != length:
        raise CheckpointError(
            f"The tokenizer to be saved cuts at {tokenizer.context_length} tokens, the fact sheet "
            f"says text.context_length {length}. Take both from the same model."
        )
    if directory.exists() and not directory.is_dir():
        raise CheckpointError(f"{directory} is a file. Name a directory for the checkpoint.")
    if others := [p.name for p in entries(directory) if p.name not in FILES or p.is_dir()]:
        raise CheckpointError(
            f"{directory} also holds {_listed(sorted(others))}, which would be lost. "
            "Save the checkpoint to a directory of its own."
        )


def _listed(items: list[str], quote: bool = True) -> str:
    shown = [f"'{item}'" if quote else item for item in items[:NAMED]]
    more = " and more" if len(items) > NAMED else ""
    return ", ".join(shown) + more


def _write(path: Path, data: bytes) -> None:
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _discard(directory: Path) -> None:
    for name in FILES:
        (directory / name).unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        directory.rmdir()
