"""One model on one set of labelled pictures: everything that a report says of it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from keshin.api import Model, load
from keshin.classify import Classifier, Labels, Templates
from keshin.encode.embedded import Counts
from keshin.errors import DataError
from keshin.evaluate import assess, confusion, trust
from keshin.evaluate.captioned import Captioned
from keshin.evaluate.features import Progress, Source
from keshin.evaluate.labelled import Labelled
from keshin.evaluate.probing import Training, difference, probe
from keshin.evaluate.provenance import digest, run_facts, versions
from keshin.evaluate.results import DataFacts, Evaluation, Failed, ModelFacts, Prompts
from keshin.evaluate.shown import name_of_row, names_below
from keshin.evaluate.uncertainty import compare
from keshin.evaluate.zero_shot import answer
from keshin.facts import datasets as facts

if TYPE_CHECKING:
    from keshin.core.pictures import Failure
    from keshin.evaluate.datasets import Opened

Pictures: TypeAlias = "str | os.PathLike[str] | Labelled | Opened"
Watch: TypeAlias = Callable[[str, int, int], None]
"""Called with what is done ("pictures", "probe", ...), how far it is and how far it goes."""
SHOWN = 10
"""Pictures of each kind in the report."""


@dataclass(frozen=True)
class Choices:
    """How to evaluate."""

    split: str = "test"
    labels: Labels | None = None
    """Instead of those of the data, in the same order."""
    templates: Templates = None
    """Instead of those of the data set."""
    limit: int = 0
    """Look at so many pictures, drawn at random with the seed; 0: all."""
    train: Pictures | None = None
    """What a probe learns from; None: the training split of the data, if it has one."""
    like: str | None = None
    """A known data set whose classes, prompts and metric the pictures of a path have."""
    probe: bool = False
    few_shot: bool = False
    baseline: Source | None = None
    """ImageNet's ResNet-50 (``keshin.evaluate.supervised``), to be compared with."""
    cache: bool = True
    seed: int = 0
    data_dir: Path | None = None


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
    if isinstance(source, Captioned) or captioned(source):
        from keshin.evaluate.retrieving import evaluate_retrieval

        found = evaluate_retrieval(model, source, wanted, watch=watch)
    else:
        found = _evaluate_labelled(model, open_pictures(source, wanted), wanted, watch)
    seconds = time.monotonic() - began
    command = command or _as_python(model, source, changes)
    found.run = run_facts(command=command, seed=wanted.seed, seconds=seconds)
    return found


def open_pictures(source: Pictures, wanted: Choices) -> Opened:
    """The pictures meant, with classes, metric and prompts."""
    from keshin.evaluate.datasets import Opened, open_dataset

    if isinstance(source, Opened):
        opened = source
    elif isinstance(source, Labelled):
        from keshin.classify import make_labels

        several = source.targets.ndim == 2
        metric = "11-point mAP" if several else "accuracy"
        labels = make_labels(source.names)
        opened = Opened(source, metric, labels, None, None, wanted.split, Path("pictures"))
    else:
        given = source if isinstance(source, str) else Path(source)
        opened = open_dataset(given, wanted.split, data_dir=wanted.data_dir, like=wanted.like)
    if wanted.labels is not None:
        opened = replace(opened, labels=wanted.labels)
    return opened


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
    said = answer(
        classifier, data, cache=wanted.cache, progress=told(watch, "pictures", len(data))
    )
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
        found.risk = trust.risk(judged)
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
    versus = compare(
        metric, said.targets, judged.scores, other.scores, groups=groups
    )
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
        from keshin.evaluate.curves import few_shot_curves

        found.few_shot = few_shot_curves(
            model, judged, classifier.weights_, opened.metric, training,
            cache=wanted.cache, seed=wanted.seed, fits=_fits(watch),
        )  # fmt: skip
    if wanted.baseline is not None:
        found.baseline = probe(
            wanted.baseline, judged, opened.metric, training, name="ResNet-50 probe",
            cache=wanted.cache, seed=wanted.seed, progress=told(watch, "ResNet-50", total),
        )  # fmt: skip


def training_pictures(opened: Opened, wanted: Choices) -> Training | None:
    """What a probe may learn from: what was named, else the training split of the data set where
    it is here, else nothing."""
    from keshin.evaluate.datasets import open_dataset

    split = "train"
    if wanted.train is not None:
        found = open_pictures(wanted.train, replace(wanted, labels=None, split=split))
        said = f"{len(found.labelled):,} pictures of '{wanted.train}'"
    elif _has(opened, split):
        found = open_dataset(opened.path, split, like=opened.dataset.key if opened.dataset else None)
        said = f"{len(found.labelled):,} pictures of the split 'train'"
    else:
        return None
    if found.labelled.names != opened.labelled.names:
        raise DataError(
            f"The pictures to train on have the classes {_few(found.labelled.names)}, those to "
            f"test on {_few(opened.labelled.names)}. They must be the same, in the same order."
        )
    return Training(found.labelled, said)


def _has(opened: Opened, split: str) -> bool:
    """Whether the pictures have another split beside the one that was opened."""
    from keshin.evaluate.datasets import missing

    if opened.dataset is not None:
        known = split in opened.dataset.splits
        return known and not missing(opened.dataset, opened.path, split)
    return all((opened.path / name).is_dir() for name in (split, opened.split))


def limited_to(data: Labelled, wanted: Choices) -> tuple[Labelled, bool]:
    """At most ``limit`` pictures, drawn at random, and whether that left any out."""
    if not wanted.limit or wanted.limit >= len(data):
        return data, False
    rng = np.random.default_rng(wanted.seed)
    rows = np.sort(rng.choice(len(data), wanted.limit, replace=False)).astype(np.int64)
    return data.take(rows), True


def _fits(watch: Watch | None) -> Callable[[int, int], None] | None:
    """The progress of few-shot curves as ``watch`` is told of it."""
    return None if watch is None else lambda done, total: watch("few-shot fits", done, total)


def told(watch: Watch | None, what: str, total: int) -> Progress | None:
    """The progress of features as ``watch`` is told of it."""
    if watch is None:
        return None

    before = last = 0

    def progress(counts: Counts) -> None:
        nonlocal before, last
        before += last if counts.done < last else 0  # other pictures have begun
        last = counts.done
        watch(what, before + last, total)

    watch(what, 0, total)
    return progress


def data_facts(
    opened: Opened, data: Labelled, failures: int, limited: bool
) -> DataFacts:
    """Which pictures were looked at; hashes all of them."""
    dataset = opened.dataset
    return DataFacts(
        title=opened.title,
        key=dataset.key if dataset else "",
        source=str(opened.path),
        split=opened.split if dataset else "",
        metric=opened.metric,
        pictures=len(data),
        failed=failures,
        digest=digest(data),
        largest_class=assess.largest_class(data),
        limited=limited,
        licence=dataset.licence if dataset else "",
        notes=" ".join(opened.notes),
    )


def model_facts(model: Model) -> ModelFacts:
    """Which model looks, and how."""
    encoder = model.encoder
    height, width = model.config.preprocess.size
    return ModelFacts(
        model.name, model.origin, encoder.fingerprint, encoder.mode, encoder.decode, (height, width)
    )


def failed(data: Labelled, failures: tuple[Failure, ...]) -> tuple[Failed, ...]:
    """Pictures that could not be read, under the names that the report uses."""
    return tuple(Failed(name_of_row(data, f.index), f.error) for f in failures)


def _few(names: tuple[str, ...]) -> str:
    said = ", ".join(names[:5])
    return f"{said}, ... ({len(names)})" if len(names) > 5 else said


def captioned(source: Pictures) -> bool:
    """Whether a known data set has captions instead of classes."""
    dataset = facts.find(source) if isinstance(source, str) else None
    return dataset is not None and dataset.task == "retrieval"


def same_question(model: Model, opened: Opened, wanted: Choices, found: Evaluation) -> bool:
    """Whether an evaluation is of this model, these pictures and these prompts, with this keshin."""
    if not isinstance(opened.labelled, Labelled):
        return False
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
