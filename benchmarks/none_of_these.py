"""How well "none of these" tells pictures of known classes from others.

    python benchmarks/none_of_these.py --table tiny_dev.parquet [--model mini] [--draws 20]

The table has 200 classes (``recipes/mini/prepare.py`` makes it of pictures neither trained
nor tested on). In each draw some classes are the labels given; pictures of the others should be
declined. For every rule: the area under the ROC curve, and for rules that need no threshold the
shares of unknown and of known pictures that they decline. Writes results/none_of_these.json.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

import keshin
from keshin.evaluate import read_parquet
from keshin.facts import prompts

Floats = npt.NDArray[np.floating]
LABELS = (2, 5, 20, 100)
NOUNS = ("cifar100", "caltech101", "sun397", "food101")
"""Class names that serve as a list of other things."""


def auc(known: Floats, unknown: Floats) -> float:
    """Of a score that should be higher for the known."""
    ranks = rankdata(np.concatenate([known, unknown]))[: len(known)]
    return float((ranks.sum() - len(known) * (len(known) + 1) / 2) / (len(known) * len(unknown)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--table", type=Path, required=True)
    parser.add_argument("--model", default="mini")
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument(
        "--out", type=Path, default=Path(__file__).parent / "results/none_of_these.json"
    )
    options = parser.parse_args()
    model = keshin.load(options.model)
    data = read_parquet(options.table)
    pictures = model.encode_images(data.pictures)
    classes = model.classifier(data.names).weights_
    nouns = [names[0] for name in NOUNS for names in prompts.class_names(name)]
    nouns = list(dict.fromkeys(nouns))
    others = {
        "background prompts": (None, model.encode_texts(prompts.background())),
        f"{len(nouns)} nouns": (nouns, model.classifier(nouns).weights_),
    }
    scale, dice, rows = model.encoder.logit_scale, np.random.default_rng(0), []
    for count in LABELS:
        found: dict[str, list[float]] = defaultdict(list)
        for _ in range(options.draws):
            given = dice.permutation(len(data.names))[:count]
            known = np.isin(data.targets, given)
            cosines = pictures @ classes[given].T
            best = cosines.max(axis=1)
            softmax = 1 / np.exp(scale * (cosines - best[:, None])).sum(axis=1)
            scores = {"best score": softmax, "best cosine": best}
            said = {data.names[index].lower() for index in given}
            for name, (texts, weights) in others.items():
                keep = [t.lower() not in said for t in texts] if texts else slice(None)
                rival = (pictures @ weights[keep].T).max(axis=1)
                scores[name] = best - rival
                found[f"{name}: unknown declined"].append(float((rival > best)[~known].mean()))
                found[f"{name}: known declined"].append(float((rival > best)[known].mean()))
            for name, score in scores.items():
                found[f"{name}: AUC"].append(auc(score[known], score[~known]))
        row = {name: round(float(np.mean(values)), 3) for name, values in found.items()}
        rows.append({"labels": count, **row})
        print(rows[-1])
    content = {"model": options.model, "table": options.table.name, "rows": rows}
    options.out.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
