"""The study: can this model tell 化身 from 人?

Chosen and learnt on train, told on dev and with works kept apart; the test split is asked only
where ``final`` says so, and nothing is chosen on it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from keshin.encode.encoder import Encoder
from keshin.errors import DataError
from keshin.evaluate.kaokore import clustered as c
from keshin.evaluate.kaokore.clustered import FloatArray, IntArray
from keshin.evaluate.kaokore.results import Method, Plain, Prompt, Row, Scores
from keshin.evaluate.kaokore.trained import (
    Answer,
    Probe,
    apart,
    folds_by_work,
    margins,
    title_only,
)
from keshin.evaluate.kaokore.zero_shot import (
    Candidate,
    Threshold,
    ask,
    candidates,
    choose,
    criterion,
    nested,
    untouched,
)
from keshin.evaluate.sets.kaokore.faces import Faces
from keshin.evaluate.sets.kaokore.reader import targets
from keshin.facts import kaokore as facts
from keshin.statistics.figure import Figure

if TYPE_CHECKING:
    from keshin.evaluate.kaokore.finetuned import Finetuned

LANGUAGES = ("en", "ja")
Say = Callable[[str], None]


@dataclass
class Material:
    """Faces with pictures, their vectors, and who may learn from whom. n counts these faces."""

    faces: Faces
    rows: IntArray
    """(n,) their rows in ``faces``."""
    vectors: FloatArray
    """(n, d)."""
    encoder: Encoder
    final: bool = False
    say: Say = lambda _text: None
    features: FloatArray | None = None
    """(n, e) what probes read: before the projection (paper, appendix A.3); None: the vectors."""
    folds: IntArray = field(init=False)
    works: IntArray = field(init=False)
    split: dict[str, IntArray] = field(init=False)
    """split -> rows among the n."""

    def __post_init__(self) -> None:
        self.works = self.faces.column("work")[self.rows]
        names = np.array([self.faces.faces[row].split for row in self.rows])
        self.split = {split: np.flatnonzero(names == split) for split in facts.SPLITS}
        for split in ("train", "dev"):
            known = self.targets("incarnation")[self.split[split]]
            if not 0 < known.sum() < len(known):
                raise DataError(
                    f"The pictures of the {split} split in {self.faces.root} do not hold both "
                    "incarnations and people. The study needs train and dev: keshin kaokore "
                    "--download fetches them."
                )
        if self.final and not len(self.split["test"]):
            raise DataError(f"No picture of the test split is in {self.faces.root}.")
        self.folds = folds_by_work(self.faces)[self.rows]

    def targets(self, question: str) -> IntArray:
        """(n,)."""
        return targets(self.faces, question)[self.rows]

    @property
    def read(self) -> FloatArray:
        """What probes read."""
        return self.vectors if self.features is None else self.features

    @property
    def train(self) -> IntArray:
        """The only rows to learn from or to choose on."""
        return self.split["train"]

    @property
    def seen(self) -> IntArray:
        """Train and dev, for estimates with works kept apart."""
        return np.concatenate([self.split["train"], self.split["dev"]])

    def scores(
        self, scores: FloatArray, rows: IntArray, answered: FloatArray | None = None
    ) -> Scores:
        """All measures of (n,) scores, border 0, on some rows."""
        known, given, works = self.targets("incarnation")[rows], scores[rows], self.works[rows]
        called = np.asarray(given > 0, np.int64)
        plain = None
        if answered is not None:
            nearest = np.asarray(answered[rows] > 0, np.int64)
            plain = c.balanced(known, nearest, 2, works)
        return Scores(
            area=c.ranked(c.AREA, known, given, works),
            precision=c.ranked(c.PRECISION, known, given, works),
            balanced=c.balanced(known, called, 2, works),
            within=c.within(known, given, works),
            as_answered=plain,
        )

    def plain(self, question: str, logits: FloatArray, rows: IntArray) -> Plain:
        """Accuracy and balanced accuracy of (n, k) logits on some rows."""
        known, works = self.targets(question)[rows], self.works[rows]
        said, classes = logits[rows].argmax(axis=1), logits.shape[1]
        return Plain(
            accuracy=c.share(known, said, classes, works),
            balanced=c.balanced(known, said, classes, works),
        )


@dataclass
class Found:
    """A method of the study and its scores, of which recalls and mistakes are made."""

    method: Method
    apart: FloatArray
    """(n,) each face by what has not seen its work; border 0."""


def compare(
    material: Material,
    key: str,
    official: FloatArray,
    kept_apart: FloatArray | None,
    *,
    answered: FloatArray | None = None,
    detail: str = "",
) -> Found:
    """A method from its (n,) scores of both kinds."""
    test = material.split["test"] if material.final else None
    method = Method(
        key=key,
        dev=material.scores(official, material.split["dev"], answered),
        apart=None if kept_apart is None else material.scores(kept_apart, material.seen),
        test=None if test is None else material.scores(official, test, answered),
        test_apart=None
        if test is None or kept_apart is None
        else material.scores(kept_apart, test),
        detail=detail,
    )
    return Found(method, official if kept_apart is None else kept_apart)


def learnt(material: Material, key: str, answer: Answer) -> Found:
    """A method that learns from train. Classes weigh alike in what it learns, so its border is
    0."""
    material.say(f"{key}: learning")
    every = np.arange(len(material.rows))
    official = margins(answer(material.train, every))
    kept = margins(apart(answer, 2, material.folds, material.train))
    strengths = getattr(answer, "strengths", ())
    detail = ""
    if strengths:
        first, *others = strengths
        detail = f"C = {first:.2g}; of the folds {min(others):.2g} to {max(others):.2g}"
    return compare(material, key, official, kept, detail=detail)


@dataclass
class Asked:
    """Zero-shot answers in one language."""

    found: Found
    prompts: list[Prompt]
    way: Candidate
    """What all of train chose."""
    of_fold: list[Candidate]
    """What was chosen without the works of each fold."""

    @property
    def chosen(self) -> tuple[str, ...]:
        """The names of these: of the folds, then of all of train."""
        return tuple(way.name for way in (*self.of_fold, self.way))


def zero_shot(material: Material, language: str, *, blind: bool = False) -> Asked:
    """All prompts of a language, the choice on train, and what that choice is worth.

    ``blind``: only among words of people who had not seen the makers' tags.
    """
    material.say(f"zero-shot, {language}")
    known, train, dev = material.targets("incarnation"), material.train, material.split["dev"]
    ways = candidates("incarnation", language, blind=blind)
    answers = [ask(material.encoder, way, material.vectors) for way in ways]
    best = choose(known[train], [logits[train] for logits in answers])
    outer = nested(known, answers, material.folds, train)
    margin = margins(answers[best])
    official = Threshold.fit(known[train], margin[train])(margin)
    found = compare(
        material,
        f"{'blind' if blind else 'zero_shot'}_{language}",
        official,
        outer.scores,
        answered=margin,
        detail=ways[best].name,
    )
    prompts = [
        Prompt(
            language=language,
            words=way.words.name,
            templates=way.templates.name,
            train=criterion(known[train], logits[train]),
            dev=criterion(known[dev], logits[dev]),
            chosen=number == best,
        )
        for number, (way, logits) in enumerate(zip(ways, answers, strict=True))
    ]
    return Asked(found, prompts, ways[best], [ways[number] for number in outer.chosen])


def untouched_words(material: Material, language: str) -> list[Found]:
    """Words that nobody chose, in the default template: the data set's, and a dictionary's."""
    found = []
    for key, way in untouched("incarnation", language).items():
        margin = margins(ask(material.encoder, way, material.vectors))
        found.append(
            compare(material, f"{key}_{language}", margin, margin, answered=margin, detail=way.name)
        )
    return found


def gain(material: Material, method: Found, other: Found) -> Figure:
    """How much more area a method has than another on unseen works."""
    rows = material.seen
    known = material.targets("incarnation")[rows]
    return c.difference(known, method.apart[rows], other.apart[rows], material.works[rows])


def constant(material: Material) -> Found:
    """Always "person"."""
    scores = np.full(len(material.rows), -1.0)
    return compare(material, "majority", scores, scores)


def learn_all(material: Material, features: Mapping[str, FloatArray]) -> list[Found]:
    """The title alone, and a linear probe on each kind of features ("probe", "resnet50", ...)."""
    known = material.targets("incarnation")
    found = [learnt(material, "title", title_only(known, material.works))]
    for key, vectors in features.items():
        answer = Probe("incarnation", vectors, known, material.works)
        found.append(learnt(material, key, answer))
    return found


def other_question(
    material: Material,
    question: str,
    features: Mapping[str, FloatArray],
    finetuned: Finetuned | None = None,
) -> tuple[Row, ...]:
    """Status or gender: the majority, zero-shot in both languages, probes, the fine-tuned model."""
    material.say(question)
    known, classes = material.targets(question), facts.CLASSES[question]
    most = np.bincount(known[material.train]).argmax()
    rows = [_row(material, question, "majority", np.eye(len(classes))[np.full(len(known), most)])]
    for language in LANGUAGES:
        for key, way in untouched(question, language).items():
            logits = ask(material.encoder, way, material.vectors)
            rows.append(_row(material, question, f"{key}_{language}", logits, logits, way.name))
    for language in LANGUAGES:
        ways = candidates(question, language)
        answers = [ask(material.encoder, way, material.vectors) for way in ways]
        best = choose(known[material.train], [a[material.train] for a in answers])
        outer = nested(known, answers, material.folds, material.train).scores
        if outer.ndim == 1:
            outer = np.stack([-outer, outer], axis=1)
        name, key = ways[best].name, f"zero_shot_{language}"
        rows.append(_row(material, question, key, answers[best], outer, name))
    every = np.arange(len(known))
    for key, vectors in features.items():
        answer = Probe(question, vectors, known, material.works)
        official = answer(material.train, every)
        kept = apart(answer, len(classes), material.folds, material.train)
        rows.append(_row(material, question, key, official, kept))
    if finetuned is not None:
        rows.append(_row(material, question, "finetuned", *finetuned.logits(material, question)))
    return tuple(rows)


def _row(
    material: Material,
    question: str,
    key: str,
    official: FloatArray,
    kept: FloatArray | None = None,
    detail: str = "",
) -> Row:
    known, dev = material.targets(question), material.split["dev"]
    said = official[dev].argmax(axis=1)
    recalls = {
        name: float((said[known[dev] == number] == number).mean())
        for number, name in enumerate(facts.CLASSES[question])
        if (known[dev] == number).any()
    }
    test = material.split["test"] if material.final else None
    return Row(
        key=key,
        dev=material.plain(question, official, dev),
        apart=None if kept is None else material.plain(question, kept, material.seen),
        test=None if test is None else material.plain(question, official, test),
        recalls=recalls,
        detail=detail,
    )
