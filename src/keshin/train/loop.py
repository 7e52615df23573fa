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
from keshin.train.state import BEFORE, STATE, load_state, save_state, settle
from keshin.train.step import take_step
from keshin.train.trouble import hurt, put_back, set_aside

Report = Callable[[Record], None]
Validator = Callable[[Encoder], Iterable[tuple[str, float]]]
Viewer = Callable[[Encoder, int], Iterable[tuple[str, float]]]
"""A validator that is also told the step, to leave something to look at."""


def _silent(record: Record) -> None:
    del record


def train(
    recipe: Recipe,
    output: Path,
    *,
    validators: Sequence[Validator] = (),
    viewers: Sequence[Viewer] = (),
    report: Report = _silent,
    restart: bool = False,
) -> Path:
    """Run a recipe to its end, from the last checkpoint in ``output`` if there is one.

    Where ``torchrun`` started several processes, each computes its part of every batch, and the
    first one writes, reports and validates; ``output`` is a folder that all of them see.

    Returns the folder of the finished checkpoint, ``output/model``. Raises ``TrainingError`` if the
    loss is not finite and putting the weights back does not help (see ``guard``), ``DataError`` and
    ``RecipeError`` for what cannot be used.
    """
    watched: list[Viewer] = [*map(_without_step, validators), *viewers]
    with connected() as world:
        return _train(recipe, output, watched, report if world.first else _silent, restart, world)


def _without_step(validator: Validator) -> Viewer:
    return lambda encoder, step: validator(encoder)


def _train(
    recipe: Recipe,
    output: Path,
    viewers: Sequence[Viewer],
    report: Report,
    restart: bool,
    world: World,
) -> Path:
    output.mkdir(parents=True, exist_ok=True)
    if world.first:
        for name in (STATE, BEFORE) if restart else ():
            (output / name).unlink(missing_ok=True)
        settle(output)
    world.wait()
    run = prepare(recipe, output, world)
    resumed = load_state(output, run.state, recipe, world)
    world.wait()
    if world.first:
        trim(output / METRICS, run.state.step)
        if resumed == BEFORE:
            set_aside(output)
    if not resumed and recipe.guard.attempts:
        save_state(output, run.state, recipe, world)  # something to go back to
    begin: Record = {
        "event": "resume" if resumed else "start",
        "step": run.state.step,
        "steps": run.steps,
        "pairs": sum(size for size, _ in run.pool.sizes),
        "parameters": sum(p.numel() for p in run.state.model.parameters()),
        "chance_loss": math.log(recipe.optim.batch_size),
        "device": str(run.device),
        "processes": world.size,
        **({"file": resumed} if resumed else {}),
        **_kept_features(run),
    }
    if world.first:
        write(output / METRICS, begin)
    report(begin)
    _loop(run, viewers, report)
    model = export(run)
    world.wait()
    return model


def _kept_features(run: Run) -> dict[str, float | int | str]:
    """What the log says where the features of a locked image tower are kept."""
    store = run.pool.kept
    return {} if store is None else {"kept_features": len(store), "lost": lost(run.recipe)}


def _loop(run: Run, viewers: Sequence[Viewer], report: Report) -> None:
    recipe, state, first = run.recipe, run.state, run.world.first
    loader = stream(run)
    every = recipe.run.validate_every or max(
        1, math.ceil(run.steps / math.ceil(recipe.optim.epochs))
    )
    saved = state.step

    def note(record: Record) -> None:
        if first:
            write(run.output / METRICS, record)
            report(record)

    clock = Clock()
    for batch in clock.timed(loader):
        note_skipped(run.output / skipped(run.world.rank), batch)
        record = take_step(run, batch)
        clock.step_done(recipe.optim.batch_size)
        last, taken = state.step == run.steps, "event" not in record
        if not taken:
            note(record)
        elif state.step % recipe.run.log_every == 0 or last:
            note({**record, **clock.rates(run.steps - state.step)})
        due = state.step // recipe.run.checkpoint_every > saved // recipe.run.checkpoint_every
        save = last or (due and taken)
        if hurt(run) or (save and not state.finite(run.world)):
            note(put_back(run))
            saved, save = state.step, False
        if viewers and (state.step % every == 0 or last):
            note(_validate(run, viewers))  # before the checkpoint, so that a kill loses neither
        if save:
            save_state(run.output, state, recipe, run.world)
            saved = state.step


def _validate(run: Run, viewers: Sequence[Viewer]) -> Record:
    view = encoder(run)
    asked = viewers if run.world.first else ()
    found = {name: value for viewer in asked for name, value in viewer(view, run.state.step)}
    return {"event": "validation", "step": run.state.step, **found}
