"""The linear probe against a plain scikit-learn sweep over the same strengths, case by case.

All choose the strength on the same validation pictures, by accuracy and of equal accuracies by
cross-entropy, then fit on train and validation together, and are measured on the same test
pictures. ``naive`` is scikit-learn as one writes it (float32, its tolerance, 1,000 iterations),
``naive to the end`` the same in float64 with a tolerance that lets it converge: at large strengths
the plain one stops early. Seconds are of the processor. Synthetic features have a spectrum that
falls as that of an embedding does; ``--path`` takes probe features of the embedded model.

    python benchmarks/linear_probe.py
    python benchmarks/linear_probe.py --path TRAIN.parquet
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

RESULTS = Path(__file__).parent / "results/linear_probe.json"
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


def entropy(model: Any, features: Any, labels: Any) -> float:
    """Mean cross-entropy: what decides between equal accuracies."""
    scores = model.decision_function(features).astype(np.float64)
    if scores.ndim == 1:
        scores = np.stack([-scores / 2, scores / 2], axis=1)
    scores -= scores.max(axis=1, keepdims=True)
    own = scores[np.arange(len(labels)), np.searchsorted(model.classes_, labels)]
    return float((np.log(np.exp(scores).sum(axis=1)) - own).mean())


def swept(train: Any, validation: Any, test: Any, **options: Any) -> dict[str, Any]:
    """scikit-learn: a fit at each strength, the best on validation, one more fit on both."""
    kind = np.float64 if options else np.float32
    parts = [(x.astype(kind), y) for x, y in (train, validation, test)]
    began, tried = time.process_time(), []
    given = {"max_iter": 1000} | options
    for strength in STRENGTHS:
        model = LogisticRegression(C=strength, **given).fit(*parts[0])
        accuracy = round(float(model.score(*parts[1])), 9)
        tried.append((accuracy, -entropy(model, *parts[1])))
    best = max(range(len(tried)), key=lambda i: tried[i])
    both = [np.concatenate(pair) for pair in zip(*parts[:2], strict=True)]
    model = LogisticRegression(C=STRENGTHS[best], **given).fit(*both)
    return {
        "step": best, "validation": 100 * tried[best][0],
        "test": 100 * float(model.score(*parts[2])),
        "seconds": time.process_time() - began,
    }  # fmt: skip


def ours(train: Any, validation: Any, test: Any, search: str) -> dict[str, Any]:
    began = time.process_time()
    model = LinearProbe(search=search).fit(*train, validation=validation)
    seconds = time.process_time() - began
    step = int(np.argmin(np.abs(np.array(STRENGTHS) / model.C_ - 1)))
    value = next(t.value for t in model.trials_ if t.strength == model.C_)
    return {
        "step": step, "validation": 100 * value, "test": 100 * model.score(*test),
        "seconds": seconds,
    }  # fmt: skip


CASES = (
    *[(n, 48, k, seed) for seed, (n, k) in enumerate(
        [(500, 2), (500, 5), (500, 10), (500, 20), (800, 2), (800, 3), (800, 10), (1000, 4),
         (1000, 7), (1000, 15), (1500, 2), (1500, 10), (1500, 30), (2000, 5), (2000, 20)])],
    (3000, 32, 2, 20), (5000, 32, 5, 21), (10_000, 24, 10, 22), (3000, 16, 100, 23),
    (4000, 12, 200, 24),
)  # fmt: skip
"""Pictures, width, classes, seed of the synthetic cases."""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--path", type=Path, help="a Parquet file of pictures: cases on features")
    parser.add_argument("--sizes", type=int, nargs="*", default=[500, 1000, 2000])
    parser.add_argument("--output", type=Path, default=RESULTS)
    parser.add_argument("--features", type=Path, help="an .npz with x and y instead of pictures")
    given = parser.parse_args()
    warnings.simplefilter("ignore")  # scikit-learn's, where 1,000 iterations do not do
    rows: list[dict[str, Any]] = []
    named: list[tuple[str, Any, bool]] = []
    if given.path or given.features:
        if given.features:
            found = np.load(given.features)
            features, labels = found["x"], found["y"]
        else:
            features, labels = tiny(given.path, 10, 400)
        order = np.random.default_rng(0).permutation(len(labels))
        named += [
            ("features", (features[order[:n]], labels[order[:n]]), False) for n in given.sizes
        ]
    else:
        named += [("synthetic", synthetic(*case), True) for case in CASES]
    known = json.loads(given.output.read_text()) if given.output.is_file() else {}
    kept = [row for row in known.get("cases", []) if row["data"] not in {n for n, *_ in named}]
    for number, (name, whole, exactly) in enumerate(named):
        data = parts(*whole, number)
        row = {
            "data": name, "pictures": [len(part[1]) for part in data],
            "width": data[0][0].shape[1], "classes": len(np.unique(whole[1])),
            "naive": swept(*data), "sweep": ours(*data, "sweep"),
            "parametric": ours(*data, "parametric"),
        }  # fmt: skip
        if exactly:
            row["naive to the end"] = swept(*data, max_iter=20_000, tol=1e-6)
        rows.append(row)
        print(json.dumps(row), flush=True)
        content = {"cores": len(os.sched_getaffinity(0)), "cases": [*kept, *rows]}
        given.output.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
