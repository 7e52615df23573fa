"""What a run does about steps that would do harm: it notes them, puts the weights back, gives up.

What counts as harm is decided in ``guard``. All processes call these functions together.
"""

from __future__ import annotations

import json
from pathlib import Path

from keshin.core.writing import whole
from keshin.errors import TrainingError
from keshin.train.data import Batch
from keshin.train.guard import Trouble
from keshin.train.log import Record, plain
from keshin.train.run import Run
from keshin.train.state import BEFORE, STATE, load_state, save_state

FOLDER = "trouble"
DAMAGED = "state-damaged.pt"


def note_trouble(
    run: Run, batch: Batch, trouble: Trouble, *, loss: float, gradient_norm: float
) -> Record:
    """Write this process's pairs of a step that was left out into ``trouble/``; the event."""
    step, rank = run.state.step, run.world.rank
    name = f"{FOLDER}/step-{step:08}{f'-{rank}' if rank else ''}.json"
    facts: dict[str, float | int | str | None] = {
        "step": step,
        "why": trouble.why,
        "value": trouble.value,
        "usual": trouble.usual,
        "limit": trouble.limit,
    }
    pairs = [
        {"pair": run.pool.name(place), "caption": text}
        for place, text in zip(batch.places, batch.texts, strict=True)
    ]
    noted = plain({**facts, "loss": loss, "gradient_norm": gradient_norm})
    content = {**noted, "pairs": pairs}
    (run.output / FOLDER).mkdir(exist_ok=True)
    with whole(run.output / name) as scratch:
        scratch.write_text(json.dumps(content, ensure_ascii=False, indent=1), encoding="utf-8")
    return {"event": "left out", **facts, "file": name}


def put_back(run: Run) -> Record:
    """Put the weights of a checkpoint back, and go on with the next batch; the event.

    First those of the last checkpoint; the next time, unless all was quiet in between, those of the
    one before. What is decided is in the checkpoint at once, so that a run that is killed here goes
    on as it would have. Raises ``TrainingError`` when the attempts are used up.
    """
    state, recipe, guard = run.state, run.recipe, run.state.guard
    step, attempts = state.step, recipe.guard.attempts
    if guard.put_back >= attempts:
        raise TrainingError(_gives_up(run))
    name = BEFORE if guard.put_back and (run.output / BEFORE).exists() else STATE
    load_state(run.output, state, recipe, run.world, name=name)
    origin, usual = state.step, state.guard
    guard.restart(step, usual)
    state.step, state.guard = step, guard
    run.world.wait()  # all have read what is now replaced
    save_state(run.output, state, recipe, run.world, keep=False)
    return {
        "event": "put back",
        "step": step,
        "weights_of": origin,
        "attempt": guard.put_back,
        "attempts": attempts,
    }


def hurt(run: Run) -> bool:
    """Whether too many steps were left out."""
    return len(run.state.guard.left_out) >= run.recipe.guard.patience


def set_aside(output: Path) -> None:
    """Keep a checkpoint that cannot be read out of the way of the next one."""
    if (output / STATE).exists():
        (output / STATE).replace(output / DAMAGED)


def _gives_up(run: Run) -> str:
    guard, part = run.state.guard, run.recipe.guard
    tried = (
        f"The weights were put back {guard.put_back} times without lasting success. "
        if part.attempts
        else ""
    )
    steps = ", ".join(map(str, guard.left_out[-part.patience :]))
    rate = run.recipe.optim.learning_rate
    return (
        f"Step {run.state.step}: the run is in trouble. {tried}The steps last left out are "
        f"{steps}, because the loss or the gradient was not finite or far from what is usual; "
        f"{run.output / FOLDER} names their pairs. If these are sound, start anew (--restart) with "
        f"a lower optim.learning_rate than {rate:g}, a longer optim.warmup or "
        "optim.max_grad_norm = 1.0. If the values in metrics.jsonl look healthy, raise guard.spike "
        "and start again with the same command to go on."
    )
