"""A model between two others: the straight line from its weights before to those after."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from keshin.errors import TrainingError


@torch.no_grad()
def interpolate(
    before: Mapping[str, Tensor], after: Mapping[str, Tensor], share: float
) -> dict[str, Tensor]:
    """``(1 - share) * before + share * after``, name by name (WiSE-FT, Wortsman et al. 2022).

    Works on state dicts of one architecture. 0 and 1 give exact copies of the ends. What is no
    floating-point number (a counter) is taken from the nearer end. Sums are made in float32 at
    least, and the result has the type and the device of ``before``. Raises ``TrainingError``.
    """
    if not 0 <= share <= 1:
        raise TrainingError(f"The share is {share}. It goes from 0 (before) to 1 (after).")
    if unlike := [
        name
        for name in sorted(before.keys() | after.keys())
        if name not in before or name not in after or before[name].shape != after[name].shape
    ]:
        raise TrainingError(
            f"The two models have different towers: '{unlike[0]}' is not in both with one shape. "
            "Only a model and its own further training have a line between them."
        )
    mixed = {}
    for name, old in before.items():
        new = after[name].to(old.device)
        if share in (0, 1) or not old.is_floating_point():
            mixed[name] = (new if share >= 0.5 else old).to(old.dtype).clone()
        else:
            wide = torch.promote_types(old.dtype, torch.float32)
            mixed[name] = torch.lerp(old.to(wide), new.to(wide), share).to(old.dtype)
    return mixed
