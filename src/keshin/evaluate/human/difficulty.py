"""Which classes are hard for whom (paper, Figure 16), and what examples change.

The paper ranks the classes of Oxford-IIIT Pets by how hard they are for CLIP, and draws people
beside it: what is hard for one tends to be hard for the other.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
import numpy.typing as npt

from keshin.errors import require
from keshin.evaluate.human.model_answers import ModelAnswers
from keshin.evaluate.human.scoring import Table, votes
from keshin.evaluate.human.sitting import DONT_KNOW
from keshin.statistics.figure import Figure
from keshin.statistics.intervals import NORMAL, share_bounds

IntArray = npt.NDArray[np.int64]
FEWEST_CLASSES = 5
"""A rank correlation of fewer classes says nothing."""


class ClassRow(msgspec.Struct, frozen=True):
    """One class in one round."""

    name: str
    pictures: int
    people: Figure
    """Mean of the people; "I don't know" is not right."""
    dont_know: float
    """Share of "I don't know" among the answers."""
    majority: Figure
    confused_with: str
    """The wrong class that people gave most often; "" for none."""
    model: Figure | None = None
    model_probability: float | None = None
    """Mean score that the model gives to the right class: what the paper sorts by."""
    model_confused_with: str = ""


class Change(msgspec.Struct, frozen=True):
    """What became of the answers of one round in the next, over all people who did both."""

    shots: int
    next_shots: int
    answers: int
    from_dont_know: dict[str, int]
    """Of "I don't know": how many became right, wrong, and stayed."""
    from_wrong: dict[str, int]
    """Of wrong classes: right, wrong (the same or another), don't know."""
    from_right: dict[str, int]
    gain: float
    """Right answers more, as a share of all answers."""
    gain_from_dont_know: float
    """The part of the gain that comes from "I don't know". The paper: most of it."""


def class_rows(table: Table, names: Sequence[str], model: ModelAnswers | None) -> list[ClassRow]:
    """Each class that was asked about, the hardest for the model first (without one: for people).

    Classes of equal accuracy are ordered by the model's mean score of the right class.
    """
    counts, (full, _) = votes(table)
    rows = []
    for index in np.unique(table.targets):
        asked = np.flatnonzero((table.targets == index) & table.asked)
        if not len(asked):
            continue
        mine, right = table.answered[:, asked], table.right[:, asked]
        given = counts[asked]
        row = ClassRow(
            names[index],
            len(asked),
            _share(float(right.sum() / mine.sum()), len(asked), len(names)),
            float(given[:, -1].sum() / given.sum()),
            _share(float((full[asked] == index).mean()), len(asked), len(names)),
            _other(given[:, :-1].sum(axis=0), int(index), names),
        )
        if model is not None:
            choices, probabilities = model.of(asked)
            found = np.bincount(choices, minlength=len(names))
            row = msgspec.structs.replace(
                row,
                model=_share(float((choices == index).mean()), len(asked), len(names)),
                model_probability=float(probabilities.mean()),
                model_confused_with=_other(found, int(index), names),
            )
        rows.append(row)
    return sorted(rows, key=_difficulty)


def _difficulty(row: ClassRow) -> tuple[float, float, float]:
    if row.model is None:
        return row.people.value, -row.dont_know, 0.0
    return row.model.value, row.model_probability or 0.0, row.people.value


def _share(value: float, pictures: int, classes: int) -> Figure:
    """Accuracy in one class, with Wilson's interval over its pictures."""
    low, high = share_bounds(value, pictures)
    return Figure(
        value=value, low=low, high=high, chance=1 / classes, count=pictures, method="Wilson"
    )


def _other(counts: IntArray, right: int, names: Sequence[str]) -> str:
    wrong = counts.copy()
    wrong[right] = 0
    return names[int(wrong.argmax())] if wrong.max() else ""


def correlation(rows: Sequence[ClassRow]) -> Figure | None:
    """Spearman's rank correlation of the classes' accuracies, people against the model.

    The 95 % interval is over classes (Fisher's z with the variance of Bonett and Wright, 2000).
    None for fewer than five classes, or where all are equally hard for one side.
    """
    pairs = [(row.people.value, row.model.value) for row in rows if row.model is not None]
    people, model = np.array(pairs).reshape(-1, 2).T
    if len(pairs) < FEWEST_CLASSES or np.ptp(people) == 0 or np.ptp(model) == 0:
        return None
    stats = require("scipy.stats", extra="eval")
    value = float(stats.spearmanr(people, model).statistic)
    held = min(max(value, -0.999999), 0.999999)
    reach = NORMAL * ((1 + held**2 / 2) / (len(pairs) - 3)) ** 0.5
    low, high = np.tanh(np.arctanh(held) + np.array([-reach, reach]))
    return Figure(
        name="Spearman",
        value=value,
        low=float(low),
        high=float(high),
        chance=0.0,
        count=len(pairs),
        method="over classes (Bonett and Wright)",
        unit="coefficient",
    )


def change(before: Table, after: Table, shots: int, next_shots: int) -> Change | None:
    """What examples changed, for those who did both rounds; None if nobody did."""
    both = [person for person in before.people if person in after.people]
    if not both:
        return None
    old = before.choices[[before.people.index(person) for person in both]]
    new = after.choices[[after.people.index(person) for person in both]]
    given = (old >= DONT_KNOW) & (new >= DONT_KNOW)
    first, second = _kinds(old, before.targets), _kinds(new, before.targets)
    number = int(given.sum())
    moved = {
        a: {b: int((given & (first == a) & (second == b)).sum()) for b in KINDS} for a in KINDS
    }
    lost = moved["right"]["wrong"] + moved["right"]["don't know"]
    from_unknown = moved["don't know"]["right"]
    gain = moved["wrong"]["right"] + from_unknown - lost
    return Change(
        shots,
        next_shots,
        number,
        moved["don't know"],
        moved["wrong"],
        moved["right"],
        gain / max(number, 1),
        (from_unknown - moved["right"]["don't know"]) / max(number, 1),
    )


KINDS = ("right", "wrong", "don't know")


def _kinds(choices: IntArray, targets: IntArray) -> npt.NDArray[np.str_]:
    right = np.where(choices == targets, "right", "wrong")
    return np.where(choices == DONT_KNOW, "don't know", right)
