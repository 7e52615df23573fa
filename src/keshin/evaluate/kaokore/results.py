"""What a study of KaoKore found, as plain values: the JSON, and what the report is made of."""

from __future__ import annotations

from pathlib import Path

import msgspec

from keshin.errors import DataError
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
    """A classifier after some examples a class: mean, and 95 % of resampled draws and works."""

    start: str
    """``zero``, or ``text``: drawn towards the weights of the texts that train chose."""
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


class Earlier(Result, frozen=True, kw_only=True):
    """What the test split said when it was asked before, of the method as it was then."""

    made: str
    note: str = ""
    areas: dict[str, Figure]
    balanced: dict[str, Figure]


class _Tested(msgspec.Struct, frozen=True):
    area: Figure
    balanced: Figure


class _Asked(msgspec.Struct, frozen=True):
    key: str
    test: _Tested | None = None


class _Before(msgspec.Struct, frozen=True):
    """Of the JSON of any study, also of an older keshin: what is needed to tell of its test."""

    made: str
    methods: tuple[_Asked, ...]
    earlier: tuple[Earlier, ...] = ()


def read_earlier(path: Path, note: str = "") -> tuple[Earlier, ...]:
    """The times that the test split was asked, the last of them by the study in this file.

    Raises ``DataError`` for a file that is no study, or one that did not ask it.
    """
    try:
        before = msgspec.json.decode(path.read_bytes(), type=_Before)
    except (OSError, msgspec.MsgspecError) as error:
        raise DataError(
            f"{path} is no study of KaoKore ({error}). Give what keshin kaokore --format json "
            "wrote."
        ) from error
    tested = {one.key: one.test for one in before.methods if one.test is not None}
    if not tested:
        raise DataError(
            f"The study in {path} did not ask the test split, so nothing is to be told."
        )
    return (
        *before.earlier,
        Earlier(
            made=before.made,
            note=note,
            areas={key: test.area for key, test in tested.items()},
            balanced={key: test.balanced for key, test in tested.items()},
        ),
    )


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
    earlier: tuple[Earlier, ...] = ()
    """The times that it was asked before."""
    methods: tuple[Method, ...]
    gains: dict[str, Figure] = {}
    """method -> area on unseen works beyond the best zero-shot's, on the same draws of works."""
    status: tuple[Row, ...]
    gender: tuple[Row, ...]
    prompts: tuple[Prompt, ...]
    chosen: dict[str, tuple[str, ...]]
    """language -> what each fold chose, then what all of train chose."""
    few: tuple[Shots, ...]
    overtakes: dict[str, int | None] = {}
    """start -> examples a class from which it is above zero-shot on dev."""
    overtakes_within: dict[str, int | None] = {}
    kinds: tuple[KindRow, ...]
    mistakes: tuple[Mistake, ...]
    unread: tuple[str, ...] = ()
    """Pictures that could not be read."""

    def method(self, key: str) -> Method | None:
        """A method by its key."""
        return next((m for m in self.methods if m.key == key), None)
