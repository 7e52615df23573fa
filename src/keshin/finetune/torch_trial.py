"""Whole models on one fold, or on all pictures: train, mix with the old weights, ask."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from msgspec.structs import replace
from torch import Tensor

from keshin.core.checkpoint import Checkpoint, save_checkpoint
from keshin.encode.encoder import Encoder
from keshin.encode.torch_model import CLIP
from keshin.encode.torch_towers import TorchTowers, best_device, load_model, to_tensors
from keshin.finetune.anchor import Anchor, Asked, ask, vectors_of
from keshin.finetune.diagnosis import Trace
from keshin.finetune.judging import IntArray, Question, Right
from keshin.finetune.plans import Plan
from keshin.finetune.torch_tuning import Lessons, tune
from keshin.train.averaging import interpolate

Watch = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class Answered:
    """A fold's pictures, answered by a model on the way from old to tuned weights."""

    share: float
    right: Right
    anchor: float
    """The value of the anchor for this model."""


@dataclass(eq=False)
class Trainer:
    """One checkpoint that is tuned again and again."""

    checkpoint: Checkpoint
    question: Question
    lessons: Lessons
    pixels: npt.NDArray[np.uint8]
    """(n, h, w, 3) as the model is shown the pictures."""
    anchor: Anchor
    device: str = ""

    def __post_init__(self) -> None:
        self.device = self.device or best_device()
        self.tokenizer = self.checkpoint.tokenizer()
        self.before: dict[str, Tensor] = load_model(self.checkpoint).state_dict()

    def tuned(
        self, rows: IntArray, plan: Plan, *, keep: Path | None = None, watch: Watch | None = None
    ) -> tuple[dict[str, Tensor], Trace]:
        """The weights after training on some pictures."""
        model = CLIP(self.checkpoint.config)
        model.load_state_dict(self.before)
        model = model.to(self.device)
        trace = tune(model, self.tokenizer, self.lessons, rows, plan, keep=keep, watch=watch)
        return {name: value.cpu() for name, value in model.state_dict().items()}, trace

    def encoder(self, state: Mapping[str, Tensor]) -> Encoder:
        """A model with these weights."""
        model = CLIP(self.checkpoint.config)
        model.load_state_dict(dict(state))
        towers = TorchTowers(model.eval(), self.device)
        scale, bias = self.checkpoint.logit_scale, self.checkpoint.logit_bias
        return Encoder(self.checkpoint.config, self.tokenizer, towers, scale, bias, engine="torch")

    def fold(
        self,
        train: IntArray,
        held: IntArray,
        plan: Plan,
        shares: tuple[float, ...],
        *,
        keep: Path | None = None,
        watch: Watch | None = None,
    ) -> tuple[list[Answered], Trace]:
        """Train on one part, ask the other, at each share of the way."""
        after, trace = self.tuned(train, plan, keep=keep, watch=watch)
        found = []
        for share in shares:
            encoder = self.encoder(interpolate(self.before, after, share))
            vectors = vectors_of(encoder, self.pixels[held])
            right = self.question.right(encoder, vectors, held)
            found.append(Answered(share, right, ask(encoder, self.anchor).value))
        return found, trace

    def keeping(
        self,
        after: Mapping[str, Tensor],
        before: Asked,
        share: float,
        may_forget: float | None,
        step: float = 0.05,
    ) -> tuple[float, dict[str, Tensor], Asked]:
        """The largest share up to ``share`` at which no more than ``may_forget`` points of the
        anchor are lost; its weights and answers. 0 is the old model."""
        for tried in _downwards(share, step):
            state = interpolate(self.before, after, tried)
            asked = ask(self.encoder(state), self.anchor)
            lost = 100 * (before.value - asked.value)
            if may_forget is None or lost <= may_forget or tried == 0:
                return tried, state, asked
        raise AssertionError("the share 0 ends the search")

    def save(self, folder: Path, state: Mapping[str, Tensor], name: str, source: str) -> Path:
        """Write the weights as a checkpoint of their own."""
        config = self.checkpoint.config
        model = CLIP(config)
        model.load_state_dict(dict(state))
        said = {field: value for field, value in (("name", name), ("source", source)) if value}
        return save_checkpoint(folder, replace(config, **said), to_tensors(model), self.tokenizer)


def _downwards(share: float, step: float) -> Iterator[float]:
    for place in range(round(share / step), -1, -1):
        yield min(place * step, share)


def set_threads(threads: int) -> None:
    """PyTorch's threads."""
    torch.set_num_threads(threads)
