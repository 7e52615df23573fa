"""The chosen way on all pictures: fitted, guarded, asked and written."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from msgspec.structs import replace

from keshin.finetune import writing
from keshin.finetune.anchor import Asked, Seen, compare, vectors_of
from keshin.finetune.choice import Estimate, Way, estimate
from keshin.finetune.diagnosis import Trace
from keshin.finetune.heads import Linear
from keshin.finetune.plans import HEADS, WHOLE
from keshin.finetune.preparing import Prepared
from keshin.finetune.results import Result

if TYPE_CHECKING:
    from keshin.finetune.running import Session


@dataclass(eq=False)
class Finished:
    """What was made."""

    method: str
    share: float | None
    """Of the way, as the guard left it."""
    anchor: Seen | None
    trace: Trace | None = None
    head: Linear | None = None
    state: Mapping[str, Any] | None = None
    """The weights of a whole model."""

    def asked(self, session: Session, test: Prepared) -> tuple[Estimate, Estimate]:
        """Its accuracy on test pictures, and zero-shot's."""
        targets = test.material.targets
        zero = session.prepared.question.weights(session.model.encoder)
        plain = (test.vectors @ zero.T).argmax(axis=1) == targets
        if self.head is not None:
            right = self.head.scores(test.vectors).argmax(axis=1) == targets
        elif self.state is not None:
            from keshin.core.pictures import fitted

            encoder = session.need_trainer().encoder(self.state)
            facts, pictures = session.checkpoint.config.preprocess, test.material.pictures
            pixels = np.stack([fitted(pictures[i], facts) for i in range(len(pictures))])
            weights = session.prepared.question.weights(encoder)
            right = (vectors_of(encoder, pixels) @ weights.T).argmax(axis=1) == targets
        else:
            right = plain
        found: Callable[[Any], Estimate] = lambda answers: estimate(  # noqa: E731
            answers.astype(np.float64), test.weights, test.groups
        )
        return found(right), found(plain)

    def write(self, session: Session, output: Path, result: Result) -> None:
        """The classifier or the checkpoint, the card, and the report as the last."""
        output.mkdir(parents=True, exist_ok=True)
        question, name = session.prepared.question, Path(result.data.source).stem
        if self.state is not None:
            said = (
                f"{result.model} ({result.fingerprint[:16]}), tuned by keshin finetune "
                f"({self.method}, {100 * (self.share or 0):.0f} % of the way) on {name}"
            )
            folder = output / writing.MODEL
            _remove_card(folder)
            session.need_trainer().save(folder, self.state, f"{result.model}-{name}", said)
            result.files["model"] = str(folder)
            card = writing.card_of_model(folder, session.model.origin, result)
            writing.write_text(folder / writing.CARD, card)
        elif question.names:
            directions, head = question.weights(session.model.encoder), None
            if self.head is not None:
                directions, head = self.head.as_head()
            path = writing.write_classifier(output, session.model, question, directions, head)
            result.files["classifier"] = str(path)
            writing.write_text(output / writing.CARD, writing.card_of_classifier(result))
        writing.write_report(output, result)


def _remove_card(folder: Path) -> None:
    """Of a run that ended between checkpoint and report: else the checkpoint is not replaced."""
    (folder / writing.CARD).unlink(missing_ok=True)


def finish(session: Session, chosen: Way) -> Finished:
    """Fit what was chosen on all pictures; whole models only as far as the anchor allows."""
    rows = np.arange(len(session.prepared.material))
    unchanged: Asked = session.before
    if chosen.method in HEADS:
        head = session.trials.fit_head(chosen.method, rows, session.trials.text())
        seen = compare(session.anchor, unchanged, unchanged)
        return Finished(chosen.method, None, seen, head=head)
    if chosen.method not in WHOLE:
        return Finished(chosen.method, None, compare(session.anchor, unchanged, unchanged))
    trainer, options, work = session.need_trainer(), session.options, session.work

    def told(step: int, steps: int) -> None:
        if session.watch:
            session.watch(f"{chosen.method}, all pictures", step, steps)

    plan = replace(options.plans[chosen.method], seed=options.seed)
    after, trace = trainer.tuned(rows, plan, keep=work.state("final"), watch=told)
    share, state, asked = trainer.keeping(after, session.before, chosen.share, options.may_forget)
    seen = compare(session.anchor, session.before, asked)
    return Finished(chosen.method, share, seen, trace=trace, state=state)
