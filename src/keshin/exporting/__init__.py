"""Models out again: a folder that OpenCLIP, transformers, ONNX runtimes or keshin load.

What was written is read back, or run, before the folder takes its place, and compared with the
model: an export is there whole and checked, or not at all.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from keshin.core.checkpoint import Checkpoint
from keshin.core.writing import whole_folder
from keshin.errors import CheckpointError, KeshinError

if TYPE_CHECKING:
    from keshin.api import Model

__all__ = ["FORMATS", "Exported", "export"]

Format = Literal["openclip", "transformers", "onnx", "keshin"]
Precision = Literal["fp32", "fp16"]
FORMATS: tuple[Format, ...] = ("openclip", "transformers", "onnx", "keshin")
PRECISIONS = ("fp32", "fp16")
CARD = "README.md"
ORIGINAL_CARD = "original-card.md"
LARGEST_CARD = 1_000_000  # bytes


@dataclass(frozen=True)
class Exported:
    """What was written."""

    folder: Path
    format: str
    files: tuple[str, ...]
    """By name, the model card among them."""
    compared: str
    """What ``difference`` is a difference of."""
    difference: float
    """The largest between the model and what was read back or run from the folder."""
    notes: tuple[str, ...]
    """What the program that loads the folder does otherwise, as sentences."""


def export(
    model: Model | str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    format: Format = "keshin",
    dtype: Precision | None = None,
    classifier: str | os.PathLike[str] | None = None,
    evaluations: Sequence[str | os.PathLike[str]] = (),
    run: str | os.PathLike[str] | None = None,
    force: bool = False,
) -> Exported:
    """Write a model as a folder for another program, with a model card, and check it.

    Arguments:
        model: a model, or its name, folder or file as ``keshin.load`` takes it.
        out: the folder, which must be new or empty.
        format: ``openclip``: for ``open_clip.create_model_and_transforms("local-dir:OUT")``;
            ``transformers``: for ``CLIPModel.from_pretrained(OUT)`` (``SiglipModel`` for SigLIP);
            ``onnx``: ``image.onnx`` and ``text.onnx``, with all facts inside; ``keshin``.
        dtype: of the weights, ``fp32`` or ``fp16``; default: as they are stored. ONNX files
            compute in fp32 with either.
        classifier: a saved classifier of this model, for ``onnx``: written as ``classifier.onnx``,
            from pictures to scores.
        evaluations: results that ``keshin.evaluate`` wrote as JSON, for the card.
        run: the folder of the training run, for the card; default: where the model lies in one.
        force: replace what is in ``out``. Never done to a folder that holds folders.

    Raises ``CheckpointError`` for what the format cannot hold, with the formats that can, and for
    a result that is not the model; nothing is written then. ``LabelError`` for a classifier of
    another model.
    """
    from keshin.api import find_checkpoint
    from keshin.exporting import card, folders

    if format not in FORMATS:
        raise KeshinError(f"There is no format '{format}'. There are: {', '.join(FORMATS)}.")
    if dtype is not None and dtype not in PRECISIONS:
        raise KeshinError(f"There is no dtype '{dtype}'. There are: {', '.join(PRECISIONS)}.")
    if classifier is not None and format != "onnx":
        raise KeshinError(
            f"A classifier can be baked into the format 'onnx', not into '{format}'. Leave it out; "
            "its file can be loaded beside a keshin model (keshin.load_classifier)."
        )
    if isinstance(model, str | os.PathLike):
        checkpoint, origin = find_checkpoint(model)
    else:  # what was loaded may have had facts that its files do not state
        held = getattr(model.encoder.towers, "checkpoint", None)
        origin = model.origin
        checkpoint = held if isinstance(held, Checkpoint) else find_checkpoint(origin)[0]
    target = Path(out).absolute()
    _check_place(target, checkpoint, force)
    story = card.read_story(checkpoint, _run_of(checkpoint, run), [Path(e) for e in evaluations])
    try:
        with whole_folder(target) as scratch:
            written = folders.WRITERS[format](
                checkpoint, scratch, dtype, None if classifier is None else Path(classifier)
            )
            original = _original_card(checkpoint)
            if original is not None:
                (scratch / ORIGINAL_CARD).write_bytes(original)
            text = card.make_card(
                checkpoint, origin, format, written, story, ORIGINAL_CARD if original else None
            )
            (scratch / CARD).write_text(text, encoding="utf-8")
            files = tuple(sorted(path.name for path in scratch.iterdir()))
    except OSError as error:
        raise CheckpointError(
            f"Cannot write {target}: {error.strerror or error}. What was there is unchanged."
        ) from error
    return Exported(
        target, format, files, written.compared, written.difference, tuple(written.notes)
    )


def _check_place(target: Path, checkpoint: Checkpoint, force: bool) -> None:
    source = checkpoint.directory.resolve()
    if target.resolve() == source or target.resolve() in source.parents:
        raise CheckpointError(
            f"{target} is, or holds, the model itself ({source}). Name another folder."
        )
    if target.is_symlink() or (target.exists() and not target.is_dir()):
        raise CheckpointError(f"{target} is no folder. Name a new one for the export.")
    there = list(target.iterdir()) if target.is_dir() else []
    if there and not force:
        raise CheckpointError(
            f"{target} holds files already ('{min(path.name for path in there)}'). Name a new "
            "folder, or use --force (force=True) to replace all that is in this one."
        )
    if inner := [path.name for path in there if path.is_dir()]:
        raise CheckpointError(
            f"{target} holds the folder '{min(inner)}', so it is no earlier export, and it is not "
            "replaced. Name a new folder."
        )


def _run_of(checkpoint: Checkpoint, run: str | os.PathLike[str] | None) -> Path | None:
    """The folder of the training run: as named, or the one in which the model lies."""
    if run is not None:
        return Path(run)
    parent = checkpoint.directory.resolve().parent
    inside = checkpoint.directory.name == "model" and (parent / "metrics.jsonl").is_file()
    return parent if inside else None


def _original_card(checkpoint: Checkpoint) -> bytes | None:
    path = checkpoint.directory / CARD
    if not path.is_file() or path.stat().st_size > LARGEST_CARD:
        return None
    return path.read_bytes()
