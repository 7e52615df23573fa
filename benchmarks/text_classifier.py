"""Labels x templates to class weights, against open_clip and transformers.

    python benchmarks/text_classifier.py                  # all 1000 classes x 80 templates
    python benchmarks/text_classifier.py --classes 100    # every tenth class; said so in the result
    python benchmarks/text_classifier.py --mode int8      # of keshin; the peers stay in fp32

Run it with an interpreter that has keshin, open_clip_torch and transformers, on a quiet machine.
All build the classifier of the same random ViT-B/32 from the same class names, each as its own
documentation says: open_clip with ``build_zero_shot_classifier``, transformers with one padded call
of ``get_text_features`` a class, keshin with ``model.classifier`` and its checks of the labels, its
cache off. They take turns, with equal threads, after a round of two classes that is not counted.
Medians, ratios, tokens computed and the distance of the weights go to results/text_classifier.json.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # no peer may fetch anything
import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "benchmarks")]
MODEL = "ViT-B/32"
LIMIT = 1e-5
"""Between class weights in fp32."""

Build = Callable[[Sequence[str]], Any]


def engines(folder: Path, templates: Sequence[str], threads: int, mode: str) -> dict[str, Build]:
    """name -> class names to (k, d) weights, all with the same model."""
    import open_clip
    import torch
    from parity import MODELS, open_clip_model, transformers_model
    from transformers import CLIPTokenizer

    import keshin
    from keshin.core.foreign import read_foreign

    torch.set_num_threads(threads)
    peer = open_clip_model(MODEL, folder / "open_clip", seed=2021)
    cut = open_clip.get_tokenizer(MODELS[MODEL])
    other = transformers_model(read_foreign(folder / "open_clip"), folder / "transformers")
    words = CLIPTokenizer.from_pretrained(folder / "transformers")
    options = {} if mode == "fp32" else {"mode": mode}
    model = keshin.load(folder / "open_clip", threads=threads, **options)

    def by_open_clip(names: Sequence[str]) -> Any:
        weights = open_clip.build_zero_shot_classifier(peer, cut, names, templates)
        return weights.T.numpy()

    def by_transformers(names: Sequence[str]) -> Any:
        rows = []
        with torch.no_grad():
            for name in names:
                texts = [template.format(name) for template in templates]
                inputs = words(texts, padding=True, return_tensors="pt")
                output = other.get_text_features(**inputs)
                features = getattr(output, "pooler_output", output)
                features = features / features.norm(dim=-1, keepdim=True)
                mean = features.mean(dim=0)
                rows.append(mean / mean.norm())
        return torch.stack(rows).numpy()

    def by_keshin(names: Sequence[str]) -> Any:
        return model.classifier(list(names), templates=list(templates), cache=False).weights_

    return {"keshin": by_keshin, "open_clip": by_open_clip, "transformers": by_transformers}


def tokens_computed(names: Sequence[str], templates: Sequence[str]) -> dict[str, float]:
    """Tokens a prompt that each engine sends through the tower, padding included."""
    from keshin.classify import weights
    from keshin.core.tokenizer import Tokenizer
    from keshin.encode.prefix_tree import prefix_trees
    from keshin.encode.texts import TOKENS_AT_ONCE

    tokenizer = Tokenizer.clip()
    prompts = [template.format(name) for name in names for template in templates]
    lengths = tokenizer(prompts).lengths.reshape(len(names), len(templates))
    nodes = 0
    block = max(1, weights.PROMPTS_AT_ONCE // len(templates)) * len(templates)
    for start in range(0, len(prompts), block):
        tokens = tokenizer(prompts[start : start + block])
        trees = prefix_trees(tokens.ids, tokens.lengths, tokens.ends, TOKENS_AT_ONCE)
        nodes += sum(tree.size for _, _, tree in trees)
    return {
        "keshin": nodes / len(prompts),
        "open_clip": 77.0,
        "transformers": float(lengths.max(axis=1).mean()),
        "the prompts themselves": float(lengths.mean()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--templates", type=int, default=80, help="the first of ImageNet's")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument(
        "--open-clip-runs", type=int, help="fewer, since one takes minutes; default: as many"
    )
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--mode", default="fp32", help="of keshin")
    parser.add_argument(
        "--out", type=Path, default=ROOT / "benchmarks/results/text_classifier.json"
    )
    options = parser.parse_args()
    from keshin.facts import prompts

    every = [said[0] for said in prompts.class_names("imagenet")]
    every = list(dict.fromkeys(every))  # labels are unique
    step = max(1, len(every) // options.classes)
    names = every[::step][: options.classes]
    templates = prompts.templates("imagenet")[: options.templates]
    with tempfile.TemporaryDirectory() as folder:
        os.environ["KESHIN_CACHE"] = f"{folder}/cache"
        builds = engines(Path(folder), templates, options.threads, options.mode)
        for build in builds.values():
            build(names[:2])
        times: dict[str, list[float]] = {name: [] for name in builds}
        weights = {}
        for run in range(options.runs):
            for name, build in builds.items():
                if name == "open_clip" and run >= (options.open_clip_runs or options.runs):
                    continue
                began = time.perf_counter()
                weights[name] = build(names)
                times[name].append(time.perf_counter() - began)
                print(f"run {run + 1}: {name} {times[name][-1]:.2f} s", flush=True)
    medians = {name: statistics.median(values) for name, values in times.items()}
    apart = {
        name: float(np.abs(weights["keshin"] - weights[name]).max())
        for name in builds
        if name != "keshin"
    }
    content = {
        "machine": f"{os.cpu_count()} cores, {platform.machine()}",
        "threads": options.threads,
        "model": MODEL,
        "mode": options.mode,
        "versions": {name: version(name) for name in ("open_clip_torch", "transformers", "torch")},
        "classes": len(names),
        "of_classes": len(every),
        "templates": len(templates),
        "seconds": {name: [round(value, 3) for value in values] for name, values in times.items()},
        "medians": {name: round(value, 3) for name, value in medians.items()},
        "ratios": {name: round(medians[name] / medians["keshin"], 2) for name in apart},
        "tokens_a_prompt": tokens_computed(names, templates),
        "largest_difference_of_weights": apart,
    }
    print(json.dumps(content, indent=1))
    options.out.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    if options.mode == "fp32" and max(apart.values()) > LIMIT:
        sys.exit(f"The weights differ by more than {LIMIT}.")


if __name__ == "__main__":
    main()
