"""Pictures a second from shards: keshin's training loader and open_clip's webdataset pipeline.

    python benchmarks/loader_speed.py --photo camera.jpg [--pairs coco-mini.parquet]

The shards are made first: photographs as img2dataset leaves them (JPEG, the short side 256 to 512
pixels), cut out of one public camera picture; captions from ``--pairs`` (column ``captions``).
open_clip's side is its own ``get_wds_dataset`` with its own ``image_transform``, which crops and
normalises in the workers, and its tokenizer; keshin's is the loader of ``keshin train``, and what a
step does with a batch before the towers run: captions to ids, bytes to normalised numbers. Both
have as many worker processes as there are cores to use, and give ViT-B/32 batches of 64.

Augmentation: a random resized crop of 90 to 100 % with a stretch up to 4/3. open_clip takes the
share of the whole picture, keshin of its largest square; ``same crop`` is open_clip's pipeline with
keshin's box, so that both resample the same pixels.

Contestants take turns; from the first batch of a turn to its last is timed. Needs open_clip with
its training extra. Writes results/loader_speed.json.
"""

from __future__ import annotations

import argparse
import io
import json
import platform
import random
import statistics
import tarfile
import tempfile
import time
from argparse import Namespace
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pyarrow.parquet as pq
import torch
from open_clip.transform import image_transform
from open_clip_train.data import get_wds_dataset
from PIL import Image
from torchvision.transforms import Compose, Normalize, ToTensor

from keshin.core.tokenizer import Tokenizer
from keshin.train import data as loading
from keshin.train.pixels import normalised
from keshin.train.recipe import Recipe, parse_recipe

RESULTS = Path(__file__).resolve().parent / "results" / "loader_speed.json"
MEAN, STD = open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD
BATCH, SIDE, SHARDS = 64, 224, 16
SHORT = (256, 384, 512)


def write_shards(photo: Path, captions: list[str], folder: Path, pictures: int) -> dict[str, Any]:
    """Shards of ``pictures`` pairs; what they are like."""
    rng = random.Random(0)
    with Image.open(photo) as opened:
        whole = opened.convert("RGB")
    sizes = []
    for shard in range(SHARDS):
        with tarfile.open(folder / f"{shard:05}.tar", "w") as archive:
            for number in range(shard, pictures, SHARDS):
                short = SHORT[number % len(SHORT)]
                long = round(short * rng.choice((1.0, 4 / 3, 3 / 2, 16 / 9)))
                size = (long, short) if rng.random() < 0.7 else (short, long)
                shrink = min(
                    rng.uniform(1.5, 4), *(w / s for w, s in zip(whole.size, size, strict=True))
                )
                w, h = (s * shrink for s in size)
                left, top = rng.uniform(0, whole.width - w), rng.uniform(0, whole.height - h)
                box = left, top, left + w, top + h
                stream = io.BytesIO()
                whole.resize(size, Image.Resampling.LANCZOS, box).save(stream, "JPEG", quality=90)
                sizes.append(stream.tell())
                add(archive, f"{number:08}.jpg", stream.getvalue())
                add(archive, f"{number:08}.txt", rng.choice(captions).encode())
    return {
        "pictures": pictures, "shards": SHARDS, "short side": list(SHORT),
        "mean bytes": round(statistics.mean(sizes)), "source": photo.name,
    }  # fmt: skip


def add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    archive.addfile(info, io.BytesIO(content))


def recipe(folder: Path, workers: int) -> Recipe:
    """keshin's side; only the loader's part is used."""
    block = {
        "width": 64, "layers": 1, "heads": 1, "mlp_width": 64, "activation": "gelu",
        "layer_norm_eps": 1e-5,
    }  # fmt: skip
    values = {
        "name": "loader",
        "model": {
            "embed_dim": 64,
            "vision": {"kind": "vit", "image_size": [SIDE, SIDE], "patch_size": 32, **block},
            "text": {
                "kind": "transformer", "context_length": 77, "vocab_size": 49408, "causal": True,
                "pool": "end-of-text", **block,
            },
            "preprocess": {
                "size": [SIDE, SIDE], "resize": "shorter-side", "interpolation": "bicubic",
                "mean": MEAN, "std": STD,
            },
        },
        "data": {"sources": [{"path": f"{folder}/*.tar"}], "workers": workers},
        "augment": {"min_area": 0.9, "max_stretch": 4 / 3},
        "optim": {"batch_size": BATCH, "epochs": 1000.0},
    }  # fmt: skip
    return parse_recipe(values, origin="loader")


class Keshin:
    """The loader of ``keshin train``, and what a step does before the towers."""

    def __init__(self, folder: Path, workers: int) -> None:
        self.recipe = recipe(folder, workers)
        self.pool = loading.Pool(self.recipe)
        self.tokenizer = Tokenizer.clip(77)
        self.mean, self.std = (torch.tensor(v).view(3, 1, 1) for v in (MEAN, STD))
        self.done = 0

    def turn(self, batches: int) -> Iterator[int]:
        loader = loading.batches(self.pool, self.recipe, self.done, self.done + batches)
        self.done += batches
        for batch in loader:
            tokens = self.tokenizer(batch.texts)
            normalised(batch.pixels, self.mean, self.std)
            yield len(tokens.ids)


class OwnCrop:
    """keshin's box on a Pillow picture."""

    def __init__(self, folder: Path) -> None:
        self.augment = recipe(folder, 0).augment
        self.rng = np.random.default_rng()

    def __call__(self, image: Image.Image) -> Image.Image:
        box = loading._crop(image.size, self.augment, self.rng)
        return image.resize((SIDE, SIDE), Image.Resampling.BICUBIC, box)


class OpenClip:
    """open_clip's own training data set."""

    def __init__(self, folder: Path, workers: int, pictures: int, *, own_crop: bool) -> None:
        transform = image_transform(SIDE, is_train=True)
        if own_crop:
            transform = Compose([OwnCrop(folder), ToTensor(), Normalize(MEAN, STD)])
        arguments = Namespace(
            train_data=f"{folder}/{{00000..{SHARDS - 1:05}}}.tar", train_num_samples=pictures,
            train_data_upsampling_factors=None, dataset_resampled=False, seed=0, batch_size=BATCH,
            workers=workers, world_size=1,
        )  # fmt: skip
        tokenizer = open_clip.get_tokenizer("ViT-B-32")
        self.info = get_wds_dataset(arguments, transform, True, tokenizer=tokenizer, floor=True)
        self.epoch = 0

    def turn(self, batches: int) -> Iterator[int]:
        self.info.set_epoch(self.epoch)
        self.epoch += 1
        for images, texts in self.info.dataloader:
            assert images.dtype == torch.float32
            yield len(texts)


def rate(turn: Callable[[int], Iterator[int]], batches: int) -> float:
    """Pictures a second between the first batch and the last."""
    began, seen = 0.0, 0
    for count in turn(batches):
        if began:
            seen += count
        else:
            began = time.perf_counter()
    return seen / (time.perf_counter() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photo", type=Path, required=True)
    parser.add_argument("--pairs", type=Path)
    parser.add_argument("--pictures", type=int, default=2048)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--folder", type=Path, help="where the shards are kept; made if empty")
    options = parser.parse_args()
    captions = ["a photo of a house beside a field"]
    if options.pairs:
        rows = pq.read_table(options.pairs, columns=["captions"])["captions"].to_pylist()
        captions = [text for row in rows for text in row]
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.folder or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        about = folder / "about.json"
        if not about.exists():
            said = write_shards(options.photo, captions, folder, options.pictures)
            about.write_text(json.dumps(said))
        content = measure(options, folder)
        content["data"] = json.loads(about.read_text())
    RESULTS.write_text(json.dumps(content, indent=1) + "\n", "utf-8")


def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    workers, pictures = options.workers, options.pictures
    contestants: dict[str, Any] = {
        "open_clip": OpenClip(folder, workers, pictures, own_crop=False),
        "keshin": Keshin(folder, workers),
        "open_clip, same crop": OpenClip(folder, workers, pictures, own_crop=True),
    }
    rates: dict[str, list[float]] = {name: [] for name in contestants}
    for number in range(options.rounds + 1):
        for name, one in contestants.items():
            found = rate(one.turn, pictures // BATCH)
            if number:  # the first one fills the page cache
                rates[name].append(found)
        print(number, {n: f"{r[-1]:.0f}" for n, r in rates.items() if r}, flush=True)
    medians = {name: statistics.median(values) for name, values in rates.items()}
    content = {
        "workers": workers,
        "batch": BATCH,
        "rounds": options.rounds,
        "pictures_per_second": {name: round(value, 1) for name, value in medians.items()},
        "all": {name: [round(v, 1) for v in values] for name, values in rates.items()},
        "ratio": round(medians["keshin"] / medians["open_clip"], 3),
        "ratio_same_crop": round(medians["keshin"] / medians["open_clip, same crop"], 3),
        "versions": {
            name: version(name) for name in ("torch", "open_clip_torch", "webdataset", "pillow")
        },
        "machine": platform.machine(),
    }
    print(json.dumps(content))
    return content


if __name__ == "__main__":
    main()
