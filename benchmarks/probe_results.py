"""Linear probe, zero-shot and few-shot of the embedded model: writes results/probe.json.

    python benchmarks/probe_results.py --data FOLDER --train TINY_TRAIN.parquet

FOLDER is laid out as in quality.py. Tiny ImageNet: examples from the train pictures (the model was
trained on pictures of this split, so its features fit them better than others), measured on the
held-out validation pictures. CIFAR-10 and MNIST: only test pictures are at hand, so the probe is
fitted on a random half of them and measured on the other; zero-shot is measured on that half too.
Strengths are chosen within what is fitted on.
"""

from __future__ import annotations

import argparse
import csv
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as parquet

import keshin
from keshin.evaluate import Labelled, accuracy, read_parquet
from keshin.evaluate.features import extract
from keshin.evaluate.probes.few_shot import Examples, Text, few_shot
from keshin.evaluate.probes.linear_probe import LinearProbe
from keshin.facts import prompts

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def measured(targets: Any, scores: Any, classes: int) -> dict[str, float]:
    found = accuracy(targets, scores.argmax(axis=1), classes)
    return {"value": found.value, "low": found.low, "high": found.high, "pictures": found.count}


def study(
    model: keshin.Model,
    train: Any,
    test: Any,
    names: Any,
    templates: str,
    sizes: tuple[int, ...],
    draws: int,
) -> dict[str, Any]:
    """Everything on one split; ``train`` and ``test`` are (joint, probe, targets)."""
    started = time.perf_counter()
    classes = len(names)
    classifier = model.classifier(names, templates=templates)
    text = Text(np.asarray(classifier.weights_), model.encoder.logit_scale)
    zero = test[0] @ text.weights.T
    probe = LinearProbe().fit(train[1], train[2])
    rows: dict[str, Any] = {
        "classes": classes, "chance": 1 / classes, "train pictures": len(train[2]),
        "templates": templates, "zero-shot": measured(test[2], zero, classes),
        "linear probe": {
            **measured(test[2], probe.decision_function(test[1]), classes),
            "C": probe.C_, "fits": len(probe.trials_),
        },
    }  # fmt: skip
    for start, column in (("zero", 1), ("text", 0)):
        curve = few_shot(
            Examples(train[column], train[2]), Examples(test[column], test[2]), classes,
            start=start, text=text if start == "text" else None, zero_shot=zero,
            sizes=sizes, full=False, draws=draws,
        )  # fmt: skip
        print(curve, flush=True)
        plain = json.loads(__import__("msgspec").json.encode(curve))
        for point in plain["points"]:
            del point["values"], point["strengths"]
        rows[f"few-shot from {start}"] = plain
    rows["seconds"] = time.perf_counter() - started
    return rows


def features(model: keshin.Model, data: Labelled) -> tuple[Any, Any, Any]:
    joint, probe = (extract(model, data, kind=kind) for kind in ("joint", "probe"))
    assert not joint.failures
    return joint.vectors, probe.vectors, data.targets


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--train", type=Path, required=True)
    parser.add_argument("--each", type=int, default=100, help="train pictures of each class")
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--only", default="")
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results/probe.json"))
    given = parser.parse_args()
    model = keshin.load("mini")
    results = json.loads(given.output.read_text()) if given.output.is_file() else {}
    sizes = (1, 2, 4, 8, 16)

    def halves(file: str) -> None:
        key = file.split("-")[0]
        if given.only not in ("", key):
            return
        names = [e[0] for e in prompts.class_names(key)] if key == "cifar10" else list(DIGITS)
        data = read_parquet(given.data / "test" / file, names)
        parts = features(model, data)
        order = np.random.default_rng(0).permutation(len(data.targets))
        first, second = (tuple(part[rows] for part in parts) for rows in np.array_split(order, 2))
        results[f"{key}, fitted on half of the test pictures"] = study(
            model, first, second, names, key, sizes, given.draws
        )

    halves("cifar10-test-2000.parquet")
    halves("mnist-test-2000.parquet")
    if given.only in ("", "tiny"):
        with (given.data / "tiny-imagenet" / "tiny-imagenet-classes.csv").open() as file:
            rows = list(csv.DictReader(file))
        names = [row["clip_name"] for row in rows]
        index = {row["wnid"]: number for number, row in enumerate(rows)}
        table = parquet.read_table(given.data / "tiny-imagenet" / "tiny-imagenet-val-0000.parquet")
        targets = np.array([index[wnid] for wnid in table.column("wnid").to_pylist()], np.int64)
        test = features(model, Labelled(table.column("image").to_pylist(), targets, tuple(names)))
        data = read_parquet(given.train, names)
        first = np.concatenate(
            [np.flatnonzero(data.targets == c)[: given.each] for c in range(200)]
        )
        train = features(model, data.take(first))
        results["tiny-imagenet, held-out"] = study(
            model, train, test, names, "a photo of a {}.", sizes[:3], 3
        )
    given.output.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
