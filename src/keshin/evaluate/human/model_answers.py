"""What a model says of a study's pictures, zero-shot, through the one classifier.

It sees the original pictures, not what the page shows, after their SHA-256 was compared. Its
answers are kept in the study by model, labels and prompts: the page and the report ask it once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import numpy.typing as npt

from keshin.core.pictures import Picture
from keshin.core.writing import whole
from keshin.errors import DataError
from keshin.evaluate.human.source import Source, digest_of, open_source
from keshin.evaluate.human.study import Study
from keshin.evaluate.sets.labelled import Labelled

if TYPE_CHECKING:
    from keshin.api import Model

FOLDER = "models"
AT_ONCE = 32


class ModelAnswers(msgspec.Struct, frozen=True):
    """A model's zero-shot answers to the n questions of a study."""

    model: str
    fingerprint: str
    mode: str
    templates: tuple[str, ...]
    choices: tuple[int, ...]
    """(n,) the class with the highest score."""
    probabilities: tuple[float, ...]
    """(n,) the score of the right class: softmax over the classes (of sigmoid models, its own)."""

    def of(
        self, rows: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
        """Choices and probabilities of some questions."""
        return np.array(self.choices, np.int64)[rows], np.array(self.probabilities)[rows]


def reopened(study: Study) -> Source:
    """The source of a study, found again. Raises ``DataError`` if it is not what it was."""
    shows = study.rounds[-1] > 0
    source = open_source(study.dataset, study.split, with_examples=shows)
    largest = max(question.row for question in study.questions)
    shown = [example.row for examples in study.examples for example in examples]
    fits = largest < len(source.data) and max(shown, default=0) < len(source.examples)
    if source.names != study.names or not fits:
        raise DataError(
            f"'{study.dataset}' has other classes or pictures than the study was made of."
        )
    return source


def verified(pictures: Labelled, row: int, digest: str) -> Picture:
    """A picture of a study. Raises ``DataError`` if it is not the one that was chosen."""
    picture = pictures.pictures[row]
    if digest_of(picture) != digest:
        raise DataError(
            f"The picture in row {row} of the dataset is not the one that the study was made with. "
            "Bring the dataset back to what it was, or make a new study."
        )
    return picture


def ask_model(
    model: Model,
    study: Study,
    folder: Path,
    *,
    source: Source | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> ModelAnswers:
    """A model's answers, computed or found in the study's folder.

    ``progress`` is called with the number of pictures done, and of all. Raises ``DataError``.
    """
    source = source or reopened(study)
    classifier = model.classifier(source.labels, templates=source.templates)
    encoder = classifier.encoder
    facts = [encoder.fingerprint, encoder.mode, encoder.decode, classifier.templates, study.key]
    name = hashlib.sha256(repr([*facts, list(classifier.names.items())]).encode()).hexdigest()[:16]
    path = folder / FOLDER / f"{name}.json"
    found = _kept(path, len(study.questions))
    if found is not None:
        return found
    targets, choices, probabilities = study.targets, list[int](), list[float]()
    for start in range(0, len(targets), AT_ONCE):
        part = study.questions[start : start + AT_ONCE]
        pictures = [verified(source.data, question.row, question.digest) for question in part]
        vectors = encoder.encode_images(pictures)
        scores = classifier.scores(vectors)
        choices += (vectors @ classifier.weights_.T).argmax(axis=1).tolist()
        wanted = targets[start : start + AT_ONCE]
        probabilities += scores[np.arange(len(part)), wanted].astype(float).tolist()
        if progress is not None:
            progress(len(choices), len(targets))
    made = ModelAnswers(
        model.name, encoder.fingerprint, encoder.mode, classifier.templates,
        tuple(choices), tuple(probabilities),
    )  # fmt: skip
    path.parent.mkdir(exist_ok=True)
    with whole(path) as scratch:
        scratch.write_bytes(msgspec.json.encode(made))
    return made


def _kept(path: Path, count: int) -> ModelAnswers | None:
    """Answers of before; a file that is damaged counts as missing."""
    try:
        found = msgspec.json.decode(path.read_bytes(), type=ModelAnswers)
    except (OSError, msgspec.DecodeError):
        return None
    return found if len(found.choices) == len(found.probabilities) == count else None
