"""The towers over a batch, in one pass or in parts with the loss of the whole (gradient caching).

The losses are computed on the features of the whole batch, cut off from the towers. Their gradients
then go through the towers: at once if the batch was one part; else each part is computed a second
time with its graph, as in GradCache (Gao et al. 2021), but for the last one, whose graph is kept.
So the memory is that of one part, and the gradients are those of the whole batch.

Random numbers of a part are drawn from (seed, step, process, part), so both passes draw the same,
and a run that goes on draws what it would have drawn. Batch normalisation sees the parts, not the
batch: there the result is that of smaller batches, as it is over several processes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel

from keshin.encode.torch_model import CLIP
from keshin.train.distributed import World
from keshin.train.sharding import scalars, shard

TEXT_GROUP = 96
"""Captions of similar length that are encoded together."""
IntArray = npt.NDArray[np.int64]
Features = dict[str, Tensor]
"""``pictures`` (b, E) and ``texts`` (T, E), not normalised; ``scale``; ``bias`` of a model that has
one; ``guesses`` (b, classes) of ``DistillPart.head``."""
ROWS = ("pictures", "texts", "guesses")
Group = tuple[Tensor, Tensor]
"""Token ids (n, length) and end-of-text positions (n,)."""


class Towers(nn.Module):
    """All that is trained, as one function of a batch; the processes share its gradients."""

    def __init__(self, model: CLIP, head: nn.Linear | None = None, *, plain: bool = False) -> None:
        super().__init__()
        self.model, self.head = model, head
        self.plain = plain
        """Attention of the texts by plain products, which beat the fused one for short captions on
        a processor (decisions.md)."""

    def forward(self, pixels: Tensor, groups: Sequence[Group]) -> Features:
        """(b, 3, h, w) pictures and groups of texts, whose features come in the groups' order.

        (b, E) are features of pictures already (see ``features``).
        """
        model = self.model
        pictures = pixels if pixels.ndim == 2 else model.image_features(pixels)
        with sdpa_kernel(SDPBackend.MATH) if self.plain else nullcontext():
            texts = [model.text_features(ids, ends) for ids, ends in groups]
        features = {
            "pictures": pictures.float(),
            "texts": torch.cat(texts).float(),
            "scale": model.logit_scale.exp(),
        }
        if hasattr(model, "logit_bias"):
            features["bias"] = model.logit_bias + 0
        if self.head is not None:
            features["guesses"] = self.head(pictures).float()
        return features


def shared(towers: Towers, device: torch.device, world: World, *, pieces: bool) -> nn.Module:
    """The same for several processes: PyTorch adds up their gradients while they are computed.

    With ``pieces`` each process holds a part of the weights only; see ``sharding``.
    """
    if world.size == 1:
        return towers
    if pieces:
        return shard(towers, device, world)
    ids = [device.index] if device.type == "cuda" else None
    return DistributedDataParallel(towers, device_ids=ids, broadcast_buffers=False)


@dataclass(frozen=True)
class Part:
    """What the towers see at once."""

    pictures: slice
    texts: slice
    pixels: Callable[[], Tensor]
    groups: list[Group]
    order: Tensor
    """Puts the features of the groups into the order of the texts."""


class Passes:
    """The features of one batch, and the way back."""

    def __init__(
        self,
        towers: nn.Module,
        parts: Sequence[Part],
        *,
        seeds: tuple[int, ...],
        within: Callable[[], AbstractContextManager[object]],
        world: World,
    ) -> None:
        self.towers, self.parts, self.seeds = towers, parts, seeds
        self.within, self.world = within, world
        self._kept: Features = {}

    def features(self) -> Features:
        """The features of the whole batch, as leaves that take gradients."""
        found = []
        for number, part in enumerate(self.parts[:-1]):
            with torch.no_grad():
                found.append(self._run(number, part))
        last = len(self.parts) - 1
        with self._sharing(last == 0):
            self._kept = self._run(last, self.parts[-1])
        found.append(self._kept)
        whole = {
            name: torch.cat([some[name] for some in found]) if name in ROWS else value
            for name, value in self._kept.items()
        }
        return {name: value.detach().requires_grad_() for name, value in whole.items()}

    def backward(self, leaves: Mapping[str, Tensor]) -> None:
        """The gradients of the leaves, through the towers into the parameters."""
        order = [len(self.parts) - 1, *range(len(self.parts) - 1)]
        for number in order:
            part, sharing = self.parts[number], number == order[-1]
            outputs = self._kept
            with self._sharing(sharing):
                if number != order[0]:
                    with frozen_statistics(self.towers):
                        outputs = self._run(number, part)
                places = {"pictures": part.pictures, "guesses": part.pictures, "texts": part.texts}
                pairs = []
                for name, output in outputs.items():
                    grad = leaves[name].grad
                    if grad is None:
                        grad = torch.zeros_like(leaves[name])
                    if name in places:
                        grad = grad[places[name]]
                    elif number != order[0]:
                        grad = torch.zeros_like(grad)  # scale and bias: once
                    if output.requires_grad:  # not that of a locked tower
                        pairs.append((output, grad * self.world.size))  # since they are averaged
                torch.autograd.backward([p[0] for p in pairs], [p[1] for p in pairs])
            self._kept = {}
        self._share_scalars()

    def _share_scalars(self) -> None:
        """Shards leave single numbers alone; what the processes found for them is averaged here."""
        if isinstance(self.towers, FSDPModule):
            for parameter in scalars(self.towers):
                if parameter.grad is not None:
                    parameter.grad = self.world.sum(parameter.grad) / self.world.size

    def _run(self, number: int, part: Part) -> Features:
        words = np.random.SeedSequence((*self.seeds, number)).generate_state(2)
        torch.manual_seed(int(words[0]) << 32 | int(words[1]))
        with self.within():
            found: Features = self.towers(part.pixels(), part.groups)
        return {**found, "texts": found["texts"][part.order]}

    @contextmanager
    def _sharing(self, now: bool) -> Iterator[None]:
        """Gradients are exchanged in the last pass only."""
        towers = self.towers
        if isinstance(towers, FSDPModule):
            towers.set_requires_gradient_sync(now)
        if isinstance(towers, DistributedDataParallel) and not now:
            with towers.no_sync():
                yield
        else:
            yield


@contextmanager
def frozen_statistics(module: nn.Module) -> Iterator[None]:
    """Batch statistics are used but not taken into the running ones: they were already."""
    norms = [m for m in module.modules() if isinstance(m, _BatchNorm)]
    before = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum in zip(norms, before, strict=True):
            norm.momentum = momentum


def split(count: int, parts: int) -> list[slice]:
    """``count`` rows in so many slices of nearly one size."""
    bounds = np.linspace(0, count, parts + 1).astype(int)
    return [slice(int(a), int(b)) for a, b in pairwise(bounds)]


def text_groups(
    ids: IntArray, ends: IntArray, lengths: IntArray, trims: bool, device: torch.device
) -> tuple[list[Group], Tensor]:
    """Texts in groups of similar length, none longer than it must be, and the order back."""
    order = np.argsort(lengths, kind="stable")
    groups = np.array_split(order, max(1, len(ids) // TEXT_GROUP))
    made = []
    for group in groups:
        length = int(lengths[group].max()) if trims and len(group) else ids.shape[1]
        made.append(
            (
                torch.from_numpy(ids[group, :length]).to(device),
                torch.from_numpy(ends[group]).to(device),
            )
        )
    return made, torch.from_numpy(np.argsort(order)).to(device)


def autocast(precision: str, device: torch.device) -> torch.autocast:
    """bfloat16 where the recipe asks for it, or where the device computes it natively."""
    if precision == "auto":
        native = {
            "cuda": torch.cuda.is_available() and torch.cuda.is_bf16_supported(),
            "cpu": torch.ops.mkldnn._is_mkldnn_bf16_supported(),
        }.get(device.type, False)
        precision = "bf16" if native else "fp32"
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")
