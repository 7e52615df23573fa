"""From what was found to the report."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from keshin import __version__
from keshin.finetune.choice import Estimate, Rule, Way, estimate, versus
from keshin.finetune.diagnosis import Finding, diagnose, judge_labels, judge_size
from keshin.finetune.finishing import Finished
from keshin.finetune.leaks import Pair
from keshin.finetune.plans import WHOLE
from keshin.finetune.results import DataFacts, Outcome, Result

if TYPE_CHECKING:
    from keshin.finetune.running import Session

PROTOCOL = (
    "Every picture was answered by models that had seen neither it nor a copy of it. The number is "
    "that of choosing by nine tenths of the pictures and judging by the last one, in turn, so the "
    "choice does not flatter it. It speaks of pictures like these."
)


def report(
    session: Session,
    rule: Rule,
    chosen: Way,
    worth: Estimate,
    done: Finished,
    left_out: dict[str, str],
    leaked: list[Pair],
) -> Result:
    """All that is known, before anything is written."""
    prepared, options = session.prepared, session.options
    material, question = prepared.material, prepared.question
    held = [split.held for split in prepared.splits(1, options.seed)]
    counts = np.bincount(material.targets, minlength=max(1, len(material.names)))
    classes = dict(zip(material.names, map(int, counts), strict=False))
    mean = options.metric == "mean per class" and bool(classes)
    commonest = 0.0
    if classes:
        commonest = 1 / len(classes) if mean else float(counts.max() / counts.sum())
    zero = rule.ways[0]
    weights, groups = prepared.weights, prepared.groups
    return Result(
        keshin=__version__,
        model=session.model.name,
        fingerprint=session.checkpoint.fingerprint,
        data=DataFacts(
            source=material.source,
            pictures=len(material),
            kind="classes" if classes else "captions",
            classes=classes,
            groups=int(groups.max()) + 1,
            folds=prepared.folds,
            repeats=prepared.repeats if classes else 1,
        ),
        chance=question.chance(held),
        commonest=commonest,
        metric=options.metric if classes else "caption found",
        methods=_outcomes(rule, left_out),
        chosen=chosen.method,
        share=done.share,
        estimate=worth,
        protocol=PROTOCOL,
        gain=None if chosen is zero else versus(chosen, zero, weights, groups),
        anchor=done.anchor,
        may_forget=options.may_forget,
        findings=_findings(session, rule, chosen, done, worth, commonest),
        pairs=prepared.pairs + leaked,
        unreadable=prepared.unreadable,
        settings=_settings(session),
    )


def _outcomes(rule: Rule, left_out: dict[str, str]) -> list[Outcome]:
    """One line a method: of whole models the best share that keeps the anchor."""
    allowed = set(rule.allowed)
    best: dict[str, tuple[bool, float, int]] = {}
    for place, way in enumerate(rule.ways):
        found = (place in allowed, float(rule.weights @ way.right), place)
        if way.method not in best or found[:2] > best[way.method][:2]:
            best[way.method] = found
    outcomes = []
    for method, (kept, _, place) in best.items():
        way = rule.ways[place]
        outcomes.append(
            Outcome(
                method=method,
                share=way.share if method in WHOLE else None,
                accuracy=estimate(way.right, rule.weights, rule.groups),
                against_zero_shot=versus(way, rule.ways[0], rule.weights, rule.groups)
                if place
                else None,
                forgets=way.forgets,
                left_out=""
                if kept
                else f"it forgets {way.forgets:.1f} points of the anchor at the least",
            )
        )
    nothing = Estimate(0.0, 0.0, 1.0)
    for method, why in left_out.items():
        outcomes.append(
            Outcome(
                method=method,
                share=None,
                accuracy=nothing,
                against_zero_shot=None,
                forgets=0.0,
                left_out=why,
            )
        )
    return outcomes


def _findings(
    session: Session,
    rule: Rule,
    chosen: Way,
    done: Finished,
    worth: Estimate,
    commonest: float,
) -> list[Finding]:
    prepared = session.prepared
    material = prepared.material
    found = []
    for method, traces in session.trials.traces.items():
        stuck = [finding for finding in map(diagnose, traces) if finding is not None]
        if len(stuck) * 2 > len(traces):
            first = stuck[0]
            found.append(
                Finding(first.cause, f"{method} learns nothing. {first.evidence}", first.advice)
            )
    if material.names:
        best = max(estimate(way.right, prepared.weights, prepared.groups).low for way in rule.ways)
        labels = judge_labels(prepared.vectors, material.targets, prepared.groups, best - commonest)
        found += [labels] if labels else []
        independent = float(prepared.groups.max() + 1)
        found += judge_size(material.targets, material.names, independent, worth.value)
    if done.share is not None and done.share < chosen.share:
        found.append(
            Finding(
                "forgetting",
                f"The model tuned on all pictures loses more of the anchor than those of the "
                f"folds did at {100 * chosen.share:.0f} % of the way.",
                f"It was taken back to {100 * done.share:.0f} %.",
            )
        )
    return found


def _settings(session: Session) -> dict[str, Any]:
    options = session.options
    return {
        "methods": list(options.methods),
        "seed": options.seed,
        "plans": msgspec.to_builtins(options.plans),
        "templates": list(session.prepared.question.templates or ()),
        "near_copies_from_cosine": session.prepared.near,
    }
