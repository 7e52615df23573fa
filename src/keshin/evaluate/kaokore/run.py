"""From a folder and a model to a finished study."""

from __future__ import annotations

import hashlib
import importlib.metadata
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np

from keshin import __version__
from keshin.core.kept import EMBEDDINGS
from keshin.core.pictures import Failure
from keshin.encode.embeddings import open_store
from keshin.encode.encoder import Encoder
from keshin.errors import DataError
from keshin.evaluate.features import extract
from keshin.evaluate.kaokore import study as s
from keshin.evaluate.kaokore.clustered import FloatArray, IntArray
from keshin.evaluate.kaokore.few import few_examples
from keshin.evaluate.kaokore.finetuned import Load, open_finetuned
from keshin.evaluate.kaokore.mistakes import by_kind, surest_mistakes
from keshin.evaluate.kaokore.results import Earlier, Method, Shots, Study
from keshin.evaluate.probes.few_shot import Start
from keshin.evaluate.sets.kaokore.faces import Faces, read_faces
from keshin.facts import kaokore as facts

PACKAGES = ("numpy", "onnxruntime", "scikit-learn", "pillow")
Look = Callable[[Faces, IntArray], FloatArray]
"""Other features of the faces, such as a supervised network's: faces, rows -> (m, d)."""


@dataclass(frozen=True)
class Options:
    """What to do beyond the model itself."""

    version: str = ""
    """That the folder must hold; "" takes what is there."""
    final: bool = False
    """Ask the test split. Nothing is chosen on it, and it should be asked once."""
    earlier: tuple[Earlier, ...] = ()
    """The times that it was asked before: they are told beside."""
    finetuned: Path | None = None
    draws: int = 20
    """Of a few examples."""
    command: str = ""
    cache: bool = True


def run_study(
    encoder: Encoder,
    root: str | Path,
    options: Options | None = None,
    *,
    load: Load | None = None,
    features: Mapping[str, Look] | None = None,
    say: s.Say = lambda _text: None,
) -> Study:
    """Look at the faces and answer the question.

    ``load`` opens the fine-tuned models; ``features`` are further things to put a probe on. Raises
    ``DataError`` if train or dev is not here.
    """
    options = options or Options()
    faces = read_faces(root)
    if options.version and facts.version(options.version).name != faces.version:
        raise DataError(
            f"{root} holds "
            f"{f'version {faces.version}' if faces.version else 'labels of no official version'}, "
            f"not {options.version}."
        )
    splits = facts.SPLITS if options.final else ("train", "dev")
    rows = np.concatenate([faces.rows(split) for split in splits])
    say(f"looking at {len(rows)} faces")
    vectors, good, failures = look(encoder, faces, rows, cache=options.cache)
    paths = [faces.path(row) for row in rows[good]]
    features_read = extract(encoder, paths, kind="probe", cache=options.cache).vectors
    material = s.Material(faces, rows[good], vectors, encoder, options.final, say, features_read)
    kinds: dict[str, FloatArray] = {"probe": material.read}
    for key, other in (features or {}).items():
        say(f"{key}: looking at the faces")
        kinds[key] = other(faces, material.rows)
    tuned = None
    if options.finetuned is not None and load is not None:
        tuned = open_finetuned(
            options.finetuned,
            material,
            load,
            lambda of, which: _all(of, faces, material.rows[which], options.cache),
        )
    asked = {language: s.zero_shot(material, language) for language in s.LANGUAGES}
    found = [
        s.constant(material),
        *(one for language in s.LANGUAGES for one in s.untouched_words(material, language)),
        *(s.zero_shot(material, language, blind=True).found for language in s.LANGUAGES),
        *(one.found for one in asked.values()),
        *s.learn_all(material, kinds),
        *([tuned.found(material)] if tuned is not None else []),
    ]
    methods = tuple(one.method for one in found)
    leading = max(asked.values(), key=lambda one: max(p.train for p in one.prompts))
    best = leading.found
    few = few_examples(material, leading.way, leading.of_fold, draws=options.draws)
    told = [one for one in found if one.method.key in TOLD]
    return Study(
        version=faces.version,
        model=encoder.config.name,
        fingerprint=encoder.fingerprint,
        keshin=__version__,
        made=time.strftime("%Y-%m-%d"),
        command=options.command,
        packages={name: importlib.metadata.version(name) for name in PACKAGES},
        labels_sha256=hashlib.sha256((faces.root / facts.LABELS).read_bytes()).hexdigest(),
        faces={split: len(material.split[split]) for split in splits},
        missing={split: len(faces.missing(split)) for split in splits},
        incarnations={
            split: int(material.targets("incarnation")[material.split[split]].sum())
            for split in splits
        },
        works=len(np.unique(material.works[material.seen])),
        works_with_both=_both(material),
        final=options.final,
        earlier=options.earlier if options.final else (),
        methods=methods,
        gains={
            one.method.key: s.gain(material, one, best)
            for one in found
            if one.method.key in TRAINED and one.method.apart is not None
        },
        status=s.other_question(material, "status", kinds, tuned),
        gender=s.other_question(material, "gender", kinds),
        prompts=tuple(prompt for one in asked.values() for prompt in one.prompts),
        chosen={language: one.chosen for language, one in asked.items()},
        few=tuple(few),
        overtakes={start: _overtakes(few, start, best.method) for start in STARTS},
        overtakes_within={
            start: _overtakes(few, start, best.method, apart=True) for start in STARTS
        },
        kinds=by_kind(material, told),
        mistakes=tuple(m for one in told for m in surest_mistakes(material, one)),
        unread=tuple(f"{Path(f.file).name}: {f.error}" for f in failures),
    )


STARTS: tuple[Start, ...] = get_args(Start)
TRAINED = ("probe", "resnet50", "finetuned")
TOLD = ("zero_shot_en", "probe", "finetuned")
"""Methods whose recalls by kind and mistakes are shown."""


def look(
    encoder: Encoder, faces: Faces, rows: IntArray, *, cache: bool = True
) -> tuple[FloatArray, IntArray, list[Failure]]:
    """(m, d) vectors of the pictures that can be read, their places in ``rows``, and the others."""
    paths = [faces.path(row) for row in rows]
    store = open_store(EMBEDDINGS.folder, encoder) if cache else None
    good: list[int] = []
    parts: list[FloatArray] = []
    failures: list[Failure] = []
    groups = encoder.try_images(paths) if store is None else store.try_images(paths)
    try:
        for places, vectors, failed in groups:
            good += places
            parts.append(vectors)
            failures += failed
    finally:
        if store is not None:
            store.close()
    if not good:
        raise DataError(f"None of the pictures in {faces.root} can be read.")
    return np.concatenate(parts), np.array(good, np.int64), failures


def _all(encoder: Encoder, faces: Faces, rows: IntArray, cache: bool) -> FloatArray:
    vectors, good, failures = look(encoder, faces, rows, cache=cache)
    if len(good) != len(rows):
        raise DataError(f"A picture changed while the study ran: {failures[0].error}")
    return vectors


def _both(material: s.Material) -> int:
    known, works = material.targets("incarnation")[material.seen], material.works[material.seen]
    return sum(bool(0 < known[works == work].mean() < 1) for work in np.unique(works))


def _overtakes(
    few: list[Shots], start: str, zero_shot: Method, *, apart: bool = False
) -> int | None:
    """The fewest examples a class after which it is, and stays, above zero-shot."""
    aim = zero_shot.dev.area.value
    if apart:
        within = zero_shot.apart.within if zero_shot.apart else None
        aim = within.value if within else 1.0
    first: int | None = None
    for entry in reversed([entry for entry in few if entry.start == start]):
        if (entry.within if apart else entry.dev) <= aim:
            break
        first = entry.shots
    return first
