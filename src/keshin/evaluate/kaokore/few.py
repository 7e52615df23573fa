"""A few examples of each class: from zero, and from the text's weights (paper, figures 6 and 7).

On dev, by the project's own curves; and within works that the classifier has not seen, where the
mean of the works' areas is no metric of all scores together, so that draws and works are resampled
here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, get_args

import numpy as np

from keshin.evaluate.kaokore.clustered import AREA, FloatArray, areas_within
from keshin.evaluate.kaokore.results import Shots
from keshin.evaluate.kaokore.zero_shot import Candidate, text_weights
from keshin.evaluate.probes.few_shot import (
    SIZES,
    Examples,
    Start,
    Text,
    drawn_scores,
    few_shot,
)

if TYPE_CHECKING:
    from keshin.evaluate.kaokore.study import Material

RESAMPLES = 1000


def few_examples(
    material: Material, way: Candidate, of_fold: Sequence[Candidate], *, draws: int = 20
) -> list[Shots]:
    """Both starts after 1 to 16 examples a class.

    ``way``: the words that all of train chose, where the text's weights come from; ``of_fold``:
    those that were chosen without the works of each fold.
    """
    material.say("few examples")
    known, train, dev = material.targets("incarnation"), material.train, material.split["dev"]
    rows = []
    for start in get_args(Start):
        features = _features(material, start)
        learn, asked = (Examples(features[part], known[part]) for part in (train, dev))
        curve = few_shot(
            learn, asked, 2, start=start, text=_text(material, way, start), sizes=SIZES, full=False,
            draws=draws, metric=AREA, groups=material.works[dev],
        )  # fmt: skip
        for size, point in zip(SIZES, curve.points, strict=True):
            within = _within(material, of_fold, start, size, draws)
            low, high = _band(within)
            rows.append(
                Shots(
                    start=start,
                    shots=size,
                    dev=point.value,
                    dev_low=point.low,
                    dev_high=point.high,
                    within=float(within.mean()),
                    within_low=low,
                    within_high=high,
                )
            )
    return rows


def _features(material: Material, start: Start) -> FloatArray:
    """The text's weights are of the joint space; a start from nothing reads what probes read."""
    found = material.vectors if start == "text" else material.read
    return np.asarray(found, np.float32)


def _text(material: Material, way: Candidate, start: Start) -> Text | None:
    if start != "text":
        return None
    weights = np.asarray(text_weights(material.encoder, way), np.float32)
    return Text(weights, material.encoder.logit_scale)


def _within(
    material: Material, of_fold: Sequence[Candidate], start: Start, size: int, draws: int
) -> FloatArray:
    """(draws, works) areas within works, each by what learnt from other works."""
    known, train, seen = material.targets("incarnation"), material.train, material.seen
    features = _features(material, start)
    columns: list[list[float]] = []
    for fold, way in enumerate(of_fold):
        learn = train[material.folds[train] != fold]
        asked = seen[material.folds[seen] == fold]
        scores = drawn_scores(
            Examples(features[learn], known[learn]), features[asked], 2, size,
            start=start, text=_text(material, way, start), draws=draws, seed=fold,
        )  # fmt: skip
        works = material.works[asked]
        found = [areas_within(known[asked], one[:, 1] - one[:, 0], works) for one in scores]
        columns += [[areas[work] for areas in found] for work in found[0]]
    return np.array(columns).T


def _band(areas: FloatArray) -> tuple[float, float]:
    """95 % of the mean over resampled draws and works."""
    rng = np.random.default_rng(0)
    draws, works = areas.shape
    means = [
        areas[np.ix_(rng.integers(draws, size=draws), rng.integers(works, size=works))].mean()
        for _ in range(RESAMPLES)
    ]
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)
