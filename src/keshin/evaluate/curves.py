"""Few-shot curves beside zero-shot, as the report shows them (paper, Figures 6 and 7)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from keshin.api import Model
from keshin.encode.encoder import FloatArray
from keshin.evaluate.assess import Judged
from keshin.evaluate.features import extract
from keshin.evaluate.probing import Training, halves
from keshin.evaluate.results import CurvePoint, FewShot
from keshin.evaluate.sets.labelled import IntArray, Labelled
from keshin.evaluate.zero_shot import log_shares

if TYPE_CHECKING:
    from keshin.evaluate.probes.few_shot_curve import Curve

DRAWS, FEWEST, WORK = 20, 3, 1000
"""Draws of each size: of many classes fewer, ``WORK / classes``, as each fit takes longer then and
each draw holds more pictures."""


def few_shot_curves(
    model: Model,
    judged: Judged,
    weights: FloatArray,
    metric: str,
    training: Training | None,
    *,
    cache: bool = True,
    seed: int = 0,
    fits: Callable[[int, int], None] | None = None,
) -> FewShot:
    """Both curves: a probe on the features of the paper that starts from zero, and one on the joint
    features that starts from the text weights (k, d).

    Without a training split, examples come from one half of the pictures; the other is measured.
    """
    from keshin.evaluate.probes.few_shot import Examples, Text, few_shot

    data = judged.answers.data
    draws = max(FEWEST, min(DRAWS, WORK // len(data.names)))
    learn, test, said = _parts(data, training, seed, draws)
    tested = data.take(test)
    joint = judged.answers.vectors
    seen = joint[learn] if learn is not None else None
    if training is not None:
        found = extract(model, training.data, cache=cache)
        seen, targets = found.vectors, training.data.targets[found.rows]
    else:
        targets = data.targets[learn]
    scale = model.encoder.logit_scale
    zero = log_shares(judged.answers.cosines[test], scale).astype(np.float32)
    curves: dict[str, Curve] = {}
    curves["text"] = few_shot(
        Examples(np.asarray(seen), targets), Examples(joint[test], tested.targets),
        len(data.names), start="text", text=Text(weights, scale), full=False, draws=draws,
        metric=metric, groups=tested.groups, seed=seed, progress=fits,
    )  # fmt: skip
    first, second = _probe_features(model, data, learn, test, training, cache)
    curves["zero"] = few_shot(
        Examples(first, targets), Examples(second, tested.targets), len(data.names),
        start="zero", zero_shot=zero, full=False, draws=draws, metric=metric,
        groups=tested.groups, seed=seed, progress=fits,
    )  # fmt: skip
    return _written(curves, metric, said)


def _parts(
    data: Labelled, training: Training | None, seed: int, draws: int
) -> tuple[IntArray | None, IntArray, str]:
    """Rows to draw examples from (None: others than these pictures), rows to measure, in words."""
    if training is not None:
        said = f"{draws} draws from {training.said}."
        return None, np.arange(len(data), dtype=np.int64), said
    part = halves(data, seed)
    said = f"{draws} draws from one half of these pictures; measured on the other half."
    return np.flatnonzero(part == 1), np.flatnonzero(part == 0), said


def _probe_features(
    model: Model,
    data: Labelled,
    learn: IntArray | None,
    test: IntArray,
    training: Training | None,
    cache: bool,
) -> tuple[FloatArray, FloatArray]:
    own = extract(model, data, kind="probe", cache=cache).vectors
    if training is None or learn is not None:
        return own[learn], own[test]
    seen = extract(model, training.data, kind="probe", cache=cache)
    return seen.vectors, own[test]


def _written(curves: dict[str, Curve], metric: str, said: str) -> FewShot:
    zero = curves["zero"].zero_shot
    points = {
        name: tuple(
            CurvePoint(p.shots, p.value, p.low, p.high, len(p.values))
            for p in curve.points
            if p.shots is not None
        )
        for name, curve in curves.items()
    }
    overtakes = {
        name: curve.overtakes.examples if curve.overtakes else None
        for name, curve in curves.items()
    }
    value = zero.value if zero is not None else 0.0
    return FewShot({"zero": points["zero"], "text": points["text"]}, value, overtakes, metric, said)
