"""Which layers suffer from 8 bits, and what helps: the error of every layer and of whole towers.

    python benchmarks/quantization_study.py [--layers 4] [--samples 8]

Towers of ViT-B/32's shapes (fewer layers) with random weights and with simulated outliers, and the
embedded model. Error of one layer: only that layer is quantised; one minus the least cosine of the
features. Cosines say little where all pictures have nearly the same feature, so those of the
features less their mean are given too ("centred"), and "changed": for how many inputs another of
as many others is the nearest (in fp32 on that side). Writes results/quantization_study.json.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "tests" / "encode")]

from outliers import with_outliers  # noqa: E402
from test_graph import formula, sheet, stored, text, vit  # noqa: E402

from keshin import api  # noqa: E402
from keshin.core.checkpoint import expected_shapes  # noqa: E402
from keshin.encode import quantize  # noqa: E402
from keshin.encode.graph import image_graph, text_graph  # noqa: E402
from keshin.encode.quantize import quantise, quantise_linears, quantised_graph, sample_inputs  # noqa: E402
from keshin.encode.runtime import OnnxTowers  # noqa: E402


def unit(x: Any) -> Any:
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def distance(exact: Any, other: Any, gallery: Any) -> dict[str, float]:
    a, b, g = unit(exact), unit(other), unit(gallery)
    mean = g.mean(axis=0)
    u, v, w = unit(a - mean), unit(b - mean), unit(g - mean)
    cosines, centred = (a * b).sum(axis=1), (u * v).sum(axis=1)
    return {
        "least": round(float(cosines.min()), 6),
        "p1": round(float(np.percentile(cosines, 1)), 6),
        "median": round(float(np.median(cosines)), 6),
        "centred p1": round(float(np.percentile(centred, 1)), 4),
        "centred median": round(float(np.median(centred)), 6),
        "changed": round(float(((u @ w.T).argmax(1) != (v @ w.T).argmax(1)).mean()), 3),
    }


VARIANTS = {
    "int8-safe": ("int8-safe", {}),
    "int8": ("int8", {}),
    "int8, nothing smoothed": ("int8", {"SMOOTHING": 0.0}),
    "int8, all smoothed away": ("int8", {"SMOOTHING": 1.0}),
    "int8, no layer in blocks": ("int8", {"MASSIVE": np.inf}),
    "int8, no outliers exact": ("int8", {"OUTLIER": np.inf}),
    "int8, more outliers exact": ("int8", {"OUTLIER": 3.0}),
    "int8, none of the three": ("int8", {"SMOOTHING": 0.0, "MASSIVE": np.inf, "OUTLIER": np.inf}),
}
"""name -> mode and constants of ``keshin.encode.quantize`` that it changes."""


def study(checkpoint: Any, samples: int) -> dict[str, Any]:
    """Of both towers: whole modes with and without exact outlier channels, and single layers."""
    towers = OnnxTowers(checkpoint, threads=1)
    config, tensors = checkpoint.config, checkpoint.tensors
    found: dict[str, Any] = {}
    for tower, build in (("image", image_graph), ("text", text_graph)):
        made = sample_inputs(config)[tower]
        inputs = other_inputs(config, samples)[tower]
        others = other_inputs(config, samples, seed=7)[tower]

        def features(arrays: Any, build: Any = build, inputs: Any = inputs) -> Any:
            model = quantised_graph(build, config, tensors, arrays)
            return towers._run(model, arrays, inputs)[0]

        exact, gallery, rows = features({}), features({}, inputs=others), {}
        for name, (mode, changes) in VARIANTS.items():
            before = {constant: getattr(quantize, constant) for constant in changes}
            vars(quantize).update(changes)
            arrays = quantise(build, config, tensors, mode, made, towers._run)
            vars(quantize).update(before)
            rows[name] = distance(exact, features(arrays), gallery)
        quantize.SMOOTHING, before = 0.0, quantize.SMOOTHING  # which belongs to several layers
        arrays = quantise_linears(build, config, tensors, "rows", made, towers._run)
        quantize.SMOOTHING = before
        layers = sorted({name.split("#")[0] for name in arrays})
        single = {}
        for layer in layers:
            own = {key: value for key, value in arrays.items() if key.split("#")[0] == layer}
            if f"{layer}#scale" not in own:
                continue  # a LayerNorm
            single[layer] = distance(exact, features(own), gallery) | {
                "outliers": len(own.get(f"{layer}#outliers", ())),
                "form": "blocks" if f"{layer}#blocks" in own else "rows",
            }
        found[tower] = {"modes": rows, "single layers, int8": single}
    return found


def other_inputs(config: Any, samples: int, seed: int = 99) -> dict[str, Any]:
    """Inputs unlike those that the outlier channels were found with."""
    dice = np.random.default_rng(seed)
    shape = (samples, 3, *config.vision.image_size)
    pixels = np.repeat(
        np.repeat(dice.standard_normal((*shape[:2], shape[2] // 8, shape[3] // 8)), 8, 2), 8, 3
    )
    pixels = 0.8 * pixels + 0.3 * dice.standard_normal(shape)
    length = min(12, config.text.context_length)
    ids = dice.integers(0, config.text.vocab_size, (samples, length))
    return {
        "image": {"pixels": pixels.astype(np.float32)},
        "text": {"ids": ids, "ends": dice.integers(3, length, samples)},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument(
        "--out", type=Path, default=ROOT / "benchmarks/results/quantization_study.json"
    )
    options = parser.parse_args()
    config = sheet(
        vit(
            image_size=(224, 224),
            patch_size=32,
            width=768,
            layers=options.layers,
            heads=12,
            mlp_width=3072,
        ),
        text(
            context_length=77,
            vocab_size=1000,
            width=512,
            layers=options.layers,
            heads=8,
            mlp_width=2048,
        ),
        512,
    )
    results: dict[str, Any] = {"layers": options.layers, "samples": options.samples}
    tensors = {name: formula(name, shape) for name, shape in expected_shapes(config).items()}
    heavy = with_outliers(tensors, "visual.", 768, options.layers)
    heavy = with_outliers(heavy, "", 512, options.layers)
    for name, weights in (("random", tensors), ("outliers", heavy)):
        with tempfile.TemporaryDirectory() as folder:
            results[name] = study(stored(Path(folder), config, weights), options.samples)
    results["mini"] = study(api.find_checkpoint("mini")[0], options.samples)
    for name in ("random", "outliers", "mini"):
        for tower, rows in results[name].items():
            for mode, row in rows["modes"].items():
                print(name, tower, mode, row)
    options.out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
