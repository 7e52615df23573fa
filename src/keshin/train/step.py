"""One optimiser step: batches to losses to gradients."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import nullcontext

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from keshin.errors import DataError, TrainingError
from keshin.train.data import Batch, epoch_length, fill_template
from keshin.train.log import SKIPPED
from keshin.train.loss import contrastive, distillation, match
from keshin.train.optim import learning_rate
from keshin.train.run import Run

TEXT_GROUP = 96
"""Captions of similar length that are encoded together."""


def take_step(run: Run, parts: Sequence[Batch]) -> dict[str, float | int | str]:
    """One optimiser step over the given batches; returns the record of the log."""
    recipe, state = run.recipe, run.state
    rate = learning_rate(state.step, run.steps, recipe.optim)
    for group in state.optimizer.param_groups:
        group["lr"] = rate
    if not any(part.captions for part in parts):
        raise DataError(
            f"Step {state.step}: none of its {sum(len(part.bad) for part in parts)} pairs could be "
            f"used. {run.output / SKIPPED} says why, for each."
        )
    state.model.train()
    rng = np.random.default_rng((recipe.run.seed, 1 << 40, state.step))
    totals = dict[str, float]()
    for part in parts:
        if len(part.captions) < 2:  # nothing to tell apart
            continue
        losses = _losses(run, part, rng)
        loss = torch.stack(list(losses.values())).sum()
        (loss / len(parts)).backward()  # type: ignore[no-untyped-call]
        for name, value in losses.items():
            totals[name] = totals.get(name, 0.0) + float(value.detach()) / len(parts)
    limit = recipe.optim.max_grad_norm or math.inf
    norm = float(torch.nn.utils.clip_grad_norm_(list(state.parameters()), limit))
    if not math.isfinite(norm) or not all(map(math.isfinite, totals.values())):
        raise TrainingError(
            f"Step {state.step}: the loss ({totals}) or the gradient norm ({norm}) is not finite. "
            f"The checkpoint in {run.output} is from before; lower optim.learning_rate or set "
            "optim.max_grad_norm = 1.0 and start again."
        )
    state.optimizer.step()
    state.optimizer.zero_grad(set_to_none=True)
    scale = state.model.logit_scale
    with torch.no_grad():
        scale.clamp_(max=math.log(recipe.loss.max_logit_scale))
    if state.average is not None:
        state.average.update(state.model, state.step)
    state.step += 1
    pairs = state.step * recipe.optim.batch_size * recipe.optim.accumulate
    return {
        "step": state.step,
        "epoch": pairs / epoch_length(run.pool.sizes),
        **totals,
        "chance_loss": math.log(recipe.optim.batch_size),
        "learning_rate": rate,
        "gradient_norm": norm,
        "logit_scale": math.exp(float(scale.detach())),
    }


def _losses(run: Run, batch: Batch, rng: np.random.Generator) -> dict[str, Tensor]:
    """The named losses of one batch."""
    recipe, model = run.recipe, run.state.model
    captions, targets = match(batch.captions, batch.listed, recipe.loss.positives)
    source_of = dict(zip(batch.captions, batch.sources, strict=True))
    texts = [fill_template(c, run.pool.parts[source_of[c]][0], rng) for c in captions]
    teacher = None
    if run.concepts is not None and batch.teacher is not None:
        seen = run.concepts.log_probabilities(batch.teacher)
        columns, more = run.concepts.draw(seen, rng)
        teacher = seen[:, columns]
        texts += more
    facts = run.config.preprocess
    mean, std = (torch.tensor(v, device=run.device).view(3, 1, 1) for v in (facts.mean, facts.std))
    pixels = (batch.pixels.to(run.device).float() / 255 - mean) / std
    with autocast(recipe.run.precision, run.device):
        pictures = model.image_features(pixels.contiguous(memory_format=torch.channels_last))
        vectors = _text_features(run, texts)
    pictures = pictures.float()
    images, vectors = F.normalize(pictures, dim=-1), F.normalize(vectors.float(), dim=-1)
    scale, count = model.logit_scale.exp(), len(captions)
    losses = {"loss": contrastive(images, vectors[:count], scale, targets.to(run.device))}
    if recipe.distill is not None and teacher is not None:
        taught = images[batch.taught.to(run.device)]
        losses["distill"] = recipe.distill.weight * distillation(
            taught, vectors[count:], scale, teacher.to(run.device), recipe.distill.temperature
        )
    if recipe.distill is not None and run.state.head is not None and batch.teacher is not None:
        guesses = run.state.head(pictures[batch.taught.to(run.device)])
        said = torch.softmax(batch.teacher.to(run.device).float(), dim=1)
        losses["head"] = recipe.distill.head * F.cross_entropy(guesses, said)
    return losses


def _text_features(run: Run, texts: list[str]) -> Tensor:
    """(T, E) features, in groups of similar length; a tower that may not be trimmed sees the same
    padding as in ``Encoder.encode_texts``.
    """
    tokens, facts = run.tokenizer(texts), run.config.text
    padded = tokens.ids if facts.trims else tokens.pad_to(facts.context_length)
    order = np.argsort(tokens.lengths, kind="stable")
    groups = np.array_split(order, max(1, len(texts) // TEXT_GROUP))
    # Captions are short: on a processor plain products beat the fused attention (decisions.md).
    # Recomputation must meet the same kernel again, and it happens outside of this function.
    short = run.device.type == "cpu" and not run.recipe.run.recompute
    plain = sdpa_kernel(SDPBackend.MATH) if short else nullcontext()
    rows = []
    with plain:
        for group in groups:
            length = int(tokens.lengths[group].max()) if facts.trims else facts.context_length
            ids = torch.from_numpy(padded[group, :length]).to(run.device)
            ends = torch.from_numpy(tokens.ends[group]).to(run.device)
            rows.append(run.state.model.text_features(ids, ends))
    back = torch.from_numpy(np.argsort(np.concatenate(groups))).to(run.device)
    return torch.cat(rows)[back]


def autocast(precision: str, device: torch.device) -> torch.autocast:
    """bfloat16 where the recipe asks for it, or where the device computes it natively."""
    if precision == "auto":
        native = {
            "cuda": torch.cuda.is_available() and torch.cuda.is_bf16_supported(),
            "cpu": torch.ops.mkldnn._is_mkldnn_bf16_supported(),
        }.get(device.type, False)
        precision = "bf16" if native else "fp32"
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")
