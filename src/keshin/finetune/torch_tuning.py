"""Training whole models on a few pictures: adapters or all weights, on one device.

Pictures with classes are compared with the prompts of all classes (one template of each, drawn anew
at every step), which is the contrastive loss without equal captions as negatives; pictures with
captions with the captions of their batch. Statistics of batch normalisation and the logit scale
stay as they are: a hundred pictures have nothing to say of them.

What is drawn at a step depends on (seed, step) only, so that training goes on exactly where it was
interrupted.
"""

from __future__ import annotations

import math
import os
import pickle
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from keshin.core.config import Config
from keshin.core.pictures import Picture, open_picture, to_rgb
from keshin.core.tokenizer import Tokenizer
from keshin.core.writing import whole
from keshin.encode.torch_model import CLIP
from keshin.errors import TrainingError
from keshin.finetune.diagnosis import Trace
from keshin.finetune.plans import Plan
from keshin.finetune.torch_lowrank import adapt, merge
from keshin.train.data import augmented
from keshin.train.layer_rates import parameter_groups
from keshin.train.loss import contrastive
from keshin.train.matching import identity, match
from keshin.train.optim import learning_rate
from keshin.train.passes import text_groups
from keshin.train.recipe import AugmentPart, OptimPart

AUGMENT = AugmentPart(min_area=0.6, max_stretch=1.25, flip=0.5, colour=0.15)
ROOM = 1.25
"""Pictures are held at this many times the size that the model sees, so that crops lose nothing."""
SAVED_EVERY = 30.0
"""Seconds between two states on the disk."""
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Lessons:
    """What is learnt from."""

    pictures: Sequence[Image.Image]
    """(n,) RGB, reduced."""
    targets: IntArray
    """(n,) classes."""
    prompts: tuple[tuple[str, ...], ...]
    """(k,) prompts of each class; none where there are captions."""
    captions: tuple[tuple[str, ...], ...]
    """(n,) captions; none where there are classes."""

    def chance(self, batch: int) -> float:
        """The loss of guessing."""
        return math.log(len(self.prompts) if self.prompts else batch)


def reduced(picture: Picture, size: tuple[int, int]) -> Image.Image:
    """A picture in RGB, no larger than training needs."""
    image = to_rgb(open_picture(picture))
    shrink = ROOM * max(size) / min(image.size)
    if shrink >= 1:
        return image
    width, height = (max(1, round(side * shrink)) for side in image.size)
    return image.resize((width, height), Image.Resampling.BICUBIC)


def tune(
    model: CLIP,
    tokenizer: Tokenizer,
    lessons: Lessons,
    rows: IntArray,
    plan: Plan,
    *,
    keep: Path | None = None,
    watch: Callable[[int, int], None] | None = None,
) -> Trace:
    """Train ``model`` in place on some of the pictures; adapters are merged at the end.

    ``keep``: a file in which the state is kept while it runs, and from which it goes on; it is
    removed at the end. Raises ``TrainingError`` if the loss is not finite.
    """
    steps, batch = plan.steps(len(rows)), min(plan.batch, len(rows))
    optim = OptimPart(
        batch_size=batch,
        epochs=plan.epochs,
        learning_rate=plan.rate,
        warmup=max(1, round(plan.warmup * steps)),
        weight_decay=plan.weight_decay,
        layer_decay=plan.layer_decay,
        beta2=0.999,
        eps=1e-8,
    )
    if plan.rank:
        adapt(model, plan.rank, plan.seed)
    for name in ("logit_scale", "logit_bias"):
        if hasattr(model, name):
            getattr(model, name).requires_grad_(False)
    trained = {n: p for n, p in model.named_parameters() if p.requires_grad}
    groups = parameter_groups(model, optim)
    optimizer = torch.optim.AdamW(groups, betas=(optim.beta1, optim.beta2), eps=optim.eps)
    size = math.sqrt(sum(float(p.detach().square().sum()) for p in model.parameters()))
    log = _Log([], [], [])
    begin = _load(keep, trained, optimizer, log)
    saved = time.monotonic()
    model.eval()  # batch statistics stay; the towers have no dropout
    for step in range(begin, steps):
        rate = learning_rate(step, steps, optim)
        for group in optimizer.param_groups:
            group["lr"] = rate * group.get("rate", 1.0)
        loss = _loss(model, tokenizer, lessons, _drawn(rows, step, batch, plan.seed), step, plan)
        loss.backward()  # type: ignore[no-untyped-call]
        norm = float(torch.nn.utils.clip_grad_norm_(trained.values(), plan.max_grad_norm))
        if not math.isfinite(float(loss.detach())) or not math.isfinite(norm):
            raise TrainingError(
                f"Step {step}: the loss ({float(loss.detach())}) or its gradient ({norm}) is not "
                "finite. Lower the learning rate (--rate)."
            )
        before = [p.detach().clone() for p in trained.values()]
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        far = sum(
            float((p.detach() - old).square().sum())
            for p, old in zip(trained.values(), before, strict=True)
        )
        log.add(float(loss.detach()), norm, math.sqrt(far) / max(size, 1e-12))
        if keep is not None and time.monotonic() - saved > SAVED_EVERY:
            _save(keep, step + 1, trained, optimizer, log)
            saved = time.monotonic()
        if watch:
            watch(step + 1, steps)
    count = sum(p.numel() for p in trained.values())
    merge(model)
    if keep is not None:
        keep.unlink(missing_ok=True)
    return Trace(
        losses=tuple(log.losses),
        chance=lessons.chance(batch),
        gradients=tuple(log.norms),
        moved=tuple(log.moved),
        trainable=count,
        targets=len(lessons.prompts) or len(set(lessons.captions)),
        scale=float(model.logit_scale.detach().exp()),
        scale_limit=1e9,  # it is not trained
        alike=_alike(model, lessons, rows),
    )


@dataclass
class _Log:
    losses: list[float]
    norms: list[float]
    moved: list[float]

    def add(self, loss: float, norm: float, moved: float) -> None:
        self.losses.append(loss)
        self.norms.append(norm)
        self.moved.append(moved)


def _drawn(rows: IntArray, step: int, batch: int, seed: int) -> IntArray:
    """The pictures of a step: epoch after epoch in new order, without a short last batch."""
    first = step * batch
    epochs = range(first // len(rows), (first + batch - 1) // len(rows) + 1)
    order = np.concatenate(
        [np.random.default_rng((seed, epoch)).permutation(rows) for epoch in epochs]
    )
    start = first - epochs.start * len(rows)
    return np.asarray(order[start : start + batch], np.int64)


def _loss(
    model: CLIP, tokenizer: Tokenizer, lessons: Lessons, rows: IntArray, step: int, plan: Plan
) -> Tensor:
    config, device = model.config, model.logit_scale.device
    rng = np.random.default_rng((plan.seed, 1 << 32, step))
    pixels = np.stack(
        [augmented(lessons.pictures[row], config.preprocess.size, AUGMENT, rng) for row in rows]
    )
    images = F.normalize(model.image_features(_prepared(pixels, config, device)).float(), dim=-1)
    scale = model.logit_scale.exp()
    if lessons.prompts:
        texts = [of_class[rng.integers(len(of_class))] for of_class in lessons.prompts]
        vectors = _texts(model, tokenizer, texts)
        right = torch.from_numpy(lessons.targets[rows]).to(device)
        return F.cross_entropy(scale * images @ vectors.T, right)
    texts = [lessons.captions[row][rng.integers(len(lessons.captions[row]))] for row in rows]
    names = np.array([identity(text) for text in texts], np.int64)
    kept, targets = match(names, [], "equal")
    vectors = _texts(model, tokenizer, [texts[row] for row in kept])
    return contrastive(images, vectors, scale, targets.to(device))


def _prepared(pixels: npt.NDArray[np.uint8], config: Config, device: torch.device) -> Tensor:
    facts = config.preprocess
    mean, std = (torch.tensor(v, device=device).view(3, 1, 1) for v in (facts.mean, facts.std))
    return (torch.from_numpy(pixels).to(device).float() / 255 - mean) / std


def _texts(model: CLIP, tokenizer: Tokenizer, texts: list[str]) -> Tensor:
    """(T, E) unit vectors of texts, in their order."""
    tokens, facts = tokenizer(texts), model.config.text
    ids = tokens.ids if facts.trims else tokens.pad_to(facts.context_length)
    groups, order = text_groups(
        ids, tokens.ends, tokens.lengths, facts.trims, model.logit_scale.device
    )
    features = torch.cat([model.text_features(part, ends) for part, ends in groups])
    return F.normalize(features[order].float(), dim=-1)


@torch.no_grad()
def _alike(model: CLIP, lessons: Lessons, rows: IntArray) -> float:
    """Mean cosine of some different pictures."""
    some, config = rows[:16], model.config
    rng, plain = np.random.default_rng(0), AugmentPart()
    pixels = np.stack(
        [augmented(lessons.pictures[row], config.preprocess.size, plain, rng) for row in some]
    )
    device = model.logit_scale.device
    vectors = F.normalize(model.image_features(_prepared(pixels, config, device)).float(), dim=-1)
    count = len(some)
    if count < 2:
        return 0.0
    return float((vectors @ vectors.T).sum() - count) / (count * (count - 1))


def _save(
    path: Path, step: int, trained: dict[str, Any], optimizer: torch.optim.Optimizer, log: _Log
) -> None:
    state = {
        "step": step,
        "weights": {name: p.detach() for name, p in trained.items()},
        "optimizer": optimizer.state_dict(),
        "log": [log.losses, log.norms, log.moved],
    }
    with whole(path) as scratch, scratch.open("xb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())


def _load(
    path: Path | None, trained: dict[str, Any], optimizer: torch.optim.Optimizer, log: _Log
) -> int:
    """Take up a state that was kept; the step to go on with."""
    if path is None or not path.is_file():
        return 0
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise TrainingError(f"{path} cannot be read ({error}). Remove it.") from error
    with torch.no_grad():
        for name, parameter in trained.items():
            parameter.copy_(state["weights"][name])
    optimizer.load_state_dict(state["optimizer"])
    log.losses, log.norms, log.moved = (list(values) for values in state["log"])
    return int(state["step"])
