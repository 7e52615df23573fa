"""The user's own labels: which pairs can the model not tell apart?

By text: the ways to say a label (``paraphrases.toml``) are cut at random into two halves. How far
the two halves of *one* label lie apart is the null: the distance of texts that mean the same. Two
labels are ``same`` to the model where one's half is no further from the other's other half than the
95th percentile of the null of either; ``near`` where it is less than twice that; else ``apart``.
The same templates stand in both distances, so what differs is the label alone.

By pictures, where there are any: see ``label_pictures.py``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from keshin.classify import Labels, labels_from_folders
from keshin.classify.weights import class_weights
from keshin.core.scripts import in_japanese_script
from keshin.encode.encoder import Encoder, FloatArray
from keshin.errors import LabelError
from keshin.evaluate.weaknesses.label_pictures import Progress, Seen, on_pictures
from keshin.evaluate.weaknesses.results import LabelPair, LabelReport, Words
from keshin.evaluate.weaknesses.scoring import share
from keshin.evaluate.weaknesses.tables import paraphrases, things
from keshin.evaluate.weaknesses.verdicts import ABILITY, unjudged, words

SPLITS = 24
PERCENTILE = 95
NEAR = 2.0
SHOWN, LISTED = 20, 200
"""Pairs that are listed: so many at least, and at most."""
MOST = 2000
"""Labels at once: the table of all pairs is kept in memory."""
CHANCE = 1 - PERCENTILE / 100
"""How often two texts that mean the same count as apart, by the choice of the percentile."""
HIDDEN = "\0"
"""Keeps unrelated names from the labels of the same name."""
Matrix = npt.NDArray[np.floating]


def compare(
    encoder: Encoder,
    labels: Labels | None,
    pictures: str | Path | None,
    *,
    seed: int = 0,
    progress: Progress = lambda task, done, of: None,
) -> LabelReport:
    """All pairs of labels. Raises ``LabelError`` for fewer than two or more than 2,000."""
    chosen = _labels(labels, pictures)
    names = list(chosen.names)
    k = len(names)
    others = [o for o in things().names.objects if o not in {n.lower() for n in names}]
    said = {**chosen.names, **{HIDDEN + other: (other,) for other in others}}
    texts = _texts(encoder, said, seed)
    seen = on_pictures(encoder, chosen, pictures, progress) if pictures is not None else None
    bound = np.maximum(texts.limit[:, None], texts.limit[None, :])
    apart = texts.distances > bound
    # labels and unrelated names are crossed: count the kind of which there are more as independent
    away = apart[:k, k:].mean(axis=int(k >= len(others)))
    known = share("apart from unrelated names", away, CHANCE)
    by_label = (apart[:k, :k] & ~np.eye(k, dtype=bool)).sum(axis=1) / (k - 1)
    rows, columns = np.triu_indices(k, 1)
    same = ~apart[rows, columns]
    blind = seen.alike()[rows, columns] if seen else np.zeros_like(same)
    order = np.lexsort((texts.distances[rows, columns] / bound[rows, columns], ~(same | blind)))
    listed = order[: min(max(SHOWN, int((same | blind).sum())), LISTED)]
    counts = {"same": int(same.sum()), "compared": len(rows), "blind": int(blind.sum())}
    key = unjudged(known) or ("some" if same.any() else "can")
    sentence = _filled(words().said("labels", key, known), counts)
    return LabelReport(
        labels=k,
        compared=len(rows),
        verdict=key,
        said=_joined(sentence, _filled(words().page["blind"], counts)) if seen else sentence,
        told_apart=share("pairs told apart", by_label, CHANCE),
        control=known,
        pairs=tuple(_pair(names, texts, bound, seen, rows[p], columns[p]) for p in listed),
        failed=seen.failed if seen else (),
    )


@dataclass(frozen=True, eq=False)
class _Texts:
    """What the paraphrases of k labels say."""

    distances: Matrix
    """(k, k) between one's half and the other's other half."""
    null: Matrix
    """(k,) between the halves of one label: the median of all splits."""
    limit: Matrix
    """(k,) the same, the 95th percentile."""
    cosines: Matrix
    """(k, k) of the means of all paraphrases."""


def _pair(
    names: list[str], texts: _Texts, bound: Matrix, seen: Seen | None, i: int, j: int
) -> LabelPair:
    distance, limit = float(texts.distances[i, j]), float(bound[i, j])
    near = "near" if distance < NEAR * limit else "apart"
    accuracy = seen.figure(i, j) if seen else None
    return LabelPair(
        one=names[i],
        other=names[j],
        cosine=float(texts.cosines[i, j]),
        distance=distance,
        null=float(texts.null[i] + texts.null[j]) / 2,
        limit=limit,
        verdict="same" if distance <= limit else near,
        accuracy=accuracy,
        seen=next(key for key, holds in ABILITY if holds(accuracy)) if accuracy else "",
    )


def _labels(labels: Labels | None, pictures: str | Path | None) -> Labels:
    if labels is None:
        if pictures is None:
            raise LabelError("There are no labels and no folder of pictures to compare.")
        labels = labels_from_folders(pictures)
    if not 2 <= len(labels.names) <= MOST:
        raise LabelError(
            f"{len(labels.names)} labels cannot be compared by pairs. Give from 2 to {MOST:,}."
        )
    return labels


def _texts(encoder: Encoder, names: Mapping[str, tuple[str, ...]], seed: int) -> _Texts:
    """All distances, over random halves of the paraphrases."""
    vectors = np.stack(list(_paraphrased(encoder, names)), axis=1)  # (k, t, d)
    rng = np.random.default_rng(seed)
    total = np.zeros((len(names), len(names)))
    own = []
    for _ in range(SPLITS):
        order = rng.permutation(vectors.shape[1])
        halves = order[::2], order[1::2]
        one, other = (_unit(vectors[:, half].mean(axis=1)) for half in halves)
        away = 1 - one @ other.T
        own.append(np.diag(away))
        total += away
    null = np.stack(own)  # (splits, k)
    whole = _unit(vectors.mean(axis=1))
    return _Texts(
        (total + total.T) / (2 * SPLITS),
        np.median(null, axis=0),
        np.percentile(null, PERCENTILE, axis=0),
        whole @ whole.T,
    )


def _paraphrased(encoder: Encoder, names: Mapping[str, tuple[str, ...]]) -> Iterator[FloatArray]:
    """(k, d) unit vectors of all labels for each paraphrase, each label in its own language."""
    japanese = {key: said for key, said in names.items() if in_japanese_script(said[0])}
    english = {key: said for key, said in names.items() if key not in japanese}
    ways = paraphrases()
    for en, ja in zip(ways["en"], ways["ja"], strict=True):
        vectors: dict[str, FloatArray] = {}
        for template, part in ((en, english), (ja, japanese)):
            if part:
                vectors |= dict(zip(part, class_weights(encoder, part, (template,)), strict=True))
        yield np.stack([vectors[key] for key in names])


def _unit(vectors: Matrix) -> Matrix:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=-1, keepdims=True))


def _filled(said: Words, numbers: dict[str, int]) -> Words:
    return Words(en=said.en.format(**numbers), ja=said.ja.format(**numbers))


def _joined(one: Words, other: Words) -> Words:
    return Words(en=f"{one.en} {other.en}", ja=one.ja + other.ja)
