"""The training loop: steps, log, checkpoints and validation, in their order.

It prints nothing and evaluates nothing itself: each record goes to ``report``, and each validator
gets an encoder.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from keshin.encode.encoder import Encoder
from keshin.train.data import batches
from keshin.train.log import METRICS, SKIPPED, Clock, Record, note_skipped, trim, write
from keshin.train.recipe import Recipe
from keshin.train.run import Run, encoder, export, prepare
from keshin.train.state import STATE, load_state, save_state
from keshin.train.step import take_step

Report = Callable[[Record], None]
Validator = Callable[[Encoder], Iterable[tuple[str, float]]]


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
    trim(output / METRICS, run.state.step)
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


def _loop(run: Run, validators: Sequence[Validator], report: Report) -> None:
    recipe, state = run.recipe, run.state
    accumulate = recipe.optim.accumulate
    loader = batches(run.pool, recipe, state.step * accumulate, run.steps * accumulate)
    every = recipe.run.validate_every or max(
        1, math.ceil(run.steps / math.ceil(recipe.optim.epochs))
    )

    def note(record: Record) -> None:
        write(run.output / METRICS, record)
        report(record)

    clock = Clock()
    stream = iter(loader)
    while state.step < run.steps:
        parts = [next(stream) for _ in range(accumulate)]
        clock.data_ready()
        note_skipped(run.output / SKIPPED, parts)
        record = take_step(run, parts)
        clock.step_done(sum(len(part.captions) for part in parts))
        last = state.step == run.steps
        if state.step % recipe.run.log_every == 0 or last:
            note(record | clock.rates(run.steps - state.step))
        if state.step % recipe.run.checkpoint_every == 0 or last:
            save_state(run.output, state, recipe)
        if validators and (state.step % every == 0 or last):
            note(_validate(run, validators))


def _validate(run: Run, validators: Sequence[Validator]) -> dict[str, float | int | str]:
    view = encoder(run)
    found = {name: value for validator in validators for name, value in validator(view)}
    return {"event": "validation", "step": run.state.step, **found}
