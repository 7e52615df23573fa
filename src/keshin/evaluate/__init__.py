"""How good an answer is: labelled pictures, metrics, intervals. Intervals need ``[eval]``."""

from keshin.evaluate.captioned import Captioned
from keshin.evaluate.datasets import Opened, open_captioned, open_dataset
from keshin.evaluate.labelled import Labelled
from keshin.evaluate.metrics import METRICS, Measure, accuracy, balanced_accuracy, measure, ranking
from keshin.evaluate.readers import read_folder, read_parquet
from keshin.evaluate.zero_shot import Answers, answer

__all__ = [
    "METRICS",
    "Answers",
    "Captioned",
    "Labelled",
    "Measure",
    "Opened",
    "accuracy",
    "answer",
    "balanced_accuracy",
    "measure",
    "open_captioned",
    "open_dataset",
    "ranking",
    "read_folder",
    "read_parquet",
]
