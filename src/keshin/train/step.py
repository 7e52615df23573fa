"""One optimiser step: a batch to features to losses to gradients."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from keshin.errors import DataError
from keshin.train.data import Batch, Kept, epoch_length
from keshin.train.log import Record, skipped
from keshin.train.loss import contrastive, distillation, sigmoid
from keshin.train.matching import Targets, match
from keshin.train.optim import learning_rate
from keshin.train.passes import Features, Part, Passes, autocast, split, text_groups
from keshin.train.pixels import normalised
from keshin.train.run import Run
from keshin.train.sharding import clip
from keshin.train.trouble import note_trouble


def take_step(run: Run, batch: Batch) -> Record:
    """One optimiser step over a batch; returns the record of the log.

    A step that would do harm is left out: nothing but the count of steps changes, and the record is
    an event that says why (see ``guard``).
    """
    recipe, state = run.recipe, run.state
    rate = learning_rate(state.step, run.steps, recipe.optim)
    for group in state.optimizer.param_groups:
        group["lr"] = rate * group["rate"]
    run.learn()
    before = [(buffer, buffer.clone()) for buffer in state.model.buffers()]
    totals = _gradients(run, batch)
    norms = clip(state.named_parameters(), recipe.optim.max_grad_norm or math.inf, run.world)
    loss, norm = _agreed(run, sum(totals.values()), norms["gradient_norm"])
    chance = math.log(recipe.optim.batch_size)
    trouble = state.guard.judge(loss, norm, chance, recipe.guard)
    if trouble is None:
        state.optimizer.step()
    state.optimizer.zero_grad(set_to_none=True)
    state.step += 1
    if trouble is not None:
        for buffer, value in before:
            buffer.copy_(value)
        state.guard.refuse(state.step, recipe.guard)
        return note_trouble(run, batch, trouble, loss=loss, gradient_norm=norm)
    state.guard.accept(state.step, loss, norm, recipe.guard)
    scale = state.model.logit_scale
    with torch.no_grad():
        scale.clamp_(max=math.log(recipe.loss.max_logit_scale))
    if state.average is not None:
        state.average.update(state.model, state.step - 1)
    return {
        "step": state.step,
        "epoch": state.step * recipe.optim.batch_size / epoch_length(run.pool.sizes),
        **totals,
        "chance_loss": chance,
        "learning_rate": rate,
        **norms,
        "logit_scale": math.exp(float(scale.detach())),
    }


def _agreed(run: Run, loss: float, norm: float) -> tuple[float, float]:
    """The same two numbers for every process: the largest, or not-a-number if one has that."""
    if run.world.size == 1:
        return loss, norm
    finite = math.isfinite(loss), math.isfinite(norm)
    values = [loss if finite[0] else 0.0, norm if finite[1] else 0.0, *(not ok for ok in finite)]
    told = run.world.max(torch.tensor(values, dtype=torch.float64, device=run.device)).tolist()
    return (math.nan if told[2] else told[0], math.nan if told[3] else told[1])


def _gradients(run: Run, batch: Batch) -> dict[str, float]:
    """Add the gradients of one batch to the parameters; the named losses."""
    recipe, world = run.recipe, run.world
    rows, targets = match(batch.drawn, batch.listed, recipe.loss.positives, world, run.device)
    if not any(targets.counts):
        raise DataError(
            f"Step {run.state.step}: none of its {recipe.optim.batch_size} pairs could be used. "
            f"{run.output / skipped(world.rank)} says why, for each."
        )
    texts = [batch.texts[row] for row in rows]
    seen, concepts = _draw_concepts(run, batch)
    passes = Passes(
        run.towers,
        _parts(run, batch, texts + concepts),
        seeds=(recipe.run.seed, run.state.step, world.rank),
        within=partial(autocast, recipe.run.precision, run.device),
        world=world,
    )
    features = passes.features()
    losses = _losses(run, batch, features, targets.to(run.device), seen, len(texts))
    torch.stack(list(losses.values())).sum().backward()  # type: ignore[no-untyped-call]
    passes.backward(features)
    return {name: float(value.detach()) for name, value in losses.items()}


def _parts(run: Run, batch: Batch, texts: list[str]) -> list[Part]:
    """What the towers see at once."""
    tokens, facts = run.tokenizer(texts), run.config.text
    # A tower that may not be trimmed sees the same padding as in ``Encoder.encode_texts``.
    ids = tokens.ids if facts.trims else tokens.pad_to(facts.context_length)
    pictures = len(batch.texts)
    micro = run.recipe.optim.micro_batch or pictures
    count = max(1, math.ceil(pictures / max(1, micro)))
    kept = None if batch.kept is None else look_up(run, batch, batch.kept)

    def pixels(rows: slice) -> Tensor:
        return _normalised(run, batch.pixels[rows]) if kept is None else kept[rows]

    parts = []
    for seen, some in zip(split(len(batch.texts), count), split(len(texts), count), strict=True):
        groups, order = text_groups(
            ids[some], tokens.ends[some], tokens.lengths[some], facts.trims, run.device
        )
        parts.append(Part(seen, some, partial(pixels, seen), groups, order))
    return parts


def _normalised(run: Run, pixels: Tensor) -> Tensor:
    """What the image tower sees of (n, 3, h, w) bytes."""
    facts = run.config.preprocess
    mean, std = (torch.tensor(v, device=run.device).view(3, 1, 1) for v in (facts.mean, facts.std))
    return normalised(pixels.to(run.device), mean, std)


def look_up(run: Run, batch: Batch, kept: Kept) -> Tensor:
    """(B, E) the locked image tower's features of a batch; new ones are computed and kept."""
    store, missing, vectors = run.pool.kept, kept.missing, kept.vectors
    if missing and store is not None:
        found = []
        with torch.no_grad(), autocast(run.recipe.run.precision, run.device):
            at_once = run.recipe.optim.micro_batch or len(missing)
            for top in range(0, len(missing), at_once):
                pixels = _normalised(run, batch.pixels[top : top + at_once])
                found.append(run.state.model.image_features(pixels).float().cpu())
        keys = [kept.keys[row] for row in missing]
        store.add(keys, torch.cat(found).numpy())
        vectors = vectors.copy()
        for row, key in zip(missing, keys, strict=True):
            if (vector := store.get(key)) is not None:  # which was perhaps kept before
                vectors[row] = vector
    return torch.from_numpy(vectors).to(run.device)


def _draw_concepts(run: Run, batch: Batch) -> tuple[Tensor | None, list[str]]:
    """The teacher's log-probabilities of the concepts of this step, and a caption for each.

    Every process draws the same concepts, by what the teacher sees in the whole batch.
    """
    concepts, world = run.concepts, run.world
    if concepts is None:
        return None, []
    taught = batch.teacher if batch.teacher is not None else torch.empty(0, concepts.classes)
    seen = concepts.log_probabilities(taught)
    counted = torch.cat([seen.exp().sum(dim=0), torch.tensor([float(len(seen))])])
    total = world.sum(counted.to(run.device)).cpu()  # GPUs exchange only what lies on them
    if not total[-1]:
        return None, []
    rng = np.random.default_rng((run.recipe.run.seed, 1 << 40, run.state.step))
    columns, captions = concepts.draw(total[:-1] / total[-1], rng)
    return seen[:, columns], captions


def _losses(
    run: Run, batch: Batch, features: Features, targets: Targets, seen: Tensor | None, count: int
) -> dict[str, Tensor]:
    """The named losses of one batch, from the features of its pictures and texts."""
    world, distill = run.world, run.recipe.distill
    images = F.normalize(features["pictures"], dim=-1)
    vectors = F.normalize(features["texts"], dim=-1)
    scale = features["scale"]
    if "bias" in features:
        loss = sigmoid(images, vectors[:count], scale, features["bias"], targets, world)
    else:
        loss = contrastive(images, vectors[:count], scale, targets, world)
    losses = {"loss": loss}
    if distill is None or seen is None:
        return losses
    rows = batch.taught.to(run.device)
    taught = world.sum(torch.tensor(float(len(rows)), device=run.device))
    each = distillation(
        images[rows], vectors[count:], scale, seen.to(run.device), distill.temperature
    )
    losses["distill"] = distill.weight * _shared_sum(each.sum() / taught, run)
    if "guesses" in features and batch.teacher is not None:
        said = torch.softmax(batch.teacher.to(run.device).float(), dim=1)
        each = F.cross_entropy(features["guesses"][rows], said, reduction="none")
        losses["head"] = distill.head * _shared_sum(each.sum() / taught, run)
    return losses


def _shared_sum(part: Tensor, run: Run) -> Tensor:
    """The value over all processes, with the gradient of this one's part."""
    return part + (run.world.sum(part.detach()) - part.detach())
