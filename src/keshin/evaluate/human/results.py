"""What one person is shown at the end: own results beside the model's, and where they differ."""

from __future__ import annotations

from typing import Any

import numpy as np

from keshin.evaluate.human.model_answers import ModelAnswers
from keshin.evaluate.human.report import person_of
from keshin.evaluate.human.scoring import score, table_of
from keshin.evaluate.human.sitting import DONT_KNOW, Sitting
from keshin.statistics.figure import Figure

MOST = 12
"""Pictures shown of a kind."""


def own_results(sitting: Sitting, model: ModelAnswers | None) -> dict[str, Any]:
    """Plain data: of each round this person's accuracy and the model's on the same pictures, and
    the pictures of the last round that the person had wrong, those first that the model had right.
    """
    study = sitting.study
    choices = None if model is None else np.array(model.choices, np.int64)
    rounds = []
    for shots in study.rounds:
        table = table_of([sitting], shots)
        person, (_, same) = person_of(table, 0), score(table, choices)
        rounds.append(
            {
                "shots": shots,
                "accuracy": _plain(person.accuracy),
                "guesses": _plain(person.accuracy_on_guesses),
                "dontKnow": person.dont_know,
                "seconds": person.median_seconds,
                "model": None if same is None else _plain(same.accuracy),
            }
        )
    last = sitting.choices(study.rounds[-1])
    theirs = np.full(len(last), DONT_KNOW) if choices is None else choices
    wrong = np.flatnonzero(last != study.targets)
    first = np.argsort(theirs[wrong] != study.targets[wrong], kind="stable")
    return {
        "model": None if model is None else model.model,
        "chance": 1 / len(study.names),
        "rounds": rounds,
        "wrong": len(wrong),
        "pictures": [
            {
                "question": int(row),
                "right": study.names[study.targets[row]],
                "you": study.names[last[row]] if last[row] >= 0 else None,
                "model": study.names[theirs[row]] if choices is not None else None,
            }
            for row in wrong[first][:MOST]
        ],
    }


def _plain(value: Figure) -> dict[str, Any] | None:
    if np.isnan(value.value):
        return None
    return {"value": value.value, "low": value.low, "high": value.high, "count": value.count}
