"""Labels and templates to class weights to scores: zero-shot classification (paper, 3.1)."""

from keshin.classify.checks import LabelWarning
from keshin.classify.classifier import Answer, Classifier, Head, Result, build_classifier
from keshin.classify.labels import (
    Labels,
    alias_from_text,
    labels_from_file,
    labels_from_folders,
    labels_from_text,
    make_labels,
)
from keshin.classify.rejection import Rejection
from keshin.classify.saved import SavedClassifier, read_classifier
from keshin.classify.templates import Templates, resolve_templates, templates_from_file

__all__ = [
    "Answer",
    "Classifier",
    "Head",
    "LabelWarning",
    "Labels",
    "Rejection",
    "Result",
    "SavedClassifier",
    "Templates",
    "alias_from_text",
    "build_classifier",
    "labels_from_file",
    "labels_from_folders",
    "labels_from_text",
    "make_labels",
    "read_classifier",
    "resolve_templates",
    "templates_from_file",
]
