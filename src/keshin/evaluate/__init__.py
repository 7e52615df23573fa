"""How good an answer is: labelled pictures, metrics, intervals. Intervals need ``[eval]``."""

from keshin.evaluate.labelled import Labelled
from keshin.evaluate.metrics import Measure, accuracy, balanced_accuracy, ranking
from keshin.evaluate.readers import read_folder, read_parquet
from keshin.evaluate.zero_shot import Answers, answer

__all__ = [
    "Answers",
    "Labelled",
    "Measure",
    "accuracy",
    "answer",
    "balanced_accuracy",
    "ranking",
    "read_folder",
    "read_parquet",
]
