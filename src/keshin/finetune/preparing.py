"""From a model and pictures to a question with folds: reading, copies, groups."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from keshin.api import Model
from keshin.classify import Templates, resolve_templates
from keshin.core.pictures import Failure
from keshin.encode.encoder import FloatArray
from keshin.errors import DataError
from keshin.evaluate.features import extract
from keshin.finetune.folds import Split, fold_count, repeat_count, splits
from keshin.finetune.judging import Question
from keshin.finetune.leaks import (
    SAMPLED,
    Looks,
    Pair,
    crops,
    find_pairs,
    joined,
    look,
    near_cosine,
)
from keshin.finetune.material import Material
from keshin.statistics.point_values import correctness

IntArray = npt.NDArray[np.int64]
Watch: TypeAlias = Callable[[str, int, int], None]
"""Called with what is done, how far it is and how far it goes."""
METRICS = ("accuracy", "mean per class")


@dataclass(frozen=True, eq=False)
class Prepared:
    """All that is known before anything is learnt."""

    material: Material
    """n pictures that can be read and have one label."""
    looks: Looks
    vectors: FloatArray
    """(n, d) unit vectors."""
    near: float
    """The cosine of near copies."""
    question: Question
    groups: IntArray
    """(n,) pictures that must not be in two folds."""
    weights: npt.NDArray[np.float64]
    """(n,) what each counts in the metric; they sum to 1."""
    pairs: list[Pair]
    unreadable: list[Failure]

    @property
    def folds(self) -> int:
        return fold_count(self.material.targets, self.groups)

    @property
    def repeats(self) -> int:
        return repeat_count(len(self.material))

    def splits(self, repeats: int, seed: int) -> list[Split]:
        return list(splits(self.material.targets, self.groups, repeats, seed))


def prepare(
    model: Model,
    material: Material,
    *,
    templates: Templates = None,
    metric: str = "accuracy",
    whole: bool = True,
    watch: Watch | None = None,
) -> Prepared:
    """Read and compare all pictures; ``whole``: each class must keep one.

    Raises ``DataError`` where nothing is left to learn from.
    """
    if metric not in METRICS:
        raise DataError(f"There is no metric '{metric}' here. There are: {', '.join(METRICS)}.")
    looks = look(material.pictures, material.files)
    failures = list(looks.failures)
    if not len(looks.rows):
        why = f" The first: {failures[0].error}" if failures else ""
        raise DataError(f"None of the pictures of {material.source} can be read.{why}")
    kept = material.take(looks.rows)

    def told(counts: object) -> None:
        if watch:
            watch("pictures", getattr(counts, "done", 0), len(kept))

    found = extract(model, kept.pictures, progress=told)
    failures += [
        Failure(int(looks.rows[f.index]), kept.files[f.index], f.error) for f in found.failures
    ]
    kept, looks = kept.take(found.rows), looks.take(found.rows)
    vectors = found.vectors
    near = _near(model, kept, vectors)
    links = find_pairs(looks, vectors, near)
    label = _labels(kept)
    pairs = [
        Pair(kept.files[i], kept.files[j], same, (label(i), label(j)), cosine)
        for i, j, same, cosine in links
    ]
    groups = joined(len(kept), [(i, j) for i, j, _, _ in links], kept.groups)
    if kept.names:
        torn = {
            row
            for (i, j, same, _), pair in zip(links, pairs, strict=True)
            if same and pair.crosses
            for row in (i, j)
        }
        rows = np.array(sorted(set(range(len(kept))) - torn), np.int64)
        kept, looks, vectors, groups = (
            kept.take(rows),
            looks.take(rows),
            vectors[rows],
            groups[rows],
        )
        counts = np.bincount(kept.targets, minlength=len(kept.names))
        if whole and (
            empty := [name for name, count in zip(kept.names, counts, strict=True) if not count]
        ):
            raise DataError(
                f"The class '{empty[0]}' has no picture that can be read and lies under one label "
                "only. Add some, or remove the class."
            )
    groups = np.asarray(np.unique(groups, return_inverse=True)[1], np.int64)
    given = resolve_templates(templates) if templates is not None else kept.templates
    question = Question(kept.names, given, kept.targets, kept.captions)
    name = metric if kept.names else "accuracy"
    weights = correctness(name, kept.targets)
    assert weights is not None  # noqa: S101 - both metrics have them
    return Prepared(
        kept,
        looks,
        vectors,
        near,
        question,
        groups,
        np.asarray(weights, np.float64),
        pairs,
        failures,
    )


def _labels(material: Material) -> Callable[[int], str]:
    def label(row: int) -> str:
        if material.names:
            return material.names[int(material.targets[row])]
        return material.captions[row][0] if material.captions else ""

    return label


def _near(model: Model, material: Material, vectors: FloatArray) -> float:
    """The cosine of near copies, from crops of some of the pictures."""
    some = np.unique(np.linspace(0, len(material) - 1, SAMPLED).astype(np.int64))
    cropped = model.encode_images(crops([material.pictures[row] for row in some]))
    return near_cosine(vectors[some], cropped)


def leaks_into(prepared: Prepared, other: Prepared) -> list[Pair]:
    """Copies of pictures to learn from among pictures to test on."""
    found = find_pairs(prepared.looks, prepared.vectors, prepared.near, other.looks, other.vectors)
    mine, theirs = _labels(prepared.material), _labels(other.material)
    return [
        Pair(
            prepared.material.files[i],
            other.material.files[j],
            same,
            (mine(i), theirs(j)),
            cosine,
        )
        for i, j, same, cosine in found
    ]
