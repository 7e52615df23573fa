"""The memory of one device in a step, by what it is for."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from keshin.train.loss import COLUMNS, ROWS
from keshin.train.plan.work import Work

FLOAT = 4
RUNTIME = 150_000_000
"""What a process takes beside its tensors on a processor: code pages, buffers of the kernels, and
gaps that the heap keeps. Measured over five shapes, 130 to 280 MB (decisions.md)."""


class Memory(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes on one device."""

    weights: int
    """With buffers; a piece of them where they are sharded."""
    gradients: int
    optimizer: int
    """AdamW's two moments."""
    average: int
    """The moving average of the weights."""
    buckets: int
    """The second copy of the gradients, that DDP exchanges."""
    gathered_weights: int
    """What FSDP puts together at once, with its gradients."""
    activations: int
    """What the towers keep for the backward pass and hold while they compute; no gradients."""
    features: int
    """Features, their gradients, and those gathered from the other devices."""
    loss: int
    """Blocks of logits."""
    runtime: int
    """Of a process on a processor; GPUs count tensors only."""

    @property
    def total(self) -> int:
        """All together."""
        return sum(msgspec.structs.astuple(self))


@dataclass(frozen=True)
class Sizes:
    """What memory depends on beside the towers' pass. Numbers, not bytes."""

    parameters: int
    buffers: int
    trained: int
    largest_block: int
    outside_blocks: int
    pairs: int
    """Of one device."""
    texts: int
    """Captions of one device."""
    all_texts: int
    """Captions of the whole batch."""
    embed_dim: int
    devices: int
    parts: int
    averaged: bool
    sharded: bool
    processor: bool
    """Whether the device is one, with memory that programs share."""


def memory(work: Work, sizes: Sizes) -> Memory:
    """The most that a step holds at once.

    It is reached in the towers' backward pass or in the loss, whichever is larger: the loss comes
    when all activations are there, but no gradients yet unless the batch is in parts.
    """
    pieces = sizes.devices if sizes.sharded else 1
    weights = FLOAT * (sizes.parameters + sizes.buffers) // pieces
    trained = FLOAT * sizes.trained
    own, blocks = _features(sizes), _blocks(sizes)
    shared, gathered = 0, 0
    if sizes.devices > 1 and sizes.sharded:
        # The block at work, the next one on its way, and what lies outside; with its gradients.
        # Over micro-batches FSDP adds up whole gradients.
        gathered = 2 * FLOAT * (2 * sizes.largest_block + sizes.outside_blocks)
        gathered += trained if sizes.parts > 1 else 0
    elif sizes.devices > 1:
        shared = trained
    # Traced with whole gradients that grow during the pass, or are there from the pass before.
    growing = work.peak if sizes.parts == 1 else work.peak_again + trained
    most = max(growing, work.kept + blocks + (trained if sizes.parts > 1 else 0))
    held = trained if sizes.parts > 1 else min(trained, max(0, most - work.kept))
    return Memory(
        weights=weights,
        gradients=held // pieces,
        optimizer=2 * trained // pieces,
        average=weights if sizes.averaged else 0,
        buckets=shared,
        gathered_weights=gathered,
        activations=most - held - (blocks if most != growing else 0),
        features=own,
        loss=blocks if most != growing else 0,
        runtime=RUNTIME if sizes.processor else 0,
    )


def _features(sizes: Sizes) -> int:
    """Features as leaves, unit vectors and the gradients of both, of this device's pairs; the
    captions' features of all devices with their gradients, and the parts they came in."""
    rows = 4 * (sizes.pairs + sizes.texts)
    rows += 4 * sizes.all_texts if sizes.devices > 1 else 0
    return FLOAT * rows * sizes.embed_dim


def _blocks(sizes: Sizes) -> int:
    """A block of logits, its exponentials and its slopes."""
    return 3 * FLOAT * min(ROWS, sizes.pairs) * min(COLUMNS, sizes.all_texts)
