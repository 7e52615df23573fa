"""The training loop: batches to gradients to steps, with a log, checkpoints and validation.

The loop prints nothing and evaluates nothing itself: it hands each record to ``report`` and an
encoder to each validator.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from keshin.core.checkpoint import save_checkpoint
from keshin.core.config import FORMAT, Config
from keshin.core.tokenizer import Tokenizer
from keshin.encode.encoder import Encoder
from keshin.encode.torch_model import CLIP
from keshin.encode.torch_towers import TorchTowers, to_tensors
from keshin.errors import TrainingError
from keshin.train.data import Batch, Pool, batches, fill_template
from keshin.train.loss import contrastive, distillation, match
from keshin.train.optim import WeightAverage, learning_rate, make_optimizer
from keshin.train.recipe import Recipe
from keshin.train.state import STATE, State, load_state, save_state
from keshin.train.teacher import Concepts

Record = Mapping[str, float | int | str]
Report = Callable[[Record], None]
Validator = Callable[[Encoder], Iterable[tuple[str, float]]]

TEXT_GROUP = 96
"""Captions of similar length that are encoded together while training."""
METRICS, SKIPPED, MODEL = "metrics.jsonl", "skipped.txt", "model"


@dataclass
class Run:
    """Everything that is set up once for a run."""

    recipe: Recipe
    output: Path
    pool: Pool
    tokenizer: Tokenizer
    config: Config
    concepts: Concepts | None
    device: torch.device
    state: State

    @property
    def steps(self) -> int:
        """Optimiser steps of the whole run."""
        optim = self.recipe.optim
        pairs = optim.epochs * sum(int(size * repeat) for size, repeat in self.pool.sizes)
        return max(1, int(pairs / (optim.batch_size * optim.accumulate)))


def train(
    recipe: Recipe,
    output: Path,
    *,
    validators: Sequence[Validator] = (),
    report: Report = lambda record: None,
    restart: bool = False,
) -> Path:
    """Run a recipe to its end, from the last checkpoint in ``output`` if there is one.

    Returns the folder of the finished checkpoint, ``output/model``. Raises ``TrainingError`` if the
    loss is not finite, ``DataError`` and ``RecipeError`` for what cannot be used.
    """
    output.mkdir(parents=True, exist_ok=True)
    if restart:
        (output / STATE).unlink(missing_ok=True)
    run = prepare(recipe, output)
    resumed = load_state(output, run.state, recipe)
    _trim_metrics(output / METRICS, run.state.step)
    report(
        {
            "event": "resume" if resumed else "start",
            "step": run.state.step,
            "steps": run.steps,
            "pairs": sum(size for size, _ in run.pool.sizes),
            "parameters": sum(p.numel() for p in run.state.model.parameters()),
            "chance_loss": math.log(recipe.optim.batch_size),
            "device": str(run.device),
        }
    )
    _loop(run, validators, report)
    return export(run)


def prepare(recipe: Recipe, output: Path) -> Run:
    """Open the data, learn or load the tokenizer, make the model and the optimiser."""
    if recipe.run.threads:
        torch.set_num_threads(recipe.run.threads)
    torch.manual_seed(recipe.run.seed)
    pool = Pool(recipe)
    text = recipe.model.text
    if recipe.tokenizer.kind == "clip":
        tokenizer = Tokenizer.clip(text.context_length)
    else:
        extra = recipe.distill.templates + recipe.distill.templates_ja if recipe.distill else ()
        tokenizer = Tokenizer.train(
            [*pool.captions(), *extra], text.vocab_size, text.context_length
        )
    config = Config(
        format=FORMAT,
        name=recipe.name,
        embed_dim=recipe.model.embed_dim,
        vision=recipe.model.vision,
        text=text,
        tokenizer=tokenizer.facts,
        preprocess=recipe.model.preprocess,
        score=recipe.model.score,
        licence=recipe.licence,
        source=recipe.source,
    )
    device = _device(recipe.run.device)
    model = CLIP(config).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    if recipe.run.recompute:
        model.recompute()
    average = WeightAverage(model, recipe.optim.average) if recipe.optim.average else None
    state = State(model, make_optimizer(model, recipe.optim), average)
    concepts = Concepts(recipe.distill) if recipe.distill else None
    return Run(recipe, output, pool, tokenizer, config, concepts, device, state)


def _device(name: str) -> torch.device:
    if name != "auto":
        return torch.device(name)
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def autocast(precision: str, device: torch.device) -> torch.autocast:
    """bfloat16 where the recipe asks for it, or where the device computes it natively."""
    if precision == "auto":
        native = {
            "cuda": torch.cuda.is_available() and torch.cuda.is_bf16_supported(),
            "cpu": torch.ops.mkldnn._is_mkldnn_bf16_supported(),
        }.get(device.type, False)
        precision = "bf16" if native else "fp32"
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")


def _loop(run: Run, validators: Sequence[Validator], report: Report) -> None:
    recipe, state = run.recipe, run.state
    accumulate = recipe.optim.accumulate
    loader = batches(run.pool, recipe, state.step * accumulate, run.steps * accumulate)
    every = recipe.run.validate_every or max(
        1, math.ceil(run.steps / math.ceil(recipe.optim.epochs))
    )
    clock = Clock(recipe.run.log_every)
    stream = iter(loader)
    while state.step < run.steps:
        parts = [next(stream) for _ in range(accumulate)]
        clock.data_ready()
        record = _step(run, parts)
        clock.step_done(sum(len(part.captions) for part in parts))
        _note_skipped(run.output / SKIPPED, parts)
        last = state.step == run.steps
        if state.step % recipe.run.log_every == 0 or last:
            _write(run, record | clock.rates(run.steps - state.step), report)
        if validators and (state.step % every == 0 or last):
            _write(run, _validate(run, validators), report)
        if state.step % recipe.run.checkpoint_every == 0 or last:
            save_state(run.output, state, recipe)


class Clock:
    """Throughput, share of time spent waiting for data, time left."""

    def __init__(self, window: int) -> None:
        self.window = window
        self.mark = self.began = time.perf_counter()
        self.waited, self.pairs, self.steps = 0.0, 0, 0

    def data_ready(self) -> None:
        self.waited += time.perf_counter() - self.mark

    def step_done(self, pairs: int) -> None:
        self.mark = time.perf_counter()
        self.pairs += pairs
        self.steps += 1

    def rates(self, steps_left: int) -> dict[str, float]:
        """Since the last call; seconds left at this pace."""
        elapsed = max(1e-9, time.perf_counter() - self.began)
        found = {
            "pairs_per_second": self.pairs / elapsed,
            "data_wait": self.waited / elapsed,
            "seconds_left": steps_left * elapsed / max(1, self.steps),
        }
        self.began = time.perf_counter()
        self.waited, self.pairs, self.steps = 0.0, 0, 0
        return found


def _step(run: Run, parts: Sequence[Batch]) -> dict[str, float | int | str]:
    """One optimiser step over the given batches; returns the record of the log."""
    recipe, state = run.recipe, run.state
    rate = learning_rate(state.step, run.steps, recipe.optim)
    for group in state.optimizer.param_groups:
        group["lr"] = rate
    state.model.train()
    rng = np.random.default_rng((recipe.run.seed, 1 << 40, state.step))
    totals = dict[str, float]()
    for part in parts:
        if len(part.captions) < 2:
            continue
        losses = _losses(run, part, rng)
        loss = torch.stack(list(losses.values())).sum()
        (loss / len(parts)).backward()  # type: ignore[no-untyped-call]
        for name, value in losses.items():
            totals[name] = totals.get(name, 0.0) + float(value.detach()) / len(parts)
    limit = recipe.optim.max_grad_norm or math.inf
    norm = float(torch.nn.utils.clip_grad_norm_(state.model.parameters(), limit))
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
        "epoch": pairs / sum(int(size * repeat) for size, repeat in run.pool.sizes),
        **totals,
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
    columns, teacher = None, None
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
    images, vectors = (F.normalize(x.float(), dim=-1) for x in (pictures, vectors))
    scale, count = model.logit_scale.exp(), len(captions)
    losses = {"loss": contrastive(images, vectors[:count], scale, targets.to(run.device))}
    if recipe.distill is not None and teacher is not None:
        taught = images[batch.taught.to(run.device)]
        losses["distill"] = recipe.distill.weight * distillation(
            taught, vectors[count:], scale, teacher.to(run.device), recipe.distill.temperature
        )
    return losses


def _text_features(run: Run, texts: list[str]) -> Tensor:
    """(T, E) features; a causal tower runs in groups of similar length, which changes nothing."""
    tokens = run.tokenizer(texts)
    groups = [np.arange(len(texts))]
    if run.config.text.causal:
        order = np.argsort(tokens.lengths, kind="stable")
        groups = np.array_split(order, max(1, len(texts) // TEXT_GROUP))
    rows = []
    for group in groups:
        ids = torch.from_numpy(tokens.ids[group, : tokens.lengths[group].max()]).to(run.device)
        ends = torch.from_numpy(tokens.ends[group]).to(run.device)
        rows.append(run.state.model.text_features(ids, ends))
    back = torch.from_numpy(np.argsort(np.concatenate(groups))).to(run.device)
    return torch.cat(rows)[back]


def averaged(run: Run) -> CLIP:
    """The model whose weights are the moving average, or the model itself without one."""
    if run.state.average is None:
        return run.state.model
    model = CLIP(run.config).to(run.device)
    model.load_state_dict(run.state.average.tensors)
    return model


def encoder(run: Run) -> Encoder:
    """The model as it stands, in evaluation mode, for validators."""
    model = averaged(run).eval()
    scale = float(model.logit_scale.detach().exp())
    return Encoder(run.config, run.tokenizer, TorchTowers(model, run.device), scale)


def _validate(run: Run, validators: Sequence[Validator]) -> dict[str, float | int | str]:
    view = encoder(run)
    found = {name: value for validator in validators for name, value in validator(view)}
    return {"event": "validation", "step": run.state.step, **found}


def export(run: Run) -> Path:
    """Write the finished checkpoint to ``output/model``."""
    tensors = to_tensors(averaged(run))
    if run.recipe.run.export == "fp16":
        tensors = {n: t.astype(np.float16) if t.ndim >= 2 else t for n, t in tensors.items()}
    return save_checkpoint(run.output / MODEL, run.config, tensors, run.tokenizer)


def _write(run: Run, record: Record, report: Report) -> None:
    with (run.output / METRICS).open("a", encoding="utf-8") as file:
        file.write(json.dumps(record, ensure_ascii=False) + "\n")
    report(record)


def _note_skipped(path: Path, parts: Sequence[Batch]) -> None:
    bad = [name for part in parts for name in part.bad]
    if bad:
        known = set(path.read_text(encoding="utf-8").splitlines()) if path.exists() else set()
        with path.open("a", encoding="utf-8") as file:
            file.writelines(f"{name}\n" for name in dict.fromkeys(bad) if name not in known)


def _trim_metrics(path: Path, step: int) -> None:
    """Drop records of steps after the checkpoint that is resumed; they will come again."""
    if not path.exists():
        return
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            if json.loads(line)["step"] <= step:
                kept.append(line)
        except (ValueError, KeyError):
            continue  # a line that a crash cut short
    temporary = path.with_suffix(".tmp")
    temporary.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")
    temporary.replace(path)
