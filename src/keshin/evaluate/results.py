"""What an evaluation found, as data: read, written, compared, and turned into a report later.

Values are shares between 0 and 1. An ``Evaluation`` holds everything that a report shows, pictures
as thumbnails too, so a report can be made from its JSON alone; with ``answers`` it holds what was
said of each picture, so two models can be compared from their files.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from keshin.core.writing import whole
from keshin.errors import DataError
from keshin.statistics.figure import Figure

FORMAT = 1
"""Of the JSON. Raised when a field changes its meaning."""


class Difference(msgspec.Struct, frozen=True):
    """A paired comparison on the same pictures: first minus second."""

    first: str
    second: str
    difference: float
    low: float
    high: float
    p: float
    method: str


class DataFacts(msgspec.Struct, frozen=True):
    """Which pictures were looked at."""

    title: str
    key: str
    """In the table of data sets; empty for a folder or file of one's own."""
    source: str
    """As it was given."""
    split: str
    metric: str
    pictures: int
    """That were read."""
    failed: int
    digest: str
    """SHA-256 over the content of all pictures that were read and what is known of them."""
    largest_class: float
    """Share of the most frequent class: what always giving that answer would reach."""
    limited: bool = False
    """Whether only a part was looked at."""
    licence: str = ""
    notes: str = ""


class ModelFacts(msgspec.Struct, frozen=True):
    """Which model looked, and how."""

    name: str
    origin: str
    fingerprint: str
    mode: str
    decode: str
    size: tuple[int, int]
    """Height and width of what the image tower sees."""


class Prompts(msgspec.Struct, frozen=True):
    """What the classes were called."""

    names: dict[str, tuple[str, ...]]
    """Class -> what the prompts say."""
    templates: tuple[str, ...]
    source: str
    """Where the templates come from: the paper, the default, the user."""


class RunFacts(msgspec.Struct, frozen=True):
    """What it takes to do it again."""

    command: str
    date: str
    seed: int
    versions: dict[str, str]
    system: str
    processor: str
    cores: int
    seconds: float


class ClassScore(msgspec.Struct, frozen=True):
    """One class: recall, or average precision where a picture may show several classes."""

    name: str
    count: int
    value: float | None
    """None where no picture shows the class."""
    low: float | None
    high: float | None
    precision: float | None = None
    """Share of the answers with this class that are right; None where it was never the answer."""
    taken_for: tuple[tuple[str, int], ...] = ()
    """The most frequent wrong answers and how often they were given."""


class Bin(msgspec.Struct, frozen=True):
    """Pictures whose answer had a similar score."""

    confidence: float
    """Mean score of the answers."""
    accuracy: float
    low: float
    high: float
    count: int


class Calibration(msgspec.Struct, frozen=True):
    """Whether scores can be read as probabilities, among these classes and pictures like these."""

    error: float
    """Expected calibration error of the scores as the model gives them. Never 0: see ``chance``."""
    chance: float
    """What a perfectly calibrated model would come to with as many pictures."""
    p: float
    """How often such a model comes out at this error or above."""
    bins: tuple[Bin, ...]
    temperature: float
    """By which logits are divided so that scores fit best (mean over the halves)."""
    error_after: float
    """With the temperature fitted on the other half of the pictures."""
    bins_after: tuple[Bin, ...]
    corrected: float | None = None
    """The error less what noise adds to it; None in evaluations of earlier versions."""
    interval: tuple[float, float] | None = None
    """95 %, of the true error in bins like these. The error itself may lie above it: noise."""
    corrected_after: float | None = None
    interval_after: tuple[float, float] | None = None


class RiskArea(msgspec.Struct, frozen=True):
    """AURC: the share of wrong answers, averaged over how many of the surest are answered."""

    value: float
    low: float
    high: float
    best: float
    """Of scores that put every right answer before every wrong one."""
    chance: float
    """Of scores that say nothing: the share of wrong answers."""


class RiskPoint(msgspec.Struct, frozen=True):
    """When only the surest share of pictures is answered."""

    coverage: float
    risk: float
    """Share of wrong answers among those answered."""
    threshold: float
    """The least score answered."""
    low: float | None = None
    high: float | None = None
    """95 % interval of the risk; None in evaluations of earlier versions."""


class OrderAlarm(msgspec.Struct, frozen=True):
    """Whether the labels of the pictures seem to be in another order than the class names."""

    suspicious: bool
    p: float
    sentence: str
    moved: tuple[tuple[str, str], ...] = ()
    """Name of a class, and the name that its pictures look like."""


class Shown(msgspec.Struct, frozen=True):
    """A picture that the report shows."""

    id: str
    right: tuple[str, ...]
    answers: tuple[tuple[str, float], ...]
    """The best answers with their scores."""
    thumbnail: bytes = b""
    """JPEG; empty if it could not be made."""


class Failed(msgspec.Struct, frozen=True):
    """A picture that could not be read."""

    id: str
    error: str


class ProbeResult(msgspec.Struct, frozen=True):
    """A linear probe on the features of the same model (paper, appendix A)."""

    score: Figure
    zero_shot: Figure
    """On the same pictures."""
    versus: Difference
    """Probe minus zero-shot, paired."""
    strength: float
    """The L2 strength that was chosen (scikit-learn's C)."""
    trained_on: int
    protocol: str
    """Which pictures it was trained on and how the strength was chosen, in words."""
    crossed: bool = False
    """Whether each half of the same pictures was answered by a probe trained on the other."""


class CurvePoint(msgspec.Struct, frozen=True):
    """A probe that saw ``shots`` pictures of each class: mean over draws, and a 95 % band."""

    shots: int
    value: float
    low: float
    high: float
    draws: int


class FewShot(msgspec.Struct, frozen=True):
    """Few-shot curves (paper, Figures 6 and 7)."""

    curves: dict[str, tuple[CurvePoint, ...]]
    """How the probe was started ("from zero", "from text weights") -> its points."""
    zero_shot: float
    """On the same pictures."""
    overtakes: dict[str, float | None]
    """Pictures of each class at which the curve reaches zero-shot, interpolated; None: never."""
    metric: str
    protocol: str


class PictureAnswers(msgspec.Struct, frozen=True):
    """What was said of each picture."""

    ids: tuple[str, ...]
    targets: tuple[int, ...]
    predictions: tuple[int, ...]
    scores: tuple[float, ...]
    """Of the prediction."""


class Evaluation(msgspec.Struct, kw_only=True):
    """All that was found out about one model on one set of pictures. ``scores[0]`` is the metric
    of the data set."""

    format: int = FORMAT
    data: DataFacts
    model: ModelFacts
    prompts: Prompts
    run: RunFacts
    scores: tuple[Figure, ...]
    classes: tuple[ClassScore, ...] = ()
    confusion: tuple[tuple[int, int, int], ...] = ()
    """Those that are not 0: right class, answer, pictures."""
    calibration: Calibration | None = None
    risk: tuple[RiskPoint, ...] = ()
    risk_area: RiskArea | None = None
    order: OrderAlarm | None = None
    ensembling: Difference | None = None
    """All templates against the single default prompt; None where they are the same."""
    single: Figure | None = None
    """The metric with the single default prompt."""
    probe: ProbeResult | None = None
    baseline: ProbeResult | None = None
    """The linear probe on ImageNet's ResNet-50, where its weights were at hand."""
    few_shot: FewShot | None = None
    retrieval: bool = False
    """Whether pictures and captions were to find each other; there are no classes then."""
    warnings: tuple[str, ...] = ()
    failures: tuple[Failed, ...] = ()
    best: tuple[Shown, ...] = ()
    worst: tuple[Shown, ...] = ()
    answers: PictureAnswers | None = None

    @property
    def main(self) -> Figure:
        """The metric of the data set."""
        return self.scores[0]

    def to_json(self, *, pictures: bool = True, answers: bool = True) -> str:
        """Everything as JSON, without thumbnails or single answers if so asked."""
        content = self
        if not pictures:
            bare = [
                tuple(msgspec.structs.replace(shown, thumbnail=b"") for shown in group)
                for group in (self.best, self.worst)
            ]
            content = msgspec.structs.replace(content, best=bare[0], worst=bare[1])
        if not answers:
            content = msgspec.structs.replace(content, answers=None)
        return msgspec.json.format(msgspec.json.encode(content), indent=1).decode()

    def to_csv(self) -> str:
        """All numbers, one a line, under a header."""
        from keshin.evaluate.reporting.tables import as_csv

        return as_csv([self])

    def table(self) -> str:
        """The main numbers as a table in plain text."""
        from keshin.evaluate.reporting.tables import as_table

        return as_table([self])

    def report(self, path: str | Path, *, language: str = "en") -> Path:
        """Write one HTML file that needs nothing else; needs ``keshin[eval]``.

        Arguments: ``language``: "en" or "ja". Returns the path.
        """
        from keshin.evaluate.reporting.report import write_report

        return write_report(self, Path(path), language=language)

    def save(self, path: str | Path) -> Path:
        """Write the JSON, whole or not at all; ``read_evaluation`` reads it."""
        with whole(Path(path)) as scratch:
            scratch.write_text(self.to_json(), encoding="utf-8")
        return Path(path)


def read_evaluation(path: str | Path) -> Evaluation:
    """What ``Evaluation.save`` wrote. Raises ``DataError``."""
    try:
        found = msgspec.json.decode(Path(path).read_bytes(), type=Evaluation)
    except OSError as error:
        raise DataError(f"Cannot read the evaluation in {path}: {error.strerror}.") from error
    except msgspec.MsgspecError as error:
        raise DataError(f"{path} is not an evaluation that keshin wrote ({error}).") from error
    if found.format != FORMAT:
        raise DataError(
            f"{path} has format {found.format}, this keshin reads {FORMAT}. Evaluate again."
        )
    return found


def share(count: int, of: Sequence[object] | int) -> float:
    """A share; 0 of nothing."""
    total = of if isinstance(of, int) else len(of)
    return count / total if total else 0.0
