"""The linear probe against a plain scikit-learn sweep over the same 96 strengths.

Both choose the strength on the same validation split by accuracy, then fit on train and validation
together, and are measured on the same test pictures; runs alternate, and the ratio is that of the
medians. ``--data synthetic`` draws features whose spectrum falls as that of an embedding does;
``--data tiny`` takes probe features of the embedded model for the first classes of a Parquet file
(column ``image``, ``label``): train pictures only, split in three.

    python benchmarks/linear_probe.py --data synthetic --output benchmarks/results/linear_probe.json
"""

from __future__ import annotations

import argparse
import json
import os
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression

from keshin.evaluate.probes.linear_probe import LinearProbe
from keshin.evaluate.probes.strength import STRENGTHS

PARTS = {"train": 0.3, "validation": 0.3}


def synthetic(count: int, width: int, classes: int, seed: int = 0) -> tuple[Any, Any]:
    """Classes whose means differ along few directions, noise that falls as j ** -0.7, an offset."""
    rng = np.random.default_rng(seed)
    scale = np.arange(1, width + 1) ** -0.7
    turn, _ = np.linalg.qr(rng.normal(size=(width, width)))
    means = 0.3 * rng.normal(size=(classes, width)) * scale
    labels = rng.integers(classes, size=count)
    noise = rng.normal(size=(count, width)) * scale
    offset = rng.normal(size=width) * 0.3
    return ((means[labels] + noise) @ turn + offset).astype(np.float32), labels


def tiny(path: Path, classes: int, each: int) -> tuple[Any, Any]:
    """Probe features of the embedded model."""
    import keshin
    from keshin.evaluate.features import extract
    from keshin.evaluate.sets.readers import read_parquet

    data = read_parquet(path)
    rows = np.concatenate([np.flatnonzero(data.targets == c)[:each] for c in range(classes)])
    found = extract(keshin.load("mini"), data.take(rows), kind="probe")
    return found.vectors, data.targets[rows][found.rows]


def parts(features: Any, labels: Any, seed: int = 0) -> list[Any]:
    order = np.random.default_rng(seed).permutation(len(labels))
    ends = np.cumsum([int(share * len(labels)) for share in PARTS.values()])
    return [(features[rows], labels[rows]) for rows in np.split(order, ends)]


def naive(train: Any, validation: Any, test: Any) -> dict[str, Any]:
    """What one writes with scikit-learn: 96 fits, the best on validation, one more fit on both."""
    values = []
    for strength in STRENGTHS[:96]:
        model = LogisticRegression(C=strength, max_iter=1000)
        values.append(model.fit(*train).score(*validation))
    best = STRENGTHS[int(np.argmax(values))]
    both = [np.concatenate(pair) for pair in zip(train, validation, strict=True)]
    model = LogisticRegression(C=best, max_iter=1000).fit(*both)
    return {"C": best, "validation": max(values), "test": model.score(*test)}


def ours(train: Any, validation: Any, test: Any, search: str = "parametric") -> dict[str, Any]:
    model = LinearProbe(search=search).fit(*train, validation=validation)
    value = max(trial.value for trial in model.trials_)
    return {
        "C": model.C_,
        "validation": value,
        "test": model.score(*test),
        "fits": len(model.trials_),
    }


def swept(train: Any, validation: Any, test: Any) -> dict[str, Any]:
    return ours(train, validation, test, "sweep")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", choices=["synthetic", "tiny"], required=True)
    parser.add_argument("--path", type=Path, help="of the Parquet file")
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--each", type=int, default=400, help="pictures of each class")
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--output", type=Path)
    given = parser.parse_args()
    if given.data == "tiny":
        features, labels = tiny(given.path, given.classes, given.each)
    else:
        features, labels = synthetic(given.classes * given.each, given.width, given.classes)
    data = parts(features, labels)
    warnings.simplefilter("ignore")  # scikit-learn's, where 1,000 iterations do not do
    seconds: dict[str, list[float]] = {"naive": [], "ours": [], "swept": []}
    answers = {}
    for _ in range(given.runs):
        for name, run in (("naive", naive), ("ours", ours), ("swept", swept)):
            started = time.perf_counter()
            answers[name] = run(*data)
            seconds[name].append(time.perf_counter() - started)
            print(name, seconds[name][-1], answers[name], flush=True)
    both = [np.concatenate(pair) for pair in zip(data[0], data[1], strict=True)]
    same = LinearProbe(C=answers["naive"]["C"]).fit(*both).score(*data[2])
    row = {
        "data": given.data, "pictures": [len(part[1]) for part in data], "width": features.shape[1],
        "classes": given.classes, "cores": len(os.sched_getaffinity(0)), "seconds": seconds,
        "ratio of medians": float(np.median(seconds["naive"]) / np.median(seconds["ours"])),
        "ratio of medians, all strengths": float(
            np.median(seconds["naive"]) / np.median(seconds["swept"])
        ),
        "answers": answers,
        "test of ours at the strength of the sweep": 100 * same,
        "difference in points": 100 * (answers["ours"]["test"] - answers["naive"]["test"]),
    }  # fmt: skip
    print(json.dumps(row, indent=1))
    if given.output:
        known = json.loads(given.output.read_text()) if given.output.is_file() else {}
        known[given.data] = row
        given.output.write_text(json.dumps(known, indent=1) + "\n")


if __name__ == "__main__":
    main()
