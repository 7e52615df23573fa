"""Picture positions for another resolution, as OpenCLIP makes them when it loads weights.

Its ``resize_pos_embed`` enlarges or shrinks the square grid of learned positions by bicubic
interpolation with antialiasing, which is what Pillow does to a picture of one float channel.
"""

from __future__ import annotations

from math import isqrt

import numpy as np
from PIL import Image

from keshin.core.foreign.keys import Array
from keshin.errors import CheckpointError


def fit_positions(positions: Array, grid: tuple[int, int], *, origin: str) -> Array:
    """(1 + n, D) positions, the class token's first -> (1 + rows x columns, D)."""
    rows, columns = grid
    first, rest = positions[:1], positions[1:]
    if len(rest) == rows * columns:
        return positions
    side = isqrt(len(rest))
    if side * side != len(rest) or side == 0:
        raise CheckpointError(
            f"{origin} has {len(positions)} picture positions; the image size asks for "
            f"{rows} x {columns} and a class token, and only a square grid can be enlarged or "
            "shrunk to it. Correct 'image_size'."
        )
    planes = np.asarray(rest, np.float32).reshape(side, side, -1).transpose(2, 0, 1)
    resized = [
        np.asarray(Image.fromarray(plane).resize((columns, rows), Image.Resampling.BICUBIC))
        for plane in np.ascontiguousarray(planes)
    ]
    fitted = np.stack(resized, axis=-1).reshape(rows * columns, -1)
    return np.concatenate([np.asarray(first, np.float32), fitted])
