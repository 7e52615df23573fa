"""The contrastive losses, in blocks: the matrix of all logits is never there.

Each loss knows its own gradient: one pass over the blocks finds what normalises rows and columns,
a second one computes each block again and turns it into gradients of the features. The memory is
that of the gradients and of one block. With several processes each has the rows of its own
pictures; it needs the texts of all and the sums over columns, and gives back the gradients of the
texts. The loss and the gradients, summed over the processes, are those of one process with the
whole batch.

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

ROWS, COLUMNS = 1024, 2048
"""Of one block: 8 MB of logits in float32."""


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
        self.neutral = targets.neutral - targets.neutral.new_tensor([[0], [offset]])
        self.spare = targets.spare[offset : offset + len(texts)]
        self.right = targets.right - offset
        self.nothing = torch.finfo(images.dtype).min / 4  # not -inf, which makes not-a-numbers

    def __iter__(self) -> Iterator[tuple[slice, slice, Tensor, Tensor, Tensor]]:
        """(rows, columns, logits, places of the right ones in the block: rows, columns).

        Where a pair is neither right nor wrong the logit is that of nothing.
        """
        for top in range(0, len(self.images), ROWS):
            rows = slice(top, min(top + ROWS, len(self.images)))
            for left in range(0, len(self.texts), COLUMNS):
                columns = slice(left, min(left + COLUMNS, len(self.texts)))
                logits = (self.images[rows] @ self.texts[columns].T).mul_(self.scale)
                i, j = self.neutral
                within = (i >= top) & (i < rows.stop) & (j >= left) & (j < columns.stop)
                logits[i[within] - top, j[within] - left] = self.nothing
                logits.masked_fill_(self.spare[columns], self.nothing)
                right = self.right[rows]
                here = torch.nonzero((right >= left) & (right < columns.stop))[:, 0]
                yield rows, columns, logits, here, right[here] - left


class _LogSums:
    """The logarithms of sums of exponentials that come piece by piece."""

    def __init__(self, count: int, like: Tensor, nothing: float) -> None:
        self.highest = like.new_full((count,), nothing)
        self.summed = like.new_zeros(count)

    def add(self, where: slice, logits: Tensor, dim: int) -> None:
        """Take in the sums of a block along ``dim``."""
        before = self.highest[where]
        highest = torch.maximum(before, logits.amax(dim))
        sums = torch.exp(logits - highest.unsqueeze(dim)).sum(dim)
        self.summed[where] = self.summed[where] * torch.exp(before - highest) + sums
        self.highest[where] = highest

    def total(self, world: World = ALONE) -> Tensor:
        """The logarithms, over all processes."""
        highest = world.max(self.highest)
        return highest + torch.log(world.sum(self.summed * torch.exp(self.highest - highest)))


def _scaled(ctx: Any, outer: Tensor) -> list[Tensor]:
    """The gradients, in place: they are large, and asked for once."""
    grads, ctx.grads = ctx.grads, ()
    return [grad.mul_(outer) for grad in grads]


class _Softmax(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, images: Tensor, texts: Tensor, scale: Tensor, targets: Targets, world: World
    ) -> Tensor:
        counts, right = list(targets.counts), targets.right
        everyone = world.gather(texts, counts)
        blocks = _Blocks(images, everyone, scale, targets)
        chosen = images.new_empty(len(images))  # logit of the right caption
        of_rows = _LogSums(len(images), images, blocks.nothing)  # of the wrong ones
        of_columns = _LogSums(len(everyone), images, blocks.nothing)
        for rows, columns, logits, i, j in blocks:
            chosen[rows.start + i] = logits[i, j]
            logits[i, j] = blocks.nothing
            of_rows.add(rows, logits, dim=1)
            of_columns.add(columns, logits, dim=0)
        rivals, against = of_rows.total(), of_columns.total(world)
        none = images.new_zeros(len(everyone))
        holders = world.sum(none.index_add(0, right, torch.ones_like(chosen)))
        pictures = world.sum(images.new_tensor(float(len(images))))
        shares = 1 / (holders[right] * (holders > 0).sum())
        by_row, by_column = rivals - chosen, against[right] - chosen
        loss = (F.softplus(by_row).sum() / pictures + (F.softplus(by_column) * shares).sum()) / 2
        pull = torch.sigmoid(by_row) / (2 * pictures)
        pulled = torch.sigmoid(by_column) * shares / 2
        push = world.sum(none.index_add(0, right, pulled))
        grad_images, grad_texts = torch.zeros_like(images), torch.zeros_like(everyone)
        for rows, columns, logits, i, j in blocks:
            logits[i, j] = blocks.nothing
            slopes = torch.exp(logits - against[columns]).mul_(push[columns])
            slopes += logits.sub_(rivals[rows, None]).exp_().mul_(pull[rows, None])
            slopes[i, j] = -(pull + pulled)[rows.start + i]
            grad_images[rows].addmm_(slopes, everyone[columns])
            grad_texts[columns].addmm_(slopes.T, images[rows])
        ctx.grads = (
            grad_images,
            world.own_sum(grad_texts, counts).mul_(scale),
            torch.dot(grad_images.flatten(), images.flatten()),
        )
        grad_images.mul_(scale)
        return world.sum(loss)

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor | None, ...]:
        return (*_scaled(ctx, outer[0]), None, None)


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
            for rows, columns, logits, i, j in blocks:
                logits += bias
                right = logits[i, j]
                logits[i, j] = blocks.nothing
                loss += F.softplus(logits).sum() + F.softplus(-right).sum()
                slopes = logits.sigmoid_()
                slopes[i, j] = -torch.sigmoid(-right)
                grad_images[rows].addmm_(slopes, part[columns])
                grad_part[columns].addmm_(slopes.T, images[rows])
                grad_bias += slopes.sum()
            grad_part = world.to(rank, grad_part)
            if rank == world.rank:
                grad_texts = grad_part
        grad_scale = torch.dot(grad_images.flatten(), images.flatten())
        grads = (grad_images.mul_(scale), grad_texts.mul_(scale), grad_scale, grad_bias)
        ctx.grads = [grad.div_(pictures) for grad in grads]
        return world.sum(loss) / pictures

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor | None, ...]:
        return (*_scaled(ctx, outer[0]), None, None)
