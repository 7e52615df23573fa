"""How often near duplicates are found, and how often other pictures are taken for them.

    python benchmarks/duplicates.py ../shared/data/flickr8k/flickr8k-train.parquet [--write]

Of the table's rows, the first 3,000 were used to choose the method and its threshold; what is
measured here are the next 3,000 (``--skip``). Made pairs: the first 400 of them changed in each of
CHANGES. Non-pairs: each picture with its nearest ``NEIGHBOURS`` by the embedded model, all of them
different pictures of Flickr8k, and as many pairs by chance. A share with no case has Wilson's
interval. "found" asks for both steps: the changed picture's original is among the nearest
neighbours in the library of 3,000, and the pixels agree.

Pairs of Flickr8k that are taken for near duplicates are listed in the results: those that are
the same scene, by eye, are named in docs/guides/search.md.
"""

from __future__ import annotations

import argparse
import io
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from PIL import Image, ImageEnhance

import keshin
from keshin.search.duplicates import NEIGHBOURS
from keshin.search.signatures import NEAR, signature, similarity
from keshin.statistics.intervals import wilson

MADE, LIBRARY = 400, 3000


def jpeg(image: Image.Image, quality: int) -> Image.Image:
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=quality)
    return Image.open(io.BytesIO(stream.getvalue())).convert("RGB")


def cut(image: Image.Image, share: float, dice: np.random.Generator) -> Image.Image:
    width, height = (round(side * share) for side in image.size)
    left = int(dice.integers(image.width - width + 1))
    top = int(dice.integers(image.height - height + 1))
    return image.crop((left, top, left + width, top + height))


Change = Callable[[Image.Image, np.random.Generator], Image.Image]
CHANGES: dict[str, Change] = {
    "JPEG, quality 75": lambda i, _: jpeg(i, 75),
    "JPEG, quality 30": lambda i, _: jpeg(i, 30),
    "half the size": lambda i, _: i.resize((i.width // 2, i.height // 2)),
    "brightness x 1.3": lambda i, _: ImageEnhance.Brightness(i).enhance(1.3),
    "brightness x 0.7": lambda i, _: ImageEnhance.Brightness(i).enhance(0.7),
    "contrast x 1.3": lambda i, _: ImageEnhance.Contrast(i).enhance(1.3),
    "grey": lambda i, _: i.convert("L").convert("RGB"),
    "cut to 95 % of each side": lambda i, dice: cut(i, 0.95, dice),
    "cut to 90 %": lambda i, dice: cut(i, 0.9, dice),
    "cut to 85 %": lambda i, dice: cut(i, 0.85, dice),
    "cut to 80 %": lambda i, dice: cut(i, 0.8, dice),
    "cut to 95 %, half the size, JPEG 50": lambda i, dice: jpeg(
        cut(i, 0.95, dice).resize((i.width // 2, i.height // 2)), 50
    ),
}


def share(hits: int, count: int) -> dict[str, float]:
    found = wilson(hits, count)
    return {"share": hits / count, "low": found.low, "high": found.high, "n": count}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("table", type=Path)
    parser.add_argument("--skip", type=int, default=LIBRARY)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    rows = pq.read_table(options.table, columns=["image"])["image"]
    files = rows.slice(options.skip, LIBRARY).to_pylist()
    images = [Image.open(io.BytesIO(file)).convert("RGB") for file in files]
    model, dice = keshin.load(), np.random.default_rng(0)
    vectors = model.encode_images(images)
    known = [signature(np.asarray(image)) for image in images]
    results: dict[str, Any] = {
        "table": options.table.name, "from": options.skip, "threshold": NEAR, "made": {},
    }  # fmt: skip
    for name, change in CHANGES.items():
        changed = [change(image, dice) for image in images[:MADE]]
        near = (model.encode_images(changed) @ vectors.T).argpartition(-NEIGHBOURS)[:, -NEIGHBOURS:]
        agree = np.array([similarity(known[place], signature(np.asarray(image))) >= NEAR
                          for place, image in enumerate(changed)])  # fmt: skip
        among = np.array([place in near[place] for place in range(MADE)])
        results["made"][name] = {
            "pixels agree": share(int(agree.sum()), MADE),
            "found": share(int((agree & among).sum()), MADE),
        }
        print(name, results["made"][name])
    scores = vectors @ vectors.T
    np.fill_diagonal(scores, -1)
    near = np.argpartition(-scores, NEIGHBOURS, axis=1)[:, :NEIGHBOURS]
    hard = sorted(
        {tuple(sorted((one, int(other)))) for one in range(LIBRARY) for other in near[one]}
    )
    chance = dice.integers(LIBRARY, size=(len(hard), 2))
    chance = chance[chance[:, 0] != chance[:, 1]]
    for kind, pairs in (("neighbours", hard), ("by chance", chance.tolist())):
        found = [(similarity(known[one], known[other]), one, other) for one, other in pairs]
        taken = sorted((round(s, 3), one, other) for s, one, other in found if s >= NEAR)
        results[kind] = {
            **share(len(taken), len(found)), "taken": taken,
            "highest below": max(s for s, _, _ in found if s < NEAR),
        }  # fmt: skip
        print(kind, results[kind])
    if options.write:
        path = Path(__file__).parent / "results/duplicates.json"
        path.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
