"""What each way of learning more per hour is worth: small models on Flickr8k at equal compute.

    python benchmarks/ablations.py run --data recipes/mini/data --work runs/ablations
    python benchmarks/ablations.py write --work runs/ablations    (then: python scripts/docs.py)

``recipes/mini/prepare.py`` makes the data. Trained on Flickr8k's train split (6,000 photographs,
112 px, 5 captions each), judged on its dev split (1,000 photographs); test is not opened. Three
beginnings, since no single one fits all methods:

``new``     a new ViT beside the text tower of ``mini``, which is locked
``read``    the image tower of ``mini`` beside a new text tower
``tuned``   both towers of ``mini``, which saw these pairs among others when it was made

Compute is counted, not timed: the FLOPs of a few steps of each part of a method's run, forward and
backward, texts and distillation included (PyTorch's counter: products, convolutions, attention).
The plain run's steps are fixed, and every method takes as many as cost the same. Where features are
kept, the pass that makes them counts. Reading pictures is not counted: it is the same per pair for
all, but who takes more steps reads more. Averages are those of the plain run's own weights.

A run is one line of WORK/runs.jsonl; those that are there are not run again.
"""

from __future__ import annotations

import argparse
import json
import platform
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow.parquet as pq
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

import keshin
from keshin.classify import build_classifier
from keshin.core.checkpoint import load_checkpoint
from keshin.encode.encoder import Encoder
from keshin.encode.torch_towers import TorchTowers, load_model
from keshin.statistics.intervals import quantile
from keshin.statistics.retrieval import retrieval
from keshin.train.averaging import interpolate
from keshin.train.data import batches
from keshin.train.loop import train
from keshin.train.phases import phases
from keshin.train.recipe import Recipe, parse_recipe
from keshin.train.run import Run, prepare
from keshin.train.step import _gradients

EMBEDDED = Path(keshin.__file__).parent / "models" / "mini"
RESULTS = Path(__file__).resolve().parent / "results" / "ablations.json"
BATCH = 128
PAIRS = 6000
SAMPLED = 2
"""Steps whose FLOPs are counted, for each part of a run."""
VIT = {
    "kind": "vit", "image_size": [64, 64], "patch_size": 8, "width": 96, "layers": 3, "heads": 2,
    "mlp_width": 384, "activation": "gelu", "layer_norm_eps": 1e-5,
}  # fmt: skip
FINISH = {"share": 0.1}


@dataclass(frozen=True)
class Method:
    """Changes to the plain recipe of a beginning, as (part, setting, value)."""

    name: str
    what: str
    changes: dict[str, dict[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class Beginning:
    """Where the towers of a suite come from, the plain run, and what is tried."""

    what: str
    model: dict[str, Any]
    steps: int
    """Of the plain run."""
    rate: float
    """Learning rate of every method; not searched for any of them."""
    methods: tuple[Method, ...]


PLAIN = Method("plain", "as it is")
SMALLER = Method(
    "low resolution", "32 px, the last 10 % at 64 px",
    {"augment": {"image_size": [32, 32]}, "finish": FINISH},
)  # fmt: skip
HALF = Method(
    "patch dropout", "50 % of the patches, the last 10 % with all",
    {"augment": {"patch_dropout": 0.5}, "finish": FINISH},
)  # fmt: skip
PAIRWISE = Method("sigmoid", "the sigmoid loss", {"model": {"score": {"kind": "sigmoid"}}})
MEAN = Method("average", "moving average of the weights of the plain run, 0.95")
DECAY = 0.95
TAUGHT = Method(
    "distillation", "a MobileNetV2's guesses as captions, weight 0.3",
    {"distill": {"weight": 0.3, "draw": 64, "templates": ["{}", "a photo of a {}."]}},
)  # fmt: skip
LOCKED = Method("locked image tower", "features kept (LiT)", {"lock": {"image": True}})
LAYERED = Method("layer-wise rates", "0.75 a layer", {"optim": {"layer_decay": 0.75}})
BETWEEN = Method("weights between", "half way from `mini` to the plain run (WiSE-FT)")
SUITES = {
    "new": Beginning(
        "a new ViT (64 px, patches of 8, width 96, 3 layers) beside `mini`'s locked text tower",
        {"vision": VIT, "init_towers": "text"}, 60, 1e-3,
        (PLAIN, HALF, SMALLER, PAIRWISE, TAUGHT),
    ),
    "read": Beginning(
        "the image tower of `mini` (ResNet) beside a new text tower",
        {"init_towers": "image"}, 30, 1e-3, (PLAIN, LOCKED),
    ),
    "tuned": Beginning(
        "both towers of `mini`, which has seen these pairs before",
        {}, 30, 3e-4, (PLAIN, LAYERED, SMALLER, TAUGHT),
    ),
}  # fmt: skip


def recipe_of(suite: str, method: Method, data: Path, seed: int, steps: int, **more: Any) -> Recipe:
    """The recipe of one run."""
    facts = msgspec.json.decode((EMBEDDED / "keshin.json").read_bytes())
    begin = SUITES[suite]
    source: dict[str, Any] = {"path": str(data / "flickr_train.parquet")}
    if "distill" in method.changes:
        source["teacher"] = "teacher"
    optim = {
        "batch_size": BATCH, "epochs": (steps + 0.5) * BATCH / PAIRS, "learning_rate": begin.rate,
        "warmup": steps // 10, "weight_decay": 0.1, "max_grad_norm": 3.0, "average": DECAY,
    }  # fmt: skip
    values: dict[str, Any] = {
        "name": f"{suite} {method.name}",
        "model": {
            **{name: facts[name] for name in ("embed_dim", "vision", "text", "preprocess")},
            "init": str(EMBEDDED),
            **begin.model,
        },
        "tokenizer": {"kind": "learn"},
        "data": {"workers": 0, "sources": [source]},
        "augment": {"min_area": 0.5, "max_stretch": 1.33, "flip": 0.5},
        "optim": optim | more,
        "run": {
            "seed": seed, "precision": "bf16", "device": "cpu", "threads": 1, "log_every": 10,
            "checkpoint_every": 10**6, "validate_every": 10**6,
        },
    }  # fmt: skip
    if begin.model.get("init_towers") == "text":
        values["lock"] = {"text": True}
    for part, settings in method.changes.items():
        values[part] = values.get(part, {}) | settings
    if "distill" in values:
        values["distill"]["concepts"] = str(data / "concepts.parquet")
    return parse_recipe(values, origin=f"{suite}, {method.name}")


def flops_of(run: Run, kept: bool) -> float:
    """Mean FLOPs of a step, over the parts of the run as long as they are.

    ``kept``: the features of all pictures are there already.
    """
    total = 0.0
    for part in phases(run.recipe, 1000):
        run.state.model.leave_out_patches(part.patch_dropout)
        run.learn()
        loader = batches(run.pool.at(part.size), run.recipe, 0, SAMPLED)
        found = list(loader)
        if kept:
            for batch in found:
                _gradients(run, batch)
            found = list(loader)
        with FlopCounterMode(display=False) as counter:
            for batch in found:
                _gradients(run, batch)
        total += counter.get_total_flops() / SAMPLED * (part.stop - part.start) / 1000
    return total


def looking(run: Run) -> float:
    """FLOPs of the image tower, forward, over every picture once."""
    size = run.recipe.model.vision.image_size
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        run.state.model.eval().image_features(torch.zeros(1, 3, *size))
    return float(counter.get_total_flops() * PAIRS)


class Plan:
    """How many steps each method may take; counted once and kept in WORK/plan.json."""

    def __init__(self, data: Path, work: Path) -> None:
        self.data, self.work, self.path = data, work, work / "plan.json"
        self.known: dict[str, dict[str, float]] = {}
        if self.path.exists():
            self.known = json.loads(self.path.read_text(encoding="utf-8"))

    def cost(self, suite: str, method: Method) -> dict[str, float]:
        """FLOPs of a step, and of what is done once."""
        key = f"{suite}, {method.name}"
        if key not in self.known:
            recipe = recipe_of(suite, method, self.data, 0, 1000)
            run = prepare(recipe, self.work)
            once = looking(run) if recipe.keeps_features else 0.0
            self.known[key] = {"once": once, "step": flops_of(run, kept=recipe.keeps_features)}
            self.path.write_text(json.dumps(self.known, indent=1), encoding="utf-8")
        return self.known[key]

    def steps(self, suite: str, method: Method) -> tuple[int, float, float]:
        """Steps of a run, the FLOPs of all of them, and of one."""
        budget = SUITES[suite].steps * self.cost(suite, PLAIN)["step"]
        cost = self.cost(suite, method)
        steps = max(10, round((budget - cost["once"]) / cost["step"]))
        return steps, steps * cost["step"] + cost["once"], cost["step"]


class Judge:
    """Retrieval and loss on Flickr8k's dev split, and what of ``mini``'s knowledge is left."""

    def __init__(self, data: Path) -> None:
        rows = pq.read_table(data / "flickr_dev.parquet", columns=["image", "captions"]).to_pylist()
        self.pictures = [row["image"] for row in rows]
        self.captions = [caption for row in rows for caption in row["captions"]]
        counts = [len(row["captions"]) for row in rows]
        self.owners = np.repeat(np.arange(len(rows)), counts)
        self.first = np.cumsum(counts) - counts
        self.least = min(counts)
        names = json.loads((data / "tiny_names.json").read_text(encoding="utf-8"))
        self.names: list[str] = names["names"]
        table = pq.read_table(data / "tiny_dev.parquet", columns=["image", "label"])
        some = table.take(np.random.default_rng(0).permutation(len(table))[:1000]).to_pylist()
        self.anchor = [row["image"] for row in some]
        self.labels = np.array([row["label"] for row in some])

    def __call__(self, encoder: Encoder, anchor: bool) -> dict[str, float]:
        pictures = encoder.encode_images(self.pictures)
        texts = encoder.encode_texts(self.captions)
        found = retrieval(pictures, texts, self.owners, at=(1, 5))
        values = {name: measure.value for name, measure in found.items()}
        values["loss"] = self.loss(pictures, texts)
        if anchor:
            classifier = build_classifier(encoder, self.names, templates="a photo of a {}.")
            guessed = classifier.cosines(self.anchor).argmax(axis=1)
            values["anchor"] = float((guessed == self.labels).mean())
        return values

    def loss(self, pictures: Any, texts: Any) -> float:
        """Symmetric cross-entropy of all dev pictures with one caption each, a mean over their
        captions, at the temperature that suits this model best: so losses of models trained with
        other losses compare. ln(1000) = 6.908 is chance."""
        images = torch.from_numpy(pictures)
        sets = [torch.from_numpy(texts[self.first + i]) for i in range(self.least)]
        own = torch.arange(len(images))
        best = float("inf")
        for scale in np.geomspace(3, 100, 24):
            logits = [float(scale) * images @ some.T for some in sets]
            each = [(F.cross_entropy(x, own) + F.cross_entropy(x.T, own)) / 2 for x in logits]
            best = min(best, float(torch.stack(each).mean()))
        return best


def encoder_of(folder: Path, state: dict[str, torch.Tensor] | None = None) -> Encoder:
    """A checkpoint, perhaps with other weights, on one thread."""
    checkpoint = load_checkpoint(folder)
    model = load_model(checkpoint)
    if state is not None:
        model.load_state_dict(state)
    towers = TorchTowers(model, "cpu", "bf16")
    return Encoder(checkpoint.config, checkpoint.tokenizer(), towers, 1.0)


def measure(options: argparse.Namespace) -> None:
    """Run what is missing, seed by seed, so that a sweep that is cut short is balanced."""
    torch.set_num_threads(1)
    log = options.work / "runs.jsonl"
    options.work.mkdir(parents=True, exist_ok=True)
    done = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    known = {(row["suite"], row["method"], row["seed"]) for row in done}
    judge = Judge(options.data)
    plan = Plan(options.data, options.work)

    def note(**row: Any) -> None:
        with log.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        print(json.dumps(row), flush=True)

    if ("start", "mini", 0) not in known:
        note(suite="start", method="mini", seed=0, **judge(encoder_of(EMBEDDED), anchor=True))
    for seed in range(options.first, options.first + options.seeds):
        for suite in options.suites:
            for method in SUITES[suite].methods:
                wanted = not options.only or method.name in options.only
                if (suite, method.name, seed) in known or not wanted:
                    continue
                steps, flops, each = plan.steps(suite, method)
                recipe = recipe_of(suite, method, options.data, seed, steps)
                folder = options.work / "run"
                shutil.rmtree(folder, ignore_errors=True)
                began = time.process_time()
                train(recipe, folder)
                state = torch.load(folder / "state.pt", map_location="cpu", weights_only=True)
                model = folder / "model"
                row = {
                    "suite": suite, "seed": seed, "steps": steps, "flops": flops,
                    "flops_per_step": each, "cpu_seconds": round(time.process_time() - began, 1),
                }  # fmt: skip
                tuned = suite == "tuned"
                note(method=method.name, **row, **judge(encoder_of(model, state["model"]), tuned))
                if method is PLAIN:
                    note(method=MEAN.name, **row, **judge(encoder_of(model), tuned))
                if tuned and method is PLAIN:
                    before = load_model(load_checkpoint(EMBEDDED)).state_dict()
                    mixed = encoder_of(model, interpolate(before, state["model"], 0.5))
                    note(method=BETWEEN.name, **row, **judge(mixed, tuned))


def interval(values: list[float]) -> dict[str, float]:
    """Mean and Student's 95 % interval over seeds."""
    mean, count = float(np.mean(values)), len(values)
    half = 0.0
    if count > 1:
        half = quantile(count - 1) * float(np.std(values, ddof=1)) / count**0.5
    return {"mean": mean, "low": mean - half, "high": mean + half}


def write(options: argparse.Namespace) -> None:
    """results/ablations.json: means over seeds, and differences to the plain run of each seed."""
    lines = (options.work / "runs.jsonl").read_text(encoding="utf-8").splitlines()
    runs = [json.loads(line) for line in lines]
    found: dict[str, Any] = {}
    for suite, begin in SUITES.items():
        mine = [run for run in runs if run["suite"] == suite]
        plain = {run["seed"]: run for run in mine if run["method"] == PLAIN.name}
        kinds = [PLAIN, MEAN, BETWEEN, *begin.methods[1:]]
        rows = []
        for method in kinds:
            own = [run for run in mine if run["method"] == method.name and run["seed"] in plain]
            if not own:
                continue
            measured = [name for name in own[0] if "recall" in name or name in ("loss", "anchor")]
            row: dict[str, Any] = {"method": method.name, "what": method.what}
            row |= {name: own[0][name] for name in ("steps", "flops", "flops_per_step")}
            row["cpu_seconds"] = float(np.mean([run["cpu_seconds"] for run in own]))
            row["seeds"] = [run["seed"] for run in own]
            row["values"] = {n: interval([run[n] for run in own]) for n in measured}
            if method.name != PLAIN.name:
                row["against_plain"] = {
                    n: interval([run[n] - plain[run["seed"]][n] for run in own]) for n in measured
                }
            rows.append(row)
        found[suite] = {"what": begin.what, "learning_rate": begin.rate, "rows": rows}
    content = {
        "machine": platform.processor() or platform.machine(),
        "torch": torch.__version__,
        "batch": BATCH,
        "start": next((run for run in runs if run["suite"] == "start"), None),
        "suites": found,
    }
    RESULTS.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("action", choices=("run", "write"))
    parser.add_argument("--data", type=Path, default=Path("recipes/mini/data"))
    parser.add_argument("--work", type=Path, default=Path("runs/ablations"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first", type=int, default=0, help="The first seed.")
    parser.add_argument("--suites", nargs="+", default=list(SUITES), choices=list(SUITES))
    parser.add_argument("--only", nargs="+", help="Names of methods.")
    options = parser.parse_args()
    (measure if options.action == "run" else write)(options)


if __name__ == "__main__":
    main()
