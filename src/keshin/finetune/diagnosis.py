"""Why nothing is learned: what a training run shows, and what the data show without one.

A loss of ln(N) is that of guessing among N. Each cause leaves marks of its own, and the cause that
is named is the one whose marks are there; ``Finding.evidence`` says which.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
import numpy.typing as npt

from keshin.statistics.intervals import score_bounds

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float32]
STUCK = 0.95
"""Of the loss of chance: above it at the end, nothing to speak of was learned."""
STILL = 3e-4
"""Weights that moved by less than this share of their size over a run have hardly moved."""
HASTY = 0.02
"""Weights that move by more than this share in one step run away."""
COLLAPSED = 0.99
"""Mean cosine of different pictures above which the model sees all alike."""
BOUND = 0.99
"""Of the largest logit scale."""
FLAT = 0.05
"""Logits that spread by less than this cannot tell N answers apart."""
PERMUTATIONS = 500
SURE = 0.05
SMALL = 5
"""Pictures a class below which its own accuracy says next to nothing."""
WIDE = 0.10
"""Half of the interval that people mostly want, for "how many pictures"."""


class Finding(msgspec.Struct, frozen=True):
    """One thing to know: what it is, by what it was recognised, what to do."""

    cause: str
    evidence: str
    advice: str

    def __str__(self) -> str:
        return f"{self.evidence} {self.advice}"


@dataclass(frozen=True)
class Trace:
    """What a training run leaves to judge it by."""

    losses: tuple[float, ...]
    """Of each step."""
    chance: float
    """The loss of guessing."""
    gradients: tuple[float, ...]
    """Norm of each step's gradient."""
    moved: tuple[float, ...]
    """Of each step: norm of the change of what is trained, over the norm of all weights."""
    trainable: int
    """Numbers that are trained."""
    targets: int
    """Different classes or captions."""
    scale: float
    """The logit scale at the end, and the largest allowed."""
    scale_limit: float
    alike: float
    """Mean cosine of different pictures at the end."""

    @property
    def end(self) -> float:
        return float(np.mean(self.losses[-max(1, len(self.losses) // 5) :]))

    @property
    def stuck(self) -> bool:
        """Whether the loss ends where guessing is."""
        return not self.losses or self.end >= STUCK * self.chance


def diagnose(trace: Trace) -> Finding | None:
    """Why a run is stuck at chance; None if it is not. The surest cause comes first."""
    if trace.targets <= 1:
        return Finding(
            "one caption",
            "All pictures have the same caption or class, so there is nothing to tell apart.",
            "Give captions that differ, or at least two classes.",
        )
    if not trace.stuck:
        return None
    total, largest = sum(trace.moved), max(trace.moved, default=0.0)
    at = f"The loss ends at {trace.end:.3f}, and guessing gives {trace.chance:.3f}"
    if trace.trainable == 0 or max(trace.gradients, default=0.0) == 0:
        what = "no number is trained" if trace.trainable == 0 else "all gradients are zero"
        return Finding(
            "frozen", f"{at}: {what}.", "Free some weights: every tower is frozen or cut off."
        )
    if total < STILL * max(1.0, len(trace.moved) / 100):
        return Finding(
            "learning rate too low",
            f"{at}, and in {len(trace.losses)} steps the weights moved by only {total:.1e} of "
            "their size.",
            "Raise the learning rate tenfold, or train longer.",
        )
    if trace.scale >= BOUND * trace.scale_limit and trace.alike < COLLAPSED:
        return Finding(
            "scale at its bound",
            f"{at}, while the logit scale is {trace.scale:.1f} of at most {trace.scale_limit:.1f}: "
            "small differences of cosines are blown up, and a few pictures make the gradient.",
            "Start from a lower scale, or keep it fixed.",
        )
    if trace.scale * (1 - trace.alike) < FLAT:
        if largest > HASTY:
            return _hasty(at, largest, trace)
        return Finding(
            "scale too small" if trace.alike < COLLAPSED else "all pictures alike",
            f"{at}: with a logit scale of {trace.scale:.3g} and a mean cosine of "
            f"{trace.alike:.3f} between pictures, all answers are equally likely.",
            "Restore the scale of the checkpoint (about 100 for a trained CLIP)."
            if trace.alike < COLLAPSED
            else "The image tower has collapsed: start from another checkpoint.",
        )
    if largest > HASTY or trace.alike >= COLLAPSED or trace.end > 1.5 * trace.chance:
        return _hasty(at, largest, trace)
    return Finding(
        "targets do not follow the pictures",
        f"{at}, though the weights moved by {total:.1e} of their size and the gradients are not "
        "zero: what is common to the pictures of a class was not found.",
        "Check whether labels or captions are shuffled, or say what pictures do not show.",
    )


def _hasty(at: str, largest: float, trace: Trace) -> Finding:
    return Finding(
        "learning rate too high",
        f"{at}: the weights moved by up to {largest:.1e} of their size in one step, and different "
        f"pictures have a mean cosine of {trace.alike:.3f}.",
        "Lower the learning rate tenfold.",
    )


def labels_follow(
    vectors: FloatArray, targets: IntArray, groups: IntArray, seed: int = 0
) -> tuple[float, float, float]:
    """Whether neighbours have the same label, without any training: the share of pictures whose
    nearest picture of another group does; the mean share under shuffled labels; the p of a
    permutation test."""
    cosines = vectors @ vectors.T
    cosines[groups[:, None] == groups[None]] = -np.inf
    nearest = cosines.argmax(axis=1)
    rng = np.random.default_rng(seed)
    share = float((targets == targets[nearest]).mean())
    shuffled = [rng.permutation(targets) for _ in range(PERMUTATIONS)]
    chance = np.array([(labels == labels[nearest]).mean() for labels in shuffled])
    return share, float(chance.mean()), float(((chance >= share).sum() + 1) / (PERMUTATIONS + 1))


def judge_labels(
    vectors: FloatArray, targets: IntArray, groups: IntArray, learnt: float
) -> Finding | None:
    """Labels that have nothing to do with what the pictures look like.

    ``learnt``: what the best method gains over the commonest class, its lower bound.
    """
    share, chance, p = labels_follow(vectors, targets, groups)
    if p <= SURE or learnt > 0:
        return None
    return Finding(
        "labels do not follow the pictures",
        f"The nearest other picture has the same label in {100 * share:.0f} % of the cases, and in "
        f"{100 * chance:.0f} % if the labels are shuffled (p = {p:.2f}); and no method is surely "
        "better than always saying the commonest class.",
        "Check whether labels and files are out of step. If they are right, this model does not "
        "see what sets the classes apart, or there are too few pictures.",
    )


def judge_size(
    targets: IntArray, names: Sequence[str], pictures: float, value: float
) -> list[Finding]:
    """What the number of pictures allows to say: ``pictures`` is how many independent ones."""
    found = []
    counts = np.bincount(targets, minlength=len(names))
    few = [f"{names[int(c)]} ({counts[c]})" for c in np.flatnonzero(counts < SMALL)]
    if few:
        more = f" and {len(few) - 8} more" if len(few) > 8 else ""
        found.append(
            Finding(
                "small classes",
                f"Classes with fewer than {SMALL} pictures: {', '.join(few[:8])}{more}.",
                "Nothing is said of a single one of these; add pictures, or join classes.",
            )
        )
    low, high = score_bounds(value, pictures)
    if (high - low) / 2 > WIDE:
        wanted = pictures
        while _half(value, wanted) > WIDE and wanted < 1e7:
            wanted *= 1.05
        found.append(
            Finding(
                "few pictures",
                f"About {pictures:.0f} independent pictures: an accuracy near {100 * value:.0f} % "
                f"is known to {100 * (high - low) / 2:.0f} points at best.",
                f"For {100 * WIDE:.0f} points, about {wanted:.0f} pictures are needed.",
            )
        )
    return found


def _half(value: float, count: float) -> float:
    low, high = score_bounds(value, count)
    return (high - low) / 2
