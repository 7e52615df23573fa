"""Answers that were learnt from examples: a linear probe, and the title of the work alone.

Everything comes in two kinds. ``official``: learnt on train, asked on the rest, as published
results are; faces of one page lie on both sides then. ``apart``: every face is asked by a model
that has seen no face of its work. Nothing but train is ever learnt from.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from keshin.errors import DataError, require
from keshin.evaluate.kaokore.clustered import AREA, FloatArray, IntArray
from keshin.evaluate.probes.linear_probe import LinearProbe
from keshin.evaluate.sets.kaokore.faces import Faces
from keshin.evaluate.sets.kaokore.reader import targets

FOLDS = 5
INNER = 3
NEVER = -1e9
Answer = Callable[[IntArray, IntArray], FloatArray]
"""Rows to learn from, rows to ask -> (m, k) logits."""


def folds_by_work(faces: Faces, count: int = FOLDS) -> IntArray:
    """(n,) the fold of each face of a version: all faces of a work are in one.

    Folds are alike in their classes on train and dev; which pictures are on this machine, and
    what the test split holds, plays no part. Raises ``DataError``.
    """
    selection = require("sklearn.model_selection", extra="eval")
    works, known = faces.column("work"), targets(faces, "incarnation")
    seen = np.array([n for n, face in enumerate(faces.faces) if face.split != "test"], np.int64)
    if len(np.unique(works[seen][known[seen] == 1])) < count:
        raise DataError(
            f"Incarnations come from fewer than {count} works, so they cannot be kept apart in "
            f"{count} folds. The labels in {faces.root} are not those of a whole version."
        )
    splitter = selection.StratifiedGroupKFold(count, shuffle=True, random_state=0)
    of_work = np.zeros(int(works.max()) + 1, np.int64)
    for number, (_, rows) in enumerate(splitter.split(seen, known[seen], works[seen])):
        of_work[works[seen][rows]] = number
    return of_work[works]


def apart(answer: Answer, classes: int, folds: IntArray, fit: IntArray) -> FloatArray:
    """(n, k) logits of all faces, each by a model that learnt from the other folds' train faces.

    Models of different folds speak more or less loudly, so each one's logits are divided by their
    spread on what it learnt from; 0 stays 0.
    """
    found = np.zeros((len(folds), classes))
    for fold in range(int(folds.max()) + 1):
        asked = np.flatnonzero(folds == fold)
        learn = fit[folds[fit] != fold]
        logits = answer(learn, np.concatenate([asked, learn]))
        spread = float((logits[len(asked) :, -1] - logits[len(asked) :, 0]).std()) or 1.0
        found[asked] = logits[: len(asked)] / spread
    return found


class Probe:
    """The project's linear probe, its strength chosen within what it learns from, by whole works.

    ``LinearProbe`` searches once for each of three parts that are held back in turn, whole works in
    each; the strength is the geometric mean of what they found. Of incarnations, which are rare,
    the search goes by the area under the curve, and what is known of how rare they are is taken
    off the scores (King and Zeng, 2001): 0 is then the border at which classes weigh alike. For
    status and gender it is accuracy, which is what is published.
    """

    def __init__(
        self, question: str, vectors: FloatArray, targets: IntArray, works: IntArray
    ) -> None:
        self.rare = question == "incarnation"
        self.metric = AREA if self.rare else "accuracy"
        self.targets, self.works = targets, works
        self.features = np.asarray(vectors, np.float32)
        self.classes = int(targets.max()) + 1
        self.strengths: list[float] = []
        """Chosen, one for each call."""

    def __call__(self, rows: IntArray, asked: IntArray) -> FloatArray:
        inner = self._inner(rows)
        found = []
        for part in range(INNER):
            kept, held = rows[inner != part], rows[inner == part]
            validation = (self.features[held], self.targets[held])
            probe = LinearProbe(metric=self.metric).fit(
                self.features[kept], self.targets[kept], validation
            )
            found.append(probe.C_)
        self.strengths.append(float(np.exp(np.mean(np.log(found)))))
        probe = LinearProbe(self.strengths[-1]).fit(self.features[rows], self.targets[rows])
        given = np.asarray(probe.decision_function(self.features[asked]), np.float64)
        if given.ndim == 1:
            if self.rare:
                share = self.targets[rows].mean()
                given = given - np.log(share / (1 - share))
            return np.stack([np.zeros(len(given)), given], axis=1)
        logits = np.full((len(asked), self.classes), NEVER)
        logits[:, probe.classes_] = given
        return logits

    def _inner(self, rows: IntArray) -> IntArray:
        """Parts by work within what is learnt from; by face where works are too few."""
        selection = require("sklearn.model_selection", extra="eval")
        splitter = selection.StratifiedGroupKFold(INNER, shuffle=True, random_state=1)
        parts = np.zeros(len(rows), np.int64)
        targets, works = self.targets[rows], self.works[rows]
        for number, (_, held) in enumerate(splitter.split(works, targets, works)):
            parts[held] = number
        whole = all(
            len(np.unique(targets[parts != f])) == len(np.unique(targets))
            and len(np.unique(targets[parts == f])) > 1
            for f in range(INNER)
        )
        return parts if whole else np.arange(len(rows)) % INNER


def title_only(targets: IntArray, works: IntArray) -> Answer:
    """Looks at no pixel: how much more often than elsewhere the work's train faces are
    incarnations.
    Of a work that it does not know it says nothing (0)."""

    def answer(rows: IntArray, asked: IntArray) -> FloatArray:
        whole = targets[rows].mean()
        shares = np.full(int(works.max()) + 1, whole)
        for work in np.unique(works[rows]):
            of = targets[rows[works[rows] == work]]
            shares[work] = (of.sum() + whole) / (len(of) + 1)
        found = shares[works[asked]]
        logits = np.log(found / (1 - found)) - np.log(whole / (1 - whole))
        return np.stack([np.zeros(len(found)), logits], axis=1)

    return answer


def margins(logits: FloatArray) -> FloatArray:
    """(n, 2) logits -> (n,) scores, above 0 for the second class."""
    return np.asarray(logits[:, 1] - logits[:, 0])
