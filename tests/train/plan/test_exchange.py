"""What the formulas say is exchanged, beside what local processes send."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("pyarrow")

from keshin.train.plan.answer import Question  # noqa: E402
from keshin.train.plan.exchange import Exchange, Shape, exchanges, step_time  # noqa: E402
from keshin.train.plan.planner import make_plan  # noqa: E402
from keshin.train.recipe import read_recipe  # noqa: E402
from shapes import write_recipe  # noqa: E402

CHILD = Path(__file__).with_name("exchanging.py")
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone"]


def test_one_process_exchanges_nothing():
    assert exchanges(Shape(1000, 64, 16), 1) == []


def test_ring_arithmetic():
    row = Exchange("x", "all-reduce", 800)
    assert row.sent(2) == 800
    assert row.sent(8) == 2 * 800 * 7 / 8
    assert Exchange("x", "all-gather", 800, 3).sent(4) == 3 * 600


def test_what_travels_during_the_backward_pass_is_not_waited_for():
    hidden, open_ = Exchange("g", "all-gather", 200, hidden=True), Exchange("f", "all-gather", 100)
    found = step_time([hidden, open_], 2, compute=3.0, bandwidth=100)
    assert found.exchange == pytest.approx(1.5)
    assert found.waited == pytest.approx(0.5)
    assert step_time([hidden], 2, compute=0.6, bandwidth=100).waited == pytest.approx(0.6)


def counted(recipe: Path, processes: int) -> list[dict]:
    command = [*TORCHRUN, f"--nproc-per-node={processes}", str(CHILD), str(recipe), "3"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TORCHELASTIC_ERROR_FILE": ""}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    lines = [ln for ln in done.stdout.splitlines() if ln.startswith("COUNTED ")]
    assert len(lines) == processes
    return [json.loads(line.removeprefix("COUNTED ")) for line in lines]


WAYS = {
    "whole": {},
    "sharded": {"precision": '"fp32"\nshard = true'},
    "sharded in parts": {"precision": '"fp32"\nshard = true', "batch_size": "96\nmicro_batch = 12"},
    "sigmoid": {"sigmoid": True},
}


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="counts by Linux's TCP_INFO")
@pytest.mark.parametrize(
    ("way", "processes"),
    [(way, 2) for way in WAYS] + [(way, 4) for way in ("whole", "sharded")],
)
def test_processes_send_what_the_formulas_say(tmp_path, processes, way):
    changes = {"batch_size": "96", "width": "64", **WAYS[way]}
    sigmoid = changes.pop("sigmoid", False)
    path = write_recipe(tmp_path, pairs=192, **changes)
    text = path.read_text(encoding="utf-8")
    if sigmoid:
        text = text.replace("[tokenizer]", '[model.score]\nkind = "sigmoid"\n[tokenizer]')
    path.write_text(text + '[loss]\npositives = "pair"\n', encoding="utf-8")
    plan = make_plan(read_recipe(path), Question(devices=processes, steps=0))
    # gloo makes a reduce-scatter of an all-reduce, which is twice the bytes; NCCL does not.
    planned = sum(r.sent * (1 + (r.kind == "reduce-scatter")) for r in plan.exchanges)
    found = counted(path, processes)
    mean = sum(one["sent"] for one in found) / processes
    assert mean == pytest.approx(planned, rel=0.1)
