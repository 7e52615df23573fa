"""Every method on every fold: the ways between which the rule chooses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec
import numpy as np
from msgspec.structs import replace

from keshin.encode.encoder import Encoder
from keshin.evaluate.probes.few_shot_fit import Text
from keshin.finetune.choice import Way
from keshin.finetune.diagnosis import Trace
from keshin.finetune.heads import Linear, fit
from keshin.finetune.judging import Right
from keshin.finetune.plans import HEADS, SHARES, WHOLE, Plan
from keshin.finetune.preparing import Prepared, Watch
from keshin.finetune.work import Work

if TYPE_CHECKING:
    from keshin.finetune.torch_trial import Trainer

WHOLE_REPEATS = 1
"""Whole models answer every picture once: training is dear, and a repeat adds little."""
STARTS = {"text": "text", "linear": "zero"}


class Kept(msgspec.Struct):
    """What is kept of a fold of a whole model."""

    shares: list[float]
    right: list[list[float]]
    anchor: list[float]
    trace: Trace
    """The run's, to be diagnosed."""


@dataclass(eq=False)
class Trials:
    """Ways and traces as they come."""

    prepared: Prepared
    encoder: Encoder
    seed: int = 0
    ways: list[Way] = field(default_factory=list)
    traces: dict[str, list[Trace]] = field(default_factory=dict)

    def text(self) -> Text:
        """The zero-shot classifier on the pictures' vectors."""
        return Text(self.prepared.question.weights(self.encoder), self.encoder.logit_scale)

    def zero_shot(self) -> None:
        """Nothing is trained; among captions it matters which are held out together."""
        question, vectors = self.prepared.question, self.prepared.vectors
        right = np.zeros(len(vectors))
        repeats = 1 if question.names else WHOLE_REPEATS
        for split in self.prepared.splits(repeats, self.seed):
            right[split.held] += question.right(self.encoder, vectors[split.held], split.held)
        self.ways.append(Way("zero-shot", 1.0, right / repeats))

    def head(self, method: str, watch: Watch | None = None) -> None:
        """A classifier on the vectors as they are."""
        prepared, text = self.prepared, self.text()
        right = np.zeros(len(prepared.vectors))
        every = prepared.splits(prepared.repeats, self.seed)
        for done, split in enumerate(every):
            found = self.fit_head(method, split.train, text)
            answers = found.scores(prepared.vectors[split.held]).argmax(axis=1)
            right[split.held] += answers == prepared.material.targets[split.held]
            if watch:
                watch(method, done + 1, len(every))
        self.ways.append(Way(method, 1.0, right / prepared.repeats))

    def fit_head(
        self, method: str, rows: np.ndarray[tuple[int], np.dtype[np.int64]], text: Text
    ) -> Linear:
        """A head learnt from some pictures."""
        prepared = self.prepared
        return fit(
            prepared.vectors[rows],
            prepared.material.targets[rows],
            len(prepared.material.names),
            prepared.groups[rows],
            "text" if STARTS[method] == "text" else "zero",
            text,
            seed=self.seed,
        )

    def whole(
        self,
        method: str,
        plan: Plan,
        trainer: Trainer,
        before: float,
        work: Work,
        watch: Watch | None = None,
    ) -> None:
        """A model on each fold, at each share of the way. ``before``: the anchor's value now."""
        every = self.prepared.splits(WHOLE_REPEATS, self.seed)
        right: dict[float, Right] = {s: np.zeros(len(self.prepared.vectors)) for s in SHARES}
        lost: dict[float, list[float]] = {share: [] for share in SHARES}
        for number, split in enumerate(every):
            name = f"{method}-{split.name}"
            kept = work.get(name, Kept)
            if kept is None:

                def told(step: int, steps: int, at: int = number) -> None:
                    if watch:
                        watch(method, at * steps + step, len(every) * steps)

                answered, trace = trainer.fold(
                    split.train,
                    split.held,
                    replace(plan, seed=plan.seed + 1000 * self.seed + number),
                    SHARES,
                    keep=work.state(name),
                    watch=told,
                )
                kept = Kept(
                    [a.share for a in answered],
                    [a.right.tolist() for a in answered],
                    [a.anchor for a in answered],
                    trace,
                )
                work.put(name, kept)
            for share, answers, anchor in zip(kept.shares, kept.right, kept.anchor, strict=True):
                right[share][split.held] += answers
                lost[share].append(100 * (before - anchor))
            self.traces.setdefault(method, []).append(kept.trace)
        self.ways += [
            Way(method, s, right[s] / WHOLE_REPEATS, max(0.0, float(np.mean(lost[s]))))
            for s in SHARES
        ]


def possible(methods: Sequence[str], *, classes: bool, torch: bool) -> dict[str, str]:
    """Why each of the methods that cannot be tried cannot."""
    reasons: dict[str, str] = {}
    for method in methods:
        if method in HEADS and not classes:
            reasons[method] = "a probe needs classes, and these pictures have captions of their own"
        if method in WHOLE and not torch:
            reasons[method] = "PyTorch is not installed: pip install 'keshin[train]'"
    return reasons
