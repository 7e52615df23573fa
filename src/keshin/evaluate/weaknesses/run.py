"""All tasks, one after the other."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from keshin import __version__
from keshin.api import Model
from keshin.classify import Labels, make_labels
from keshin.classify.checks import unknown_script
from keshin.encode.encoder import Encoder
from keshin.errors import KeshinError, require
from keshin.evaluate.weaknesses.asking import ask
from keshin.evaluate.weaknesses.labels import compare
from keshin.evaluate.weaknesses.questions import Questions, Task
from keshin.evaluate.weaknesses.results import Finding, Report
from keshin.evaluate.weaknesses.tables import LANGUAGES, captions_in
from keshin.evaluate.weaknesses.tasks import TASKS
from keshin.evaluate.weaknesses.verdicts import verdict, words

COUNT = 200
LEAST = 20
Progress = Callable[[str, int, int], None]
"""Called with a task, how many of its pictures are done, and of how many."""


def weaknesses(
    model: Model | Encoder,
    labels: Labels | Iterable[str] | Mapping[str, Sequence[str]] | None = None,
    *,
    pictures: str | Path | None = None,
    seed: int = 0,
    count: int = COUNT,
    tasks: Sequence[str] | None = None,
    captions: str = LANGUAGES[0],
    progress: Progress | None = None,
) -> Report:
    """What a model is known to be bad at, measured on pictures that keshin draws.

    Counting, what is nearer, left and right, which colour belongs to what, reading, words that lead
    astray, nearly equal shapes and negation: each with chance, a 95 % interval, a control that
    shows whether the model knows the drawings at all, and a verdict in English and Japanese.

    Arguments:
        labels: labels of yours, to find the pairs that the model cannot tell apart.
        pictures: a folder with one folder of pictures a label, to measure the same on pictures;
            without ``labels`` its folders are the labels.
        seed: of all drawings.
        count: questions a task (pairs of pictures where a task has pairs), at least 20.
        tasks: only these, by key; default: all.
        captions: the language of the captions, "en" or "ja"; the drawings are the same. The model
            must read it.
        progress: called with a task's key, how many of its pictures are done, and of how many.

    Raises ``KeshinError`` for an unknown task, too few questions or captions that the model does
    not read, ``LabelError`` and
    ``DataError`` for labels and pictures that cannot be used, ``MissingExtra`` without SciPy.
    """
    require("scipy", extra="eval")  # before the work, not in the midst of it
    encoder = model.encoder if isinstance(model, Model) else model
    if count < LEAST:
        raise KeshinError(f"A count of {count} tells nothing. Give at least {LEAST}.")
    if seed < 0:
        raise KeshinError(f"A seed of {seed} cannot be used. Give 0 or more.")
    known = {task.key: task for task in TASKS}
    for key in tasks or ():
        if key not in known:
            raise KeshinError(f"There is no task '{key}'. There are: {', '.join(known)}.")
    _check_reads(encoder, captions)
    chosen = [known[key] for key in tasks] if tasks is not None else list(TASKS)
    say: Progress = progress or (lambda task, done, of: None)
    report = None  # labels first: what is wrong with them is said before the long part
    if labels is not None or pictures is not None:
        given = labels if isinstance(labels, Labels) or labels is None else make_labels(labels)
        report = compare(encoder, given, pictures, seed=seed, progress=say)
    findings = tuple(
        judge(encoder, task, seed=seed, count=count, progress=say, language=captions)
        for task in chosen
    )
    return Report(
        model=encoder.config.name,
        fingerprint=encoder.fingerprint,
        version=__version__,
        seed=seed,
        count=count,
        findings=findings,
        labels=report,
        captions=captions,
    )


def _check_reads(encoder: Encoder, language: str) -> None:
    """Raises ``KeshinError`` where most things of the captions are no words to the model. Of a few
    that are not, the controls show what they cost."""
    said = [one for one, _ in captions_in(language).things.values() if not one.isascii()]
    for unread in unknown_script(encoder, make_labels(said)) if said else ():
        if 2 * len(unread.labels) > len(said):
            raise KeshinError(f"Captions in the language '{language}' tell nothing here. {unread}")


def judge(
    encoder: Encoder,
    task: Task,
    *,
    seed: int,
    count: int,
    progress: Progress,
    language: str = LANGUAGES[0],
) -> Finding:
    """One task, with captions in a language."""
    questions = questions_of(task, seed, count, language)
    total = len(set(questions.scenes()))
    done = 0

    def seen(more: int) -> None:
        nonlocal done
        done += more
        progress(task.key, done, total)

    progress(task.key, 0, total)
    judged = task.judge(
        questions, ask(encoder, questions, captions_in(language).templates[task.templates], seen)
    )
    key = verdict(task.scale, judged.main, judged.control)
    said = words().tasks[task.key]
    return Finding(
        task=task.key,
        title=said.title,
        asks=said.asks,
        verdict=key,
        said=words().said(task.key, key, judged.control),
        main=judged.main,
        control=judged.control,
        control_asks=said.control,
        others=judged.others,
        levels=judged.levels,
        pictures=total,
    )


def questions_of(task: Task, seed: int, count: int, language: str = LANGUAGES[0]) -> Questions:
    """The questions of a task: the same for the same seed, whatever other tasks are asked."""
    return task.make(
        np.random.default_rng([seed, zlib.crc32(task.key.encode())]), count, captions_in(language)
    )
