"""How good a model is, whole: writes results/evaluation.json, prints a table, and writes a report
of each set and the paper's figures if asked.

    python benchmarks/evaluation.py --data FOLDER --cifar-train FOLDER [--figures FOLDER]

FOLDER is laid out as the project's own data folder. Prompts are the paper's where it has some, else
its default. Nothing is chosen here. No probe learns from test pictures: CIFAR-10's learns from 500
training pictures of each class (a folder per class), without those that are nearly the same as a
test picture; MNIST's, of which only test pictures are at hand, from digits that are drawn here.
Drawn digits and drawn reviews are made with a seed, others for training than for the test.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
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

EACH = 500
"""Training pictures of each class of CIFAR-10."""
ALIKE = 0.9
"""Correlation of two photographs at 32 pixels, each colour less its mean, from which one is a
copy of the other. A picture and its JPEG come to more than 0.999; of 5,000 training pictures of
CIFAR-10, ten come to 0.9 with one of 2,000 test pictures."""
SAME = 0.9999
"""The same for what is drawn here: two drawings of a digit, two sheets of white paper are alike."""
GOOD = (
    "wonderful", "moving", "brilliant", "a delight", "great fun", "a triumph", "warm and clever",
    "a joy", "superb", "deeply felt", "witty", "a small miracle", "gripping", "lovely",
)  # fmt: skip
BAD = (
    "dreadful", "tedious", "a mess", "a waste of time", "dull", "a failure", "cold and stupid",
    "a bore", "awful", "badly made", "clumsy", "a sad mistake", "lifeless", "ugly",
)  # fmt: skip
SUBJECTS = (
    "the film", "this movie", "the story", "the cast", "the director's new work", "the plot",
    "the second half", "this sequel", "the dialogue", "the whole thing",
)  # fmt: skip
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
    train: Opened | None
    how: str
    learns: bool = True
    alike: float = ALIKE


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


def reviews(part: int, parts: int = 2, seed: int = 1) -> Labelled:
    """Drawn sentences on films, as Rendered SST2: black on white, 448 pixels; 0 bad, 1 good.

    Each sentence there is (frame, subject, judgement) is in one part only, and once."""
    font = ImageFont.load_default(28)
    pictures, targets = [], []
    for target, judgements in enumerate((BAD, GOOD)):
        every = [
            frame.format(s=subject, a=judgement)
            for frame in FRAMES
            for subject in SUBJECTS
            for judgement in judgements
        ]
        order = np.random.default_rng(seed + target).permutation(len(every))
        for row in order[part::parts]:
            pictures.append(_sheet(every[row], font))
            targets.append(target)
    return Labelled(pictures, np.array(targets, np.int64), ("negative", "positive"))


def _sheet(said: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> np.ndarray:
    image = Image.new("RGB", (448, 448), "white")
    draw, line, y = ImageDraw.Draw(image), "", 20
    for word in [*said.split(), ""]:
        longer = f"{line} {word}".strip()
        if not word or draw.textlength(longer, font) > 408:
            draw.text((20, y), line, "black", font)
            line, y = word, y + 40
        else:
            line = longer
    return np.asarray(image)


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


def small(pictures: Sequence[object]) -> np.ndarray:
    """(n, 3072) float32 unit vectors of pictures at 32 pixels, each colour less its mean."""
    rows = np.empty((len(pictures), 3, 32, 32), np.float32)
    for row, picture in enumerate(pictures):
        if isinstance(picture, np.ndarray):
            image = Image.fromarray(picture)
        else:
            image = Image.open(io.BytesIO(picture) if isinstance(picture, bytes) else picture)
        shrunk = image.convert("RGB").resize((32, 32), Image.Resampling.BOX)
        rows[row] = np.asarray(shrunk, np.float32).transpose(2, 0, 1)
    rows -= rows.mean(axis=(2, 3), keepdims=True)
    flat = rows.reshape(len(rows), -1)
    return flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-6)


def without_twins(train: Opened, test: Opened, alike: float) -> tuple[Opened, dict[str, float]]:
    """Training pictures that are not, nearly, test pictures; and how many were left out."""
    ours, theirs = small(train.labelled.pictures), small(test.labelled.pictures)
    nearest = np.concatenate([
        (ours[i : i + 1000] @ theirs.T).max(axis=1) for i in range(0, len(ours), 1000)
    ])  # fmt: skip
    kept = np.flatnonzero(nearest < alike)
    left = {
        "looked at": len(ours), "nearly the same as a test picture": int(len(ours) - len(kept)),
        "highest correlation of those kept": round(float(nearest[kept].max()), 4),
    }  # fmt: skip
    return replace(train, labelled=train.labelled.take(kept)), left


def some_of_each(opened: Opened, each: int) -> Opened:
    """So many pictures of each class, drawn with a fixed seed."""
    rng, targets = np.random.default_rng(0), opened.labelled.targets
    rows = [rng.permutation(np.flatnonzero(targets == c))[:each] for c in np.unique(targets)]
    return replace(opened, labelled=opened.labelled.take(np.sort(np.concatenate(rows))))


def japanese(opened: Opened, folder: Path) -> Opened:
    """CIFAR-10 with its Japanese names and the Japanese prompts."""
    with (folder / "icons" / "cifar10_names_ja.csv").open(encoding="utf-8") as file:
        names = [row["ja"] for row in csv.DictReader(file)]
    labels = Labels({name: (name,) for name in names})
    return replace(opened, labels=labels, templates=prompts.templates("ja"))


def tasks(folder: Path, cifar_train: Path) -> Iterator[Task]:
    """What is evaluated."""
    cifar = open_dataset(folder / "test" / "cifar10-test-2000.parquet", like="cifar10")
    train = some_of_each(open_dataset(cifar_train, like="cifar10"), EACH)
    yield Task("CIFAR-10, 2,000 test pictures", cifar, train, "the paper's prompts")
    yield Task(
        "CIFAR-10, in Japanese", japanese(cifar, folder), None, "Japanese names and prompts", False
    )
    mnist = open_dataset(folder / "test" / "mnist-test-2000.parquet", like="mnist")
    drawn = like("mnist", digits(2000, 1)), like("mnist", digits(2000, 2))
    learn = replace(drawn[1], labelled=replace(drawn[1].labelled, names=mnist.labelled.names))
    yield Task(
        "MNIST, 2,000 test pictures", mnist, learn, "the paper's prompts; probes learn drawn digits"
    )
    yield Task("drawn digits", *drawn, "MNIST's prompts of the paper", alike=SAME)
    said = like("rendered_sst2", reviews(0)), like("rendered_sst2", reviews(1))
    yield Task("drawn reviews", *said, "Rendered SST2's prompts of the paper", alike=SAME)
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
    parser.add_argument("--cifar-train", type=Path, required=True)
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
        train, twins = task.train, None
        if train is not None:
            train, twins = without_twins(train, task.pictures, task.alike)
        choices = Choices(probe=task.learns, few_shot=task.learns, train=train)
        one = evaluate(model, task.pictures, choices=choices)
        found.append(one)
        print(f"{task.title} ({time.monotonic() - began:.0f} s)\n{one.table()}\n", flush=True)
        if one.calibration is None or one.risk_area is None:
            raise SystemExit(f"{task.title}: a part is missing.")
        rows.append({
            "data": task.title, "prompts": task.how, "digest": one.data.digest,
            "zero_shot": rounded(one.main),
            "single_prompt": rounded(one.single) if one.single else None,
            "ensembling_gain": round(one.ensembling.difference, 4) if one.ensembling else None,
            "classes": {c.name: [c.value, c.low, c.high] for c in one.classes}
            if len(one.classes) <= 10 else None,
            "training pictures": twins,
            "probe": rounded(one.probe.score) if one.probe else None,
            "probe_protocol": one.probe.protocol if one.probe else None,
            "probe_minus_zero_shot": [round(v, 4) for v in (
                one.probe.versus.difference, one.probe.versus.low, one.probe.versus.high)]
            if one.probe else None,
            "few_shot": {
                start: {p.shots: [round(v, 4) for v in (p.value, p.low, p.high)] for p in curve}
                for start, curve in one.few_shot.curves.items()
            } if one.few_shot else None,
            "zero_shot_overtaken_at": one.few_shot.overtakes if one.few_shot else None,
            "calibration_error": round(one.calibration.error, 4),
            "without_noise": round(one.calibration.corrected or 0, 4),
            "interval": [round(v, 4) for v in one.calibration.interval or ()],
            "with_temperature": round(one.calibration.error_after, 4),
            "with_temperature_interval": [
                round(v, 4) for v in one.calibration.interval_after or ()
            ],
            "risk_area": [round(v, 4) for v in (
                one.risk_area.value, one.risk_area.low, one.risk_area.high)],
            "seconds": round(time.monotonic() - began, 1),
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
