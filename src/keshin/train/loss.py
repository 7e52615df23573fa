"""The contrastive loss of the paper's Figure 3, with any number of right captions per picture.

Shape letters: B pictures, T captions, E joint embedding.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

NEUTRAL = -1.0
"""The target of a picture and a caption that fits it, but was not drawn for it."""


def contrastive(images: Tensor, texts: Tensor, scale: Tensor, targets: Tensor) -> Tensor:
    """Symmetric cross-entropy of ``scale * images @ texts.T``, each right answer against the wrong.

    ``images`` (B, E) and ``texts`` (T, E) are unit vectors; ``targets`` (B, T) is 1 where a caption
    is right for a picture, 0 where it is wrong, and ``NEUTRAL`` where the two are neither drawn to
    each other nor apart. Right answers of one row do not compete with each other: each is compared
    with the wrong ones alone, and a row's loss is their mean. A row or a column without any right
    answer does not count. With the identity as target it is the loss of the paper's Figure 3, and
    ln(B) is the loss of chance.
    """
    logits = scale * images @ texts.T
    right, wrong = targets > 0, targets == 0
    return (_against_wrong(logits, right, wrong) + _against_wrong(logits.T, right.T, wrong.T)) / 2


def _against_wrong(logits: Tensor, right: Tensor, wrong: Tensor) -> Tensor:
    nothing = torch.finfo(logits.dtype).min / 4  # not -inf, whose gradient is not a number
    rivals = torch.logsumexp(logits.masked_fill(~wrong, nothing), dim=1, keepdim=True)
    losses = F.softplus(rivals - logits)  # -log(e^l / (e^l + sum of e^wrong))
    counts = right.sum(dim=1)
    rows = losses.masked_fill(~right, 0.0).sum(dim=1) / counts.clamp_min(1)
    return rows.sum() / (counts > 0).sum().clamp_min(1)


def distillation(
    images: Tensor, concepts: Tensor, scale: Tensor, teacher: Tensor, temperature: float
) -> Tensor:
    """Cross-entropy of the student's choice among concepts against the teacher's.

    ``images`` (B, E), ``concepts`` (C, E) unit vectors of the concepts' captions, ``teacher``
    (B, C) the teacher's log-probabilities of the same concepts. Both are softened by
    ``temperature`` (Hinton et al. 2015); the factor T^2 keeps the gradients' size.
    """
    shares = F.softmax(teacher / temperature, dim=1)
    logits = scale * images @ concepts.T / temperature
    return -(shares * F.log_softmax(logits, dim=1)).sum(dim=1).mean() * temperature**2


def match(
    drawn: Sequence[str], listed: Sequence[Sequence[str]], positives: str
) -> tuple[list[str], Tensor]:
    """The captions to encode and which of them are right for which picture.

    ``drawn`` holds one caption per picture, ``listed`` all captions of each picture. Returns the T
    captions and the (B, T) targets; see ``LossPart.positives`` for the three rules. Except with
    ``pair``, equal captions are encoded once.
    """
    if positives == "pair":
        return list(drawn), torch.eye(len(drawn))
    captions = list(dict.fromkeys(drawn))
    column = {caption: index for index, caption in enumerate(captions)}
    targets = torch.zeros(len(drawn), len(captions))
    for row, caption in enumerate(drawn):
        for text in listed[row] if positives == "listed" else ():
            if text in column:
                targets[row, column[text]] = NEUTRAL
        targets[row, column[caption]] = 1.0
    return captions, targets
