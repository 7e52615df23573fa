"""Memory and time of the contrastive loss with its gradients: in blocks, and with the whole matrix.

    python benchmarks/loss_memory.py [--batch 32768] [--width 512]

Each contestant runs in a process of its own, which makes unit vectors, notes its memory, computes
the loss and the gradients of both sides, and notes its peak. ``dense`` is the loss as Figure 3 of
the paper has it, with PyTorch's autograd. The batches at which both run tell how near the two are.
Writes results/loss_memory.json.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
from pathlib import Path

RESULTS = Path(__file__).resolve().parent / "results" / "loss_memory.json"
CHILD = """
import json, resource, sys, time
import numpy as np, torch, torch.nn.functional as F
from keshin.train.loss import contrastive
from keshin.train.matching import match
how, batch, width = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
def run(count):
    torch.manual_seed(0)
    x, y = (F.normalize(torch.randn(count, width), dim=1).requires_grad_() for _ in range(2))
    s = torch.tensor(100.0, requires_grad=True)
    targets = match(np.arange(count), [np.empty(0, np.int64)] * count, "equal")[1]
    before, began = peak(), time.perf_counter()
    if how == "dense":
        logits, own = s * x @ y.T, torch.arange(count)
        loss = (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2
    else:
        loss = contrastive(x, y, s, targets)
    loss.backward()
    return peak() - before, time.perf_counter() - began, float(loss), float(x.grad.double().norm())
run(64)
print(json.dumps(run(batch)))
"""


def measure(how: str, batch: int, width: int) -> dict[str, float]:
    """Peak memory above what the vectors took, seconds, loss and the gradient's norm."""
    command = [sys.executable, "-c", CHILD, how, str(batch), str(width)]
    memory, seconds, loss, norm = json.loads(subprocess.check_output(command))
    return {"bytes": memory, "seconds": round(seconds, 2), "loss": loss, "gradient_norm": norm}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=32768)
    parser.add_argument("--width", type=int, default=512)
    options = parser.parse_args()
    logits = 4 * options.batch**2
    rows = {}
    for batch in (options.batch // 4, options.batch):
        rows[batch] = {"blocks": measure("blocks", batch, options.width)}
        if batch < options.batch:
            rows[batch]["dense"] = measure("dense", batch, options.width)
        for how, row in rows[batch].items():
            share = row["bytes"] / (4 * batch**2)
            print(
                f"B = {batch}, {how}: {row['bytes'] / 1e6:.0f} MB, {100 * share:.1f} % of the "
                f"dense logits, {row['seconds']} s, loss {row['loss']:.6f}"
            )
    content = {
        "machine": platform.machine(),
        "width": options.width,
        "dense_logits_bytes": logits,
        "share_of_dense_logits": round(rows[options.batch]["blocks"]["bytes"] / logits, 4),
        "rows": rows,
    }
    RESULTS.write_text(json.dumps(content, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
