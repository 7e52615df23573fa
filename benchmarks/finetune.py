"""Is the accuracy that `keshin finetune` expects the one that comes, and what does a model forget?

From a pool of labelled training pictures (a table with ``file``, ``split``, ``status``), 5, 10 and
20 of each class are drawn, several times; each draw is fine-tuned with the probes, and what was
chosen is asked all *dev* pictures, which decided nothing. Reported: how often the interval holds
the truth, the mean of estimate and truth, and the same for the naive number, that of the best
method in the same cross-validation. Then a draw is tuned as a whole model, with and without the
guard.

    OMP_NUM_THREADS=1 python benchmarks/finetune.py --labels labels.csv --train POOL --dev DEV
        --output benchmarks/results/finetune.json

POOL and DEV are folders with the files by their names. The pictures of KaoKore come from their
holders (`keshin kaokore --fetch`); test pictures are not touched.
"""

from __future__ import annotations

import argparse
import csv
import json
import time
from pathlib import Path
from typing import Any

import numpy as np

import keshin
from keshin.evaluate.sets.labelled import Labelled
from keshin.finetune.choice import Rule, estimate
from keshin.finetune.finishing import finish
from keshin.finetune.material import open_material
from keshin.finetune.preparing import Prepared, prepare
from keshin.finetune.running import Options, open_session, try_all

CLASSES = ("noble", "warrior", "incarnation", "commoner")
TEMPLATES = ("a painting of a {}.",)
METRIC = "mean per class"


def read(labels: Path, folder: Path, split: str) -> Labelled:
    with labels.open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == split]
    files = [folder / Path(row["file"]).name for row in rows]
    targets = np.array([CLASSES.index(row["status"]) for row in rows], np.int64)
    return Labelled(files, targets, CLASSES)


def drawn(pool: Labelled, each: int, seed: int) -> Labelled:
    rng = np.random.default_rng((seed, each))
    rows = [rng.permutation(np.flatnonzero(pool.targets == c))[:each] for c in range(len(CLASSES))]
    return pool.take(np.sort(np.concatenate(rows)).astype(np.int64))


def session_of(model: Any, data: Labelled, methods: tuple[str, ...], seed: int) -> Any:
    options = Options(("zero-shot", *methods), None, TEMPLATES, METRIC, seed=seed)
    prepared = prepare(model, open_material(data), templates=TEMPLATES, metric=METRIC)
    session = open_session(model, prepared, options, None, None, None)
    try_all(session, {})
    return session


def of_heads(model: Any, pool: Labelled, test: Prepared, each: int, draws: int) -> dict[str, Any]:
    rows = []
    for seed in range(draws):
        data = drawn(pool, each, seed)
        session = session_of(model, data, ("text", "linear"), seed)
        prepared, ways = session.prepared, session.trials.ways
        rule = Rule(ways, prepared.weights, prepared.groups, None)
        chosen = ways[rule.choose()]
        worth = estimate(chosen.right, prepared.weights, prepared.groups, rule.worth(seed))
        true = {w.method: finish(session, w).asked(session, test)[0].value for w in ways}
        plain = estimate(chosen.right, prepared.weights, prepared.groups)
        rows.append(
            {
                "chosen": chosen.method,
                "estimate": worth.value,
                "low": worth.low,
                "high": worth.high,
                "truth": true[chosen.method],
                "naive": max(float(rule.weights @ way.right) for way in ways),
                "inside": worth.low <= true[chosen.method] <= worth.high,
                "inside_naive": plain.low <= true[chosen.method] <= plain.high,
                "best_truth": max(true.values()),
                "zero_shot_truth": true["zero-shot"],
            }
        )
    mean = {key: float(np.mean([row[key] for row in rows])) for key in rows[0] if key != "chosen"}
    mean["picked"] = {
        m: sum(r["chosen"] == m for r in rows) for m in ("zero-shot", "text", "linear")
    }
    mean["off_by"] = float(np.mean([abs(row["estimate"] - row["truth"]) for row in rows]))
    return {"each": each, "draws": rows, "mean": mean}


def of_models(model: Any, pool: Labelled, test: Prepared, each: int, method: str) -> dict[str, Any]:
    session = session_of(model, drawn(pool, each, 0), (method,), 0)
    prepared, ways = session.prepared, session.trials.ways
    found: dict[str, Any] = {
        "method": method,
        "each": each,
        "folds": [
            {
                "method": way.method,
                "share": way.share,
                "accuracy": float(prepared.weights @ way.right),
                "forgets": way.forgets,
            }
            for way in ways
        ],
    }
    for name, limit in (("without guard", None), ("with guard", 1.0)):
        object.__setattr__(session.options, "may_forget", limit)
        rule = Rule(ways, prepared.weights, prepared.groups, limit)
        done = finish(session, ways[rule.choose()])
        after, zero = done.asked(session, test)
        found[name] = {
            "chosen": done.method,
            "share": done.share,
            "estimate": rule.worth(0),
            "truth": after.value,
            "zero_shot": zero.value,
            "anchor_before": done.anchor.before if done.anchor else None,
            "anchor_after": done.anchor.after if done.anchor else None,
            "agreement": done.anchor.agreement if done.anchor else None,
        }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("labels", "train", "dev", "output"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--model", default="mini")
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--sizes", type=int, nargs="+", default=[5, 10, 20])
    parser.add_argument("--method", default="full")
    given = parser.parse_args()
    began = time.process_time()
    model = keshin.load(given.model, threads=1)
    pool = read(given.labels, given.train, "train")
    dev = open_material(read(given.labels, given.dev, "dev"))
    test = prepare(model, dev, templates=TEMPLATES, metric=METRIC, whole=False)
    report: dict[str, Any] = {
        "model": given.model,
        "pool": len(pool),
        "dev": len(test.material),
        "metric": METRIC,
        "chance": 1 / len(CLASSES),
    }
    report["heads"] = []
    for each in given.sizes:
        report["heads"].append(of_heads(model, pool, test, each, given.draws))
        print(each, json.dumps(report["heads"][-1]["mean"]), flush=True)
    report["models"] = of_models(model, pool, test, 10, given.method)
    print(json.dumps(report["models"], indent=1))
    report["cpu_seconds"] = time.process_time() - began
    given.output.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
