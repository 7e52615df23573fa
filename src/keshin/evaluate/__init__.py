"""How good an answer is: labelled pictures, metrics, intervals. Intervals need ``[eval]``."""

from keshin.evaluate.labelled import Labelled
from keshin.evaluate.metrics import METRICS, Measure, accuracy, balanced_accuracy, measure, ranking
from keshin.evaluate.readers import read_folder, read_parquet
from keshin.evaluate.zero_shot import Answers, answer

__all__ = [
    "METRICS",
    "Answers",
    "Labelled",
    "Measure",
    "accuracy",
    "answer",
    "balanced_accuracy",
    "measure",
    "ranking",
    "read_folder",
    "read_parquet",
]
