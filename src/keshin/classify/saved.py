"""A classifier as one file: safetensors, with the words as JSON in its metadata. No pickle.

It holds no model. The fingerprint of the encoder is kept, and the file is refused with another one:
weights of one model mean nothing to another.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from keshin.classify.classifier import Classifier, Head
from keshin.classify.rejection import Rejection
from keshin.core.writing import whole
from keshin.encode.encoder import Encoder, FloatArray
from keshin.errors import LabelError

FORMAT = 1
LEARNT = 2
"""The format of files that hold a ``Head``, which older programs must not pass over."""
KEY = "keshin.classifier"


class SavedFacts(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the file says beside its arrays."""

    format: int
    model: str
    origin: str
    fingerprint: str
    names: list[tuple[str, list[str]]]
    templates: list[str]
    rejection: Rejection


@dataclass(frozen=True)
class SavedClassifier:
    """A classifier read from a file, not yet joined with its model."""

    path: Path
    facts: SavedFacts
    weights: FloatArray
    background: FloatArray
    head: Head | None = None

    def join(self, encoder: Encoder) -> Classifier:
        """The classifier on its model. Raises ``LabelError`` if it belongs to another."""
        self.check_fingerprint(encoder.fingerprint, encoder.config.name)
        return Classifier(
            encoder=encoder,
            names={label: tuple(said) for label, said in self.facts.names},
            templates=tuple(self.facts.templates),
            weights_=self.weights,
            background_=self.background,
            rejection=self.facts.rejection,
            origin=self.facts.origin,
            head=self.head,
        )

    def check_fingerprint(self, fingerprint: str, name: str) -> None:
        """Raise ``LabelError`` unless this is the fingerprint of the classifier's model."""
        if fingerprint != self.facts.fingerprint:
            raise LabelError(
                f"{self.path} was made with the model '{self.facts.model}' "
                f"({self.facts.fingerprint[:12]}), and this is '{name}' "
                f"({fingerprint[:12] or 'without fingerprint'}). Load that model, or make "
                "the classifier again with this one."
            )


def write_classifier(classifier: Classifier, path: str | Path) -> None:
    """Write to a temporary name, flush, rename. Raises ``LabelError``."""
    path, encoder = Path(path), classifier.encoder
    if not encoder.fingerprint:
        raise LabelError(
            "This encoder has no fingerprint, so a saved classifier could not be kept from "
            "another one. Export a checkpoint and load that."
        )
    facts = SavedFacts(
        format=FORMAT if classifier.head is None else LEARNT,
        model=encoder.config.name,
        origin=classifier.origin,
        fingerprint=encoder.fingerprint,
        names=[(label, list(said)) for label, said in classifier.names.items()],
        templates=list(classifier.templates),
        rejection=classifier.rejection,
    )
    arrays = {"weights": classifier.weights_, "background": classifier.background_}
    if classifier.head is not None:
        arrays |= {"scales": classifier.head.scales, "offsets": classifier.head.offsets}
    data = save(
        {name: np.ascontiguousarray(array, np.float32) for name, array in arrays.items()},
        metadata={KEY: msgspec.json.encode(facts).decode()},
    )
    try:
        with whole(path) as scratch, scratch.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise LabelError(f"Cannot write the classifier {path}: {error.strerror}.") from error


def read_classifier(path: str | Path) -> SavedClassifier:
    """Read and check a saved classifier. Raises ``LabelError``."""
    path = Path(path)
    if not path.is_file():
        raise LabelError(f"There is no file {path}. Save a classifier there first.")
    try:
        with safe_open(path, framework="numpy") as file:
            facts = _facts((file.metadata() or {}).get(KEY), path)
            weights, background = _array(file, "weights"), _array(file, "background")
            head = None
            if facts.format == LEARNT:
                head = Head(_array(file, "scales", 1), _array(file, "offsets", 1))
    except (SafetensorError, OSError) as error:
        raise LabelError(
            f"{path} is not a saved classifier, or it is damaged ({error}). Save it again."
        ) from error
    labels = [label for label, _ in facts.names]
    if (
        len(weights) != len(labels)
        or len(set(labels)) != len(labels)
        or not labels
        or not all(said for _, said in facts.names)
        or background.shape != (len(facts.rejection.background), weights.shape[1])
        or not _unit_length(weights)
        or not _unit_length(background)
        or not (head is None or _makes_sense(head, len(labels)))
    ):
        raise LabelError(f"{path} contradicts itself: labels and weights do not match.")
    return SavedClassifier(path, facts, weights, background, head)


def _facts(text: str | None, path: Path) -> SavedFacts:
    if text is None:
        raise LabelError(f"{path} holds tensors, but no classifier. Was a checkpoint meant?")
    try:
        facts = msgspec.json.decode(text, type=SavedFacts)
    except msgspec.MsgspecError as error:
        raise LabelError(f"{path} is not a classifier that keshin wrote ({error}).") from error
    if facts.format not in (FORMAT, LEARNT):
        raise LabelError(
            f"{path} has format {facts.format}, this keshin reads {FORMAT} and {LEARNT}: "
            "update keshin or save the classifier again."
        )
    return facts


def _array(file: Any, name: str, axes: int = 2) -> FloatArray:
    array = np.asarray(file.get_tensor(name))
    if array.dtype != np.float32 or array.ndim != axes:
        raise SafetensorError(f"'{name}' is {array.dtype} with shape {array.shape}")
    return array


def _unit_length(vectors: FloatArray) -> bool:
    return bool(np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-3))


def _makes_sense(head: Head, classes: int) -> bool:
    fits = head.scales.shape == head.offsets.shape == (classes,)
    finite = bool(np.isfinite(head.scales).all() and np.isfinite(head.offsets).all())
    return fits and finite and bool((head.scales >= 0).all())
