"""Compute, memory and exchanges from 8 to 1,024 devices, by the planner's formulas.

    python benchmarks/scale_model.py

Nothing is measured: the towers are traced, the exchanges computed (keshin.train.plan). Writes
results/scale_model.json, from which scripts/docs.py makes the tables of docs/guides/scale.md.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from keshin.facts import paper
from keshin.train.plan.counts import count
from keshin.train.plan.exchange import Shape, exchanges, step_time
from keshin.train.plan.history import sheet
from keshin.train.plan.memory import Sizes, memory
from keshin.train.plan.work import trace

RESULTS = Path(__file__).resolve().parent / "results" / "scale_model.json"
BATCH, TOKENS, FLOPS = 32768, 77, 100e12
DEVICES = (8, 16, 32, 64, 128, 256, 512, 1024)
BANDWIDTHS = (3e9, 12.5e9, 50e9)
EMBED = 512


def towers() -> dict[str, Any]:
    block = {"activation": "gelu", "layer_norm_eps": 1e-5}
    vision = {
        "kind": "vit", "image_size": [224, 224], "patch_size": 32, "width": 768, "layers": 12,
        "heads": 12, "mlp_width": 3072, **block,
    }  # fmt: skip
    text = {
        "kind": "transformer", "context_length": 77, "vocab_size": 49408, "width": 512,
        "layers": 12, "heads": 8, "mlp_width": 2048, "causal": True, "pool": "end-of-text", **block,
    }  # fmt: skip
    large = next(run for run in paper.training() if run["model"] == "ViT-L/14")
    return {
        "ViT-B/32": sheet("ViT-B/32", EMBED, vision, text),
        "ViT-L/14": sheet("ViT-L/14", large["embed_dim"], large["vision"], large["text"]),
    }


def rows(config: Any) -> dict[str, Any]:
    """Of one pair of towers."""
    counts = count(config)
    one = trace(config, 1, [(1, TOKENS)])
    each = one.forward + one.backward + 8 * BATCH * config.embed_dim
    found, traced = [], {}
    for devices in DEVICES:
        pairs = BATCH // devices
        parts = max(1, pairs // 256)
        local = pairs // parts
        groups = max(1, local // 96)
        sizes = [(local // groups, TOKENS)] * groups
        if local not in traced:
            traced[local] = trace(config, local, sizes, half=True)
        work = traced[local]
        compute = pairs * each / FLOPS
        for sharded in (False, True):
            shape = Shape(
                parameters=counts.trained, texts=BATCH, embed_dim=config.embed_dim, parts=parts,
                sharded=sharded, image_blocks=counts.image_blocks, text_blocks=counts.text_blocks,
                text_groups=groups,
            )  # fmt: skip
            some = exchanges(shape, devices)
            held = memory(
                work,
                Sizes(
                    parameters=counts.parameters, buffers=counts.buffers, trained=counts.trained,
                    largest_block=counts.largest_block, outside_blocks=counts.outside_blocks,
                    pairs=pairs, texts=pairs, all_texts=BATCH, embed_dim=config.embed_dim,
                    devices=devices, parts=parts, averaged=False, sharded=sharded, processor=False,
                ),
            )  # fmt: skip
            found.append(
                {
                    "devices": devices,
                    "pairs": pairs,
                    "parts": parts,
                    "sharded": sharded,
                    "memory": held.total,
                    "gradients and weights": sum(r.sent(devices) for r in some if r.hidden),
                    "features": sum(r.sent(devices) for r in some if not r.hidden),
                    "compute": compute,
                    "share": {
                        f"{bandwidth / 1e9:g}": round(
                            (time := step_time(some, devices, compute, bandwidth)).exchange
                            / (time.exchange + compute),
                            4,
                        )
                        for bandwidth in BANDWIDTHS
                    },
                }
            )
    return {"parameters": counts.parameters, "flops_per_sample": each, "rows": found}


def main() -> None:
    content = {
        "batch": BATCH,
        "tokens": TOKENS,
        "flops": FLOPS,
        "towers": {name: rows(config) for name, config in towers().items()},
    }
    RESULTS.write_text(json.dumps(content, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
