"""A training step of keshin and of open_clip: same weights, same pairs, same threads.

    python benchmarks/training_speed.py --pairs flickr8k-train.parquet [--work plain ...]

The pairs are real photographs with real captions (columns ``image`` and ``captions``), decoded
before anything is timed. A contestant's step is what its own training loop does: open_clip's
``train_one_epoch`` (forward, ``ClipLoss``, backward, AdamW; with ``accum_freq`` the features of all
micro-batches without gradients first, then each again with the whole loss), keshin's ``take_step``.
open_clip's tokenizer pads to 77; keshin's batches are as long as their captions, which is exact.

Works: ``plain``; ``patches`` (half of the patches left out in both); ``micro`` (eight
micro-batches); ``curve`` (the losses of 50 steps from the same weights on the same pairs, small
towers).
Steps alternate, medians are compared. Writes results/training_speed.json.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from open_clip.loss import ClipLoss

from keshin.train.data import Batch, batches
from keshin.train.recipe import parse_recipe
from keshin.train.run import Run, prepare
from keshin.train.step import take_step

RESULTS = Path(__file__).resolve().parent / "results" / "training_speed.json"
MEAN, STD = open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD
RATE = 1e-4
SHAPES = {  # width, layers, heads of the picture's and the text's tower, embedding, patch, picture
    "ViT-B/32": ((768, 12, 12), (512, 12, 8), 512, 32, 224),
    "small": ((128, 3, 4), (128, 3, 4), 64, 32, 224),
}


def recipe(pairs: Path, shape: str, batch: int, steps: int, micro: int, dropout: float) -> Any:
    """keshin's recipe of a contest."""
    vision, text, embed, patch, size = SHAPES[shape]

    def block(width: int, layers: int, heads: int) -> dict[str, Any]:
        return {
            "width": width, "layers": layers, "heads": heads, "mlp_width": 4 * width,
            "activation": "gelu", "layer_norm_eps": 1e-5,
        }  # fmt: skip

    values = {
        "name": "contest",
        "model": {
            "embed_dim": embed,
            "vision": {
                "kind": "vit", "image_size": [size, size], "patch_size": patch, **block(*vision),
            },
            "text": {
                "kind": "transformer", "context_length": 77, "vocab_size": 49408, **block(*text),
                "causal": True, "pool": "end-of-text",
            },
            "preprocess": {
                "size": [size, size], "resize": "shorter-side", "interpolation": "bicubic",
                "mean": MEAN, "std": STD,
            },
        },
        "data": {"sources": [{"path": str(pairs)}], "workers": 0},
        "augment": {"patch_dropout": dropout},
        "loss": {"positives": "pair"},
        "optim": {
            "batch_size": batch, "epochs": 10_000.0, "learning_rate": RATE, "warmup": 0,
            "micro_batch": micro,
        },
        "run": {"precision": "fp32", "device": "cpu"},
    }  # fmt: skip
    del steps
    return parse_recipe(values, origin="contest")


class OpenClip:
    """open_clip's step on the same weights."""

    def __init__(self, run: Run, shape: str, micro: int, dropout: float) -> None:
        vision, text, embed, patch, size = SHAPES[shape]
        self.model = open_clip.CLIP(
            embed,
            {
                "image_size": size, "patch_size": patch, "width": vision[0], "layers": vision[1],
                "head_width": vision[0] // vision[2], "patch_dropout": dropout,
            },
            {"context_length": 77, "width": text[0], "layers": text[1], "heads": text[2]},
            output_dict=True,
        )  # fmt: skip
        state = {k: v.clone() for k, v in run.state.model.state_dict().items()}
        self.model.load_state_dict(state, strict=False)
        self.model.train()
        decayed = [p for p in self.model.parameters() if p.ndim >= 2]
        others = [p for p in self.model.parameters() if p.ndim < 2]
        self.optimizer = torch.optim.AdamW(
            [{"params": others, "weight_decay": 0.0}, {"params": decayed, "weight_decay": 0.2}],
            lr=RATE, betas=(0.9, 0.98), eps=1e-6,
        )  # fmt: skip
        self.loss, self.micro = ClipLoss(), micro
        self.tokenizer = open_clip.get_tokenizer("ViT-B-32")
        mean, std = (torch.tensor(v).view(3, 1, 1) for v in (MEAN, STD))
        self.normalise = lambda pixels: (pixels.float() / 255 - mean) / std

    def step(self, batch: Batch) -> float:
        """One step; the loss."""
        images, texts = self.normalise(batch.pixels), self.tokenizer(batch.texts)
        self.optimizer.zero_grad()
        if not self.micro or self.micro >= len(images):
            total = sum(self.loss(**self.model(images, texts), output_dict=True).values())
            total.backward()
        else:
            parts = list(zip(images.split(self.micro), texts.split(self.micro), strict=True))
            kept: dict[str, list[torch.Tensor]] = {}
            with torch.no_grad():
                for some in parts:
                    found = self.model(*some)
                    found.pop("logit_scale")
                    for name, value in found.items():
                        kept.setdefault(name, []).append(value)
            for place, some in enumerate(parts):
                found = self.model(*some)
                scale = found.pop("logit_scale")
                inputs = {
                    name: torch.cat([*kept[name][:place], value, *kept[name][place + 1 :]])
                    for name, value in found.items()
                }
                losses = self.loss(**inputs, logit_scale=scale, output_dict=True)
                total = sum(losses.values())
                total.backward()
        self.optimizer.step()
        with torch.no_grad():
            self.model.logit_scale.clamp_(0, np.log(100))
        return float(total.detach())


def small_table(source: Path, folder: Path, pairs: int) -> Path:
    """The first pairs with one caption each, so that both draw the same."""
    table = pq.read_table(source, columns=["image", "captions"]).slice(0, pairs)
    captions = [some[0] for some in table.column("captions").to_pylist()]
    path = folder / "pairs.parquet"
    pq.write_table(pa.table({"image": table.column("image"), "captions": captions}), path)
    return path


def contest(
    pairs: Path, folder: Path, shape: str, batch: int, rounds: int, micro: int, dropout: float
) -> dict[str, Any]:
    """Alternating steps of both: seconds and losses."""
    path = small_table(pairs, folder, batch * 8)
    run = prepare(recipe(path, shape, batch, rounds, micro, dropout), folder)
    # The schedule stands still in both, so that only the step is compared.
    ready = list(batches(run.pool, run.recipe, 0, 8))
    theirs = OpenClip(run, shape, micro, dropout)
    turns: dict[str, Callable[[Batch], float]] = {
        "open_clip": theirs.step,
        "keshin": lambda one: float(take_step(run, one)["loss"]),
    }
    seconds: dict[str, list[float]] = {name: [] for name in turns}
    losses: dict[str, list[float]] = {name: [] for name in turns}
    for number in range(rounds + 1):
        for name, turn in turns.items():
            began = time.perf_counter()
            losses[name].append(turn(ready[number % len(ready)]))
            if number:  # the first one warms up
                seconds[name].append(time.perf_counter() - began)
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    return {
        "shape": shape,
        "batch": batch,
        "micro_batch": micro,
        "patch_dropout": dropout,
        "rounds": rounds,
        "seconds": {name: round(value, 3) for name, value in medians.items()},
        "pairs_per_second": {name: round(batch / value, 2) for name, value in medians.items()},
        "ratio": round(medians["open_clip"] / medians["keshin"], 3),
        "largest_difference_of_losses": float(
            np.abs(np.subtract(losses["open_clip"], losses["keshin"])).max()
        ),
    }


WORKS: dict[str, dict[str, Any]] = {
    "plain": {"shape": "ViT-B/32", "batch": 32, "rounds": 5, "micro": 0, "dropout": 0.0},
    "patches": {"shape": "ViT-B/32", "batch": 32, "rounds": 5, "micro": 0, "dropout": 0.5},
    "micro": {"shape": "ViT-B/32", "batch": 64, "rounds": 3, "micro": 8, "dropout": 0.0},
    "curve": {"shape": "small", "batch": 32, "rounds": 49, "micro": 0, "dropout": 0.0},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=Path, required=True)
    parser.add_argument("--work", nargs="+", choices=list(WORKS), default=list(WORKS))
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    content: dict[str, Any] = {"works": {}}
    if RESULTS.exists():
        content = json.loads(RESULTS.read_text("utf-8"))
    content["machine"] = {"processor": platform.machine(), "threads": options.threads}
    content["versions"] = {name: version(name) for name in ("torch", "open_clip_torch")}
    for work in options.work:
        with tempfile.TemporaryDirectory() as folder:
            found = contest(options.pairs, Path(folder), **WORKS[work])
        content["works"][work] = found
        print(work, json.dumps(found))
        RESULTS.write_text(json.dumps(content, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
