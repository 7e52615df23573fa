"""Steps that would do harm are left out, weights that are hurt are put back, and a run that was
killed in the middle of this goes on as it would have."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("pyarrow")

from keshin.core.checkpoint import load_checkpoint  # noqa: E402
from keshin.errors import TrainingError  # noqa: E402
from keshin.train import state as states  # noqa: E402
from keshin.train import step as steps  # noqa: E402
from keshin.train.guard import Guard, guard_of  # noqa: E402
from keshin.train.loop import train  # noqa: E402
from keshin.train.recipe import GuardPart, Recipe, read_recipe  # noqa: E402
from shapes import write_recipe  # noqa: E402

PART = GuardPart(window=8)
Harm = Callable[[object, dict[str, float]], dict[str, float]]


def recipe_in(folder: Path, guard: str = "window = 16", **changes: str) -> Recipe:
    path = write_recipe(folder, **{"epochs": "10", "checkpoint_every": "5", **changes})
    path.write_text(path.read_text(encoding="utf-8") + f"[guard]\n{guard}\n", encoding="utf-8")
    return read_recipe(path)


def records(folder: Path) -> list[dict]:
    lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line, parse_constant=lambda name: pytest.fail(name)) for line in lines]


def events(folder: Path, *kinds: str) -> list[dict]:
    return [r for r in records(folder) if r.get("event") in kinds]


def weights(folder: Path) -> dict[str, np.ndarray]:
    tensors = load_checkpoint(folder / "model").tensors
    return {name: np.array(tensors.read(name)) for name in tensors.infos}


def same(one: Path, two: Path) -> bool:
    ours, theirs = weights(one), weights(two)
    return all(np.array_equal(ours[name], theirs[name]) for name in theirs)


@pytest.fixture
def harm(monkeypatch):
    """Do something to a run after the gradients of some steps (counted from 0) are known."""

    def do(what: Callable, at: Iterable[int]) -> None:
        real, chosen = steps._gradients, set(at)

        def faulty(run, batch):
            totals = real(run, batch)
            return what(run, totals) if run.state.step in chosen else totals

        monkeypatch.setattr(steps, "_gradients", faulty)

    return do


def nothing_known(run, totals):
    return {**totals, "loss": math.nan}


def steep(run, totals):
    for _, parameter in run.state.named_parameters():
        parameter.grad.mul_(1e4)
    return totals


def hurt(run, totals):
    """The weights become useless, as by a bad update that nobody noticed."""
    with torch.no_grad():
        for _, parameter in run.state.named_parameters():
            parameter.fill_(math.nan)
    return totals


def filled(values: Iterable[float] = (1.0,) * 8) -> Guard:
    guard = Guard()
    for step, value in enumerate(values):
        guard.accept(step, 2 + value / 100, value, PART)
    return guard


def test_what_is_unusual() -> None:
    guard = filled()
    assert guard.judge(2.0, 1.0, 4.0, PART) is None
    assert guard.judge(2.0, 9.9, 4.0, PART) is None
    assert guard.judge(2.7, 1.0, 4.0, PART) is None  # 10 x 2 % of ln(batch) is 0.8
    steep, high = guard.judge(2.0, 10.1, 4.0, PART), guard.judge(2.9, 1.0, 4.0, PART)
    assert (steep.why, steep.usual, steep.limit) == ("gradient norm", 1.0, 10.0)
    assert (high.why, high.value) == ("loss", 2.9)
    assert guard.judge(0.0, 0.0, 4.0, PART) is None  # lower is never too low


@pytest.mark.parametrize("values", [(math.nan, 1.0), (math.inf, 1.0), (1.0, math.nan)])
def test_what_is_not_finite_is_trouble_from_the_first_step(values: tuple[float, float]) -> None:
    assert Guard().judge(*values, 4.0, PART).why == "not finite"
    assert filled().judge(*values, 4.0, GuardPart(spike=0)).why == "not finite"


def test_nothing_is_unusual_before_anything_is_usual() -> None:
    assert Guard().judge(9.0, 1e6, 4.0, PART) is None
    assert filled().judge(9.0, 1e6, 4.0, GuardPart(spike=0, window=8)) is None


def test_a_loss_that_falls_does_not_hide_a_spike() -> None:
    guard, part = Guard(), GuardPart(window=128)
    rng = np.random.default_rng(0)
    for step in range(128):
        loss = 4 - 3 * step / 128 + rng.normal(0, 0.05)
        assert guard.judge(loss, 1.0, 4.0, part) is None
        guard.accept(step, loss, 1.0, part)
    assert guard.judge(1.9, 1.0, 4.0, part) is None
    assert guard.judge(2.3, 1.0, 4.0, part).why == "loss"


def test_a_spike_does_not_become_usual() -> None:
    guard = filled()
    for step in range(8, 12):
        assert guard.judge(2.0, 1e6, 4.0, PART)
        guard.refuse(step, PART)
    assert guard.left_out == [8, 9, 10, 11]
    guard.refuse(17, PART)
    assert guard.left_out == [10, 11, 17]


def test_a_quiet_window_forgives() -> None:
    guard = filled()
    guard.restart(8, filled())
    for step in range(9, 16):
        guard.accept(step, 2.0, 1.0, PART)
    assert guard.put_back == 1
    guard.accept(16, 2.0, 1.0, PART)
    assert guard.put_back == 0


def test_a_guard_survives_its_checkpoint(tmp_path: Path) -> None:
    guard = filled()
    guard.refuse(9, PART)
    guard.restart(10, filled([2.0] * 8))
    torch.save({"guard": guard.values()}, tmp_path / "x.pt")
    again = guard_of(torch.load(tmp_path / "x.pt", weights_only=True)["guard"])
    assert again.values() == guard.values()
    assert guard_of(None).values() == Guard().values()


def test_a_healthy_run_is_bitwise_the_same_with_and_without(tmp_path: Path) -> None:
    train(recipe_in(tmp_path, "spike = 0\nattempts = 0"), tmp_path / "without")
    train(recipe_in(tmp_path, ""), tmp_path / "with")
    assert same(tmp_path / "with", tmp_path / "without")
    assert not events(tmp_path / "with", "left out", "put back")
    assert not (tmp_path / "without" / "state-before.pt").exists()


@pytest.mark.parametrize(("what", "why"), [(nothing_known, "not finite"), (steep, "gradient norm")])
def test_one_bad_step_is_left_out_and_its_pairs_are_named(tmp_path, harm, what, why) -> None:
    recipe = recipe_in(tmp_path)
    whole, run = tmp_path / "whole", tmp_path / "run"
    train(recipe, whole)
    harm(what, [12])
    train(recipe, run)
    (event,) = events(run, "left out")
    assert (event["step"], event["why"]) == (13, why)
    noted = json.loads((run / event["file"]).read_text(encoding="utf-8"))
    assert noted["why"] == why
    assert len(noted["pairs"]) == 12
    assert "pairs.parquet, row" in noted["pairs"][0]["pair"]
    assert noted["pairs"][0]["caption"]
    curve = [[r["loss"] for r in records(f) if "loss" in r] for f in (whole, run)]
    assert curve[0][:12] == curve[1][:12]
    assert len(curve[1]) == 29
    assert not events(run, "put back")


def test_batch_statistics_of_a_step_that_is_left_out_are_forgotten(tmp_path, harm) -> None:
    recipe = recipe_in(tmp_path)
    seen = {}

    def poisoned(run, totals):
        seen["buffer"] = run.state.model.get_buffer("mean")
        seen["buffer"].fill_(math.nan)
        return nothing_known(run, totals)

    from keshin.encode.torch_model import CLIP

    real = CLIP.__init__

    def with_buffer(self, config):
        real(self, config)
        self.register_buffer("mean", torch.ones(3), persistent=False)

    pytest.MonkeyPatch().setattr(CLIP, "__init__", with_buffer)
    try:
        harm(poisoned, [3])
        train(recipe, tmp_path / "run")
    finally:
        CLIP.__init__ = real
    assert seen["buffer"].tolist() == [1, 1, 1]


def test_hurt_weights_are_put_back_and_the_run_goes_on(tmp_path, harm) -> None:
    recipe, run = recipe_in(tmp_path), tmp_path / "run"
    harm(hurt, [11])
    train(recipe, run)
    assert [e["step"] for e in events(run, "left out")] == [13, 14, 15]
    (back,) = events(run, "put back")
    assert (back["step"], back["weights_of"], back["attempt"]) == (15, 10, 1)
    assert all(np.isfinite(values).all() for values in weights(run).values())
    losses = [r["loss"] for r in records(run) if "loss" in r]
    assert losses[-1] < losses[9]


def test_a_checkpoint_that_was_hurt_is_not_written_and_not_the_only_one(tmp_path, harm) -> None:
    recipe, run = recipe_in(tmp_path), tmp_path / "run"
    harm(hurt, [14])  # the update before the checkpoint at 15
    train(recipe, run)
    (back,) = events(run, "put back")
    assert (back["step"], back["weights_of"]) == (15, 10)
    assert not events(run, "left out")


def far_off(run, totals):
    """Finite, but of no use: the loss is far from what it was."""
    with torch.no_grad():
        for name, parameter in run.state.named_parameters():
            if name != "logit_scale":
                torch.manual_seed(1)
                parameter.normal_(0, 3)
    return totals


def test_the_second_time_the_checkpoint_before_is_taken(tmp_path, harm, monkeypatch) -> None:
    recipe = recipe_in(tmp_path, "window = 16\nspike = 4", average="0")
    run = tmp_path / "run"
    harm(far_off, [18])  # unnoticed at first: 20 is written with it
    real = Guard.judge

    def judge(self, loss, norm, chance, part):
        return (
            None if len(seen) < 20 and not seen.append(1) else real(self, loss, norm, chance, part)
        )

    seen: list[int] = []
    monkeypatch.setattr(Guard, "judge", judge)
    train(recipe, run)
    backs = events(run, "put back")
    assert [b["weights_of"] for b in backs] == [20, 15]
    assert [b["attempt"] for b in backs] == [1, 2]


def test_after_the_last_attempt_the_run_ends_with_a_sentence(tmp_path, harm) -> None:
    recipe, run = recipe_in(tmp_path), tmp_path / "run"
    harm(nothing_known, range(12, 30))
    with pytest.raises(TrainingError, match=r"put back 2 times") as caught:
        train(recipe, run)
    assert "optim.learning_rate" in str(caught.value)
    assert "19, 20, 21" in str(caught.value)
    with pytest.raises(TrainingError, match=r"put back 2 times"):
        train(recipe, run)  # nor does starting again help
    other = recipe_in(tmp_path, "attempts = 0")
    with pytest.raises(TrainingError, match=r"in trouble\. The steps last left out are 13, 14, 15"):
        train(other, tmp_path / "other")


class Killed(BaseException):
    pass


@pytest.mark.parametrize("moment", [3, 9, 13, 14, 15, 16, 20])
def test_a_run_killed_in_the_middle_of_trouble_goes_on_as_it_would_have(
    tmp_path, harm, moment
) -> None:
    recipe = recipe_in(tmp_path)
    harm(hurt, [11])
    train(recipe, tmp_path / "whole")

    def kill(record):
        if record["step"] == moment and record.get("event") not in ("start", "resume"):
            raise Killed

    with pytest.raises(Killed):
        train(recipe, tmp_path / "run", report=kill)
    train(recipe, tmp_path / "run")
    assert same(tmp_path / "run", tmp_path / "whole")
    told = [
        [{k: v for k, v in r.items() if "second" not in k and k != "data_wait"} for r in records(f)
         if r.get("event") not in ("start", "resume")]
        for f in (tmp_path / "run", tmp_path / "whole")
    ]  # fmt: skip
    assert told[0] == told[1]


@pytest.mark.parametrize("call", range(1, 8))
def test_a_run_killed_while_it_writes_a_checkpoint_goes_on_as_it_would_have(
    tmp_path, harm, monkeypatch, call
) -> None:
    """Killed before the new file takes its name, and between the two names that change."""
    recipe = recipe_in(tmp_path)
    harm(hurt, [11])
    train(recipe, tmp_path / "whole")
    real, calls = states.settle, []

    def settle(folder):
        calls.append(1)
        if len(calls) == call:
            raise Killed
        real(folder)

    monkeypatch.setattr(states, "settle", settle)
    with pytest.raises(Killed):
        train(recipe, tmp_path / "run")
    monkeypatch.setattr(states, "settle", real)
    train(recipe, tmp_path / "run")
    assert same(tmp_path / "run", tmp_path / "whole")
    ours, theirs = (
        torch.load(tmp_path / f / "state-before.pt", weights_only=True) for f in ("run", "whole")
    )
    assert ours["step"] == theirs["step"]


def test_a_name_that_was_not_used_is_dropped(tmp_path: Path) -> None:
    (tmp_path / "state.pt").write_bytes(b"last")
    (tmp_path / "state-before.pt").write_bytes(b"before")
    (tmp_path / "state-before.pt.tmp").hardlink_to(tmp_path / "state.pt")
    states.settle(tmp_path)  # killed before the new checkpoint was there
    assert (tmp_path / "state-before.pt").read_bytes() == b"before"
    (tmp_path / "state-before.pt.tmp").write_bytes(b"last")
    states.settle(tmp_path)  # killed after it
    assert (tmp_path / "state-before.pt").read_bytes() == b"last"
    assert not (tmp_path / "state-before.pt.tmp").exists()


SCRIPT = """
import math, sys
from pathlib import Path
import torch
from keshin.train import step as steps
from keshin.train.loop import train
from keshin.train.recipe import read_recipe

real = steps._gradients

def faulty(run, batch):
    totals = real(run, batch)
    if run.state.step == 12 and run.world.rank == 1:
        totals["loss"] = math.nan  # one process alone sees it
    if run.state.step == 20:
        with torch.no_grad():
            for _, parameter in run.state.named_parameters():
                parameter.fill_(math.nan)
    return totals

steps._gradients = faulty
train(read_recipe(Path(sys.argv[1])), Path(sys.argv[2]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("shard", ["false", "true"])
def test_two_processes_decide_alike(tmp_path: Path, shard: str) -> None:
    recipe_in(tmp_path, precision=f'"fp32"\nshard = {shard}')
    (tmp_path / "faulty.py").write_text(SCRIPT, encoding="utf-8")
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    done = subprocess.run(
        [*launch, tmp_path / "faulty.py", tmp_path / "recipe.toml", tmp_path / "run"],
        capture_output=True, text=True, timeout=200,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    run = tmp_path / "run"
    assert [e["step"] for e in events(run, "left out")] == [13, 22, 23]  # three within the window
    assert [(e["step"], e["weights_of"]) for e in events(run, "put back")] == [(23, 20)]
    named = [json.loads(path.read_text()) for path in sorted((run / "trouble").glob("*13*.json"))]
    assert [len(each["pairs"]) for each in named] == [6, 6]  # each process names its own
    assert all(np.isfinite(values).all() for values in weights(run).values())
