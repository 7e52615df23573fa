"""A plan of a run: parameters, work, memory, exchanges, pace, hours and cost."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import msgspec
import numpy as np
import torch
from msgspec.structs import replace

from keshin.encode.torch_model import CLIP
from keshin.errors import RecipeError
from keshin.train.data import draw_caption, epoch_length, fill_template
from keshin.train.lock import lock
from keshin.train.order import Order
from keshin.train.passes import autocast, text_groups
from keshin.train.plan.answer import Length, Operations, Plan, Question, Travel
from keshin.train.plan.counts import Counts, count
from keshin.train.plan.exchange import Exchange, Shape, exchanges, step_time
from keshin.train.plan.history import past_runs
from keshin.train.plan.memory import Sizes, memory
from keshin.train.plan.pace import Pace, measure
from keshin.train.plan.work import TextShapes, Work, trace
from keshin.train.recipe import Recipe
from keshin.train.run import Opened, device_of, open_recipe, plain_attention, set_up
from keshin.train.teacher import Concepts

SAMPLE = 4096
"""Captions that are looked at."""
ROOM = 0.8
"""Share of the memory that is free which a measurement may plan to take."""
HOUR = 3600.0


def make_plan(
    recipe: Recipe,
    question: Question | None = None,
    *,
    progress: Callable[[int, int], None] = lambda done, steps: None,
) -> Plan:
    """Plan a run of ``recipe``; writes nothing. Raises ``RecipeError`` and ``DataError``."""
    question = Question() if question is None else question
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise RecipeError("A plan is made by one process: leave out torchrun, and name --devices.")
    whole = recipe.optim.batch_size
    if whole % question.devices:
        raise RecipeError(
            f"optim.batch_size is {whole}, which {question.devices} devices cannot share evenly. "
            "Name a number of devices that divides it."
        )
    part = _Part(recipe, open_recipe(recipe), question)
    planned = memory(part.work, part.sizes)
    waiting = _waiting(recipe, part.pairs)
    lacking = _lacking(part.device, planned.total + waiting)
    pace = None
    if question.steps and lacking is None:
        optim = replace(recipe.optim, batch_size=part.pairs)
        alone = replace(recipe, optim=optim, run=replace(recipe.run, shard=False))
        pace = measure(alone, part.opened, steps=question.steps, progress=progress)
    operations = part.operations(whole)
    rows = exchanges(part.shape, question.devices)
    return Plan(
        name=recipe.name,
        devices=question.devices,
        batch=whole,
        batch_of_a_device=part.pairs,
        micro_batches=part.parts,
        caption_tokens=part.tokens,
        distinct_captions=part.distinct,
        parameters=_parameters(part.counts),
        operations=operations,
        memory=msgspec.structs.asdict(planned),
        memory_total=planned.total,
        pictures_waiting=waiting,
        checkpoint=_checkpoint(part.counts, averaged=bool(recipe.optim.average)),
        measured=pace,
        measured_flops=None
        if pace is None
        else pace.samples_per_second * part.operations(part.pairs).total,
        not_measured=lacking if question.steps else "no step was asked for",
        cores_for_decoding=None if pace is None else pace.samples_per_second * pace.decoding,
        exchanges=[
            Travel(what=row.what, kind=row.kind, sent=row.sent(question.devices)) for row in rows
        ],
        length=_length(part, question, pace, operations.total, rows),
        paper=past_runs(),
    )


class _Part:
    """What one device does in a step."""

    def __init__(self, recipe: Recipe, opened: Opened, question: Question) -> None:
        self.recipe, self.opened = recipe, opened
        optim = recipe.optim
        self.pairs = optim.batch_size // question.devices
        micro = optim.micro_batch or self.pairs
        self.parts = -(-self.pairs // micro)
        self.device = device_of(recipe)
        concepts = Concepts(recipe.distill) if recipe.distill else None
        self.concepts = len(concepts.pairs) if concepts else 0
        classes = concepts.classes if concepts and concepts.recipe.head else 0
        other = question.flops is not None or question.rate is not None
        prepared = partial(_prepared, recipe=recipe)
        self.counts: Counts = count(opened.config, set_up=prepared, classes=classes)
        texts = self._texts(min(recipe.distill.draw, self.concepts) if recipe.distill else 0)
        self.tokens = sum(n * length for n, length in texts) / sum(n for n, _ in texts)
        self.groups = len(texts)
        self.pass_pairs = -(-self.pairs // self.parts)
        self.work: Work = trace(
            opened.config,
            self.pass_pairs,
            texts,
            set_up=prepared,
            classes=classes,
            plain=plain_attention(recipe, self.device) and not other,
            half=_half(recipe, self.device, other),
        )
        everyone = round(self.distinct * self.pairs) * question.devices
        c = self.counts
        self.sizes = Sizes(
            parameters=c.parameters,
            buffers=c.buffers,
            trained=c.trained,
            largest_block=c.largest_block,
            outside_blocks=c.outside_blocks,
            pairs=self.pairs,
            texts=round(self.distinct * self.pairs),
            all_texts=everyone,
            embed_dim=opened.config.embed_dim,
            devices=question.devices,
            parts=self.parts,
            averaged=bool(optim.average),
            sharded=recipe.run.shard,
            processor=self.device.type == "cpu" and not other,
        )
        self.shape = Shape(
            parameters=c.trained,
            texts=everyone,
            embed_dim=opened.config.embed_dim,
            sigmoid=opened.config.score.kind == "sigmoid",
            sharded=recipe.run.shard,
            parts=self.parts,
            image_blocks=c.image_blocks,
            text_blocks=c.text_blocks,
            text_groups=self.groups,
            concepts=self.concepts,
        )

    def _texts(self, more: int) -> TextShapes:
        """Groups of captions of one pass, as the data's own captions make them; ``more``: of a
        teacher's concepts."""
        recipe, tokenizer, facts = self.recipe, self.opened.tokenizer, self.opened.config.text
        captions = list(_captions(recipe, self.opened, min(self.pairs, SAMPLE)))
        distinct = list(dict.fromkeys(captions))
        if recipe.loss.positives == "pair":
            distinct = captions
        self.distinct = len(distinct) / len(captions)
        tokens = tokenizer(distinct)
        ids = tokens.ids if facts.trims else tokens.pad_to(facts.context_length)
        number = -(-(round(self.distinct * self.pairs) + more) // self.parts)
        rows = np.resize(np.arange(len(distinct)), number)
        groups, _ = text_groups(
            ids[rows], tokens.ends[rows], tokens.lengths[rows], facts.trims, torch.device("cpu")
        )
        return [(int(found.shape[0]), int(found.shape[1])) for found, _ in groups]

    def operations(self, against: int) -> Operations:
        """For one sample of a batch whose captions number ``against`` pairs."""
        work, pairs = self.work, self.pass_pairs
        repeated = work.forward / pairs * (self.parts - 1) / self.parts
        texts = self.distinct * against
        # Logits twice, and their products with pictures and with texts (loss.py).
        loss = 8 * texts * self.opened.config.embed_dim
        forward = work.image_forward + work.text_forward
        return Operations(
            image_forward=work.image_forward / pairs,
            text_forward=work.text_forward / pairs,
            backward=(work.backward + work.forward - forward) / pairs,
            repeated=repeated,
            loss=loss,
            total=(work.forward + work.backward) / pairs + repeated + loss,
        )


def _prepared(model: CLIP, recipe: Recipe) -> None:
    """As ``run.prepare`` leaves the model: what is locked learns nothing."""
    set_up(model, recipe)
    for module in lock(model, recipe.lock):
        module.eval()


def _captions(recipe: Recipe, opened: Opened, number: int) -> Iterator[str]:
    """The captions of the first pairs of the run, drawn as the loader draws; no picture is
    decoded."""
    pool = opened.pool
    order = Order(pool.extents, recipe.optim.batch_size, recipe.run.seed, window=recipe.data.window)
    for epoch, part, row, again in order.places(0, number):
        source, pairs = pool.parts[part]
        pair = pairs[row]
        if pair.captions:
            rng = np.random.default_rng((recipe.run.seed, epoch, part, row, again))
            yield fill_template(draw_caption(pair, rng), source, rng)


def _half(recipe: Recipe, device: torch.device, other: bool) -> bool:
    """Whether the towers run under bfloat16; a device of another kind is taken to have it."""
    if other and recipe.run.precision == "auto":
        return True
    return bool(autocast(recipe.run.precision, device)._enabled)


def _parameters(counts: Counts) -> dict[str, int]:
    return {
        "image": counts.image,
        "text": counts.text,
        "other": counts.other,
        "total": counts.parameters,
        "trained": counts.trained,
    }


def _waiting(recipe: Recipe, pairs: int) -> int:
    """Bytes of the batches that the loader has ready or in work, and of the one in use."""
    height, width = recipe.model.preprocess.size
    return (1 + max(1, 4 * recipe.data.workers)) * pairs * 3 * height * width


def _checkpoint(counts: Counts, *, averaged: bool) -> int:
    whole = counts.parameters + counts.buffers
    return 4 * (whole * (1 + averaged) + 2 * counts.trained)


def _lacking(device: torch.device, wanted: int) -> str | None:
    """Why the steps cannot be measured here."""
    free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else _available()
    if wanted <= ROOM * free:
        return None
    return (
        f"the step is planned to take {wanted / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free "
        "here: plan for more devices, set optim.micro_batch, or state --flops or --rate"
    )


def _available() -> float:
    """Bytes of memory that a new program may take; all that exists where nobody says."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        return next(float(ln.split()[1]) * 1024 for ln in lines if ln.startswith("MemAvailable"))
    except (OSError, StopIteration):
        return float("inf")


def _length(
    part: _Part, question: Question, pace: Pace | None, operations: float, rows: list[Exchange]
) -> Length | None:
    """Hours and cost; ``None`` where nothing says how fast a device is."""
    if question.rate is not None:
        seconds, by = part.pairs / question.rate, "the rate stated"
    elif question.flops is not None:
        seconds, by = part.pairs * operations / question.flops, "the operations a second stated"
    elif pace is not None:
        # The loss of the whole batch has more columns than the one measured.
        more = operations / part.operations(part.pairs).total
        seconds, by = pace.seconds * more, "the steps measured here"
    else:
        return None
    waiting = None
    if question.bandwidth is not None or question.devices == 1:
        time = step_time(rows, question.devices, seconds, question.bandwidth or 1.0)
        seconds, waiting = time.seconds, time.waited / time.seconds
    recipe = part.recipe
    samples = question.samples
    if samples is None:
        samples = recipe.optim.epochs * epoch_length(part.opened.pool.sizes)
    steps = samples / recipe.optim.batch_size
    hours = steps * seconds / HOUR
    spent = hours * question.devices
    return Length(
        samples=samples,
        steps=steps,
        samples_per_second=recipe.optim.batch_size / seconds,
        by=by,
        waiting=waiting,
        hours=hours,
        device_hours=spent,
        cost=None if question.price is None else spent * question.price,
    )
