"""What a study of KaoKore found, as plain values: the JSON, and what the report is made of."""

from __future__ import annotations

import msgspec

from keshin.statistics.figure import Figure


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """Values only."""


class Scores(Result, frozen=True, kw_only=True):
    """How well incarnations are told from people on some faces."""

    area: Figure
    precision: Figure
    balanced: Figure
    """Balanced accuracy at the border that was fitted on what was learnt from."""
    within: Figure | None = None
    """Mean area under the curve within works that hold both kinds."""
    as_answered: Figure | None = None
    """Balanced accuracy of a zero-shot model that takes the nearest text, without any border."""


class Method(Result, frozen=True, kw_only=True):
    """One way to tell incarnations from people. ``key`` names it in the words of the report."""

    key: str
    dev: Scores
    """Learnt or chosen on train, asked on the official dev split."""
    apart: Scores | None = None
    """Train and dev, each face asked by what has seen no face of its work."""
    test: Scores | None = None
    """The official test split, once, at the end."""
    test_apart: Scores | None = None
    detail: str = ""
    """Prompts, strengths."""


class Plain(Result, frozen=True, kw_only=True):
    """Status or gender, one method, one set of faces."""

    accuracy: Figure
    balanced: Figure


class Row(Result, frozen=True, kw_only=True):
    """Status or gender, one method."""

    key: str
    dev: Plain
    apart: Plain | None = None
    test: Plain | None = None
    recalls: dict[str, float]
    """On dev, of each class."""
    detail: str = ""


class Prompt(Result, frozen=True, kw_only=True):
    """One way to ask."""

    language: str
    words: str
    templates: str
    train: float
    dev: float
    chosen: bool


class Shots(Result, frozen=True, kw_only=True):
    """The probe after some examples a class: mean and 95 % of the draws."""

    shots: int
    dev: float
    dev_low: float
    dev_high: float
    within: float
    within_low: float
    within_high: float


class KindRow(Result, frozen=True, kw_only=True):
    """A kind of being: how many, and how many of them each method calls incarnations."""

    en: str
    ja: str
    incarnation: bool
    """What the label says."""
    count: int
    works: int
    called: dict[str, float]
    """method -> share."""


class Mistake(Result, frozen=True, kw_only=True):
    """A face that a method is most wrong about."""

    method: str
    file: str
    work: str
    status: str
    gender: str
    tags: tuple[str, ...]
    facing: str
    score: float
    """Above 0: called an incarnation; in units of the scores' spread."""


class Study(Result, frozen=True, kw_only=True):
    """Everything."""

    version: str
    model: str
    fingerprint: str
    keshin: str
    made: str
    command: str
    packages: dict[str, str]
    labels_sha256: str
    faces: dict[str, int]
    """split -> faces with a picture here."""
    missing: dict[str, int]
    incarnations: dict[str, int]
    works: int
    works_with_both: int
    final: bool
    """Whether the test split was asked."""
    methods: tuple[Method, ...]
    gains: dict[str, Figure] = {}
    """method -> area on unseen works beyond the best zero-shot's, on the same draws of works."""
    status: tuple[Row, ...]
    gender: tuple[Row, ...]
    prompts: tuple[Prompt, ...]
    chosen: dict[str, tuple[str, ...]]
    """language -> what each fold chose, then what all of train chose."""
    few: tuple[Shots, ...]
    overtakes: int | None = None
    """Examples a class from which the probe is above zero-shot on dev."""
    overtakes_within: int | None = None
    kinds: tuple[KindRow, ...]
    mistakes: tuple[Mistake, ...]
    unread: tuple[str, ...] = ()
    """Pictures that could not be read."""

    def method(self, key: str) -> Method | None:
        """A method by its key."""
        return next((m for m in self.methods if m.key == key), None)
