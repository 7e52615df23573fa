"""Learned picture positions on another grid, while a tower runs.

So a tower can be trained on small pictures and then on its own size, with the same parameters
(FlexiViT, Beyer et al. 2023, section 3.2). The interpolation is that of ``fit_positions``, which
makes new positions for good: bicubic, antialiased.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

Grid = tuple[int, int]
"""Rows and columns."""


def on_grid(positions: Tensor, grid: Grid, wanted: Grid) -> Tensor:
    """(extra + rows x columns, D) positions of ``grid`` -> the same of ``wanted``.

    What comes before the grid (the class token's) stays as it is.
    """
    if grid == wanted:
        return positions
    extra = len(positions) - grid[0] * grid[1]
    planes = positions[extra:].float().reshape(1, *grid, -1).permute(0, 3, 1, 2)
    fitted = F.interpolate(planes, wanted, mode="bicubic", antialias=True, align_corners=False)
    return torch.cat([positions[:extra], fitted[0].flatten(1).T.to(positions.dtype)])


@torch.no_grad()
def make_smooth(positions: Tensor, grid: Grid, small: Grid) -> None:
    """Replace new positions of ``grid`` by as random ones of ``small``, enlarged.

    Training on the small grid then has all of them under its control; what it could not reach would
    be noise when the full grid is used.
    """
    extra = len(positions) - grid[0] * grid[1]
    count = small[0] * small[1]
    if grid != small and count < len(positions) - extra:
        positions.copy_(on_grid(positions[: extra + count].clone(), small, grid))
