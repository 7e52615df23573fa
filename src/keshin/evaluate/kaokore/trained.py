"""Answers that were learnt from examples: linear probe, few examples, the title of the work alone.

Everything comes in two kinds. ``official``: learnt on train, asked on the rest, as published
results
are; faces of one page lie on both sides then. ``apart``: every face is asked by a model that has
seen no
face of its work. Nothing but train is ever learnt from.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from keshin.errors import DataError, require
from keshin.evaluate.kaokore.clustered import FloatArray, IntArray
from keshin.evaluate.sets.kaokore.faces import Faces
from keshin.evaluate.sets.kaokore.reader import targets
from keshin.evaluate.kaokore.zero_shot import criterion

FOLDS = 5
STRENGTHS = (0.0001, 0.001, 0.01, 0.1, 1.0)
"""Inverse strength of the L2 penalty, on vectors of unit length times 10."""
SCALE = 10.0
INNER = 3
NEVER = -1e9
SHOTS = (1, 2, 4, 8, 16)
Answer = Callable[[IntArray, IntArray], FloatArray]
"""Rows to learn from, rows to ask -> (m, k) logits."""


def folds_by_work(faces: Faces, count: int = FOLDS) -> IntArray:
    """(n,) the fold of each face of a version: all faces of a work are in one.

    Folds are alike in their classes on train and dev; which pictures are on this machine, and
    what the
    test split holds, plays no part. Raises ``DataError``.
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
    """A linear probe with the L2 strength chosen within what it learns from, by whole works.

    Incarnations are rare, so for them the classes weigh alike and the area under the curve counts;
    for status and gender it is accuracy, which is what is published.
    """

    def __init__(
        self, question: str, vectors: FloatArray, targets: IntArray, works: IntArray
    ) -> None:
        self.rare = question == "incarnation"
        self.targets, self.works = targets, works
        self.features = np.float32(SCALE) * np.asarray(vectors, np.float32)
        self.classes = int(targets.max()) + 1
        self.strengths: list[float] = []
        """Chosen, one for each call."""

    def __call__(self, rows: IntArray, asked: IntArray) -> FloatArray:
        inner = self._inner(rows)
        parts = [(rows[inner != f], rows[inner == f]) for f in range(INNER)]
        held = self.targets[np.concatenate([part for _, part in parts])]
        worths = []
        for strength in STRENGTHS:
            logits = np.concatenate([self._fit(*part, strength) for part in parts])
            worths.append(self._worth(held, logits))
        self.strengths.append(STRENGTHS[int(np.argmax(worths))])
        return self._fit(rows, asked, self.strengths[-1])

    def _worth(self, targets: IntArray, logits: FloatArray) -> float:
        if self.rare:
            return criterion(targets, logits)
        return float((logits.argmax(axis=1) == targets).mean())

    def _inner(self, rows: IntArray) -> IntArray:
        """Folds by work within what is learnt from; by face where works are too few."""
        selection = require("sklearn.model_selection", extra="eval")
        splitter = selection.StratifiedGroupKFold(INNER, shuffle=True, random_state=1)
        folds = np.zeros(len(rows), np.int64)
        targets, works = self.targets[rows], self.works[rows]
        for number, (_, held) in enumerate(splitter.split(works, targets, works)):
            folds[held] = number
        whole = all(
            len(np.unique(targets[folds != f])) == self.classes and (folds == f).any()
            for f in range(INNER)
        )
        return folds if whole else np.arange(len(rows)) % INNER

    def _fit(self, rows: IntArray, asked: IntArray, strength: float) -> FloatArray:
        return fit_logits(
            self.features[rows],
            self.targets[rows],
            self.features[asked],
            self.classes,
            strength=strength,
            alike=self.rare,
        )


def fit_logits(
    features: FloatArray,
    targets: IntArray,
    asked: FloatArray,
    classes: int,
    *,
    strength: float,
    alike: bool,
) -> FloatArray:
    """(m, k) logits of logistic regressions, with more than two classes each against the rest.

    ``alike``: classes weigh alike, however rare they are. A class that does not occur is never
    said.
    """
    if classes > 2:
        found = np.full((len(asked), classes), NEVER)
        for c in np.unique(targets):
            one = np.asarray(targets == c, np.int64)
            found[:, c] = _margin(features, one, asked, strength, alike)
        return found
    margin = _margin(features, targets, asked, strength, alike)
    return np.stack([np.zeros(len(margin)), margin], axis=1)


def _margin(
    features: FloatArray, targets: IntArray, asked: FloatArray, strength: float, alike: bool
) -> FloatArray:
    linear = require("sklearn.linear_model", extra="eval")
    model = linear.LogisticRegression(
        C=strength, class_weight="balanced" if alike else None, solver="newton-cholesky", tol=1e-3
    )
    model.fit(features, targets)
    return np.asarray(model.decision_function(asked), np.float64)


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


def few_examples(
    vectors: FloatArray,
    targets: IntArray,
    learn: IntArray,
    asked: IntArray,
    *,
    shots: int,
    draws: int = 20,
) -> FloatArray:
    """(draws, m) scores after ``shots`` examples a class, drawn anew each time."""
    rng = np.random.default_rng((shots, draws))
    features = np.float32(SCALE) * np.asarray(vectors, np.float32)
    found = []
    for _ in range(draws):
        rows = np.concatenate([
            rng.choice(learn[targets[learn] == c], shots, replace=False)
            for c in range(int(targets.max()) + 1)
        ])  # fmt: skip
        found.append(_margin(features[rows], targets[rows], features[asked], 1.0, alike=True))
    return np.stack(found)
