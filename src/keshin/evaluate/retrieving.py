"""An evaluation of pictures with captions: how well they find each other."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np

from keshin.api import Model
from keshin.errors import DataError
from keshin.evaluate.features import extract
from keshin.evaluate.provenance import digest, failed, model_facts, run_facts
from keshin.evaluate.results import DataFacts, Evaluation, Prompts
from keshin.evaluate.sets.captioned import Captioned
from keshin.evaluate.sets.datasets import open_captioned
from keshin.evaluate.sets.labelled import Labelled
from keshin.evaluate.sources import Choices, Watch, drawn_rows, told
from keshin.facts.datasets import Dataset
from keshin.statistics.retrieval import retrieval

TEMPLATE = "{}"


def evaluate_retrieval(
    model: Model,
    source: str | os.PathLike[str] | Captioned,
    wanted: Choices,
    *,
    watch: Watch | None = None,
) -> Evaluation:
    """Recall at 1, 5 and 10 in both directions. Captions are put into the template, if one is
    given (the paper puts "a photo of" before them). Raises ``DataError``."""
    dataset: Dataset | None = None
    if isinstance(source, Captioned):
        data, given = source, "captions"
    else:
        given = os.fspath(source)
        data, dataset = open_captioned(given, wanted.split, data_dir=wanted.data_dir)
    template = _template(wanted)
    data, limited = captions_limited_to(data, wanted)
    pictures = _without_labels(data)
    found = extract(
        model, pictures, cache=wanted.cache, progress=told(watch, "pictures", len(data))
    )
    owned = np.isin(found.rows, data.picture_of)  # pictures without captions answer nothing
    rows, vectors = found.rows[owned], found.vectors[owned]
    place = np.full(len(data), -1, np.int64)
    place[rows] = np.arange(len(rows))
    kept = np.flatnonzero(place[data.picture_of] >= 0)
    captions = tuple(data.captions[row] for row in kept)
    texts = [template.replace("{}", caption) for caption in captions]
    measures = retrieval(vectors, model.encode_texts(texts), place[data.picture_of[kept]])
    readable = pictures.take(rows)
    return Evaluation(
        data=DataFacts(
            title=dataset.title if dataset else Path(given).name,
            key=dataset.key if dataset else "",
            source=given,
            split=wanted.split,
            metric="recall",
            pictures=len(rows),
            failed=len(found.failures),
            digest=digest(readable),
            largest_class=0.0,
            limited=limited,
            licence=dataset.licence if dataset else "",
            notes=" ".join(dataset.notes) if dataset else "",
        ),
        model=model_facts(model),
        prompts=Prompts({text: (text,) for text in captions}, (template,), "default"),
        run=run_facts(command="", seed=wanted.seed, seconds=0),
        scores=tuple(measures.values()),
        retrieval=True,
        failures=failed(pictures, found.failures),
    )


def captions_limited_to(data: Captioned, wanted: Choices) -> tuple[Captioned, bool]:
    """At most ``limit`` pictures, drawn at random, with all their captions; whether that left any
    out. Among fewer others a picture is found more easily, so the report says so."""
    rows = drawn_rows(len(data), wanted)
    if rows is None:
        return data, False
    place = np.full(len(data), -1, np.int64)
    place[rows] = np.arange(len(rows))
    kept = np.flatnonzero(place[data.picture_of] >= 0)
    part = replace(
        data,
        pictures=[data.pictures[row] for row in rows],
        captions=tuple(data.captions[row] for row in kept),
        picture_of=place[data.picture_of[kept]],
        ids=tuple(data.ids[row] for row in rows) if data.ids else (),
    )
    return part, True


def _template(wanted: Choices) -> str:
    given = wanted.templates
    if given is None:
        return TEMPLATE
    templates = [given] if isinstance(given, str) else list(given)
    if len(templates) != 1 or TEMPLATE not in templates[0]:
        raise DataError(
            "Captions are put into one template with {} for the caption, for example "
            "'a photo of {}'."
        )
    return templates[0]


def _without_labels(data: Captioned) -> Labelled:
    """The pictures with their captions as what is known of them, for hash and names."""
    targets = np.zeros(len(data), np.int64)
    return Labelled(data.pictures, targets, data.captions, None, data.ids)
