"""What is to be looked at, and how: choices, pictures, pictures to learn from, progress."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from keshin.classify import Labels, Templates, make_labels
from keshin.encode.embedded import Counts
from keshin.errors import DataError
from keshin.evaluate.features import Progress, Source
from keshin.evaluate.probing import Training
from keshin.evaluate.sets.datasets import Opened, missing, open_dataset
from keshin.evaluate.sets.labelled import Labelled
from keshin.facts import datasets as facts

Pictures: TypeAlias = str | os.PathLike[str] | Labelled | Opened
Watch: TypeAlias = Callable[[str, int, int], None]
"""Called with what is done ("pictures", "probe", ...), how far it is and how far it goes."""


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
    """ImageNet's ResNet-50 (``keshin.evaluate.probes.supervised``), to be compared with."""
    cache: bool = True
    seed: int = 0
    data_dir: Path | None = None


def open_pictures(source: Pictures, wanted: Choices) -> Opened:
    """The pictures meant, with classes, metric and prompts."""
    if isinstance(source, Opened):
        opened = source
    elif isinstance(source, Labelled):
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


def training_pictures(opened: Opened, wanted: Choices) -> Training | None:
    """What a probe may learn from: what was named, else the training split of the data set where
    it is here, else nothing."""
    split = "train"
    if wanted.train is not None:
        found = open_pictures(wanted.train, replace(wanted, labels=None, split=split))
        named = isinstance(wanted.train, str | os.PathLike)
        said = f"{len(found.labelled):,} pictures of '{wanted.train if named else found.title}'"
    elif _has(opened, split):
        found = open_dataset(
            opened.path, split, like=opened.dataset.key if opened.dataset else None
        )
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
    if opened.dataset is not None:
        known = split in opened.dataset.splits
        return known and not missing(opened.dataset, opened.path, split)
    return all((opened.path / name).is_dir() for name in (split, opened.split))


def limited_to(data: Labelled, wanted: Choices) -> tuple[Labelled, bool]:
    """At most ``limit`` pictures, drawn at random, and whether that left any out."""
    rows = drawn_rows(len(data), wanted)
    return (data, False) if rows is None else (data.take(rows), True)


def drawn_rows(count: int, wanted: Choices) -> npt.NDArray[np.int64] | None:
    """Which of ``count`` pictures are looked at, ascending; None: all."""
    if not wanted.limit or wanted.limit >= count:
        return None
    rng = np.random.default_rng(wanted.seed)
    return np.sort(rng.choice(count, wanted.limit, replace=False)).astype(np.int64)


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


def captioned(source: str) -> bool:
    """Whether a known data set has captions instead of classes."""
    dataset = facts.find(source)
    return dataset is not None and dataset.task == "retrieval"


def _few(names: tuple[str, ...]) -> str:
    said = ", ".join(names[:5])
    return f"{said}, ... ({len(names)})" if len(names) > 5 else said
