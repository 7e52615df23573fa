"""What the processes of a run exchange in one step, in bytes.

Each exchange of the program is a row of ``exchanges``: the kind, the size of the tensor, and how
often. What a process sends follows from the kind, for the ring algorithms that NCCL and gloo use
for large tensors (Patarasu & Yuan 2009), with K processes and a tensor of n bytes:

    all-reduce               2 n (K - 1) / K
    all-gather               n (K - 1) / K      n: the gathered tensor
    reduce-scatter           n (K - 1) / K      n: the whole tensor
    broadcasts in turn       n (K - 1) / K      n: what all send together; each sends its own part
    reductions in turn       n (K - 1) / K      n: what all get together

Latency is not counted: rows of a few bytes are there, so that the list is whole, and weigh nothing.
A test counts what 2 and 4 processes send over their sockets (tests/train/plan).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Kind = Literal["all-reduce", "all-gather", "reduce-scatter", "broadcasts", "reductions"]
ROUNDS: dict[Kind, int] = {
    "all-reduce": 2, "all-gather": 1, "reduce-scatter": 1, "broadcasts": 1, "reductions": 1,
}  # fmt: skip
"""How often (K - 1) / K of the tensor passes through each process."""
FLOAT, LONG = 4, 8


@dataclass(frozen=True)
class Exchange:
    """One tensor that the processes exchange in a step."""

    what: str
    kind: Kind
    bytes: int
    """Of the whole tensor."""
    times: int = 1
    hidden: bool = False
    """Whether it goes on while the towers compute (gradients, shards), or all wait for it."""

    def sent(self, processes: int) -> float:
        """Bytes that each process sends in a step, on average."""
        return self.times * ROUNDS[self.kind] * self.bytes * (processes - 1) / processes


@dataclass(frozen=True)
class Shape:
    """What the size of the exchanges depends on."""

    parameters: int
    """Trained numbers."""
    texts: int
    """Captions of the whole batch, equal ones of a process counted once."""
    embed_dim: int
    sigmoid: bool = False
    sharded: bool = False
    parts: int = 1
    """Micro-batches of a process."""
    image_blocks: int = 0
    """Parameters in blocks of the image tower that are put together one by one (``sharding``)."""
    text_blocks: int = 0
    text_groups: int = 1
    """How often the text tower's blocks run in one part."""
    concepts: int = 0
    """Of a teacher (``DistillPart``)."""


def exchanges(shape: Shape, processes: int) -> list[Exchange]:
    """Everything that is exchanged in a step; nothing by one process alone."""
    if processes == 1:
        return []
    found = [
        Exchange("numbers of captions", "all-reduce", LONG * processes),
        Exchange("identities of captions", "all-gather", LONG * shape.texts),
    ]
    found += _sigmoid(shape) if shape.sigmoid else _softmax(shape)
    if shape.concepts:
        found += [
            Exchange("what the teacher sees", "all-reduce", FLOAT * (shape.concepts + 1)),
            Exchange("sums of the distillation", "all-reduce", FLOAT, 2),
        ]
    return found + (_shards(shape) if shape.sharded else _whole(shape))


def _softmax(shape: Shape) -> list[Exchange]:
    features = FLOAT * shape.texts * shape.embed_dim
    return [
        Exchange("features of captions", "all-gather", features),
        Exchange("sums over columns", "all-reduce", FLOAT * shape.texts, 4),
        Exchange("gradients of features", "all-reduce", features),
        Exchange("sums of the loss", "all-reduce", FLOAT, 2),
    ]


def _sigmoid(shape: Shape) -> list[Exchange]:
    features = FLOAT * shape.texts * shape.embed_dim
    return [
        Exchange("features of captions, in turn", "broadcasts", features),
        Exchange("gradients of features, in turn", "reductions", features),
        Exchange("sums of the loss", "all-reduce", FLOAT, 2),
    ]


def _whole(shape: Shape) -> list[Exchange]:
    return [Exchange("gradients of weights", "all-reduce", FLOAT * shape.parameters, hidden=True)]


def _shards(shape: Shape) -> list[Exchange]:
    """FSDP2: blocks come together for each pass forward and again for each backward; what lies
    outside of the blocks once for both."""
    blocks = (("image", shape.image_blocks, 1), ("text", shape.text_blocks, shape.text_groups))
    rest = shape.parameters - shape.image_blocks - shape.text_blocks
    passes = 3 * shape.parts - 1
    found = [Exchange("weights outside of blocks", "all-gather", FLOAT * rest, shape.parts, True)]
    for name, size, groups in blocks:
        found.append(
            Exchange(
                f"blocks of the {name} tower", "all-gather", FLOAT * size, passes * groups, True
            )
        )
    found += [
        Exchange("gradients of weights", "reduce-scatter", FLOAT * shape.parameters, 1, True),
        Exchange("norm of the gradients", "all-reduce", FLOAT),
        Exchange("gradients of single numbers", "all-reduce", FLOAT, 1 + shape.sigmoid),
    ]
    return found


@dataclass(frozen=True)
class StepTime:
    """The seconds of a step on K devices."""

    compute: float
    exchange: float
    """All of it, as if nothing else went on."""
    waited: float
    """What is left of it where gradients travel during the backward pass."""

    @property
    def seconds(self) -> float:
        """Of the whole step."""
        return self.compute + self.waited


def step_time(
    rows: Iterable[Exchange], processes: int, compute: float, bandwidth: float
) -> StepTime:
    """``compute``: seconds of the towers and the loss; ``bandwidth``: bytes a second that each
    device sends while it gets as many.

    Gradients and shards travel while the backward pass computes, which is two thirds of the work;
    what does not fit into that time is waited for.
    """
    rows = list(rows)
    hidden = sum(row.sent(processes) for row in rows if row.hidden) / bandwidth
    open_ = sum(row.sent(processes) for row in rows if not row.hidden) / bandwidth
    return StepTime(compute, hidden + open_, open_ + max(0.0, hidden - compute * 2 / 3))
