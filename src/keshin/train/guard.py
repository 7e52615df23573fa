"""Whether a step does harm: what is left out, when the weights are put back, when a run gives up.

A step is left out if its loss or its gradient is not finite, or far beyond what was usual in the
steps before. Gradient norms have heavy tails (in a small healthy run one was 14 times the median),
so they are compared with the largest; Adam takes smaller ones in its stride. Steps that are left
out do not become usual. Where several come close together the weights themselves are hurt: those
of a checkpoint are put back, and the run goes on with the next batch, so that the batches since
then are skipped. That is what was done for PaLM by hand (Chowdhery et al. 2022, section 5.1); for
CLIP, Wortsman et al. (2023) found that the loss jumps 1 to 8 steps after the update that did the
harm, which is why the checkpoint must be from before, and not the batch alone be blamed.

Everything here is a function of numbers that all processes share and that the checkpoint holds, so
that each process decides alike, and so does a run that was killed and goes on.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import median
from typing import Any

from keshin.train.recipe import GuardPart

EARLIEST = 0.25
"""Share of the window that must be known before anything is called unusual, and share of it whose
losses are usual now: a loss falls over a whole window."""
LEAST = 0.02
"""Deviations of the loss below this share of ln(batch) are noise, however steady it was."""
NORMAL = 1.4826 / math.sqrt(2)
"""Times the median change from step to step: the standard deviation, were the losses normal and
independent. A trend adds nearly nothing to it."""


@dataclass(frozen=True)
class Trouble:
    """Why a step was left out."""

    why: str
    """``not finite``, ``gradient norm`` or ``loss``."""
    value: float
    usual: float
    """The median of the steps before; not a number if too few are known."""
    limit: float


@dataclass
class Guard:
    """What was usual lately, and what was left out."""

    norms: deque[float] = field(default_factory=deque)
    losses: deque[float] = field(default_factory=deque)
    left_out: list[int] = field(default_factory=list)
    """Steps left out since the weights were last put back, within the window."""
    put_back: int = 0
    """How often the weights were put back, since the last quiet window."""
    since: int = 0
    """The step at which that was."""

    def judge(self, loss: float, norm: float, chance: float, part: GuardPart) -> Trouble | None:
        """What is wrong with a step of this loss and gradient norm; ``chance`` is ln(batch)."""
        if not (math.isfinite(loss) and math.isfinite(norm)):
            value = norm if math.isfinite(loss) else loss
            return Trouble("not finite", value, math.nan, math.nan)
        if not part.spike or len(self.norms) < EARLIEST * part.window:
            return None
        limit = part.spike * max(self.norms)
        if norm > limit:
            return Trouble("gradient norm", norm, median(self.norms), limit)
        usual = median(list(self.losses)[-round(EARLIEST * part.window) :])
        changes = (abs(later - earlier) for earlier, later in pairwise(self.losses))
        limit = usual + part.spike * max(NORMAL * median(changes), LEAST * chance)
        return Trouble("loss", loss, usual, limit) if loss > limit else None

    def accept(self, step: int, loss: float, norm: float, part: GuardPart) -> None:
        """A step was taken; what it showed becomes usual."""
        for known, value in ((self.losses, loss), (self.norms, norm)):
            known.append(value)
            while len(known) > part.window:
                known.popleft()
        if self.put_back and step - max([self.since, *self.left_out]) >= part.window:
            self.put_back = 0

    def refuse(self, step: int, part: GuardPart) -> None:
        """A step was left out."""
        self.left_out = [s for s in self.left_out if step - s < part.window] + [step]

    def restart(self, step: int, usual: Guard) -> None:
        """The weights were put back at ``step``, to where ``usual`` was usual."""
        self.norms, self.losses = usual.norms, usual.losses
        self.left_out, self.since = [], step
        self.put_back += 1

    def values(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {
            "norms": list(self.norms),
            "losses": list(self.losses),
            "left_out": list(self.left_out),
            "put_back": self.put_back,
            "since": self.since,
        }


def guard_of(values: dict[str, Any] | None) -> Guard:
    """The guard of a checkpoint; a new one for checkpoints that have none."""
    if values is None:
        return Guard()
    norms: Iterable[float] = values["norms"]
    losses: Iterable[float] = values["losses"]
    return Guard(
        deque(norms), deque(losses), list(values["left_out"]), values["put_back"], values["since"]
    )
