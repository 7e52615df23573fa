"""What is left behind: a classifier or a checkpoint, its card, and at last the report."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from keshin import __version__
from keshin.api import Model
from keshin.classify import Classifier, Head, Rejection
from keshin.core.checkpoint import Checkpoint, load_checkpoint
from keshin.core.writing import whole
from keshin.encode.encoder import FloatArray
from keshin.exporting.card import Story, make_card
from keshin.exporting.folders import Written
from keshin.finetune.judging import Question
from keshin.finetune.plans import SAID
from keshin.finetune.results import Result, shown
from keshin.finetune.work import REPORT

CLASSIFIER, MODEL, CARD = "model.classifier", "model", "README.md"


def write_classifier(
    output: Path, model: Model, question: Question, directions: FloatArray, head: Head | None
) -> Path:
    """The file that ``keshin classify --classifier`` takes."""
    prompts = [prompt for of_class in question.prompts for prompt in of_class]
    templates = question.templates or tuple(dict.fromkeys(prompts))
    made = Classifier(
        encoder=model.encoder,
        names={name: (name,) for name in question.names},
        templates=templates,
        weights_=directions,
        background_=np.zeros((0, directions.shape[1]), np.float32),
        rejection=Rejection(),
        origin=model.origin,
        head=head,
    )
    made.save(output / CLASSIFIER)
    return output / CLASSIFIER


def card_of_classifier(result: Result) -> str:
    """The card of a classifier."""
    return (
        f"# {Path(result.data.source).name}: a classifier on '{result.model}'\n\n"
        f"{_about(result)}\n## Use\n\n```sh\nkeshin classify PICTURES --classifier {CLASSIFIER}\n"
        "```\n\nIt belongs to that model and is refused with another one. The model itself is "
        "unchanged and has forgotten nothing.\n"
    )


def card_of_model(folder: Path, start: str, result: Result) -> str:
    """The card of a fine-tuned checkpoint."""
    checkpoint: Checkpoint = load_checkpoint(folder)
    stored = [info.shape for info in checkpoint.tensors.infos.values()]
    written = Written("weights", 0.0, parameters=sum(int(np.prod(shape)) for shape in stored))
    card = make_card(checkpoint, start, "keshin", written, Story(), None)
    return f"{card}\n## Fine-tuning\n\n{_about(result)}"


def _about(result: Result) -> str:
    data = result.data
    lines = [
        f"Made by `keshin finetune` ({__version__}) from '{result.model}' "
        f"({result.fingerprint[:16]}) on {data.pictures} pictures of "
        f"'{Path(data.source).name}' ({data.kind}).",
        "",
        f"- Method: {SAID[result.chosen]}"
        + ("" if result.share is None else f", {100 * result.share:.0f} % of the way"),
        f"- Expected {result.metric}: {shown(result.estimate).strip()}; chance "
        f"{100 * result.chance:.1f} %. {result.protocol}",
    ]
    for name, count in data.classes.items():
        lines.append(f"- {name}: {count} pictures")
    if result.anchor is not None:
        a = result.anchor
        lines.append(
            f"- Forgetting, on {a.anchor}: {100 * a.before:.1f} % before, {100 * a.after:.1f} % "
            f"after ({a.lost:+.1f} points lost, 95 % {a.low:+.1f} to {a.high:+.1f})"
        )
    if result.test is not None:
        lines.append(f"- On test pictures: {shown(result.test).strip()}")
    lines += [f"- Note: {finding}" for finding in result.findings]
    return "\n".join(lines) + "\n"


def write_text(path: Path, text: str | bytes) -> None:
    """A file, whole or not at all."""
    with whole(path) as scratch:
        scratch.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8"))


def write_report(output: Path, result: Result) -> None:
    """The last thing that is written: a folder that has it is finished."""
    write_text(output / REPORT, result.to_json())
