"""What a fine-tune found and made: the report, as it is written as JSON and said to people."""

from __future__ import annotations

from typing import Any

import msgspec

from keshin.core.pictures import Failure
from keshin.finetune.anchor import Seen
from keshin.finetune.choice import Estimate, Versus
from keshin.finetune.diagnosis import Finding
from keshin.finetune.leaks import Pair
from keshin.finetune.plans import SAID

FORMAT = 1
NAMED = 5
"""Pairs and pictures that people are told of one by one."""


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """One method, cross-validated."""

    method: str
    share: float | None
    """Of the way to the tuned weights that is best within the anchor; None for heads."""
    accuracy: Estimate
    """As it is; of the best share, and therefore a little flattered for whole models."""
    against_zero_shot: Versus | None
    forgets: float
    """Points of the anchor lost on average over the folds, at this share."""
    left_out: str = ""
    """Why the method could not be chosen."""


class DataFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What was learnt from."""

    source: str
    pictures: int
    kind: str
    """``classes`` or ``captions``."""
    classes: dict[str, int]
    groups: int
    """Pictures that are no copies of one another, or groups that the data name."""
    folds: int
    repeats: int


class Result(msgspec.Struct, kw_only=True):
    """The report of ``keshin finetune``."""

    format: int = FORMAT
    keshin: str
    model: str
    fingerprint: str
    """Of the model that was started from."""
    data: DataFacts
    chance: float
    """Accuracy of guessing."""
    commonest: float
    """Accuracy of always saying the commonest class."""
    metric: str
    methods: list[Outcome]
    chosen: str
    share: float | None
    estimate: Estimate
    """Of the choice and all that led to it, not flattered by it: see ``protocol``."""
    protocol: str
    gain: Versus | None
    """The chosen method against zero-shot, on the same pictures."""
    anchor: Seen | None
    may_forget: float | None
    findings: list[Finding]
    pairs: list[Pair]
    """Pictures that are the same or near copies: never in two folds. Same pixels under two labels:
    left out."""
    unreadable: list[Failure]
    test: Estimate | None = None
    """On pictures that were named for this, and seen by nothing."""
    test_zero_shot: Estimate | None = None
    seconds: float = 0.0
    settings: dict[str, Any] = {}
    files: dict[str, str] = {}
    """What was written, by its kind: classifier, model."""

    def to_json(self) -> bytes:
        """The report as a file."""
        return msgspec.json.format(msgspec.json.encode(self), indent=1) + b"\n"

    def table(self) -> str:
        """The report for people."""
        return "\n".join(_lines(self)) + "\n"


def read_result(data: bytes) -> Result:
    """What ``to_json`` wrote."""
    return msgspec.json.decode(data, type=Result)


def shown(estimate: Estimate) -> str:
    """A value with its interval, in percent."""
    return f"{100 * estimate.value:5.1f} % [{100 * estimate.low:.1f}, {100 * estimate.high:.1f}]"


def _lines(result: Result) -> list[str]:
    data = result.data
    lines = [
        f"{data.pictures} pictures of {len(data.classes) or 'no'} classes ({data.kind}), "
        f"{data.groups} of them independent; {data.folds} folds"
        + (f", {data.repeats} times" if data.repeats > 1 else ""),
        f"{'':12} {'cross-validated ' + result.metric + ' [95 %]':42} "
        f"{'gain on zero-shot':26} anchor",
    ]
    for each in result.methods:
        if each.left_out:
            lines.append(f"{each.method:12} left out: {each.left_out}")
            continue
        name = each.method + ("" if each.share is None else f" {100 * each.share:.0f} %")
        gain = ""
        if each.against_zero_shot is not None:
            v = each.against_zero_shot
            gain = f"{100 * v.difference:+.1f} [{100 * v.low:+.1f}, {100 * v.high:+.1f}]"
        mark = "*" if each.method == result.chosen else " "
        lines.append(
            f"{name:12}{mark}{shown(each.accuracy):43} {gain:26} {0.0 - each.forgets:+.1f}"
        )
    lines += [
        f"chance       {100 * result.chance:5.1f} %"
        + (f"; the commonest class {100 * result.commonest:.1f} %" if data.classes else ""),
        "",
        f"Chosen: {result.chosen} ({SAID[result.chosen]})"
        + ("" if result.share is None else f", {100 * result.share:.0f} % of the way"),
        f"Expected: {shown(result.estimate).strip()}, which the choice does not flatter",
    ]
    if result.test is not None:
        lines.append(f"On the test pictures: {shown(result.test).strip()}")
        if result.test_zero_shot is not None:
            lines[-1] += f"; zero-shot {shown(result.test_zero_shot).strip()}"
    if result.anchor is not None:
        a = result.anchor
        lines.append(
            f"Anchor ({a.anchor}): {100 * a.before:.1f} % before, {100 * a.after:.1f} % after; "
            f"lost {a.lost:.1f} points [{a.low:.1f}, {a.high:.1f}], {100 * a.agreement:.0f} % of "
            "the answers are the same"
        )
    return [*lines, "", *_warnings(result)]


def _warnings(result: Result) -> list[str]:
    lines = [f"Note: {finding}" for finding in result.findings]
    crossing = [pair for pair in result.pairs if pair.crosses]
    inner = len(result.pairs) - len(crossing)
    for pair in crossing[:NAMED]:
        kind = "The same picture" if pair.same else "Near copies"
        lines.append(
            f"{kind} under two labels: {pair.first} ({pair.labels[0]}), "
            f"{pair.second} ({pair.labels[1]})"
        )
    if len(crossing) > NAMED:
        lines.append(f"... and {len(crossing) - NAMED} more such pairs (in the report)")
    if inner:
        lines.append(f"{inner} pairs of copies within a class: kept in one fold each")
    lines += [f"Unreadable: {failure.error}" for failure in result.unreadable[:NAMED]]
    if len(result.unreadable) > NAMED:
        lines.append(f"... and {len(result.unreadable) - NAMED} more pictures (in the report)")
    return lines + [f"Written: {kind} {path}" for kind, path in result.files.items()]
