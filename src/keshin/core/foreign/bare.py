"""What a bare file of weights shows of its model without any fact stated."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from keshin.core.foreign.openai import OPENAI_KEYS, infer_towers
from keshin.core.foreign.pickled import PICKLED, read_pickled
from keshin.core.tensors import TensorFile
from keshin.errors import CheckpointError

TYPES = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}
UNSEEN = ("heads", "activation", "layer_norm_eps", "causal", "pool")
NOTHING_STATED = {"head_width": 1, **dict.fromkeys(UNSEEN[1:])}


def describe_weights(path: Path) -> dict[str, Any]:
    """Number of tensors and weights, their types, and what the shapes show of the towers.

    Raises ``CheckpointError`` for a file that cannot be read.
    """
    if path.suffix in PICKLED:
        arrays = read_pickled(path)
        shapes = {name: array.shape for name, array in arrays.items()}
        types = {array.dtype.name for array in arrays.values()}
    else:
        infos = TensorFile(path).infos
        shapes = {name: info.shape for name, info in infos.items()}
        types = {TYPES.get(info.dtype, info.dtype) for info in infos.values()}
    seen: dict[str, Any] = {
        "tensors": len(shapes),
        "parameters": sum(math.prod(shape) for shape in shapes.values()),
        "types": sorted(types),
    }
    return seen | _towers(shapes, str(path))


def _towers(shapes: dict[str, tuple[int, ...]], origin: str) -> dict[str, Any]:
    empty = {name: np.broadcast_to(np.float32(0), shape) for name, shape in shapes.items()}
    try:
        ours = OPENAI_KEYS.import_tensors(empty, origin=origin)
        towers = infer_towers(ours, NOTHING_STATED, origin=origin)
    except CheckpointError as error:
        return {"towers": f"not read off the names and shapes: {error}"}
    for tower in ("vision", "text"):
        towers[tower] = {k: v for k, v in towers[tower].items() if k not in UNSEEN}
    return towers
