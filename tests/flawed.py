"""Pairs with one of each defect that a check before training is to find."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from PIL import Image

from keshin.train.recipe import Source
from shapes import encoded

LONG = "a very long caption " * 30


def noise(width: int, height: int, seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 255, (height, width, 3), np.uint8)
    return encoded(Image.fromarray(pixels))


def write(folder: Path) -> Source:
    """Eight pairs with one of each defect."""
    folder.mkdir(parents=True, exist_ok=True)
    data = [
        (noise(300, 260, 0), "a cat"),
        (noise(300, 260, 1), "a dog"),
        (noise(300, 260, 0), "a cat"),  # both a duplicate picture and an equal caption
        (noise(20, 20, 2), "an icon"),
        (noise(1000, 240, 3), LONG),
        (b"no picture", "broken"),
        (noise(240, 240, 4), ""),
        (noise(240, 240, 5), "赤い鳥"),
    ]
    with (folder / "pairs.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "captions"])
        for index, (picture, caption) in enumerate(data):
            (folder / f"{index}.png").write_bytes(picture)
            writer.writerow([f"{index}.png", caption])
    return Source(path=str(folder / "pairs.csv"))
