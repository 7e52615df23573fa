"""What a plan is asked, and what it says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from keshin.train.plan.history import PastRun
from keshin.train.plan.pace import STEPS, Pace


@dataclass(frozen=True)
class Question:
    """What a plan is made for."""

    devices: int = 1
    samples: float | None = None
    """Pairs to see; ``None``: as many as the recipe's epochs."""
    price: float | None = None
    """Of one device for an hour, in any currency."""
    flops: float | None = None
    """Operations a second that a device of another kind sustains."""
    rate: float | None = None
    """Samples a second that a device of another kind was measured to do."""
    bandwidth: float | None = None
    """Bytes a second that each device sends while it gets as many."""
    steps: int = STEPS
    """Steps to measure; 0: none."""


class Operations(msgspec.Struct, frozen=True, kw_only=True):
    """Floating-point operations for one sample."""

    image_forward: float
    text_forward: float
    backward: float
    """With the blocks that ``run.recompute`` computes again."""
    repeated: float
    """The second forward pass of micro-batches (gradient caching)."""
    loss: float
    total: float


class Travel(msgspec.Struct, frozen=True, kw_only=True):
    """An exchange between the devices."""

    what: str
    kind: str
    sent: float
    """Bytes that each device sends in a step."""


class Length(msgspec.Struct, frozen=True, kw_only=True):
    """How long the run takes and what it costs."""

    samples: float
    steps: float
    samples_per_second: float
    """Of all devices."""
    by: str
    """Where the pace comes from."""
    waiting: float | None
    """Share of a step spent on exchanges that nothing hides; ``None`` without a bandwidth."""
    hours: float
    device_hours: float
    cost: float | None


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What a run takes."""

    name: str
    devices: int
    batch: int
    batch_of_a_device: int
    micro_batches: int
    caption_tokens: float
    """Positions that the text tower computes for a caption, on average."""
    distinct_captions: float
    """Share of the captions of a device's batch that is encoded."""
    parameters: dict[str, int]
    operations: Operations
    memory: dict[str, int]
    """Bytes on one device, by what they are for."""
    memory_total: int
    pictures_waiting: int
    """Bytes of decoded pictures in the memory of the host."""
    checkpoint: int
    """Bytes of ``state.pt``."""
    measured: Pace | None
    measured_flops: float | None
    """Operations a second, data included."""
    not_measured: str | None
    cores_for_decoding: float | None
    """Cores that decode as fast as one device learns."""
    exchanges: list[Travel]
    length: Length | None
    paper: list[PastRun]


def as_builtins(plan: Plan) -> dict[str, Any]:
    """The plan as plain values."""
    return dict(msgspec.to_builtins(plan))
