"""The paper's own results on a data set, to stand beside what is measured.

Tables and figure disagree for two data sets (KITTI, UCF101): both are shown, neither is corrected.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from keshin.facts import paper

BEST = "ViT-L/14@336px"
"""The model of the paper's Figure 5."""
RESNET50 = "ResNet-50"


@dataclass(frozen=True)
class PaperResult:
    """One data set of the paper; values in percent, in the metric of its Table 9."""

    zero_shot: dict[str, float]
    """Released model -> zero-shot score (Table 11)."""
    resnet50_probe: float
    """Linear probe on the features of ImageNet's ResNet-50 (Table 10)."""
    figure5: float
    """Zero-shot CLIP minus that probe, as Figure 5 prints it."""
    disagreement: str
    """A sentence, where figure and tables differ by more than rounding."""

    @property
    def by_tables(self) -> float:
        """The same difference, of Tables 11 and 10."""
        return round(self.zero_shot[BEST] - self.resnet50_probe, 1)


@cache
def paper_results() -> dict[str, PaperResult]:
    """Key of a data set -> the paper's results on it."""
    scores = {model: paper.zero_shot(model) for model in paper.zero_shot_models()}
    probe = paper.linear_probe(RESNET50)
    said = paper.disagreements()
    return {
        key: PaperResult(
            {model: values[key] for model, values in scores.items()},
            probe[key],
            figure,
            said.get(key, ""),
        )
        for key, figure in paper.figure5().items()
    }
