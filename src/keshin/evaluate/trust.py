"""Whether scores can be trusted: calibration, declining, and the alarm about the class order."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from keshin.errors import DataError
from keshin.evaluate.assess import Judged
from keshin.evaluate.results import Bin, Calibration, OrderAlarm, RiskArea, RiskPoint
from keshin.statistics.calibration import ece, fit_temperature, reliability, softmax, split
from keshin.statistics.class_order import check_order
from keshin.statistics.declining import risk_coverage

POINTS = 100
"""Of the risk-coverage curve in a report."""
BINS = 12


def calibration(judged: Judged, seed: int = 0) -> Calibration | None:
    """Scores as they are, and with a temperature: each half of the pictures (of each class, groups
    kept together) is judged with the one fitted on the other. None for too few pictures."""
    targets, logits = judged.answers.targets, judged.scores
    right = judged.right
    try:
        parts = split(targets, groups=judged.answers.data.groups, seed=seed)
    except DataError:
        return None
    cooled = np.empty(len(targets))
    temperatures = []
    for fitted, asked in (parts, parts[::-1]):
        found = fit_temperature(logits[fitted], targets[fitted]).value
        cooled[asked] = softmax(logits[asked] / found).max(axis=1)
        temperatures.append(found)
    groups = judged.answers.data.groups
    before = ece(judged.confidence, right, seed=seed, groups=groups)
    after = ece(cooled, right, seed=seed, groups=groups)
    return Calibration(
        error=before.value,
        chance=before.chance,
        p=before.p,
        bins=_bins(judged.confidence, right),
        temperature=math.exp(float(np.mean(np.log(temperatures)))),
        error_after=after.value,
        bins_after=_bins(cooled, right),
        corrected=before.corrected,
        interval=(before.lowest, before.highest),
        corrected_after=after.corrected,
        interval_after=(after.lowest, after.highest),
    )


def _bins(confidence: npt.NDArray[np.float64], right: npt.NDArray[np.bool_]) -> tuple[Bin, ...]:
    return tuple(
        Bin(b.confidence, b.right.value, b.right.low, b.right.high, b.count)
        for b in reliability(confidence, right, BINS)
    )


def risk(judged: Judged) -> tuple[tuple[RiskPoint, ...], RiskArea]:
    """The curve of answering the surest pictures first, at about ``POINTS`` coverages; its area."""
    curve = risk_coverage(judged.confidence, judged.right, judged.answers.data.groups)
    rows = np.searchsorted(curve.coverage, np.linspace(0, 1, POINTS + 1)[1:] - 1e-9)
    columns = (curve.coverage, curve.risk, curve.thresholds, curve.low, curve.high)
    points = tuple(
        RiskPoint(*(float(column[row]) for column in columns))
        for row in np.unique(rows.clip(max=len(curve.coverage) - 1))
    )
    area = RiskArea(curve.area, curve.area_low, curve.area_high, curve.best, curve.chance)
    return points, area


def order(judged: Judged, seed: int = 0) -> OrderAlarm:
    """Whether another order of the class names fits the answers far better."""
    names = judged.answers.data.names
    alarm = check_order(judged.answers.targets, judged.answers.predictions, names, seed=seed)
    if alarm is None:
        return OrderAlarm(False, 1.0, "")
    moved = np.flatnonzero(alarm.order != np.arange(len(names)))
    pairs = tuple((names[i], names[alarm.order[i]]) for i in moved)
    return OrderAlarm(True, alarm.p, alarm.sentence, pairs)
