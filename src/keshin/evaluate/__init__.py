"""How good an answer is: labelled pictures, metrics, intervals, reports. It needs ``[eval]``.

The package can be called, which is ``keshin.evaluate.evaluation.evaluate``:

>>> keshin.evaluate(model, "photos/").report("photos.html")  # doctest: +SKIP
"""

import sys
from types import ModuleType
from typing import Any

from keshin.evaluate.results import Evaluation, read_evaluation
from keshin.evaluate.sets.captioned import Captioned
from keshin.evaluate.sets.datasets import Opened, open_captioned, open_dataset
from keshin.evaluate.sets.labelled import Labelled
from keshin.evaluate.sets.readers import read_folder, read_parquet
from keshin.evaluate.zero_shot import Answers, answer
from keshin.statistics.figure import Figure
from keshin.statistics.metrics import (
    METRICS,
    accuracy,
    balanced_accuracy,
    measure,
    ranking,
)

__all__ = [
    "METRICS",
    "Answers",
    "Captioned",
    "Evaluation",
    "Figure",
    "Labelled",
    "Opened",
    "accuracy",
    "answer",
    "balanced_accuracy",
    "measure",
    "open_captioned",
    "open_dataset",
    "ranking",
    "read_evaluation",
    "read_folder",
    "read_parquet",
]


class _Called(ModuleType):
    """This package as a function."""

    def __call__(self, *given: Any, **options: Any) -> Evaluation:
        from keshin.evaluate.evaluation import evaluate

        return evaluate(*given, **options)


sys.modules[__name__].__class__ = _Called
