"""Zero-shot answers to KaoKore's questions, and a choice of prompts that does not flatter.

A candidate is a set of words for the classes and a set of templates. Each word is a label of the
one classifier; a class's logit is the log of the sum over its words, so its probability is theirs
together. Which candidate is used is chosen on train. What that choice is worth is estimated with
works kept apart: chosen on the other folds' works, asked on this fold's.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from keshin.classify import build_classifier
from keshin.classify.labels import Labels
from keshin.encode.encoder import Encoder
from keshin.evaluate.kaokore.clustered import FloatArray, IntArray, area
from keshin.facts import kaokore as facts
from keshin.statistics.point_values import point_value


@dataclass(frozen=True)
class Candidate:
    """One way to ask a question in words."""

    question: str
    words: facts.Words
    templates: facts.TemplateSet

    @property
    def language(self) -> str:
        """Of words and templates."""
        return self.words.language

    @property
    def name(self) -> str:
        """For tables."""
        return f"{self.words.name} / {self.templates.name}"


def candidates(question: str, language: str, *, blind: bool = False) -> list[Candidate]:
    """All ways to ask a question in a language, among which train chooses; the first is the plain
    one. ``blind``: only with words that were written without the makers' tags in view."""
    known = facts.prompts()
    return [
        Candidate(question, words, templates)
        for words in known.words[question]
        if words.language == language and not (blind and words.saw_tags)
        for templates in known.templates
        if templates.language == language
    ]


def untouched(question: str, language: str) -> dict[str, Candidate]:
    """Ways to ask that nobody chose, in the default template: ``plain``, the data set's own words;
    ``dictionary``, what a dictionary has for them."""
    known = facts.prompts()
    default = next(t for t in known.templates if t.language == language)
    plain = next(w for w in known.words[question] if w.language == language)
    looked_up = next(w for w in known.dictionary[question] if w.language == language)
    return {
        "plain": Candidate(question, plain, default),
        "dictionary": Candidate(question, looked_up, default),
    }


def ask(encoder: Encoder, candidate: Candidate, vectors: FloatArray) -> FloatArray:
    """(n, d) unit vectors of faces -> (n, k) logits of the question's classes."""
    classes = facts.CLASSES[candidate.question]
    words = [(word, c) for c, name in enumerate(classes) for word in candidate.words.classes[name]]
    classifier = build_classifier(
        encoder, [word for word, _ in words], templates=candidate.templates.templates
    )
    logits = encoder.logit_scale * (vectors @ classifier.weights_.T).astype(np.float64)
    columns = [[i for i, (_, c) in enumerate(words) if c == k] for k in range(len(classes))]
    return np.stack([np.logaddexp.reduce(logits[:, of], axis=1) for of in columns], axis=1)


def text_weights(encoder: Encoder, candidate: Candidate) -> FloatArray:
    """(k, d) one vector of unit length a class: its words averaged as aliases are."""
    words = candidate.words.classes
    labels = Labels({name: words[name] for name in facts.CLASSES[candidate.question]})
    found = build_classifier(encoder, labels, templates=candidate.templates.templates)
    return np.asarray(found.weights_)


def criterion(targets: IntArray, logits: FloatArray) -> float:
    """What prompts are chosen by: the area under the curve of two classes, else balanced
    accuracy."""
    if logits.shape[1] == 2:
        return area(targets, logits[:, 1] - logits[:, 0])
    return point_value("balanced accuracy")(targets, logits)


def choose(targets: IntArray, answers: list[FloatArray]) -> int:
    """The number of the candidate that is best by the criterion; the first of equals."""
    return int(np.argmax([criterion(targets, logits) for logits in answers]))


@dataclass(frozen=True)
class Threshold:
    """Where "incarnation" begins: scores are shifted and scaled so that 0 is the border.

    Fitted on faces whose answers may be known. The scale makes the scores of folds, whose
    prompts or weights differ, comparable; it changes no order within a fold.
    """

    border: float
    spread: float

    @classmethod
    def fit(cls, targets: IntArray, scores: FloatArray) -> Threshold:
        """The border of the best balanced accuracy."""
        order = np.argsort(scores, kind="stable")
        ordered, ones = scores[order], targets[order] == 1
        fresh = np.r_[True, ordered[1:] != ordered[:-1]]
        below_ones = np.r_[0, np.cumsum(ones)[:-1]] / max(1, ones.sum())
        below_others = np.r_[0, np.cumsum(~ones)[:-1]] / max(1, (~ones).sum())
        gains = np.where(fresh, below_others - below_ones, -np.inf)
        best = int(np.argmax(gains))
        low = ordered[best - 1] if best else ordered[0] - 1.0
        return cls(float((low + ordered[best]) / 2), float(scores.std()) or 1.0)

    def __call__(self, scores: FloatArray) -> FloatArray:
        return (scores - self.border) / self.spread


@dataclass(frozen=True)
class Nested:
    """Scores of faces whose works had no part in the choice."""

    scores: FloatArray
    """(n,) border 0 for two classes; (n, k) logits for more."""
    chosen: tuple[int, ...]
    """The candidate of each fold."""


def nested(targets: IntArray, answers: list[FloatArray], folds: IntArray, fit: IntArray) -> Nested:
    """Each fold's faces with the prompts, and the border, that the other folds' works chose.

    ``folds`` (n,) numbers of folds, ``fit`` (m,) the rows that may be chosen on (train).
    """
    two = answers[0].shape[1] == 2
    scores = np.zeros(len(targets) if two else answers[0].shape)
    chosen = []
    for fold in range(int(folds.max()) + 1):
        rows = fit[folds[fit] != fold]
        best = choose(targets[rows], [logits[rows] for logits in answers])
        chosen.append(best)
        asked = folds == fold
        if two:
            margin = answers[best][:, 1] - answers[best][:, 0]
            scores[asked] = Threshold.fit(targets[rows], margin[rows])(margin[asked])
        else:
            scores[asked] = answers[best][asked]
    return Nested(scores, tuple(chosen))
