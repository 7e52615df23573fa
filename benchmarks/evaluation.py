"""Whole evaluations of a model: writes results/evaluation.json, prints a table, and writes a report
of each and the paper's figures if asked.

    python benchmarks/evaluation.py --data FOLDER [--cifar-train FOLDER] [--figures FOLDER]

FOLDER is laid out as the project's own data folder. Prompts are the paper's where it has some, else
its default. Nothing is chosen here. CIFAR-10's probe learns from training pictures if a folder per
class of them is named; without, and for MNIST, of which only test pictures are at hand, from one
half of the test pictures for the other. Drawn digits and drawn reviews are made here, with a seed.
"""

from __future__ import annotations

import argparse
import csv
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as parquet
from PIL import Image, ImageDraw, ImageFont

import keshin
from keshin.classify import Labels
from keshin.evaluate import Labelled, Opened, open_dataset
from keshin.evaluate.evaluation import evaluate
from keshin.evaluate.reporting.figures import write_figures
from keshin.evaluate.sources import Choices
from keshin.facts import datasets as facts
from keshin.facts import prompts

MOST_CLASSES = 50
"""With more, few-shot curves take many minutes on two cores."""
GOOD = (
    "wonderful",
    "moving",
    "brilliant",
    "a delight",
    "great fun",
    "a triumph",
    "warm and clever",
)
BAD = ("dreadful", "tedious", "a mess", "a waste of time", "dull", "a failure", "cold and stupid")
SUBJECTS = (
    "the film",
    "this movie",
    "the story",
    "the cast",
    "the director's new work",
    "the plot",
)
FRAMES = (
    "{s} is {a} from the first scene to the last .",
    "all in all , {s} is {a} .",
    "i went in without hopes and found {s} {a} .",
    "whatever you have heard , {s} is {a} .",
    "{s} is {a} , and it knows it .",
)


@dataclass(frozen=True)
class Task:
    """One evaluation."""

    title: str
    pictures: Opened
    train: Opened | str | None
    how: str


def like(key: str, pictures: Labelled) -> Opened:
    """Pictures with the classes, prompts and metric of a set of the paper, under their own name."""
    dataset = facts.get(key)
    labels = Labels(dict(zip(facts.labels(dataset), facts.class_names(dataset), strict=True)))
    templates = prompts.templates(dataset.prompts or key)
    named = Labelled(pictures.pictures, pictures.targets, tuple(labels.names))
    return Opened(named, dataset.metric, labels, templates, None, "", Path(f"drawn-{key}"))


def digits(count: int, seed: int) -> Labelled:
    """Drawn digits, as MNIST's: white on black, 28 pixels; size, place, slant and stroke vary."""
    rng = np.random.default_rng(seed)
    pictures, targets = [], np.arange(count) % 10
    for target in targets:
        font = ImageFont.load_default(float(rng.uniform(52, 84)))
        image = Image.new("L", (112, 112))
        place = (56 + rng.uniform(-8, 8), 56 + rng.uniform(-8, 8))
        ImageDraw.Draw(image).text(
            place, str(target), 255, font, anchor="mm", stroke_width=int(rng.integers(0, 4))
        )
        shear = rng.uniform(-0.3, 0.3)
        image = image.transform(
            image.size, Image.Transform.AFFINE, (1, shear, -56 * shear, 0, 1, 0),
            Image.Resampling.BILINEAR,
        ).rotate(rng.uniform(-12, 12), Image.Resampling.BILINEAR)  # fmt: skip
        small = np.asarray(image.resize((28, 28), Image.Resampling.BOX), np.float64)
        noisy = (small + rng.normal(0, 8, small.shape)).clip(0, 255).astype(np.uint8)
        pictures.append(np.repeat(noisy[..., None], 3, axis=2))
    return Labelled(pictures, targets, tuple("0123456789"))


def reviews(count: int, seed: int) -> Labelled:
    """Drawn sentences on films, as Rendered SST2: black on white, 448 pixels; 0 bad, 1 good."""
    rng = np.random.default_rng(seed)
    font = ImageFont.load_default(28)
    pictures, targets = [], np.arange(count) % 2
    for target in targets:
        said = str(rng.choice(FRAMES)).format(
            s=rng.choice(SUBJECTS), a=rng.choice(GOOD if target else BAD)
        )
        image = Image.new("RGB", (448, 448), "white")
        draw, line, y = ImageDraw.Draw(image), "", 20
        for word in [*said.split(), ""]:
            longer = f"{line} {word}".strip()
            if not word or draw.textlength(longer, font) > 408:
                draw.text((20, y), line, "black", font)
                line, y = word, y + 40
            else:
                line = longer
        pictures.append(np.asarray(image))
    return Labelled(pictures, targets, ("negative", "positive"))


def tiny_imagenet(folder: Path) -> tuple[Opened, Opened]:
    """Held-out and training pictures (5,000 each, 25 of a class) of Tiny ImageNet's 200 classes."""
    with (folder / "tiny-imagenet-classes.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    labels = Labels({row["clip_name"]: (row["clip_name"],) for row in rows})
    index = {row["wnid"]: number for number, row in enumerate(rows)}

    def read(name: str, split: str) -> Opened:
        table = parquet.read_table(folder / f"tiny-imagenet-{name}.parquet")
        targets = np.array([index[wnid] for wnid in table.column("wnid").to_pylist()], np.int64)
        data = Labelled(table.column("image").to_pylist(), targets, tuple(labels.names))
        templates = prompts.templates("imagenet")
        return Opened(data, "accuracy", labels, templates, None, split, Path("Tiny ImageNet"))

    return read("val-0000", "test"), read("train-0000", "train")


def tasks(folder: Path, cifar_train: Path | None) -> Iterator[Task]:
    """What is evaluated."""
    cifar = open_dataset(folder / "test" / "cifar10-test-2000.parquet", like="cifar10")
    train = str(cifar_train) if cifar_train else None
    yield Task("CIFAR-10, 2,000 test pictures", cifar, train, "the paper's prompts")
    mnist = open_dataset(folder / "test" / "mnist-test-2000.parquet", like="mnist")
    yield Task("MNIST, 2,000 test pictures", mnist, None, "the paper's prompts")
    drawn = like("mnist", digits(2000, 1)), like("mnist", digits(2000, 2))
    yield Task("drawn digits", *drawn, "MNIST's prompts of the paper")
    said = like("rendered_sst2", reviews(1000, 1)), like("rendered_sst2", reviews(1000, 2))
    yield Task("drawn reviews", *said, "Rendered SST2's prompts of the paper")
    held_out, seen = tiny_imagenet(folder / "tiny-imagenet")
    yield Task("Tiny ImageNet, held out", held_out, seen, "ImageNet's 80 prompts")


def rounded(score: object) -> object:
    """A score as a plain row with four digits."""
    names = ("name", "value", "low", "high", "chance", "count")
    values = {name: getattr(score, name) for name in names}
    return {name: round(v, 4) if isinstance(v, float) else v for name, v in values.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--cifar-train", type=Path)
    parser.add_argument("--model", default="mini")
    parser.add_argument("--figures", type=Path)
    parser.add_argument("--only", default="")
    out = Path(__file__).parent / "results/evaluation.json"
    parser.add_argument("--out", type=Path, default=out)
    options = parser.parse_args()
    model = keshin.load(options.model)
    rows, found = [], []
    for task in tasks(options.data, options.cifar_train):
        if options.only not in task.title:
            continue
        began = time.monotonic()
        few_shot = len(task.pictures.labels.names) <= MOST_CLASSES
        choices = Choices(probe=True, few_shot=few_shot, train=task.train)
        one = evaluate(model, task.pictures, choices=choices)
        found.append(one)
        print(f"{task.title} ({time.monotonic() - began:.0f} s)\n{one.table()}\n", flush=True)
        if one.probe is None or one.calibration is None:
            raise SystemExit(f"{task.title}: a part is missing.")
        rows.append({
            "data": task.title, "prompts": task.how, "digest": one.data.digest,
            "zero_shot": rounded(one.main),
            "single_prompt": rounded(one.single) if one.single else None,
            "ensembling_gain": round(one.ensembling.difference, 4) if one.ensembling else None,
            "probe": rounded(one.probe.score), "probe_protocol": one.probe.protocol,
            "probe_minus_zero_shot": [round(v, 4) for v in (
                one.probe.versus.difference, one.probe.versus.low, one.probe.versus.high)],
            "few_shot": {
                start: {p.shots: round(p.value, 4) for p in curve}
                for start, curve in one.few_shot.curves.items()
            } if one.few_shot else None,
            "zero_shot_overtaken_at": one.few_shot.overtakes if one.few_shot else None,
            "calibration_error": round(one.calibration.error, 4),
            "with_temperature": round(one.calibration.error_after, 4),
            "temperature": round(one.calibration.temperature, 3),
        })  # fmt: skip
        write(options.out, options.model, rows)
    if options.figures:
        for one, row in zip(found, rows, strict=True):
            one.report(options.figures / f"{row['data'].split(',')[0].replace(' ', '-')}.html")
        write_figures(found, options.figures)


def write(path: Path, model: str, rows: list[dict[str, object]]) -> None:
    """The rows; of those that were there before, the ones that were not measured again stay."""
    before = json.loads(path.read_text("utf-8"))["rows"] if path.is_file() else []
    titles = [row["data"] for row in rows]
    kept = [row for row in before if row["data"] not in titles]
    content = {"model": model, "keshin": keshin.__version__, "rows": [*kept, *rows]}
    path.write_text(json.dumps(content, ensure_ascii=False, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
