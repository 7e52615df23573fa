"""``keshin.finetune``: from a model and a folder of pictures to the best that they allow."""

from __future__ import annotations

import importlib.util
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from msgspec.structs import replace

from keshin import __version__
from keshin.api import Model, find_checkpoint, load
from keshin.classify import Templates
from keshin.core.checkpoint import Checkpoint
from keshin.core.pictures import fitted
from keshin.errors import DataError, require
from keshin.evaluate.sets.labelled import Labelled
from keshin.finetune.anchor import Anchor, Asked, ask, open_anchor
from keshin.finetune.choice import Rule, estimate
from keshin.finetune.finishing import finish
from keshin.finetune.material import Material, open_material
from keshin.finetune.plans import HEADS, METHODS, PLANS, WHOLE, Plan
from keshin.finetune.preparing import Prepared, Watch, leaks_into, prepare
from keshin.finetune.reporting import report
from keshin.finetune.results import Result
from keshin.finetune.trials import Trials, possible
from keshin.finetune.work import Work, check_free, open_work

if TYPE_CHECKING:
    from keshin.finetune.torch_trial import Trainer

Source = str | os.PathLike[str] | Labelled


@dataclass(frozen=True)
class Options:
    """How to fine-tune."""

    methods: tuple[str, ...] = METHODS
    may_forget: float | None = 1.0
    templates: Templates = None
    metric: str = "accuracy"
    plans: dict[str, Plan] = field(default_factory=lambda: dict(PLANS))
    device: str | None = None
    seed: int = 0


@dataclass(eq=False)
class Session:
    """What a fine-tune works with."""

    model: Model
    checkpoint: Checkpoint
    prepared: Prepared
    options: Options
    work: Work
    anchor: Anchor
    before: Asked
    trials: Trials
    watch: Watch | None
    trainer: Trainer | None = None

    def need_trainer(self) -> Trainer:
        """The one that tunes whole models; it needs PyTorch."""
        if self.trainer is None:
            from keshin.finetune.torch_trial import Trainer
            from keshin.finetune.torch_tuning import Lessons, reduced

            prepared, facts = self.prepared, self.checkpoint.config.preprocess
            pictures = prepared.material.pictures
            decode = self.model.encoder.decode
            pixels = [fitted(pictures[i], facts, mode=decode) for i in range(len(pictures))]
            small = [reduced(pictures[i], facts.size) for i in range(len(pictures))]
            question = prepared.question
            lessons = Lessons(small, question.targets, question.prompts, question.captions)
            self.trainer = Trainer(
                self.checkpoint,
                question,
                lessons,
                np.stack(pixels),
                self.anchor,
                self.options.device or "",
            )
        return self.trainer


def torch_is_here() -> bool:
    """Whether whole models can be tuned."""
    return importlib.util.find_spec("torch") is not None


def finetune(
    model: Model | str | os.PathLike[str],
    source: Source,
    output: str | os.PathLike[str] | None = None,
    *,
    methods: Sequence[str] = METHODS,
    anchor: str | os.PathLike[str] | None = None,
    may_forget: float | None = 1.0,
    captions: Sequence[str] = (),
    templates: Templates = None,
    test: Source | None = None,
    metric: str = "accuracy",
    plans: dict[str, Plan] | None = None,
    device: str | None = None,
    seed: int = 0,
    watch: Watch | None = None,
) -> Result:
    """Teach a model what is in a hundred pictures, and say how much better it is for it.

    Arguments:
        model: a model, or its name or folder.
        source: a folder with one folder per class; a CSV or Parquet table; a known data set; or
            captions: ``x.txt`` beside ``x.jpg``, or a table with a column of them.
        output: a new folder for the result (a classifier or a checkpoint, a card, the report); None
            writes nothing. An interrupted run with the same ``output`` goes on where it was.
        methods: those to choose from (``METHODS``); zero-shot is always among them.
        anchor: labelled pictures that the model must not get worse at; None: the built-in ones.
        may_forget: how many points of the anchor may be lost; None: no guard.
        captions: the columns of a table that hold captions.
        templates: of the classes' prompts, as ``Model.classifier`` takes them.
        test: pictures that are asked at the very end and decide nothing.
        metric: ``accuracy``, or ``mean per class`` where classes are of unequal size.
        plans: how whole models are trained, by method (``plans.PLANS``).
        device: of PyTorch. Default: the best there is.
        seed: of folds, order and crops.
        watch: called with what is done, how far it is and how far it goes.

    Raises ``DataError`` for pictures that nothing can be learnt from, and for an ``output`` that
    holds something.
    """
    began = time.monotonic()
    require("scipy", extra="eval")
    if unknown := [name for name in methods if name not in METHODS]:
        raise DataError(f"There is no method '{unknown[0]}'. There are: {', '.join(METHODS)}.")
    folder = None if output is None else Path(output)
    if folder is not None:
        check_free(folder)
    opened = model if isinstance(model, Model) else load(model)
    options = Options(
        methods=tuple(name for name in METHODS if name in methods or name == "zero-shot"),
        may_forget=may_forget,
        templates=templates,
        metric=metric,
        plans={**PLANS, **(plans or {})},
        device=device,
        seed=seed,
    )
    material = open_material(source, captions=captions)
    prepared = prepare(opened, material, templates=templates, metric=metric, watch=watch)
    session = open_session(opened, prepared, options, folder, anchor, watch)
    left_out = possible(options.methods, classes=bool(material.names), torch=torch_is_here())
    try_all(session, left_out)
    ways = session.trials.ways
    rule = Rule(ways, prepared.weights, prepared.groups, may_forget)
    chosen = ways[rule.choose()]
    value = rule.worth(seed)
    worth = estimate(chosen.right, prepared.weights, prepared.groups, value)
    done = finish(session, chosen)
    asked, leaked = _test(session, test)
    result = report(session, rule, chosen, worth, done, left_out, leaked)
    if asked is not None:
        result.test, result.test_zero_shot = done.asked(session, asked)
    result.seconds = time.monotonic() - began
    if folder is not None:
        done.write(session, folder, result)
        session.work.clear()
    return result


def open_session(
    model: Model,
    prepared: Prepared,
    options: Options,
    folder: Path | None,
    anchor: str | os.PathLike[str] | None,
    watch: Watch | None,
) -> Session:
    """All that the methods share. ``folder``: where folds are kept that are done; None: nowhere."""
    held = getattr(model.encoder.towers, "checkpoint", None)
    checkpoint = held if isinstance(held, Checkpoint) else find_checkpoint(model.origin)[0]
    asked = open_anchor(model.encoder, anchor)
    question: dict[str, Any] = {
        "keshin": __version__,
        "fingerprint": checkpoint.fingerprint,
        "pictures": [int(digest) for digest in prepared.looks.digests],
        "targets": prepared.material.targets.tolist(),
        "names": prepared.question.names,
        "prompts": prepared.question.prompts,
        "captions": prepared.question.captions,
        "groups": prepared.groups.tolist(),
        "plans": options.plans,
        "anchor": [asked.said, asked.names, int(asked.pixels.sum(dtype=np.int64))],
        "seed": options.seed,
    }
    work = Work(None) if folder is None else open_work(folder, msgspec.to_builtins(question))
    trials = Trials(prepared, model.encoder, options.seed)
    before = ask(model.encoder, asked)
    return Session(model, checkpoint, prepared, options, work, asked, before, trials, watch)


def try_all(session: Session, left_out: dict[str, str]) -> None:
    """Each method on each fold, in the order of the rule."""
    options, trials = session.options, session.trials
    trials.zero_shot()
    for method in options.methods:
        if method in left_out:
            continue
        if method in HEADS:
            trials.head(method, session.watch)
        elif method in WHOLE:
            plan = replace(options.plans[method], seed=options.seed)
            trials.whole(
                method,
                plan,
                session.need_trainer(),
                session.before.value,
                session.work,
                session.watch,
            )


def _test(session: Session, test: Source | None) -> tuple[Prepared | None, list[Any]]:
    """Test pictures, ready to be asked, and copies of them among those that were learnt from."""
    if test is None:
        return None, []
    material: Material = open_material(test, split="test")
    if set(material.names) - set(session.prepared.material.names) or material.captions:
        raise DataError(
            "The test pictures have other classes than those to learn from: "
            f"{', '.join(material.names[:5])}. They must be among them."
        )
    places = {name: place for place, name in enumerate(session.prepared.material.names)}
    targets = np.array([places[material.names[t]] for t in material.targets], np.int64)
    renamed = Material(
        material.pictures,
        material.files,
        targets,
        session.prepared.material.names,
        templates=session.prepared.question.templates,
        source=material.source,
    )
    other = prepare_test(session, renamed)
    return other, leaks_into(session.prepared, other)


def prepare_test(session: Session, material: Material) -> Prepared:
    """Test pictures need not be of every class."""
    return prepare(
        session.model,
        material,
        templates=session.options.templates,
        metric=session.options.metric,
        whole=False,
    )
