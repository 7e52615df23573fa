"""Several processes as one: what torchrun says of them, and the few exchanges that training needs.

Every exchange is of rows (features, identities) or of sums. ``ALONE`` is the world of one process,
in which none of them does anything; so there is one training step, not two.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed import PrefixStore  # type: ignore[attr-defined]
from torch.distributed.rendezvous import rendezvous

from keshin.errors import RecipeError


@dataclass(frozen=True)
class World:
    """``size`` processes of which this one is number ``rank``."""

    rank: int = 0
    size: int = 1
    local: int = 0
    """The number of this process on its machine, which is that of its GPU."""

    @property
    def first(self) -> bool:
        """Whether this is the process that writes, prints and validates."""
        return self.rank == 0

    def slice(self, count: int) -> slice:
        """This process's part of ``count`` pairs. Raises ``RecipeError`` if they do not divide."""
        if count % self.size:
            raise RecipeError(
                f"optim.batch_size is {count}, which {self.size} processes cannot share evenly. "
                f"Use a multiple of {self.size}."
            )
        part = count // self.size
        return slice(self.rank * part, (self.rank + 1) * part)

    def sum(self, tensor: Tensor) -> Tensor:
        """The sum over all processes."""
        return self._reduced(tensor, dist.ReduceOp.SUM)

    def max(self, tensor: Tensor) -> Tensor:
        """The largest over all processes."""
        return self._reduced(tensor, dist.ReduceOp.MAX)

    def _reduced(self, tensor: Tensor, how: dist.ReduceOp.RedOpType) -> Tensor:
        if self.size > 1:
            tensor = tensor.clone()
            dist.all_reduce(tensor, how)
        return tensor

    def counts(self, rows: int, device: torch.device) -> list[int]:
        """How many rows each process has."""
        if self.size == 1:
            return [rows]
        mine = torch.zeros(self.size, dtype=torch.long, device=device)
        mine[self.rank] = rows
        return [int(count) for count in self.sum(mine)]

    def gather(self, rows: Tensor, counts: list[int]) -> Tensor:
        """The rows of all processes in their order; they may have different numbers of them."""
        if self.size == 1:
            return rows
        padded = rows.new_zeros(max(counts), *rows.shape[1:])
        padded[: len(rows)] = rows
        parts = [torch.empty_like(padded) for _ in counts]
        dist.all_gather(parts, padded)
        return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])

    def own_sum(self, rows: Tensor, counts: list[int]) -> Tensor:
        """The sum over all processes of these rows, but only this process's part of them."""
        start = sum(counts[: self.rank])
        return self.sum(rows)[start : start + counts[self.rank]]

    def turns(self, rows: Tensor, counts: list[int]) -> Iterator[tuple[int, Tensor]]:
        """The rows of each process in turn with its number, so that never all are in memory."""
        for rank, count in enumerate(counts):
            part = rows if rank == self.rank else rows.new_empty(count, *rows.shape[1:])
            if self.size > 1:
                part = part.contiguous()
                dist.broadcast(part, rank)
            yield rank, part

    def to(self, rank: int, tensor: Tensor) -> Tensor:
        """The sum over all processes, of use to process ``rank`` only."""
        if self.size > 1:
            tensor = tensor.contiguous()
            dist.reduce(tensor, rank)
        return tensor

    def wait(self) -> None:
        """Until all processes are here."""
        if self.size > 1:
            dist.barrier()


ALONE = World()


def is_first() -> bool:
    """Whether this is the first of the processes that ``torchrun`` started, or the only one."""
    return os.environ.get("RANK", "0") == "0"


@contextmanager
def world() -> Iterator[World]:
    """The processes that ``torchrun`` started, connected; alone without it."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield ALONE
        return
    local = int(os.environ.get("LOCAL_RANK", "0"))
    gpu = torch.cuda.is_available()
    if gpu:
        torch.cuda.set_device(local)
    store, rank, size = next(rendezvous("env://"))
    if os.environ.get("GROUP_WORLD_SIZE") == "1":
        # torchrun may keep one store over its restarts, in which a new process would find the
        # addresses of those that are gone. (Several machines do not count restarts alike.)
        attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
        store = PrefixStore(f"attempt {attempt}", store)
    dist.init_process_group("nccl" if gpu else "gloo", store=store, rank=rank, world_size=size)
    try:
        yield World(dist.get_rank(), dist.get_world_size(), local)
    finally:
        dist.destroy_process_group()
