"""The contrastive losses, in blocks of rows: the matrix of all logits is never there.

Each loss knows its own gradient: one pass over the blocks finds what normalises rows and columns, a
second one computes each block again and turns it into gradients of the features. The memory is that
of the gradients and of one block. With several processes each has the rows of its own pictures; it
needs the texts of all, the sums over columns, and gives back the gradients of the texts, so that the
loss and the gradients, summed over the processes, are those of one process with the whole batch.

Shape letters: b pictures of this process, B of all, T captions of all, E joint embedding.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from keshin.train.distributed import ALONE, World
from keshin.train.matching import Targets

BLOCK = 1 << 22
"""Logits of one block: 16 MB in float32."""


def contrastive(
    images: Tensor, texts: Tensor, scale: Tensor, targets: Targets, world: World = ALONE
) -> Tensor:
    """Symmetric cross-entropy of ``scale * images @ texts.T`` (paper, Figure 3).

    ``images`` (b, E) and ``texts`` of this process are unit vectors. In a row, the right caption is
    compared with the wrong ones; in a column each of its right pictures is compared with the wrong
    ones, and their mean counts. With a caption of its own for each picture this is the loss of
    Figure 3, and ln(B) is the loss of chance.
    """
    loss: Tensor = _Softmax.apply(images, texts, scale, targets, world)  # type: ignore[no-untyped-call]
    return loss


def sigmoid(
    images: Tensor,
    texts: Tensor,
    scale: Tensor,
    bias: Tensor,
    targets: Targets,
    world: World = ALONE,
) -> Tensor:
    """The pairwise sigmoid loss of SigLIP (Zhai et al. 2023, Algorithm 1), a mean over pictures.

    Each pair is a question of its own, so the texts of each process come by in turn and are never
    gathered.
    """
    loss: Tensor = _Sigmoid.apply(images, texts, scale, bias, targets, world)  # type: ignore[no-untyped-call]
    return loss


def distillation(
    images: Tensor, concepts: Tensor, scale: Tensor, teacher: Tensor, temperature: float
) -> Tensor:
    """Cross-entropy of the student's choice among concepts against the teacher's: (b,).

    ``images`` (b, E), ``concepts`` (C, E) unit vectors of the concepts' captions, ``teacher``
    (b, C) the teacher's log-probabilities of the same concepts. Both are softened by
    ``temperature`` (Hinton et al. 2015); the factor T^2 keeps the gradients' size.
    """
    shares = F.softmax(teacher / temperature, dim=1)
    logits = scale * images @ concepts.T / temperature
    return -(shares * F.log_softmax(logits, dim=1)).sum(dim=1) * temperature**2


class _Blocks:
    """The logits of b pictures with some texts, block by block."""

    def __init__(
        self, images: Tensor, texts: Tensor, scale: Tensor, targets: Targets, offset: int = 0
    ) -> None:
        self.images, self.texts, self.scale = images, texts, scale
        self.offset = offset
        columns = targets.neutral[1] - offset
        here = (columns >= 0) & (columns < len(texts))
        self.neutral = torch.stack([targets.neutral[0][here], columns[here]])
        self.spare = targets.spare[offset : offset + len(texts)]
        self.right = targets.right - offset
        self.size = max(1, BLOCK // max(1, len(texts)))
        self.nothing = torch.finfo(images.dtype).min / 4  # not -inf, which makes not-a-numbers

    def __iter__(self) -> Iterator[tuple[slice, Tensor, Tensor, Tensor]]:
        """(rows, logits of the wrong pairs, rows and columns of the right ones in the block).

        Where a pair is not wrong the logit is that of nothing.
        """
        for start in range(0, len(self.images), self.size):
            rows = slice(start, min(start + self.size, len(self.images)))
            logits = torch.mul(self.images[rows] @ self.texts.T, self.scale)
            within = (self.neutral[0] >= start) & (self.neutral[0] < rows.stop)
            logits[self.neutral[0][within] - start, self.neutral[1][within]] = self.nothing
            logits[:, self.spare] = self.nothing
            columns = self.right[rows]
            here = torch.nonzero((columns >= 0) & (columns < len(self.texts)))[:, 0]
            yield rows, logits, here, columns[here]


class _Softmax(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, images: Tensor, texts: Tensor, scale: Tensor, targets: Targets, world: World
    ) -> Tensor:
        everyone = world.gather(texts, list(targets.counts))
        blocks = _Blocks(images, everyone, scale, targets)
        right = targets.right
        rivals = images.new_empty(len(images))  # log of the sum over a row's wrong captions
        chosen = images.new_empty(len(images))  # logit of its right one
        highest = images.new_full((len(everyone),), blocks.nothing)
        summed = images.new_zeros(len(everyone))
        for rows, logits, here, columns in blocks:
            chosen[rows] = logits[here, columns]
            logits[here, columns] = blocks.nothing
            rivals[rows] = torch.logsumexp(logits, dim=1)
            top = torch.maximum(highest, logits.amax(dim=0))
            summed = summed * torch.exp(highest - top) + torch.exp(logits - top).sum(dim=0)
            highest = top
        top = world.max(highest)
        against = top + torch.log(world.sum(summed * torch.exp(highest - top)))
        holders = world.sum(torch.zeros_like(summed).index_add_(0, right, torch.ones_like(chosen)))
        pictures = world.sum(torch.tensor(float(len(images)), device=images.device))
        shares = 1 / (holders[right] * (holders > 0).sum())
        by_row, by_column = rivals - chosen, against[right] - chosen
        loss = (F.softplus(by_row).sum() / pictures + (F.softplus(by_column) * shares).sum()) / 2
        pull = torch.sigmoid(by_row) / (2 * pictures)
        pulled = torch.sigmoid(by_column) * shares / 2
        push = world.sum(torch.zeros_like(summed).index_add_(0, right, pulled))
        grad_images, grad_texts = torch.empty_like(images), torch.zeros_like(everyone)
        for rows, logits, here, columns in blocks:
            logits[here, columns] = blocks.nothing
            slopes = torch.exp(logits - against).mul_(push)
            slopes += logits.sub_(rivals[rows, None]).exp_().mul_(pull[rows, None])
            slopes[here, columns] = -(pull[rows] + pulled[rows])
            grad_images[rows] = slopes @ everyone
            grad_texts.addmm_(slopes.T, images[rows])
        ctx.grads = (
            grad_images * scale,
            world.own_sum(grad_texts, list(targets.counts)) * scale,
            (grad_images * images).sum(),
        )
        return world.sum(loss)

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor | None, ...]:
        return (*(outer[0] * grad for grad in ctx.grads), None, None)


class _Sigmoid(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        images: Tensor,
        texts: Tensor,
        scale: Tensor,
        bias: Tensor,
        targets: Targets,
        world: World,
    ) -> Tensor:
        pictures = world.sum(torch.tensor(float(len(images)), device=images.device))
        grad_images, grad_texts = torch.zeros_like(images), torch.zeros_like(texts)
        loss, grad_bias, offset = images.new_zeros(()), images.new_zeros(()), 0
        for rank, part in world.turns(texts, list(targets.counts)):
            blocks = _Blocks(images, part, scale, targets, offset)
            offset += len(part)
            grad_part = torch.zeros_like(part)
            for rows, logits, here, columns in blocks:
                logits += bias
                right = logits[here, columns]
                logits[here, columns] = blocks.nothing
                loss += F.softplus(logits).sum() + F.softplus(-right).sum()
                slopes = logits.sigmoid_()
                slopes[here, columns] = -torch.sigmoid(-right)
                grad_images[rows] += slopes @ part
                grad_part.addmm_(slopes.T, images[rows])
                grad_bias += slopes.sum()
            grad_part = world.to(rank, grad_part)
            if rank == world.rank:
                grad_texts = grad_part
        grads = (
            grad_images * scale,
            grad_texts * scale,
            (grad_images * images).sum(),
            grad_bias,
        )
        ctx.grads = [grad / pictures for grad in grads]
        return world.sum(loss) / pictures

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor | None, ...]:
        return (*(outer[0] * grad for grad in ctx.grads), None, None)
