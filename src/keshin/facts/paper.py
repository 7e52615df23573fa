"""The paper's own results on its 27 data sets, to stand beside what is measured here.

Tables and figure disagree for two data sets (KITTI, UCF101): both are given, neither is corrected.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import msgspec

BEST = "ViT-L/14@336px"
"""The model of the paper's Figure 5."""
FILE = Path(__file__).parent / "paper.json"


class PaperResult(msgspec.Struct, frozen=True):
    """One data set of the paper; values in percent, in the metric of its Table 9."""

    title: str
    zero_shot: dict[str, float]
    """Released model -> zero-shot score (Table 11)."""
    resnet50_probe: float
    """Linear probe on the features of ImageNet's ResNet-50 (Table 10)."""
    figure5: float
    """Zero-shot CLIP minus that probe, as Figure 5 prints it."""

    @property
    def by_tables(self) -> float:
        """The same difference, of Tables 11 and 10."""
        return round(self.zero_shot[BEST] - self.resnet50_probe, 1)

    @property
    def agrees(self) -> bool:
        """Whether figure and tables say the same, but for rounding."""
        return abs(self.figure5 - self.by_tables) < 0.15


class _Content(msgspec.Struct):
    source: str
    datasets: dict[str, PaperResult]


@cache
def paper_results() -> dict[str, PaperResult]:
    """Key of a data set, as in ``datasets``, -> the paper's results on it."""
    return msgspec.json.decode(FILE.read_bytes(), type=_Content).datasets
