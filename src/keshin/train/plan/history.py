"""The paper's own runs by the same arithmetic: do the numbers come out as they can have been?"""

from __future__ import annotations

from typing import Any

import msgspec

from keshin.core.config import (
    FORMAT,
    Config,
    PreprocessFacts,
    ScoreFacts,
    TextFacts,
    TokenizerFacts,
    VisionFacts,
)
from keshin.facts import paper

DAY = 86400


class PastRun(msgspec.Struct, frozen=True, kw_only=True):
    """A run of the paper."""

    model: str
    devices: int
    device: str
    days: float
    samples: float
    flops_per_sample: float
    """Forward and backward."""
    flops_per_second: float
    """That each device must have reached."""
    share_of_peak: float
    share_with_recomputation: float
    """The same if every block was computed once more, as gradient checkpointing does."""


def past_runs() -> list[PastRun]:
    """The runs of which the paper says what they took."""
    return [_judged(run) for run in paper.training()]


def _judged(run: dict[str, Any]) -> PastRun:
    each = run["forward"] + run["backward"]
    samples = run["epochs"] * run["pairs"]
    rate = samples / (run["devices"] * run["days"] * DAY)
    again = each + run["forward"]
    return PastRun(
        model=run["model"],
        devices=run["devices"],
        device=run["device"],
        days=run["days"],
        samples=samples,
        flops_per_sample=each,
        flops_per_second=rate * each,
        share_of_peak=rate * each / run["peak"],
        share_with_recomputation=rate * again / run["peak"],
    )


def sheet(name: str, embed_dim: int, vision: Any, text: Any) -> Config:
    """A fact sheet for arithmetic: the towers from plain values; the rest changes no operation."""
    towers = msgspec.convert(vision, VisionFacts)
    return Config(
        format=FORMAT,
        name=name,
        embed_dim=embed_dim,
        vision=towers,
        text=msgspec.convert(text, TextFacts),
        tokenizer=TokenizerFacts(cleaning="clip", start=None, end=1, pad=0),
        preprocess=PreprocessFacts(
            size=towers.image_size,
            resize="shorter-side",
            interpolation="bicubic",
            mean=(0.5, 0.5, 0.5),
            std=(0.5, 0.5, 0.5),
        ),
        score=ScoreFacts(kind="softmax"),
    )
