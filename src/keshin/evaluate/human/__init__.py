"""People against the model on the same pictures (paper, section 4): the study as data, the answers,
the paper's Table 2 with intervals, and the difficulty of the classes for both."""

from keshin.evaluate.human.journal import Answers, Stale, open_answers, read_answers
from keshin.evaluate.human.model_answers import ModelAnswers, ask_model, reopened
from keshin.evaluate.human.report import Report, summarise
from keshin.evaluate.human.source import Source, open_source
from keshin.evaluate.human.study import Study, load_study, plan, save_study

__all__ = [
    "Answers",
    "ModelAnswers",
    "Report",
    "Source",
    "Stale",
    "Study",
    "ask_model",
    "load_study",
    "open_answers",
    "open_source",
    "plan",
    "read_answers",
    "reopened",
    "save_study",
    "summarise",
]
