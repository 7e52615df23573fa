"""The zero-shot classifier: vectors of pictures against weights of classes."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from keshin.classify.cached import Weighed, key_of, store, stored
from keshin.classify.checks import LabelWarning, check_labels
from keshin.classify.labels import Labels, make_labels
from keshin.classify.rejection import NONE_OF_THESE, Rejection, as_rejection
from keshin.classify.templates import Templates, resolve_templates, templates_for
from keshin.classify.weights import class_weights
from keshin.core.pictures import Failure, Picture
from keshin.core.tokenizer import Truncation
from keshin.encode.encoder import Encoder, FloatArray


@dataclass(frozen=True)
class Answer:
    """One label for one picture."""

    label: str
    score: float
    """Softmax over the labels given (for sigmoid models, each label's own). Not the probability of
    being right: labels that were not given do not count."""
    cosine: float
    """Of picture and class weights; does not depend on the other labels."""


@dataclass(frozen=True)
class Result:
    """What is said of one picture."""

    index: int
    """Its place in the input."""
    label: str
    """The answer: the best label, or that of the rejection."""
    rejected: bool
    answers: tuple[Answer, ...]
    """Best first."""


@dataclass(frozen=True, eq=False)
class Head:
    """What a classifier learnt from pictures beside its directions: the score of a class is
    ``softmax(scales * cosine + offsets)`` (``keshin finetune``)."""

    scales: npt.NDArray[np.float32]
    """(k,), not negative."""
    offsets: npt.NDArray[np.float32]
    """(k,)."""


@dataclass(frozen=True, eq=False)
class Classifier:
    """Classes as unit vectors, and the encoder that they belong to.

    Make one with ``Model.classifier`` or ``build_classifier``. n counts pictures, k classes.
    """

    encoder: Encoder
    names: Mapping[str, tuple[str, ...]]
    """label -> what its prompts say: the label itself, then its aliases."""
    templates: tuple[str, ...]
    """The templates used, over all labels."""
    weights_: FloatArray
    """(k, d), unit length."""
    background_: FloatArray
    """(m, d), unit length: the background prompts of the rejection; m may be 0."""
    rejection: Rejection
    warnings: tuple[LabelWarning, ...] = ()
    """What to know about these labels before trusting the answers."""
    origin: str = ""
    """The name or folder of the model, by which a saved classifier finds it again."""
    head: Head | None = None
    """What was learnt from pictures; None: zero-shot."""

    @property
    def classes_(self) -> npt.NDArray[np.str_]:
        """(k,) labels, in the order of the columns."""
        return np.array(list(self.names), np.str_)

    @property
    def aliases(self) -> dict[str, tuple[str, ...]]:
        """The names of each label beside itself, for labels that have any."""
        others = {
            label: tuple(name for name in said if name != label)
            for label, said in self.names.items()
        }
        return {label: names for label, names in others.items() if names}

    def predict(self, pictures: Sequence[Picture]) -> npt.NDArray[np.str_]:
        """(n,) labels; the rejection's label where it declines. Raises ``PictureError``."""
        vectors = self._encode(pictures)
        best = self.classes_[self._ranked(self._cosines(vectors)).argmax(axis=1)]
        return np.where(self.rejects(vectors), np.str_(self.rejection.label), best)

    def predict_proba(self, pictures: Sequence[Picture]) -> FloatArray:
        """(n, k) scores of all labels; the rejection plays no part. Raises ``PictureError``."""
        return self.scores(self._encode(pictures))

    def cosines(self, pictures: Sequence[Picture]) -> FloatArray:
        """(n, k) cosines of pictures and class weights. Raises ``PictureError``."""
        return self._cosines(self._encode(pictures))

    def scores(self, vectors: FloatArray) -> FloatArray:
        """(n, d) unit vectors of pictures -> (n, k) scores.

        ``softmax(scale * cosine)`` over the labels, or ``sigmoid(scale * cosine + bias)`` for each
        label where the model was trained so. See ``Head`` for what was learnt from pictures.
        """
        if self.head is not None:
            return _softmax(self._ranked(self._cosines(vectors)))
        logits = self.encoder.logit_scale * self._cosines(vectors).astype(np.float64)
        if self.encoder.config.score.kind == "sigmoid":
            halves = np.tanh((logits + self.encoder.logit_bias) / 2)  # does not overflow
            return np.asarray((1 + halves) / 2, np.float32)
        return _softmax(logits)

    def rejects(self, vectors: FloatArray) -> npt.NDArray[np.bool_]:
        """(n, d) unit vectors of pictures -> (n,) whether "none of these" is the answer."""
        return self.rejection.declines(
            self.scores(vectors), self._cosines(vectors), vectors @ self.background_.T
        )

    def results(
        self, pictures: Iterable[Picture], *, top: int | None = None
    ) -> Iterator[Result | Failure]:
        """One ``Result`` or ``Failure`` for each picture, in order, as the batches are done.

        A picture that cannot be read does not change or end the others; ``top`` keeps the best.
        """
        yield from self.results_of(self.encoder.try_images(_several(pictures)), top=top)

    def results_of(
        self,
        groups: Iterable[tuple[list[int], FloatArray, list[Failure]]],
        *,
        top: int | None = None,
    ) -> Generator[Result | Failure, None, None]:
        """The same for vectors that are there already, as ``try_images`` of an encoder or of stored
        embeddings gives them: places, (k, d) unit vectors and failures, group by group."""
        for good, vectors, failures in groups:
            found: dict[int, Result | Failure] = {failure.index: failure for failure in failures}
            if good:
                found.update(zip(good, self._results(good, vectors, top), strict=True))
            yield from (found[index] for index in sorted(found))

    def save(self, path: str | Path) -> None:
        """Write the classifier to one file, whole or not at all; read it with ``load_classifier``.

        Raises ``LabelError`` if the encoder has no fingerprint or the file cannot be written.
        """
        from keshin.classify.saved import write_classifier

        write_classifier(self, path)

    def _results(self, good: list[int], vectors: FloatArray, top: int | None) -> Iterator[Result]:
        labels = list(self.names)
        scores, cosines = self.scores(vectors), self._cosines(vectors)
        rejected, ranked = self.rejects(vectors), self._ranked(cosines)
        for row, index in enumerate(good):
            order = np.argsort(-ranked[row], kind="stable")[:top]
            answers = tuple(
                Answer(labels[column], float(scores[row, column]), float(cosines[row, column]))
                for column in order
            )
            declined = bool(rejected[row])
            label = self.rejection.label if declined else answers[0].label
            yield Result(index, label, declined, answers)

    def _cosines(self, vectors: FloatArray) -> FloatArray:
        return np.asarray(vectors @ self.weights_.T, np.float32)

    def _ranked(self, cosines: FloatArray) -> npt.NDArray[np.floating]:
        """(n, k) what the best label has most of."""
        if self.head is None:
            return cosines
        return self.head.scales.astype(np.float64) * cosines + self.head.offsets

    def _encode(self, pictures: Sequence[Picture]) -> FloatArray:
        return self.encoder.encode_images(list(_several(pictures)))


def _softmax(logits: npt.NDArray[np.floating]) -> FloatArray:
    exponents = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(exponents / exponents.sum(axis=1, keepdims=True), np.float32)


def build_classifier(
    encoder: Encoder,
    labels: Labels | Iterable[str] | Mapping[str, Sequence[str]],
    *,
    templates: Templates = None,
    aliases: Mapping[str, Sequence[str]] | None = None,
    reject: Rejection | float | str | None = None,
    reject_label: str = NONE_OF_THESE,
    origin: str = "",
    cache: bool = True,
) -> Classifier:
    """A classifier for these labels.

    Arguments: ``labels``: texts, or a mapping of labels to aliases; ``templates``: a template with
    ``{}``, the name of a published set, or several; ``aliases``: more names for some labels;
    ``reject``: a least score, "background", or a ``Rejection``; ``reject_label``: the answer where
    it declines; ``cache``: whether weights are kept on disk and found there again. Raises
    ``LabelError``.
    """
    if isinstance(labels, Labels):
        classes = labels.with_aliases(aliases) if aliases else labels
    else:
        classes = make_labels(labels, aliases)
    chosen = resolve_templates(templates)
    rejection = as_rejection(reject, reject_label)
    weighed = _weigh(encoder, classes, chosen, rejection.background, cache)
    warnings = weighed.warnings
    single = len(classes.names) == 1 and encoder.config.score.kind == "softmax"
    if single and not rejection.active:
        only = tuple(classes.names)
        said = "With one label the score is always 1: add labels, or a rejection."
        warnings = (*warnings, LabelWarning("single", only, said))
    used = [t for said in classes.names.values() for n in said for t in templates_for(n, chosen)]
    return Classifier(
        encoder=encoder,
        names=classes.names,
        templates=tuple(dict.fromkeys(used)),
        weights_=weighed.weights,
        background_=weighed.background,
        rejection=rejection,
        warnings=warnings,
        origin=origin,
    )


def _weigh(
    encoder: Encoder,
    labels: Labels,
    templates: tuple[str, ...] | None,
    background: tuple[str, ...],
    cache: bool,
) -> Weighed:
    """Weights and warnings, computed or found in the cache."""
    key = key_of(encoder, labels, templates, background) if cache else ""
    counts = len(labels.names), len(background)
    found = stored(key, counts, encoder.config.embed_dim) if key else None
    if found is not None:
        return found
    cut: list[Truncation] = []
    weights = class_weights(encoder, labels.names, templates, on_truncation=cut.append)
    warnings = check_labels(encoder, labels, templates, weights, cut)
    made = Weighed(weights, encoder.encode_texts(background), warnings)
    # Files that changed meanwhile, or just before, could give these weights a wrong name.
    if cache and key == key_of(encoder, labels, templates, background):
        store(key, made)
    return made


def _several(pictures: Iterable[Picture]) -> Iterable[Picture]:
    """The same, unless it is a single picture, which would be walked sign by sign."""
    if isinstance(pictures, str | bytes | os.PathLike | Image.Image) or (
        isinstance(pictures, np.ndarray) and pictures.ndim < 4
    ):
        raise TypeError("Expected a list of pictures, got a single one. Pass [picture].")
    return pictures
