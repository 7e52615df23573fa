"""A model that was trained further on KaoKore's train split (recipes/kaokore), asked as it was
taught.

One model saw all of train; five more saw train without the works of one fold each. A fold's model
says in its fact sheet which works it has not seen, and is used for these alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from keshin.encode.encoder import Encoder
from keshin.errors import DataError
from keshin.evaluate.kaokore.clustered import FloatArray, IntArray
from keshin.evaluate.kaokore.study import Found, Material, compare
from keshin.evaluate.kaokore.trained import FOLDS, folds_by_work, margins
from keshin.evaluate.kaokore.zero_shot import Candidate, Threshold, ask
from keshin.evaluate.sets.kaokore.faces import Faces
from keshin.facts import kaokore as facts

OFFICIAL = "official"
Load = Callable[[Path], Encoder]
Vectors = Callable[[Encoder, IntArray], FloatArray]
"""An encoder and rows among the n -> (m, d)."""


def fold_name(number: int) -> str:
    """The folder of a fold's run."""
    return f"fold{number}"


def held_out(faces: Faces, fold: int) -> str:
    """The sentence by which a model says which works it has not seen."""
    folds = folds_by_work(faces)
    titles = [face.work for face, number in zip(faces.faces, folds, strict=True) if number == fold]
    digest = hashlib.sha256("\n".join(sorted(set(titles))).encode()).hexdigest()[:16]
    return f"works held out: {digest}"


def taught(question: str) -> Candidate:
    """The prompts that the recipe teaches: official words, the set of templates for scrolls."""
    known = facts.prompts()
    words = next(w for w in known.words[question] if (w.name, w.language) == ("official", "en"))
    templates = next(t for t in known.templates if (t.name, t.language) == ("scroll", "en"))
    return Candidate(question, words, templates)


@dataclass
class Finetuned:
    """The models of a folder and their vectors of the faces that each may be asked."""

    official: tuple[Encoder, FloatArray]
    folds: list[tuple[Encoder, IntArray, FloatArray]]
    """Encoder, rows among the n, vectors."""

    def logits(self, material: Material, question: str) -> tuple[FloatArray, FloatArray | None]:
        """(n, k) of the model that saw all of train, and of each fold's own (None without them)."""
        way = taught(question)
        official = ask(self.official[0], way, self.official[1])
        if not self.folds:
            return official, None
        kept = np.zeros_like(official)
        for encoder, rows, vectors in self.folds:
            kept[rows] = ask(encoder, way, vectors)
        return official, kept

    def found(self, material: Material) -> Found:
        """The method, its borders fitted on train faces (of other works, where they are apart)."""
        known, train = material.targets("incarnation"), material.train
        official, kept = self.logits(material, "incarnation")
        scores = margins(official)
        apart_scores = None if kept is None else margins(kept)
        border = Threshold.fit(known[train], scores[train])
        if apart_scores is not None:
            spread = np.zeros(len(scores))
            for encoder, rows, _ in self.folds:
                del encoder
                others = np.setdiff1d(train, rows)
                spread[rows] = Threshold.fit(known[others], apart_scores[others])(
                    apart_scores[rows]
                )
            apart_scores = spread
        return compare(
            material,
            "finetuned",
            border(scores),
            apart_scores,
            answered=scores,
            detail=taught("incarnation").name,
        )


def open_finetuned(folder: Path, material: Material, load: Load, vectors: Vectors) -> Finetuned:
    """The models below ``folder``: ``official/model``, and ``fold0/model`` ... where they are
    there.

    Raises ``DataError`` if a fold's model has not been trained without this fold's works.
    """
    material.say("fine-tuned: looking at the faces")
    encoder = load(folder / OFFICIAL / "model")
    every = np.arange(len(material.rows))
    official = (encoder, vectors(encoder, every))
    folds = []
    for number in range(FOLDS):
        path = folder / fold_name(number) / "model"
        if not path.is_dir():
            return Finetuned(official, [])
        of_fold = load(path)
        rows = np.flatnonzero(material.folds == number)
        said = held_out(material.faces, number)
        if said not in of_fold.config.source:
            raise DataError(
                f"{path} does not say that it was trained without the works of fold {number} "
                f"({said}). Prepare the recipes anew from the same pictures, and train again."
            )
        folds.append((of_fold, rows, vectors(of_fold, rows)))
    return Finetuned(official, folds)
