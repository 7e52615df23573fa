"""Pairs that the training tests draw themselves: coloured shapes with captions that say so."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

COLOURS = {"red": (220, 30, 30), "green": (30, 180, 60), "blue": (40, 60, 220)}
SHAPES = ("square", "stripe")


def picture(colour: str, shape: str, seed: int, size: int = 24) -> Image.Image:
    """A shape of random size and place on a grey ground."""
    rng = np.random.default_rng(seed)
    image = Image.new("RGB", (size, size), tuple(int(v) for v in rng.integers(100, 160, 3)))
    side = int(rng.integers(size // 2, size - 4))
    left, top = (int(v) for v in rng.integers(0, size - side, 2))
    square, stripe = (left, top, left + side, top + side), (0, top, size, top + 4)
    box = square if shape == "square" else stripe
    ImageDraw.Draw(image).rectangle(box, fill=COLOURS[colour])
    return image


def encoded(image: Image.Image, kind: str = "PNG") -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind)
    return stream.getvalue()


def rows(count: int) -> list[tuple[bytes, list[str], int]]:
    """(encoded picture, captions, label) of ``count`` pairs; label counts colours x shapes."""
    kinds = [(c, s) for c in COLOURS for s in SHAPES]
    found = []
    for index in range(count):
        label = index % len(kinds)
        colour, shape = kinds[label]
        captions = [f"{colour} {shape}", f"a {shape} that is {colour}"]
        found.append((encoded(picture(colour, shape, index)), captions, label))
    return found


NAMES = [f"{c} {s}" for c in COLOURS for s in SHAPES]


def write_parquet(path: Path, count: int, broken: tuple[int, ...] = ()) -> Path:
    import pyarrow as pa
    import pyarrow.parquet as pq

    data = rows(count)
    table = {
        "image": [b"not a picture" if i in broken else r[0] for i, r in enumerate(data)],
        "captions": [r[1] for r in data],
        "label": [r[2] for r in data],
        "name": [NAMES[r[2]] for r in data],
    }
    pq.write_table(pa.table(table), path)
    return path


RECIPE = """
name = "shapes"
[model]
embed_dim = 16
[model.vision]
kind = "vit"
image_size = [16, 16]
patch_size = 4
width = 32
layers = 2
heads = 2
mlp_width = 64
activation = "quick_gelu"
layer_norm_eps = 1e-5
[model.text]
kind = "transformer"
context_length = 12
vocab_size = 530
width = 32
layers = 1
heads = 2
mlp_width = 64
activation = "quick_gelu"
layer_norm_eps = 1e-5
causal = true
pool = "end-of-text"
[model.preprocess]
size = [16, 16]
resize = "shorter-side"
interpolation = "bicubic"
mean = [0.5, 0.5, 0.5]
std = [0.25, 0.25, 0.25]
[tokenizer]
kind = "learn"
[data]
workers = 0
[[data.sources]]
path = "pairs.parquet"
[optim]
batch_size = 12
epochs = 4
learning_rate = 3e-3
warmup = 4
average = 0.9
[run]
precision = "fp32"
device = "cpu"
threads = 1
log_every = 1
checkpoint_every = 4
"""


def write_recipe(folder: Path, *, pairs: int = 36, broken: tuple[int, ...] = (), **changes: str):
    """A recipe and its pairs; ``changes`` replace one line by another."""
    write_parquet(folder / "pairs.parquet", pairs, broken)
    text = RECIPE
    for old, new in changes.items():
        assert f"\n{old} = " in text, old
        lines = [f"{old} = {new}" if ln.startswith(f"{old} = ") else ln for ln in text.split("\n")]
        text = "\n".join(lines)
    path = folder / "recipe.toml"
    path.write_text(text, encoding="utf-8")
    return path
