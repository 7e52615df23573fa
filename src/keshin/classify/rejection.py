"""When the answer is "none of these".

A softmax over the labels given says which of them fits best, never whether any of them fits: a
picture of a car among {cat, dog} can score 0.99 for cat. So there are three ways to decline:

- ``score``: the best label's score is too low. It tells labels apart that compete; it does not
  notice a picture that has nothing to do with any.
- ``cosine``: the best label's cosine is too low. It does look outside the labels, but cosines
  differ from model to model and from label to label: choose the threshold on pictures of your own.
- ``background``: a prompt that names no kind of thing ("a photo of something") is nearer than
  every label. It needs no threshold, and it is a comparison with a short list, not with everything.

None of them makes a score the probability of being right.
"""

from __future__ import annotations

import math

import msgspec
import numpy as np
import numpy.typing as npt

from keshin.errors import LabelError
from keshin.facts import prompts

NONE_OF_THESE = "none of these"
BACKGROUND = "background"


class Rejection(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The rule by which a picture is declined; without any part nothing is declined."""

    score: float | None = None
    """Decline where the best score is below it."""
    cosine: float | None = None
    """Decline where the best cosine is below it."""
    background: tuple[str, ...] = ()
    """Decline where one of these prompts is nearer than every label."""
    label: str = NONE_OF_THESE
    """The answer then given."""

    def __post_init__(self) -> None:
        for name, low in (("score", 0.0), ("cosine", -1.0)):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and low <= value <= 1):
                raise LabelError(
                    f"The threshold of the {name} is {value}; it lies between {low:g} and 1."
                )

    @property
    def active(self) -> bool:
        """Whether anything can be declined."""
        return self.score is not None or self.cosine is not None or bool(self.background)

    def declines(
        self,
        scores: npt.NDArray[np.float32],
        cosines: npt.NDArray[np.float32],
        background: npt.NDArray[np.float32],
    ) -> npt.NDArray[np.bool_]:
        """Which of n pictures to decline, from (n, k) scores, (n, k) and (n, m) cosines."""
        declined = np.zeros(len(cosines), bool)
        if self.score is not None:
            declined |= scores.max(axis=1) < self.score
        if self.cosine is not None:
            declined |= cosines.max(axis=1) < self.cosine
        if background.shape[1]:
            declined |= background.max(axis=1) > cosines.max(axis=1)
        return declined


def as_rejection(reject: Rejection | float | str | None, label: str) -> Rejection:
    """A rule from its short forms: a least score, ``"background"``, or None for none."""
    if reject is None:
        return Rejection(label=label)
    if isinstance(reject, Rejection):
        return reject
    if reject == BACKGROUND:
        return Rejection(background=prompts.background(), label=label)
    if isinstance(reject, str):
        raise LabelError(f"reject='{reject}' is not known. Use '{BACKGROUND}' or a number.")
    return Rejection(score=float(reject), label=label)
