"""Does ``keshin train --plan`` say what then happens? Plans beside real runs.

    python benchmarks/plan_check.py --pairs flickr8k-train.parquet [--work small ...]

For each work: one process plans (it measures 20 steps), then another really trains for 60 steps,
with its log and its checkpoint. Compared: the planned memory with the most that the run held above
what it held before its model was made; the planned time of 60 steps and the start with the clock,
and the processor time of the steps, which a machine that others use changes less.
Writes results/plan_check.json.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parent / "results" / "plan_check.json"
STEPS, PAIRS = 60, 6000
WORKS: dict[str, dict[str, Any]] = {
    "small": {"width": 192, "layers": 4, "patch": 32, "batch": 48},
    "patch dropout": {"width": 256, "layers": 4, "patch": 16, "batch": 16, "dropout": 0.5},
    "micro-batches": {"width": 256, "layers": 4, "patch": 32, "batch": 48, "micro": 12},
    "recomputation, average": {
        "width": 256, "layers": 4, "patch": 32, "batch": 48, "recompute": True, "average": 0.99,
    },
    "bfloat16": {"width": 256, "layers": 4, "patch": 32, "batch": 48, "precision": "bf16"},
}  # fmt: skip


def recipe(pairs: Path, work: dict[str, Any]) -> dict[str, Any]:
    """A run of ``STEPS`` steps, as plain values."""
    block = {
        "width": work["width"], "layers": work["layers"], "heads": work["width"] // 64,
        "mlp_width": 4 * work["width"], "activation": "gelu", "layer_norm_eps": 1e-5,
    }  # fmt: skip
    return {
        "name": "check",
        "model": {
            "embed_dim": 256,
            "vision": {
                "kind": "vit", "image_size": [224, 224], "patch_size": work["patch"], **block,
            },
            "text": {
                "kind": "transformer", "context_length": 77, "vocab_size": 49408, "causal": True,
                "pool": "end-of-text", **block,
            },
            "preprocess": {
                "size": [224, 224], "resize": "shorter-side", "interpolation": "bicubic",
                "mean": [0.48, 0.46, 0.41], "std": [0.27, 0.26, 0.28],
            },
        },
        "data": {"sources": [{"path": str(pairs)}], "workers": 0},
        "augment": {"patch_dropout": work.get("dropout", 0.0)},
        "optim": {
            "batch_size": work["batch"], "epochs": STEPS * work["batch"] / PAIRS,
            "micro_batch": work.get("micro", 0), "average": work.get("average", 0.0),
        },
        "run": {
            "precision": work.get("precision", "fp32"), "device": "cpu", "threads": 2,
            "recompute": work.get("recompute", False),
        },
    }  # fmt: skip


def plan(values: dict[str, Any]) -> dict[str, Any]:
    """In a process of its own: what the planner says."""
    from keshin.train.plan.planner import make_plan
    from keshin.train.recipe import parse_recipe

    made = make_plan(parse_recipe(values, origin="plan"))
    pace = made.measured
    assert pace is not None
    return {
        "memory": made.memory_total + made.pictures_waiting,
        "by": made.memory,
        "seconds": pace.start_up + STEPS * pace.seconds,
        "processor_seconds": STEPS * pace.processor_seconds,
        "samples_per_second": pace.samples_per_second,
        "data_wait": pace.data_wait,
        "flops_per_sample": made.operations.total,
        "memory_of_its_steps": pace.peak_bytes,
    }


def train(values: dict[str, Any]) -> dict[str, Any]:
    """In a process of its own: what the run takes. As ``loop._train`` does it."""
    from keshin.train.loop import _loop, _silent
    from keshin.train.plan.pace import _Meter
    from keshin.train.recipe import parse_recipe
    from keshin.train.run import open_recipe, prepare

    parsed = parse_recipe(values, origin="run")
    opened = open_recipe(parsed)
    with tempfile.TemporaryDirectory() as folder:
        meter, began = _Meter(), time.perf_counter()
        run = prepare(parsed, Path(folder), opened=opened)
        busy = time.process_time()
        assert run.steps == STEPS
        _loop(run, (), _silent)
        spent, busy = time.perf_counter() - began, time.process_time() - busy
        peak = meter.peak(run.device)
        return {"memory": peak, "seconds": spent, "processor_seconds": busy}


def child(task: str, values: dict[str, Any]) -> dict[str, Any]:
    command = [sys.executable, __file__, "--pairs", "-", "--child", task]
    said = subprocess.run(command, input=json.dumps(values), text=True, stdout=-1, check=True)
    return dict(json.loads(said.stdout.splitlines()[-1]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=Path, required=True)
    parser.add_argument("--work", nargs="+", choices=list(WORKS), default=list(WORKS))
    parser.add_argument("--child", choices=["plan", "train"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        task = {"plan": plan, "train": train}[options.child]
        print(json.dumps(task(json.load(sys.stdin))))
        return
    content: dict[str, Any] = {"works": {}}
    if RESULTS.exists():
        content = json.loads(RESULTS.read_text("utf-8"))
    content["steps"] = STEPS
    content["machine"] = {"processor": platform.machine(), "threads": 2, "torch": version("torch")}
    for name in options.work:
        values = recipe(options.pairs.resolve(), WORKS[name])
        planned, real = child("plan", values), child("train", values)
        ratios = {key: round(planned[key] / real[key], 3) for key in real}
        content["works"][name] = {**WORKS[name], "planned": planned, "real": real, "ratio": ratios}
        print(name, ratios, {k: round(v / 1e6) for k, v in planned["by"].items()}, real, flush=True)
        print("  ", round(planned["memory"] / 1e6), planned["memory_of_its_steps"], flush=True)
        RESULTS.write_text(json.dumps(content, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
