"""Class weights: ``w_c = normalise(mean_t normalise(text(template_t(label_c))))``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import islice

import numpy as np

from keshin.classify.templates import fill, templates_for
from keshin.core.tokenizer import Truncation
from keshin.encode.encoder import Encoder, FloatArray
from keshin.errors import LabelError

Names = Mapping[str, tuple[str, ...]]
Change = Callable[[str], str]
PROMPTS_AT_ONCE = 8192
"""Bounds the memory that many labels times many templates take."""


def class_weights(
    encoder: Encoder,
    names: Names,
    templates: tuple[str, ...] | None,
    *,
    change: Change = str,
    on_truncation: Callable[[Truncation], None] | None = None,
) -> FloatArray:
    """(k, d) unit vectors, one a class.

    A class with several names gets the mean of their ensembles, each normalised first, so that a
    name counts once however many templates it has. Each different prompt is encoded once;
    ``change`` rewrites the prompts first. Raises ``LabelError`` if the text tower fails.
    """
    quiet = replace(encoder, on_truncation=on_truncation)
    width = max(len(said) for said in names.values()) * max(1, len(templates or ()))
    rows: list[FloatArray] = []
    for block in _blocks(names.values(), max(1, PROMPTS_AT_ONCE // width)):
        prompts: dict[str, int] = {}
        places = [
            [
                [
                    prompts.setdefault(change(fill(template, name)), len(prompts))
                    for template in templates_for(name, templates)
                ]
                for name in said
            ]
            for said in block
        ]
        vectors = quiet.encode_texts(list(prompts))
        for of_class in places:
            ensembles = [_mean(vectors[of_name]) for of_name in of_class]
            rows.append(_mean(np.stack(ensembles)))
    weights = np.stack(rows)
    if not np.isfinite(weights).all():
        raise LabelError(
            f"The text tower of '{encoder.config.name}' gives values that are not finite. "
            "The checkpoint is damaged or its training diverged."
        )
    return weights


def _mean(vectors: FloatArray) -> FloatArray:
    """The mean of (n, d) unit vectors, of unit length again."""
    mean = vectors.mean(axis=0, dtype=np.float64)
    return np.asarray(mean / np.linalg.norm(mean), np.float32)


def _blocks(items: Iterable[tuple[str, ...]], size: int) -> Iterator[list[tuple[str, ...]]]:
    iterator = iter(items)
    while block := list(islice(iterator, size)):
        yield block
