"""Weights, scores, rejection, warnings: on a model whose vectors are known by hand."""

import json
from dataclasses import replace

import numpy as np
import pytest
from conftest_vectors import COLOURS, WordTowers, solid
from PIL import Image

import keshin
from keshin.classify import Labels, Rejection, build_classifier, make_labels, read_classifier
from keshin.classify.checks import near_duplicate_distance, toggle_full_stop
from keshin.classify.weights import class_weights
from keshin.core.config import ScoreFacts
from keshin.encode.encoder import Encoder
from keshin.errors import CheckpointError, LabelError, PictureError


def unit(vector):
    return np.asarray(vector) / np.linalg.norm(vector)
