"""The formats: each fills a folder, and says how far what it wrote is from the model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec.structs import replace

from keshin import __version__
from keshin.core.checkpoint import (
    FACTS,
    TOKENIZER,
    WEIGHTS,
    Checkpoint,
    load_checkpoint,
)
from keshin.core.config import Config, TextTransformer, describe, dump_config
from keshin.core.foreign import read_foreign
from keshin.core.foreign.outward import Outward
from keshin.core.foreign.write_open_clip import to_open_clip
from keshin.core.foreign.write_transformers import to_transformers
from keshin.core.tensors import WRITTEN_TYPES, TensorFile, write_tensors
from keshin.core.tokenizer import Tokenizer
from keshin.errors import CheckpointError, LabelError

Array = npt.NDArray[Any]
ALWAYS_FULL = ("logit_scale", "logit_bias")
"""A half would change every score by up to 0.2 %."""
NUMPY: dict[str, Any] = {"fp32": np.float32, "fp16": np.float16}
TORCH: dict[Any, str] = {np.dtype(np.float32): "float32", np.dtype(np.float16): "float16"}
SAMPLES = ("a", "A photo of a Cat, and a dog!", "3 red birds &amp; more", "化身と猫の写真", "it's")
PROBLEM = "The export was not written. This is a bug in keshin: please report it."
LIMITS = {"fp32": 1e-5, "fp16": 2e-2}
"""How far a number of a unit vector may be off in the check of an ONNX file."""


@dataclass(frozen=True)
class Written:
    """What is in the folder now."""

    compared: str
    difference: float
    notes: list[str] = field(default_factory=list)
    parameters: int = 0
    stored: str = "float32"
    labels: tuple[str, ...] = ()


def tensors_of(checkpoint: Checkpoint, dtype: str | None) -> dict[str, Array]:
    """The weights in the type asked for; mapped where they are stored so.

    Raises ``CheckpointError`` for numbers that float16 cannot hold.
    """
    found: dict[str, Array] = {}
    for name in checkpoint.tensors.infos:
        array = checkpoint.tensors.read(name)
        kind: Any = np.float32 if name in ALWAYS_FULL else NUMPY.get(dtype or "", array.dtype.type)
        with np.errstate(over="ignore"):
            found[name] = array.astype(kind, copy=False)
        if kind == np.float16 and not np.isfinite(found[name]).all():
            raise CheckpointError(
                f"'{name}' of {checkpoint.tensors.path} holds numbers that float16 cannot. "
                "Export with dtype fp32."
            )
    return found


def _stored_so(file: TensorFile, tensors: Mapping[str, Array]) -> bool:
    """Whether the file holds what the towers need in these very types."""
    return all(
        WRITTEN_TYPES[array.dtype.name] == file.infos[name].dtype
        for name, array in tensors.items()
        if name not in ALWAYS_FULL
    )


def main_type(tensors: Mapping[str, Array]) -> str:
    """The type of most of the numbers, as PyTorch names it."""
    sizes = dict.fromkeys(TORCH, 0)
    for array in tensors.values():
        sizes[array.dtype] += array.size
    return TORCH[max(sizes, key=lambda kind: sizes[kind])]


def write_open_clip(
    checkpoint: Checkpoint, folder: Path, dtype: str | None, classifier: Path | None
) -> Written:
    """OpenCLIP's folder."""
    del classifier
    outward = to_open_clip(checkpoint.config, checkpoint.tokenizer())
    return _write_outward(checkpoint, outward, tensors_of(checkpoint, dtype), folder)


def write_transformers(
    checkpoint: Checkpoint, folder: Path, dtype: str | None, classifier: Path | None
) -> Written:
    """transformers' folder."""
    del classifier
    tensors = tensors_of(checkpoint, dtype)
    outward = to_transformers(checkpoint.config, checkpoint.tokenizer(), main_type(tensors))
    return _write_outward(checkpoint, outward, tensors, folder)


def write_keshin(
    checkpoint: Checkpoint, folder: Path, dtype: str | None, classifier: Path | None
) -> Written:
    """A checkpoint of keshin's own."""
    del classifier
    tensors = tensors_of(checkpoint, dtype)
    write_tensors(folder / WEIGHTS, tensors)
    (folder / FACTS).write_bytes(dump_config(checkpoint.config))
    checkpoint.tokenizer().save(folder / TOKENIZER)
    back = load_checkpoint(folder)
    again = {name: back.tensors.read_float32(name) for name in back.tensors.infos}
    _check_same(checkpoint, back.config, back.tokenizer(), checkpoint.config)
    return _written(checkpoint, tensors, again, [])


def write_onnx_towers(
    checkpoint: Checkpoint, folder: Path, dtype: str | None, classifier: Path | None
) -> Written:
    """Two towers as ONNX files, facts and tokenizer inside; perhaps a classifier."""
    from keshin.encode.onnx_check import distance
    from keshin.encode.onnx_files import classifier_file, image_file, text_file, write_onnx
    from keshin.encode.runtime import onnx_encoder

    encoder = onnx_encoder(checkpoint, threads=1)
    labels, head, facts = _head(checkpoint, classifier) if classifier else ((), None, {})
    tensors = tensors_of(checkpoint, dtype)
    scratch = folder / WEIGHTS
    config, weights = checkpoint.config, checkpoint.tensors
    if not _stored_so(weights, tensors):
        write_tensors(scratch, tensors)
        weights = TensorFile(scratch)
    checkpoint.tokenizer().save(folder / TOKENIZER)
    (folder / FACTS).write_bytes(dump_config(config))
    shared = _metadata(checkpoint)
    words = {"keshin.tokenizer": (folder / TOKENIZER).read_text(encoding="utf-8")}
    write_onnx(folder / "image.onnx", image_file(config, weights), weights, shared)
    write_onnx(folder / "text.onnx", text_file(config, weights), weights, shared | words)
    found = distance(encoder, folder / "image.onnx", folder / "text.onnx")
    stored = main_type(tensors)
    limit = LIMITS["fp16" if stored == "float16" else "fp32"]
    if head is not None:
        model = classifier_file(config, weights, head)
        write_onnx(folder / "classifier.onnx", model, weights, shared | facts)
        text = msgspec.json.format(msgspec.json.encode(list(labels)), indent=2)
        (folder / "labels.json").write_bytes(text + b"\n")
        found = max(found, _check_head(encoder, folder / "classifier.onnx", head))
    scratch.unlink(missing_ok=True)
    if not found <= limit:
        raise CheckpointError(
            f"The ONNX files of '{config.name}' differ from the model by {found:.1e} in a number "
            f"of a unit vector, more than {limit:g}. The export was not written; with float16, "
            "use dtype fp32."
        )
    return Written(
        "unit vectors of pictures and texts",
        found,
        ["Pictures and texts must be prepared as keshin.json says; ids come from tokenizer.json."],
        sum(array.size for array in tensors.values()),
        stored,
        labels,
    )


WRITERS: dict[str, Callable[[Checkpoint, Path, str | None, Path | None], Written]] = {
    "openclip": write_open_clip,
    "transformers": write_transformers,
    "onnx": write_onnx_towers,
    "keshin": write_keshin,
}


def _write_outward(
    checkpoint: Checkpoint, outward: Outward, tensors: dict[str, Array], folder: Path
) -> Written:
    """Write, read back with keshin's reader of the same layout, compare all of it."""
    outward.write(folder, tensors, checkpoint.tokenizer())
    back = read_foreign(folder)
    _check_same(checkpoint, back.config, back.tokenizer, checkpoint.config)
    return _written(checkpoint, tensors, dict(back.tensors), list(outward.notes))


def _written(
    checkpoint: Checkpoint,
    tensors: Mapping[str, Array],
    again: Mapping[str, Array],
    notes: list[str],
) -> Written:
    difference = 0.0
    for name, array in tensors.items():
        if not np.array_equal(again[name], array.astype(np.float32, copy=False)):
            raise CheckpointError(f"'{name}' was read back with other numbers. {PROBLEM}")
        original = checkpoint.tensors.read_float32(name)
        if array.dtype == np.float16 and array.size:
            difference = max(difference, float(np.abs(original - again[name]).max()))
    if again.keys() != tensors.keys():
        raise CheckpointError(f"Other tensors were read back than were written. {PROBLEM}")
    parameters = sum(array.size for array in tensors.values())
    return Written("weights", difference, notes, parameters, main_type(tensors))


def _check_same(checkpoint: Checkpoint, found: Config, words: Tokenizer, stated: Config) -> None:
    """The folder must say what the model says, names and sources apart."""
    if isinstance(stated.text, TextTransformer) and stated.text.trims:
        # Padding is not seen, and each program fills rows in its own way.
        found = replace(found, tokenizer=replace(found.tokenizer, pad=stated.tokenizer.pad))
    found = replace(found, name=stated.name, licence=stated.licence, source=stated.source)
    if found != stated:
        mine, theirs = describe(stated), describe(found)
        wrong = sorted(part for part in mine if mine[part] != theirs.get(part))
        raise CheckpointError(
            f"The folder says something else than the model about {', '.join(wrong)}. {PROBLEM}"
        )
    own = checkpoint.tokenizer()
    if any(own.encode(text) != words.encode(text) for text in SAMPLES):
        raise CheckpointError(f"The folder's tokenizer gives other tokens. {PROBLEM}")


def _metadata(checkpoint: Checkpoint) -> dict[str, str]:
    """The properties of each ONNX file: all that is needed to use it."""
    config = checkpoint.config
    facts = describe(config)

    def as_json(value: Any) -> str:
        return msgspec.json.encode(value).decode()

    return {
        "keshin.version": __version__,
        "keshin.source": checkpoint.fingerprint,
        "keshin.facts": as_json(facts),
        "keshin.preprocess": as_json(facts["preprocess"]),
        "keshin.logit_scale": repr(checkpoint.logit_scale),
        "keshin.logit_bias": repr(checkpoint.logit_bias),
        "keshin.score": config.score.kind,
        "keshin.context_length": str(config.text.context_length),
        "keshin.fill_to_context": "no" if config.text.trims else "yes",
        "keshin.licence": config.licence,
    }


def _head(checkpoint: Checkpoint, path: Path) -> tuple[tuple[str, ...], Any, dict[str, str]]:
    """The classifier of a file, which must be of this model."""
    from keshin.classify.saved import read_classifier
    from keshin.encode.onnx_files import Head

    saved = read_classifier(path)
    saved.check_fingerprint(checkpoint.fingerprint, checkpoint.config.name)
    if saved.head is not None:
        raise LabelError(
            f"{path} was learnt from pictures (keshin finetune); into ONNX only zero-shot "
            "classifiers are baked so far. Keep its file beside the model."
        )
    rule = saved.facts.rejection
    labels = tuple(label for label, _ in saved.facts.names)
    head = Head(
        weights=saved.weights,
        background=saved.background,
        scale=checkpoint.logit_scale,
        bias=checkpoint.logit_bias,
        kind=checkpoint.config.score.kind,
        least_score=rule.score,
        least_cosine=rule.cosine,
    )
    facts = {
        "keshin.labels": msgspec.json.encode(labels).decode(),
        "keshin.templates": msgspec.json.encode(saved.facts.templates).decode(),
        "keshin.rejected_label": rule.label,
    }
    return labels, head, facts


def _check_head(encoder: Any, path: Path, head: Any) -> float:
    """The largest difference of a cosine between the file and the model's own vectors."""
    from keshin.encode.onnx_check import run_file
    from keshin.encode.quantize import sample_inputs

    pixels = sample_inputs(encoder.config)["image"]["pixels"][:4]
    features = encoder.towers.image_features(pixels)
    vectors = features / np.linalg.norm(features, axis=1, keepdims=True)
    cosines, scores = run_file(path, {"pixels": pixels}, ["cosines", "scores"])
    if not np.isfinite(scores).all():
        return float("inf")
    return float(np.abs(cosines - vectors @ head.weights.T).max())
