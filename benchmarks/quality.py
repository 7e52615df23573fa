"""How good a model is on held-out pictures: writes results/quality.json and prints a table.

    python benchmarks/quality.py --data FOLDER [--model mini]

FOLDER is laid out as the project's own data folder: ``tiny-imagenet/``, ``test/``, ``kaokore/``.
Prompts are the paper's for CIFAR-10 and its default for Tiny ImageNet; those for KaoKore were
written down before anything was measured. Nothing is chosen here: every row is reported.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as parquet

import keshin
from keshin.evaluate import (
    Figure,
    Labelled,
    accuracy,
    answer,
    balanced_accuracy,
    ranking,
    read_parquet,
)
from keshin.facts import prompts

STATUS = ("noble", "warrior", "incarnation", "commoner")
ENGLISH = {
    "noble": ("a noble", "an aristocrat", "a court lady"),
    "warrior": ("a warrior", "a samurai"),
    "incarnation": ("an incarnation", "a demon", "a spirit", "a deity"),
    "commoner": ("a commoner", "a townsman", "a peasant"),
}
JAPANESE = {
    "noble": ("貴族", "公家"),
    "warrior": ("武士", "侍"),
    "incarnation": ("化身", "鬼", "妖怪", "神仏"),
    "commoner": ("庶民", "町人", "農民"),
}
LANGUAGES: tuple[tuple[str, Mapping[str, Sequence[str]], str], ...] = (
    ("English", ENGLISH, "a painting of the face of {}."),
    ("Japanese", JAPANESE, "{}の顔の絵"),
)

Row = tuple[str, str, Figure]


def tiny_imagenet(model: keshin.Model, folder: Path) -> Iterator[Row]:
    """200-way, on pictures that were held out from training."""
    with (folder / "tiny-imagenet" / "tiny-imagenet-classes.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    names = [row["clip_name"] for row in rows]
    index = {row["wnid"]: number for number, row in enumerate(rows)}
    table = parquet.read_table(folder / "tiny-imagenet" / "tiny-imagenet-val-0000.parquet")
    targets = np.array([index[wnid] for wnid in table.column("wnid").to_pylist()], np.int64)
    data = Labelled(table.column("image").to_pylist(), targets, tuple(names))
    for templates, said in (("a photo of a {}.", "default prompt"), ("imagenet", "80 prompts")):
        found = answer(model.classifier(names, templates=templates), data)
        yield "Tiny ImageNet, 200 classes", said, accuracy(found.targets, found.predictions, 200)


def cifar10(model: keshin.Model, folder: Path) -> Iterator[Row]:
    """The paper's class names and 18 prompts; the Japanese names with the Japanese prompts."""
    path = folder / "test" / "cifar10-test-2000.parquet"
    names = [entry[0] for entry in prompts.class_names("cifar10")]
    data = read_parquet(path, names)
    found = answer(model.classifier(names, templates="cifar10"), data)
    yield "CIFAR-10", "the paper's prompts", accuracy(found.targets, found.predictions, 10)
    for index, name in enumerate(names):
        own = found.targets == index
        measure = accuracy(found.targets[own], found.predictions[own], 10)
        yield "CIFAR-10, recall", name, measure
    with (folder / "icons" / "cifar10_names_ja.csv").open(encoding="utf-8") as file:
        japanese = [row["ja"] for row in csv.DictReader(file)]
    found = answer(model.classifier(japanese, templates="ja"), data)
    yield "CIFAR-10", "Japanese prompts", accuracy(found.targets, found.predictions, 10)


def kaokore(model: keshin.Model, folder: Path) -> Iterator[Row]:
    """Dev split: incarnation against the rest, and the four classes."""
    with (folder / "kaokore" / "labels.csv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "dev"]
    pictures = [folder / "kaokore" / row["file"] for row in rows]
    targets = np.array([STATUS.index(row["status"]) for row in rows], np.int64)
    data = Labelled(pictures, targets, STATUS)
    for language, names, template in LANGUAGES:
        labels = {names[status][0]: names[status][1:] for status in STATUS}
        found = answer(model.classifier(labels, templates=template), data)
        yield (
            "KaoKore dev, four classes",
            language,
            balanced_accuracy(found.targets, found.predictions, 4),
        )
        incarnation = (found.targets == 2).astype(np.int64)
        scores = found.cosines * model.encoder.logit_scale
        shares = np.exp(scores - scores.max(axis=1, keepdims=True))
        share = shares[:, 2] / shares.sum(axis=1)
        yes = (found.predictions == 2).astype(np.int64)
        what = "KaoKore dev, incarnation against the rest"
        yield what, language, balanced_accuracy(incarnation, yes, 2)
        for measure in ranking(incarnation, share):
            yield what, language, measure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", default="mini")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results/quality.json")
    options = parser.parse_args()
    model = keshin.load(options.model)
    rows = [row for part in (tiny_imagenet, cifar10, kaokore) for row in part(model, options.data)]
    for data, how, measure in rows:
        print(f"{data:44} {how:22} {measure}  (n = {measure.count})")
    values = [
        {
            "data": data,
            "how": how,
            "measure": m.name,
            "value": round(m.value, 4),
            "low": round(m.low, 4),
            "high": round(m.high, 4),
            "chance": round(m.chance, 4),
            "pictures": m.count,
        }
        for data, how, m in rows
    ]
    content = {"model": options.model, "keshin": keshin.__version__, "rows": values}
    options.out.write_text(json.dumps(content, ensure_ascii=False, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
