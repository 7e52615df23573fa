"""The training loop: steps, log, checkpoints and validation, in their order.

It prints nothing and evaluates nothing itself: each record goes to ``report``, and each validator
gets an encoder.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from keshin.encode.encoder import Encoder
from keshin.train.distributed import World
from keshin.train.distributed import world as connected
from keshin.train.lock import lost
from keshin.train.log import METRICS, Clock, Record, note_skipped, skipped, trim, write
from keshin.train.phases import stream
from keshin.train.recipe import Recipe
from keshin.train.run import Run, encoder, export, prepare
from keshin.train.state import STATE, load_state, save_state
from keshin.train.step import take_step

Report = Callable[[Record], None]
Validator = Callable[[Encoder], Iterable[tuple[str, float]]]


def _silent(record: Record) -> None:
    del record


def train(
    recipe: Recipe,
    output: Path,
    *,
    validators: Sequence[Validator] = (),
    report: Report = _silent,
    restart: bool = False,
) -> Path:
    """Run a recipe to its end, from the last checkpoint in ``output`` if there is one.

    Where ``torchrun`` started several processes, each computes its part of every batch, and the
    first one writes, reports and validates; ``output`` is a folder that all of them see.

    Returns the folder of the finished checkpoint, ``output/model``. Raises ``TrainingError`` if the
    loss is not finite, ``DataError`` and ``RecipeError`` for what cannot be used.
    """
    with connected() as world:
        return _train(
            recipe, output, validators, report if world.first else _silent, restart, world
        )


def _train(
    recipe: Recipe,
    output: Path,
    validators: Sequence[Validator],
    report: Report,
    restart: bool,
    world: World,
) -> Path:
    output.mkdir(parents=True, exist_ok=True)
    if restart and world.first:
        (output / STATE).unlink(missing_ok=True)
    world.wait()
    run = prepare(recipe, output, world)
    resumed = load_state(output, run.state, recipe)
    if world.first:
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
            "processes": world.size,
            **_kept_features(run),
        }
    )
    _loop(run, validators, report)
    model = export(run)
    world.wait()
    return model


def _kept_features(run: Run) -> dict[str, float | int | str]:
    """What the log says where the features of a locked image tower are kept."""
    store = run.pool.kept
    return {} if store is None else {"kept_features": len(store), "lost": lost(run.recipe)}


def _loop(run: Run, validators: Sequence[Validator], report: Report) -> None:
    recipe, state, first = run.recipe, run.state, run.world.first
    loader = stream(run)
    every = recipe.run.validate_every or max(
        1, math.ceil(run.steps / math.ceil(recipe.optim.epochs))
    )

    def note(record: Record) -> None:
        if first:
            write(run.output / METRICS, record)
            report(record)

    clock = Clock()
    for batch in loader:
        clock.data_ready()
        note_skipped(run.output / skipped(run.world.rank), batch)
        record = take_step(run, batch)
        clock.step_done(recipe.optim.batch_size)
        last = state.step == run.steps
        if state.step % recipe.run.log_every == 0 or last:
            note(record | clock.rates(run.steps - state.step))
        if state.step % recipe.run.checkpoint_every == 0 or last:
            save_state(run.output, state, recipe, run.world)
        if validators and (state.step % every == 0 or last):
            note(_validate(run, validators))


def _validate(run: Run, validators: Sequence[Validator]) -> dict[str, float | int | str]:
    view = encoder(run)
    asked = validators if run.world.first else ()
    found = {name: value for validator in asked for name, value in validator(view)}
    return {"event": "validation", "step": run.state.step, **found}
