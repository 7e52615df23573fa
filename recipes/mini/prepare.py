"""Make the training data of keshin's embedded model as Parquet files.

Everything is read from a folder of small public data sets (``--shared``) and from an unpacked
copy of the complete Tiny ImageNet (``--tiny``, the folder that holds ``train`` and ``val``); the
results are written to ``--out``:

====================== ==========================================================================
``concepts.parquet``   one row a concept (ImageNet class or WordNet hypernym): texts and members
``tiny_names.json``    the 200 Tiny ImageNet names, English and Japanese, in label order
``tiny_dev.parquet``   the validation pictures that are not in the shared (test) half
``icons_*.parquet``    emoji, icons, crests and prints; about 3 % of the keys are kept for dev
``flickr_*.parquet``   Flickr8k, official train and dev splits
``coco_train.parquet`` a few COCO photographs
``tiny_train.parquet`` Tiny ImageNet's training pictures, but for 3 that are test pictures too
====================== ==========================================================================

All picture files have the same columns: ``image`` (encoded bytes), ``name``, ``label``,
``captions`` with ``caption_weights`` (which sum to 1), ``teacher`` (1,000 logits of a supervised
ImageNet network, or null), ``key`` and ``source``.

Example::

    git archive HEAD tiny-imagenet-200 | tar x -C DATA
    python recipes/mini/prepare.py --shared SHARED --tiny DATA/tiny-imagenet-200 --out DATA/mini
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import io
import json
import multiprocessing
import os
import random
import re
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

Weighted = dict[str, float]
"""Texts with weights."""

Floats = npt.NDArray[np.floating[Any]]

CLASSES = 1000
MAX_MEMBERS = 130
DEV_PERMILLE = 30
EVERYDAY = 30.0
"""Value of :meth:`Vocabulary.everyday` from which a hypernym is a word that people use."""
STAGES = ("concepts", "tiny_dev", "icons", "flickr", "coco", "tiny_train", "report")

SCHEMA = pa.schema(
    [
        ("image", pa.binary()),
        ("name", pa.string()),
        ("label", pa.int32()),
        ("captions", pa.list_(pa.string())),
        ("caption_weights", pa.list_(pa.float32())),
        ("teacher", pa.list_(pa.float16(), CLASSES)),
        ("key", pa.string()),
        ("source", pa.string()),
    ]
)

# ---------------------------------------------------------------------------------------------
# Words
# ---------------------------------------------------------------------------------------------

BINOMIAL = re.compile(r"^[A-Z][a-z]+( [a-z]+){1,2}$")
"""The shape of a scientific name ("Carassius auratus"), which "Persian cat" shares."""

PROPER_ADJECTIVES = frozenset(
    [
        "Afghan",
        "African",
        "Airedale",
        "Alaska",
        "Alaskan",
        "American",
        "Angora",
        "Arabian",
        "Arctic",
        "Asiatic",
        "Australian",
        "Bedlington",
        "Belgian",
        "Bernese",
        "Blenheim",
        "Border",
        "Boston",
        "Brabancon",
        "Brittany",
        "Brussels",
        "Cape",
        "Christmas",
        "Doberman",
        "Dungeness",
        "Dutch",
        "Egyptian",
        "English",
        "Eskimo",
        "European",
        "French",
        "German",
        "Gila",
        "Gordon",
        "Hungarian",
        "Ibizan",
        "Indian",
        "Irish",
        "Italian",
        "Japanese",
        "Kerry",
        "Komodo",
        "Labrador",
        "Lakeland",
        "Lhasa",
        "Madagascar",
        "Maine",
        "Maltese",
        "Mexican",
        "Newfoundland",
        "Nile",
        "Norfolk",
        "Northern",
        "Norwegian",
        "Norwich",
        "Persian",
        "Petri",
        "Polaroid",
        "Rhodesian",
        "Russian",
        "Scotch",
        "Scottish",
        "Sealyham",
        "Shetland",
        "Siamese",
        "Siberian",
        "Spanish",
        "Staffordshire",
        "Sussex",
        "Sydney",
        "Tibetan",
        "Virginia",
        "Walker",
        "Welsh",
        "Windsor",
        "Yorkshire",
    ]
)
"""First words of English names that look like binomials; all others are Latin."""

LATIN_ODD = frozenset({"Ursus Maritimus"})

TOO_GENERAL = frozenset(
    """agent|apparatus|area|article|associate|attachment|attribute|chordate|commodity|
    communication|concoction|connection|consumer goods|contestant|conveyance|course|covering|
    craft|creation|design|device|drygoods|durables|equipment|establishment|fare|flavorer|fluid|
    framework|game|geographic point|horizontal surface|implement|ingredient|institution|
    instrument|ligament|liquid|location|machine|material|measure|mechanical device|mechanism|medium|
    natural object|nutriment|obstruction|part|participant|peer|penal institution|phalanger|
    piece|place of business|plant organ|plant part|plate|point|press|produce|product|
    protective covering|relation|reproductive structure|
    restraint|ride|rotating mechanism|round shape|shape|sheet|solid|starches|strengthener|
    structural member|substance|support|supporting structure|surface|system|visual signal|
    work|workplace""".replace("\n    ", "").split("|")
)
"""Hypernyms (by first synonym) that say nothing, or the wrong thing, about a picture."""

NOT_ABOVE = {"container": ("wheeled vehicle", "spoon")}
"""Hypernyms that WordNet puts above others where people would not: no car is a container."""

JA_OTHER_SENSE = frozenset({"big cat", "tank", "theater", "worm"})
"""Hypernyms (by first synonym) for which the CIFAR word of the same spelling is another thing."""


def is_latin(name: str) -> bool:
    """Tell whether ``name`` is a scientific binomial.

    >>> is_latin("Carassius auratus"), is_latin("Persian cat"), is_latin("car")
    (True, False, False)
    """
    if name in LATIN_ODD:
        return True
    return bool(BINOMIAL.match(name)) and name.split(maxsplit=1)[0] not in PROPER_ADJECTIVES


def english_names(names: Iterable[str]) -> list[str]:
    """Drop scientific names (unless there is no other) and repetitions, case ignored."""
    listed = [name.strip() for name in names if name.strip()]
    kept = [name for name in listed if not is_latin(name)] or listed
    seen: dict[str, str] = {}
    for name in kept:
        seen.setdefault(name.lower(), name)
    return list(seen.values())


def is_short_form(name: str, first: str) -> bool:
    """Tell whether ``name`` only shortens the phrase ``first`` (and may mean something else).

    >>> is_short_form("wind", "wind instrument"), is_short_form("auto", "car")
    (True, False)
    """
    return " " in first and name in first.split()


def hypernym_nodes(row: dict[str, str]) -> list[str]:
    """List the hypernyms of a class, nearest first, without what people would not say."""
    nodes = [node for node in row["hypernyms"].split("|") if node]
    return [node for node in nodes if not any(low in nodes for low in NOT_ABOVE.get(node, ()))]


def load_zipf() -> Callable[[str], float]:
    """Return a function that gives the Zipf frequency (log10 per 10^9 words) of an English text.

    Without the package ``wordfreq`` all words count as equally frequent.
    """
    try:
        from wordfreq import zipf_frequency
    except ImportError:
        warnings.warn("wordfreq is not installed: all words weigh the same", stacklevel=2)
        return lambda text: 4.0
    return lambda text: float(zipf_frequency(text, "en"))


def normalised(weights: Weighted, total: float = 1.0) -> Weighted:
    """Scale ``weights`` so that they sum to ``total``."""
    scale = sum(weights.values())
    return {text: total * weight / scale for text, weight in weights.items()} if scale else {}


def merged(parts: Iterable[Weighted]) -> Weighted:
    """Add the weights of equal texts (case ignored; the first spelling stays)."""
    spelling: dict[str, str] = {}
    result: Weighted = {}
    for part in parts:
        for text, weight in part.items():
            first = spelling.setdefault(text.lower(), text)
            result[first] = result.get(first, 0.0) + weight
    return normalised(result)


# ---------------------------------------------------------------------------------------------
# Concepts
# ---------------------------------------------------------------------------------------------


@dataclass
class Concept:
    """One node of WordNet: a class of ImageNet or a hypernym of some."""

    names: list[str]
    is_class: bool
    japanese: str | None = None
    members: set[int] = field(default_factory=set)


@dataclass
class Vocabulary:
    """The 1,000 classes of ImageNet, their hypernyms and words."""

    wnids: list[str]
    classes: list[Concept]
    hypernyms: dict[str, Concept]
    chains: list[list[str]]
    same: list[str]
    zipf: Callable[[str], float]
    uses: Counter[str]

    def everyday(self, name: str) -> float:
        """Rate how common a text is: 3 to the Zipf frequency, less for phrases, unclear words."""
        weight = 3.0 ** min(self.zipf(name), 5.5)
        if " " in name or "-" in name:
            weight *= 0.15
        if self.uses[name.lower()] > 1:
            weight *= 0.5
        return float(weight)

    def synonyms(self, names: Sequence[str], keep: int | None = None) -> Weighted:
        """Weigh the synonyms of one node: WordNet's order counts as much as the frequency."""
        weights = {name: self.everyday(name) ** 0.5 * 0.4**i for i, name in enumerate(names)}
        for name in names:
            if is_short_form(name, names[0]):
                weights[name] *= 0.1
        best = sorted(weights, key=lambda name: -weights[name])[:keep]
        return normalised({name: weights[name] for name in names if name in best})

    def hypernym_texts(self, index: int) -> tuple[Weighted, Weighted, float]:
        """Weigh English and Japanese texts of a class's hypernyms, everyday and near ones more.

        The last value is 1, or less if none of the hypernyms is a word that people use.
        """
        nodes: Weighted = {}
        best = 0.0
        for step, node in enumerate(self.chains[index]):
            if node in self.hypernyms:
                names = self.hypernyms[node].names
                words = [name for name in names if not is_short_form(name, names[0])]
                everyday = max(map(self.everyday, words))
                nodes[node] = everyday * 0.85**step
                best = max(best, everyday)
        nodes = {node: weight for node, weight in normalised(nodes).items() if weight >= 0.02}
        english: list[Weighted] = []
        japanese: Weighted = {}
        for node, weight in normalised(nodes).items():
            concept = self.hypernyms[node]
            english.append(normalised(self.synonyms(concept.names, keep=2), weight))
            if concept.japanese:
                japanese[concept.japanese] = weight
        texts: Weighted = {}
        for part in english:
            for text, weight in part.items():
                texts[text] = texts.get(text, 0.0) + weight
        return normalised(texts), normalised(japanese), min(1.0, best / EVERYDAY)

    def class_captions(self, index: int) -> Weighted:
        """Weigh a picture's texts: name, synonyms, hypernyms and Japanese name of its class.

        Names get most: each is one of 200, a kind is a much easier question. The kinds are also
        among the teacher's concepts (:func:`informed`).
        """
        concept = self.classes[index]
        name, others = concept.names[0], concept.names[1:]
        hypernyms, hypernyms_ja, use = self.hypernym_texts(index)
        parts: list[Weighted] = [
            {name: 0.55 + 0.20 * (1 - use)},
            normalised(self.synonyms(others), 0.10) if others else {name: 0.10},
            normalised(hypernyms, 0.20 * use),
        ]
        if concept.japanese:
            share = 0.03 if hypernyms_ja else 0.0
            parts += [{concept.japanese: 0.15 - share}, normalised(hypernyms_ja, share)]
        texts = merged(parts)
        return normalised({text: weight for text, weight in texts.items() if weight >= 0.005})

    def concept_captions(self, concept: Concept) -> Weighted:
        """Weigh a concept's texts: English (a class's first name counts 60 %), then Japanese."""
        names = concept.names
        if concept.is_class and len(names) > 1:
            english = {names[0]: 0.6} | normalised(self.synonyms(names[1:]), 0.4)
        else:
            english = self.synonyms(names)
        if not concept.japanese:
            return english
        return merged([normalised(english, 0.75), {concept.japanese: 0.25}])


def read_csv(path: Path) -> list[dict[str, str]]:
    """Read a CSV file with a header."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def read_cifar_japanese(icons: Path) -> dict[str, str]:
    """Map the English names to the Japanese names of the CIFAR-10 and CIFAR-100 classes."""
    names = {}
    for stem in ("cifar100_names_ja", "cifar10_names_ja"):
        for row in read_csv(icons / f"{stem}.csv"):
            names[row["en"].replace("_", " ").lower()] = row["ja"]
    return names


def make_hypernyms(
    rows: list[dict[str, str]], classes: dict[str, Concept], cifar: dict[str, str]
) -> tuple[dict[str, Concept], list[str]]:
    """Collect the useful hypernyms; those with a class's synonyms are that class.

    Returns the hypernyms by their WordNet synonyms, and the nodes which are classes as well.
    """
    found: dict[str, Concept] = {}
    for index, row in enumerate(rows):
        for node in hypernym_nodes(row):
            concept = found.setdefault(node, Concept(english_names(node.split("/")), False))
            concept.members.add(index)
    kept: dict[str, Concept] = {}
    same: list[str] = []
    for node, concept in found.items():
        first = concept.names[0]
        if len(concept.members) > MAX_MEMBERS or first in TOO_GENERAL:
            continue
        if node in classes:
            classes[node].members |= concept.members
            kept[node] = classes[node]
            same.append(node)
            continue
        if first not in JA_OTHER_SENSE:
            words = [cifar[name.lower()] for name in concept.names if name.lower() in cifar]
            concept.japanese = words[0] if words else None
        kept[node] = concept
    return kept, same


def load_vocabulary(shared: Path) -> Vocabulary:
    """Read names, hypernyms and Japanese names of the 1,000 ImageNet classes."""
    rows = read_csv(shared / "teacher" / "imagenet1k-hypernyms.csv")
    icons = shared / "icons"
    japanese = {row["wnid"]: row["ja"] for row in read_csv(icons / "imagenet1k_names_ja.csv")}
    classes: list[Concept] = []
    by_words: dict[str, Concept] = {}
    for index, row in enumerate(rows):
        names = english_names([row["clip_name"], *row["words"].split("|")])
        concept = Concept(names, True, japanese.get(row["wnid"]), {index})
        classes.append(concept)
        by_words.setdefault(row["words"].replace("|", "/"), concept)
    hypernyms, same = make_hypernyms(rows, by_words, read_cifar_japanese(icons))
    uses = Counter(
        name.lower()
        for concept in [*classes, *(c for c in hypernyms.values() if not c.is_class)]
        for name in concept.names
    )
    return Vocabulary(
        wnids=[row["wnid"] for row in rows],
        classes=classes,
        hypernyms=hypernyms,
        chains=[hypernym_nodes(row) for row in rows],
        same=same,
        zipf=load_zipf(),
        uses=uses,
    )


# ---------------------------------------------------------------------------------------------
# Teacher
# ---------------------------------------------------------------------------------------------


class Teacher:
    """A quantised ImageNet classifier (TensorFlow Lite), read before its coarse 8-bit output.

    The network's probabilities have steps of 1/256; here the pooled features and the weights of
    the last layer are dequantised and multiplied, which gives smooth logits.
    """

    def __init__(self, path: Path) -> None:
        from ai_edge_litert.interpreter import Interpreter

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.interpreter = Interpreter(
                str(path), num_threads=1, experimental_preserve_all_tensors=True
            )
        self.interpreter.allocate_tensors()
        tensors = self.interpreter.get_tensor_details()
        outputs = CLASSES + 1
        (weights,) = [
            t for t in tensors if list(t["shape"][:1]) == [outputs] and len(t["shape"]) == 4
        ]
        (bias,) = [t for t in tensors if list(t["shape"]) == [outputs]]
        (pooled,) = [t for t in tensors if "GlobalPool/Mean" in t["name"] and t["dtype"] == np.int8]
        self.pooled = int(pooled["index"])
        self.scale, self.zero = pooled["quantization"]
        self.input = int(self.interpreter.get_input_details()[0]["index"])
        self.output = int(self.interpreter.get_output_details()[0]["index"])
        scales = weights["quantization_parameters"]["scales"].astype(np.float32).reshape(-1, 1)
        values = self.interpreter.get_tensor(weights["index"]).reshape(outputs, -1)
        self.weights = values.astype(np.float32) * scales
        units = self.interpreter.get_tensor(bias["index"]).astype(np.float32)
        self.bias = units * bias["quantization_parameters"]["scales"].astype(np.float32)

    def __call__(self, images: Sequence[bytes]) -> tuple[npt.NDArray[np.float16], int]:
        """Return the logits of the 1,000 classes, and how often the network's own top agrees."""
        features = np.empty((len(images), self.weights.shape[1]), np.float32)
        own = np.empty((len(images), len(self.bias)), np.uint8)
        for row, image in enumerate(images):
            picture = open_rgb(image).resize((224, 224), Image.Resampling.BICUBIC)
            self.interpreter.set_tensor(self.input, np.asarray(picture)[None])
            self.interpreter.invoke()
            features[row] = self.interpreter.get_tensor(self.pooled).reshape(-1)
            own[row] = self.interpreter.get_tensor(self.output)[0]
        features = (features - self.zero) * self.scale
        logits = features @ self.weights.T + self.bias
        top = own[np.arange(len(own)), logits.argmax(1)]
        return logits[:, 1:].astype(np.float16), int((top == own.max(1)).sum())


_teacher: Teacher | None = None


def _start_teacher(path: Path) -> None:
    global _teacher
    _teacher = Teacher(path)


def _ask_teacher(images: Sequence[bytes]) -> tuple[npt.NDArray[np.float16], int]:
    if _teacher is None:
        raise RuntimeError("the worker has no teacher")
    return _teacher(images)


def run_teacher(path: Path, images: Sequence[bytes], processes: int) -> npt.NDArray[np.float16]:
    """Give the teacher's logits of all ``images``, with ``processes`` single-threaded workers."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"
    start = time.monotonic()
    chunks = [images[i : i + 200] for i in range(0, len(images), 200)]
    parts: list[npt.NDArray[np.float16]] = []
    agreed = 0
    context = multiprocessing.get_context("spawn")
    with context.Pool(processes, _start_teacher, (path,)) as pool:
        for number, (logits, same) in enumerate(pool.imap(_ask_teacher, chunks), 1):
            parts.append(logits)
            agreed += same
            if number % 50 == 0:
                print(f"  teacher: {number}/{len(chunks)} at {time.monotonic() - start:.0f} s")
    print(
        f"teacher: {len(images)} pictures in {time.monotonic() - start:.0f} s; top class agrees "
        f"with the network's own output in {100 * agreed / max(len(images), 1):.2f} %"
    )
    return np.concatenate(parts)


# ---------------------------------------------------------------------------------------------
# Files
# ---------------------------------------------------------------------------------------------


@dataclass
class Row:
    """One picture with its texts."""

    image: bytes
    captions: Weighted
    key: str
    source: str
    name: str | None = None
    label: int | None = None


def open_rgb(image: bytes) -> Image.Image:
    """Decode a picture to RGB."""
    return Image.open(io.BytesIO(image)).convert("RGB")


def flatten_alpha(image: bytes) -> bytes:
    """Put a picture with transparency on white (as PNG); leave others byte for byte."""
    picture = Image.open(io.BytesIO(image))
    if not picture.has_transparency_data:
        return image
    white = Image.new("RGBA", picture.size, "white")
    target = io.BytesIO()
    Image.alpha_composite(white, picture.convert("RGBA")).convert("RGB").save(target, "PNG")
    return target.getvalue()


def write_table(table: pa.Table, path: Path) -> None:
    """Write a Parquet file under a temporary name, then rename it."""
    temporary = path.with_name(path.name + ".part")
    pq.write_table(table, temporary, compression="zstd", row_group_size=10_000)
    temporary.replace(path)
    print(f"wrote {path.name}: {table.num_rows} rows, {path.stat().st_size / 1e6:.1f} MB")


def write_rows(rows: Sequence[Row], path: Path, logits: Floats | None = None) -> None:
    """Write pictures, captions and (if given) the teacher's logits."""
    if logits is None:
        teacher = pa.nulls(len(rows), SCHEMA.field("teacher").type)
    else:
        flat = pa.array(np.ascontiguousarray(logits, np.float16).reshape(-1))
        teacher = pa.FixedSizeListArray.from_arrays(flat, CLASSES)
    columns = [
        [row.image for row in rows],
        [row.name for row in rows],
        [row.label for row in rows],
        [list(row.captions) for row in rows],
        [list(row.captions.values()) for row in rows],
        teacher,
        [row.key for row in rows],
        [row.source for row in rows],
    ]
    arrays = [
        column if isinstance(column, pa.Array) else pa.array(column, item.type)
        for column, item in zip(columns, SCHEMA, strict=True)
    ]
    write_table(pa.Table.from_arrays(arrays, schema=SCHEMA), path)


# ---------------------------------------------------------------------------------------------
# Tiny ImageNet
# ---------------------------------------------------------------------------------------------


@dataclass
class Tiny:
    """Tiny ImageNet: the complete set, its classes, and our test half of the validation set."""

    root: Path
    shared: Path
    vocabulary: Vocabulary

    def __post_init__(self) -> None:
        """Read the classes and weigh their captions."""
        self.classes = read_csv(self.shared / "tiny-imagenet-classes.csv")
        self.label = {row["wnid"]: int(row["index"]) for row in self.classes}
        position = {wnid: index for index, wnid in enumerate(self.vocabulary.wnids)}
        self.imagenet = [position[row["wnid"]] for row in self.classes]
        self.captions = [self.vocabulary.class_captions(index) for index in self.imagenet]

    def row(self, path: Path, wnid: str) -> Row:
        """Read one picture of a class."""
        label = self.label[wnid]
        name = self.classes[label]["clip_name"]
        captions = self.captions[label]
        return Row(path.read_bytes(), captions, path.stem, "tiny-imagenet", name, label)

    def train(self) -> Iterator[Row]:
        """Yield the 100,000 training pictures, in the order of class and name."""
        for wnid in self.label:
            folder = self.root / "train" / wnid / "images"
            for path in sorted(folder.glob("*.JPEG"), key=lambda p: int(p.stem.split("_")[1])):
                yield self.row(path, wnid)

    def validation(self) -> dict[str, Row]:
        """Return the 10,000 validation pictures by key ("val_0", ...)."""
        text = (self.root / "val" / "val_annotations.txt").read_text()
        pairs = [line.split("\t")[:2] for line in text.splitlines()]
        images = self.root / "val" / "images"
        return {Path(file).stem: self.row(images / file, wnid) for file, wnid in pairs}

    def test_half(self) -> list[dict[str, Any]]:
        """Return the 5,000 rows which are only for tests."""
        rows: list[dict[str, Any]] = pq.read_table(
            self.shared / "tiny-imagenet-val-0000.parquet", columns=["key", "image", "wnid"]
        ).to_pylist()
        return rows


def thumbnail(image: bytes, size: int = 16) -> npt.NDArray[np.float32]:
    """Make a small grey version of a picture."""
    picture = open_rgb(image).convert("L").resize((size, size), Image.Resampling.BOX)
    return np.asarray(picture, np.float32).reshape(-1)


def nearest(
    queries: npt.NDArray[np.float32], base: npt.NDArray[np.float32]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Find index of and root-mean-square distance to the nearest row of ``base``."""
    squares = (base**2).sum(1)
    index = np.empty(len(queries), np.int64)
    for i in range(0, len(queries), 250):
        block = queries[i : i + 250]
        index[i : i + 250] = (squares[None] - 2 * block @ base.T).argmin(1)
    distance = np.sqrt(((queries - base[index]) ** 2).mean(1))
    return index, distance.astype(np.float32)


def split_validation(tiny: Tiny) -> tuple[list[Row], list[Row]]:
    """Split the validation pictures into dev and test, and prove by pixels that keys are right."""
    complete = tiny.validation()
    test = tiny.test_half()
    keys = {row["key"] for row in test}
    wrong = [row["key"] for row in test if tiny.label[row["wnid"]] != complete[row["key"]].label]
    if len(keys) != len(test) or wrong:
        raise ValueError(f"keys of the test half do not fit: {len(keys)} keys, {wrong[:5]}")
    names = list(complete)
    base = np.stack([thumbnail(complete[name].image) for name in names])
    index, distance = nearest(np.stack([thumbnail(row["image"]) for row in test]), base)
    matches = [names[i] == row["key"] for i, row in zip(index, test, strict=True)]
    print(
        f"validation: {len(complete)} pictures, {len(test)} are test; keys and classes fit in all; "
        f"nearest picture by pixels is the one of the same key in {sum(matches)} of {len(test)} "
        f"(distance at most {distance.max():.2f} of 255)"
    )
    for (i, row), right in zip(zip(index, test, strict=True), matches, strict=True):
        if not right:
            print(f"  nearest of {row['key']} is {names[i]}")
    dev = [row for key, row in complete.items() if key not in keys]
    return dev, [complete[key] for key in complete if key in keys]


def report_duplicates(train: Sequence[Row], others: dict[str, Sequence[Row]]) -> None:
    """Print how many pictures of ``others`` are found in ``train`` too."""
    small = np.stack([thumbnail(row.image) for row in train])
    hashes = {hashlib.sha256(row.image).digest() for row in train}
    exact = {thumb.tobytes() for thumb in small}
    for what, rows in others.items():
        thumbs = np.stack([thumbnail(row.image) for row in rows])
        index, distance = nearest(thumbs, small)
        same = sum(hashlib.sha256(row.image).digest() in hashes for row in rows)
        equal = sum(thumb.tobytes() in exact for thumb in thumbs)
        close = np.flatnonzero(distance < 3)
        print(
            f"duplicates of {what} in train: {same} files byte for byte, {equal} thumbnails equal, "
            f"{len(close)} thumbnails nearer than 3 of 255"
        )
        for i in close[:10]:
            pair = train[index[i]]
            print(f"  {rows[i].key} ({rows[i].name}) ~ {pair.key} ({pair.name}) {distance[i]:.2f}")


def informed(logits: Floats, classes: Sequence[int]) -> Floats:
    """The teacher's logits after it was told the true class: half of the probability is there.

    At 64 pixels the teacher alone is right in one of five; what it says besides the truth is what
    is worth learning from it.
    """
    logits = logits.astype(np.float32)
    logits -= logits.max(axis=1, keepdims=True)
    probabilities = np.exp(logits)
    probabilities *= 0.5 / probabilities.sum(axis=1, keepdims=True)
    probabilities[np.arange(len(classes)), classes] += 0.5
    return np.log(np.maximum(probabilities, 1e-9))


def report_teacher(tiny: Tiny, labels: Sequence[int], logits: Floats) -> None:
    """Print the teacher's top-1 accuracy on Tiny ImageNet."""
    truth = np.array(labels)
    columns = np.array(tiny.imagenet)
    full = (logits.argmax(1) == columns[truth]).mean()
    restricted = (logits[:, columns].argmax(1) == truth).mean()
    print(
        f"teacher's top-1 on {len(truth)} tiny pictures: {100 * full:.2f} % of 1,000 classes, "
        f"{100 * restricted:.2f} % of the 200"
    )


# ---------------------------------------------------------------------------------------------
# Stages
# ---------------------------------------------------------------------------------------------


@dataclass
class Job:
    """What the stages need."""

    shared: Path
    out: Path
    processes: int
    tiny: Tiny

    @property
    def teacher(self) -> Path:
        """Path of the teacher."""
        (path,) = sorted((self.shared / "teacher").glob("*.tflite"))
        return path

    def write_taught(self, rows: Sequence[Row], path: Path) -> Floats:
        """Ask the teacher about all pictures and write them."""
        logits = run_teacher(self.teacher, [row.image for row in rows], self.processes)
        write_rows(rows, path, logits)
        return logits


def make_concepts(job: Job) -> None:
    """Write ``concepts.parquet`` and ``tiny_names.json``."""
    words = job.tiny.vocabulary
    concepts = words.classes + [c for c in words.hypernyms.values() if not c.is_class]
    captions = [words.concept_captions(concept) for concept in concepts]
    table = pa.table(
        {
            "captions": pa.array([list(c) for c in captions], pa.list_(pa.string())),
            "caption_weights": pa.array(
                [list(c.values()) for c in captions], pa.list_(pa.float32())
            ),
            "members": pa.array([sorted(c.members) for c in concepts], pa.list_(pa.int32())),
        }
    )
    write_table(table, job.out / "concepts.parquet")
    print(f"concepts: {len(words.classes)} classes, {len(concepts) - len(words.classes)} hypernyms")
    print("classes that are hypernyms as well (merged):", words.same)
    shared = sorted(name for name, count in words.uses.items() if count > 1)
    print(f"English texts in more than one concept ({len(shared)}):", ", ".join(shared))
    given = [(c.names[0], c.japanese) for c in concepts if c.japanese and not c.is_class]
    print(f"hypernyms with a Japanese name ({len(given)}):", given)
    tiny = [words.classes[index] for index in job.tiny.imagenet]
    names = {"names": [c.names[0] for c in tiny], "names_ja": [c.japanese for c in tiny]}
    temporary = job.out / "tiny_names.json.part"
    temporary.write_text(json.dumps(names, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    temporary.replace(job.out / "tiny_names.json")


def make_tiny_dev(job: Job) -> None:
    """Write ``tiny_dev.parquet``."""
    dev, _ = split_validation(job.tiny)
    write_rows(dev, job.out / "tiny_dev.parquet")


def make_tiny_train(job: Job) -> None:
    """Write ``tiny_train.parquet`` without pictures of the test half; report what was seen."""
    dev, test = split_validation(job.tiny)
    tested = {row.image for row in test}
    rows = [row for row in job.tiny.train() if row.image not in tested]
    labels = [row.label for row in rows if row.label is not None]
    logits = run_teacher(job.teacher, [row.image for row in rows], job.processes)
    report_teacher(job.tiny, labels, logits)
    told = informed(logits, [job.tiny.imagenet[label] for label in labels])
    write_rows(rows, job.out / "tiny_train.parquet", told)
    report_duplicates(rows, {"test half": test, "dev half": dev})


def equal_captions(texts: Iterable[str]) -> Weighted:
    """Give all sentences the same weight."""
    return merged({text.strip(): 1.0} for text in texts)


def make_flickr(job: Job) -> None:
    """Write Flickr8k's official train (with teacher) and dev splits."""
    for split in ("dev", "train"):
        table = pq.read_table(job.shared / "flickr8k" / f"flickr8k-{split}.parquet").to_pylist()
        if any(item["split"] != split for item in table):
            raise ValueError(f"flickr8k-{split} holds other splits")
        rows = [
            Row(item["image"], equal_captions(item["captions"]), item["file_name"], "flickr8k")
            for item in table
        ]
        path = job.out / f"flickr_{split}.parquet"
        if split == "train":
            job.write_taught(rows, path)
        else:
            write_rows(rows, path)


def make_coco(job: Job) -> None:
    """Write ``coco_train.parquet`` (with teacher)."""
    table = pq.read_table(job.shared / "coco-mini" / "coco-mini.parquet").to_pylist()
    print("coco splits:", Counter(item["split"] for item in table))
    rows = [
        Row(item["image"], equal_captions(item["captions"]), item["file_name"], "coco-mini")
        for item in table
    ]
    job.write_taught(rows, job.out / "coco_train.parquet")


def icon_captions(english: Sequence[str], japanese: Sequence[str]) -> Weighted:
    """Share the weight among the languages; in each the first text gets 60 %, the rest 40 %."""
    parts: list[Weighted] = []
    for texts in (list(dict.fromkeys(english)), list(dict.fromkeys(japanese))):
        if texts:
            rest = {text: 0.4 / (len(texts) - 1) for text in texts[1:]}
            parts.append(normalised({texts[0]: 0.6} | rest))
    return merged(parts)


def make_icons(job: Job) -> None:
    """Write the icons; a hash of the key decides between train and dev."""
    rows: dict[str, list[Row]] = {"train": [], "dev": []}
    changed = 0
    for path in sorted((job.shared / "icons").glob("*.parquet")):
        for item in pq.read_table(path).to_pylist():
            digest = hashlib.sha256(item["key"].encode()).digest()
            split = "dev" if int.from_bytes(digest[:4], "big") % 1000 < DEV_PERMILLE else "train"
            image = flatten_alpha(item["image"])
            changed += image != item["image"]
            captions = icon_captions(item["captions_en"], item["captions_ja"])
            source = f"icons/{path.stem}"
            rows[split].append(Row(image, captions, item["key"], source, item["captions_en"][0]))
    common = {row.key for row in rows["train"]} & {row.key for row in rows["dev"]}
    if common:
        raise ValueError("keys in both splits")
    print(f"icons: alpha flattened in {changed} pictures")
    for split, part in rows.items():
        write_rows(part, job.out / f"icons_{split}.parquet")


def make_report(job: Job) -> None:
    """Check what was written and print a table and examples."""
    chooser = random.Random(0)
    print(f"\n{'file':22} {'rows':>7} {'captions':>9} {'teacher':>8} {'MB':>7}")
    examples = []
    for path in sorted(job.out.glob("*.parquet")):
        file = pq.ParquetFile(path)
        columns = ["captions", "caption_weights"]
        items = pq.read_table(path, columns=columns).to_pylist()
        texts = {text for item in items for text in item["captions"]}
        sums = np.array([sum(item["caption_weights"]) for item in items])
        if not np.allclose(sums, 1, atol=1e-5):
            raise ValueError(f"{path.name}: weights do not sum to 1")
        taught = "-"
        if "teacher" in file.schema_arrow.names:
            column = pq.read_table(path, columns=["teacher"]).column(0)
            taught = str(len(column) - column.null_count)
        size = path.stat().st_size / 1e6
        print(f"{path.name:22} {len(items):7} {len(texts):9} {taught:>8} {size:7.1f}")
        examples += [(path.stem, item) for item in chooser.sample(items, 5)]
    for stem, item in examples:
        pairs = zip(item["captions"], item["caption_weights"], strict=True)
        print(f"{stem}: " + ", ".join(f"{text} {weight:.3f}" for text, weight in pairs))


def main() -> None:
    """Run the chosen stages."""
    parser = argparse.ArgumentParser(description="Make the training data of the embedded model.")
    parser.add_argument("--shared", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--tiny", type=Path, required=True, help="complete Tiny ImageNet, unpacked")
    parser.add_argument("--out", type=Path, required=True, help="where the files go")
    parser.add_argument("--processes", type=int, default=2, help="workers of the teacher")
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=list(STAGES))
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    vocabulary = load_vocabulary(args.shared)
    tiny = Tiny(args.tiny, args.shared / "tiny-imagenet", vocabulary)
    job = Job(args.shared, args.out, args.processes, tiny)
    stages: dict[str, Callable[[Job], None]] = {
        "concepts": make_concepts,
        "tiny_dev": make_tiny_dev,
        "icons": make_icons,
        "flickr": make_flickr,
        "coco": make_coco,
        "tiny_train": make_tiny_train,
        "report": make_report,
    }
    for stage in STAGES:
        if stage in args.stages:
            stages[stage](job)


if __name__ == "__main__":
    main()
