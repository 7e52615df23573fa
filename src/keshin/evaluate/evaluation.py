"""One model on one set of labelled pictures: everything that a report says of it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from keshin.api import Model, load
from keshin.classify import Classifier
from keshin.errors import DataError
from keshin.evaluate import assess, trust
from keshin.evaluate.curves import few_shot_curves
from keshin.evaluate.probing import difference, probe
from keshin.evaluate.provenance import data_facts, digest, failed, model_facts, run_facts, versions
from keshin.evaluate.reporting import confusion
from keshin.evaluate.reporting.shown import names_below
from keshin.evaluate.results import Evaluation, Prompts
from keshin.evaluate.retrieving import evaluate_retrieval
from keshin.evaluate.sets.captioned import Captioned
from keshin.evaluate.sets.datasets import Opened
from keshin.evaluate.sources import (
    Choices,
    Pictures,
    Watch,
    captioned,
    limited_to,
    open_pictures,
    told,
    training_pictures,
)
from keshin.evaluate.zero_shot import answer
from keshin.statistics.uncertainty import compare

SHOWN = 10
"""Pictures of each kind in the report."""


def evaluate(
    model: Model | str,
    source: Pictures | Captioned,
    *,
    choices: Choices | None = None,
    command: str = "",
    watch: Watch | None = None,
    **changes: Any,
) -> Evaluation:
    """How good a model is on labelled pictures.

    Arguments:
        model: what ``keshin.load`` gave, or a name.
        source: the name of a data set that keshin knows, a folder with one folder of pictures per
            class, a table, a tar file, or ``Labelled`` pictures.
        choices: labels, prompts, probe and so on; ``changes`` are single ones of them:
            ``evaluate(model, "photos/", probe=True, templates="imagenet")``.
        command: how to do it again, for the report.
        watch: is told how far it is.

    Vectors are kept in the cache folder as they are made, so that an interrupted run goes on where
    it was. Raises ``DataError`` and ``LabelError``.
    """
    began = time.monotonic()
    wanted = replace(choices or Choices(), **changes)
    model = load(model) if isinstance(model, str) else model
    if isinstance(source, Captioned) or (isinstance(source, str) and captioned(source)):
        found = evaluate_retrieval(model, source, wanted, watch=watch)
    else:
        found = _evaluate_labelled(model, open_pictures(source, wanted), wanted, watch)
    seconds = time.monotonic() - began
    command = command or _as_python(model, source, changes)
    found.run = run_facts(command=command, seed=wanted.seed, seconds=seconds)
    return found


def _evaluate_labelled(
    model: Model, opened: Opened, wanted: Choices, watch: Watch | None
) -> Evaluation:
    data, limited = limited_to(opened.labelled, wanted)
    if len(opened.labels.names) != len(data.names):
        raise DataError(
            f"There are {len(opened.labels.names)} labels for {len(data.names)} classes. Give one "
            "label for each class, in the order of the classes."
        )
    classifier, prompts = _classifier(model, opened, wanted)
    data = replace(data, names=tuple(opened.labels.names), ids=names_below(data, opened.path))
    said = answer(classifier, data, cache=wanted.cache, progress=told(watch, "pictures", len(data)))
    judged = assess.judge(said, model.encoder.logit_scale)
    found = Evaluation(
        data=data_facts(opened, said.data, len(said.failures), limited),
        model=model_facts(model),
        prompts=prompts,
        run=run_facts(command="", seed=wanted.seed, seconds=0),
        scores=assess.scores_of(judged, opened.metric),
        classes=assess.classes_of(judged, opened.metric),
        warnings=tuple(warning.message for warning in classifier.warnings),
        failures=failed(data, said.failures),
        answers=assess.picture_answers(judged),
    )
    found.best, found.worst = assess.examples(judged, SHOWN)
    if not judged.several:
        found.confusion = tuple(confusion.counts(said.targets, said.predictions))
        found.calibration = trust.calibration(judged, wanted.seed)
        found.risk, found.risk_area = trust.risk(judged)
        found.order = trust.order(judged, wanted.seed)
    _against_single(model, opened, classifier, judged, wanted, found)
    _learnt(model, opened, classifier, judged, wanted, watch, found)
    return found


def _classifier(model: Model, opened: Opened, wanted: Choices) -> tuple[Classifier, Prompts]:
    templates, source = wanted.templates, "given"
    if templates is None:
        templates = opened.templates or None
        source = "paper" if templates and opened.dataset is not None else "default"
    classifier = model.classifier(opened.labels, templates=templates, cache=wanted.cache)
    names = {label: tuple(said) for label, said in classifier.names.items()}
    return classifier, Prompts(names, classifier.templates, source)


def _against_single(
    model: Model,
    opened: Opened,
    classifier: Classifier,
    judged: assess.Judged,
    wanted: Choices,
    found: Evaluation,
) -> None:
    """All prompts against the single default one, on the same vectors."""
    single = model.classifier(opened.labels, templates=None, cache=wanted.cache)
    if single.templates == classifier.templates:
        return
    said = judged.answers
    cosines = np.asarray(said.vectors @ single.weights_.T, np.float32)
    other = assess.judge(replace(said, cosines=cosines), model.encoder.logit_scale)
    groups, metric = said.data.groups, opened.metric
    found.single = assess.scores_of(other, metric)[0]
    versus = compare(metric, said.targets, judged.scores, other.scores, groups=groups)
    found.ensembling = difference("all prompts", "single prompt", versus)


def _learnt(
    model: Model,
    opened: Opened,
    classifier: Classifier,
    judged: assess.Judged,
    wanted: Choices,
    watch: Watch | None,
    found: Evaluation,
) -> None:
    """What is learnt from labelled pictures: probe, few-shot curves, the ResNet-50's probe."""
    if not (wanted.probe or wanted.few_shot or wanted.baseline is not None):
        return
    training = training_pictures(opened, wanted)
    said = judged.answers.data
    total = len(said) + (len(training.data) if training else 0)
    if wanted.probe:
        found.probe = probe(
            model, judged, opened.metric, training,
            cache=wanted.cache, seed=wanted.seed, progress=told(watch, "probe", total),
        )  # fmt: skip
    if wanted.few_shot and not judged.several:
        found.few_shot = few_shot_curves(
            model, judged, classifier.weights_, opened.metric, training,
            cache=wanted.cache, seed=wanted.seed, fits=_fits(watch),
        )  # fmt: skip
    if wanted.baseline is not None:
        found.baseline = probe(
            wanted.baseline, judged, opened.metric, training, name="ResNet-50 probe",
            cache=wanted.cache, seed=wanted.seed, progress=told(watch, "ResNet-50", total),
        )  # fmt: skip


def _fits(watch: Watch | None) -> Callable[[int, int], None] | None:
    """The progress of few-shot curves as ``watch`` is told of it."""
    return None if watch is None else lambda done, total: watch("few-shot fits", done, total)


def same_question(model: Model, opened: Opened, wanted: Choices, found: Evaluation) -> bool:
    """Whether an evaluation is of this model, these pictures and prompts, with this keshin."""
    data, _ = limited_to(opened.labelled, wanted)
    _, prompts = _classifier(model, opened, wanted)
    now = (model_facts(model), prompts, opened.metric, wanted.seed, versions())
    then = (found.model, found.prompts, found.data.metric, found.run.seed, found.run.versions)
    if now != then or found.failures:
        return False
    return digest(replace(data, names=tuple(opened.labels.names))) == found.data.digest


def _as_python(model: Model, source: Pictures | Captioned, changes: dict[str, Any]) -> str:
    """The call, for a report that no command made."""
    shown = str(source) if isinstance(source, str | os.PathLike) else type(source).__name__
    given = "".join(f", {name}={value!r}" for name, value in changes.items())
    return f"keshin.evaluate(keshin.load({model.origin!r}), {shown!r}{given})"
