"""The model card: what is known of data, compute, accuracy, licence and limits, and what is not.

It is made from the fact sheet, from what a training run left behind, and from evaluations. Nothing
is filled in by guess: what no file states is said to be unknown.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from keshin import __version__
from keshin.core.checkpoint import Checkpoint
from keshin.core.config import Config, RobertaText
from keshin.errors import CheckpointError, DataError
from keshin.exporting.folders import Written
from keshin.pages.numbers import interval, percent
from keshin.statistics.figure import Figure

METRICS, RECIPE = "metrics.jsonl", "recipe.toml"
UNKNOWN = "unknown"
LIBRARIES = {"openclip": "open_clip", "transformers": "transformers", "onnx": "onnx"}


class DataFacts(msgspec.Struct):
    """What is read of the data of an evaluation."""

    title: str
    split: str = ""
    limited: bool = False


class ModelFacts(msgspec.Struct):
    """What is read of the model of an evaluation."""

    fingerprint: str
    name: str = UNKNOWN
    mode: str = "fp32"


class Measured(msgspec.Struct):
    """What is read of an evaluation that ``keshin.evaluate`` wrote."""

    data: DataFacts
    model: ModelFacts
    scores: list[Figure]


@dataclass(frozen=True)
class Story:
    """What is known of a model beside its fact sheet."""

    measured: Sequence[Measured] = ()
    recipe: Mapping[str, Any] | None = None
    records: Sequence[Mapping[str, Any]] = ()


def read_story(checkpoint: Checkpoint, run: Path | None, evaluations: Sequence[Path]) -> Story:
    """Raises ``DataError`` for files that are no such thing, or that tell of another model."""
    measured = [_read_evaluation(path, checkpoint) for path in evaluations]
    if run is None:
        return Story(measured)
    records, recipe = _read_records(run / METRICS), None
    if (run / RECIPE).is_file():
        try:
            recipe = tomllib.loads((run / RECIPE).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise DataError(f"{run / RECIPE} is no recipe ({error}).") from error
    return Story(measured, recipe, records)


def _read_evaluation(path: Path, checkpoint: Checkpoint) -> Measured:
    try:
        found = msgspec.json.decode(path.read_bytes(), type=Measured)
    except OSError as error:
        raise DataError(f"Cannot read the evaluation {path}: {error.strerror}.") from error
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise DataError(
            f"{path} is no evaluation that keshin wrote as JSON ({error}). `keshin eval` makes one."
        ) from error
    if found.model.fingerprint != checkpoint.fingerprint:
        raise CheckpointError(
            f"{path} tells of the model '{found.model.name}' ({found.model.fingerprint[:12]}), and "
            f"this is '{checkpoint.config.name}' ({checkpoint.fingerprint[:12]}): its figures do "
            "not belong into this card. Evaluate the model that is exported."
        )
    return found


def _read_records(path: Path) -> list[Mapping[str, Any]]:
    """The metrics of a run; a last line that was cut off is left out."""
    if not path.is_file():
        raise DataError(
            f"There is no {path}. Name the folder of the run, in which `keshin train` left it."
        )
    found: list[Mapping[str, Any]] = []
    for line in path.read_bytes().splitlines():
        try:
            found.append(msgspec.json.decode(line, type=dict[str, Any]))
        except (msgspec.MsgspecError, UnicodeDecodeError):
            continue
    return found


def make_card(
    checkpoint: Checkpoint,
    origin: str,
    form: str,
    written: Written,
    story: Story,
    original: str | None,
) -> str:
    """The card as Markdown. ``original`` is the file that holds the model's own card, if any."""
    config = checkpoint.config
    parts = [
        _front(form),
        f"# Model card: {config.name}\n",
        _about(checkpoint, origin, form, written, original),
        f"## Use\n\n{_use(form, config, written)}",
        f"## Data\n\n{_data(config, story, original)}",
        f"## Compute\n\n{_compute(story, original)}",
        f"## Accuracy\n\n{_accuracy(story, original)}",
        f"## Licence\n\n{_licence(config)}",
        f"## Limits\n\n{_limits(config, form, written)}",
    ]
    return "\n".join(part.rstrip("\n") + "\n" for part in parts)


def _front(form: str) -> str:
    """What hubs read."""
    library = LIBRARIES.get(form, "keshin")
    return f"---\nlibrary_name: {library}\npipeline_tag: zero-shot-image-classification\n---\n"


def _about(
    checkpoint: Checkpoint, origin: str, form: str, written: Written, original: str | None
) -> str:
    config, vision, text = checkpoint.config, checkpoint.config.vision, checkpoint.config.text
    shown = Path(origin).name if Path(origin).is_absolute() else origin  # no paths of a machine
    rows = {
        "image tower": f"{kind_of(vision)}, {vision.image_size[0]} x {vision.image_size[1]} pixels",
        "text tower": f"{kind_of(text)}, {text.layers} layers of width {text.width}, "
        f"{text.context_length} tokens of {text.vocab_size:,}",
        "embedding": f"{config.embed_dim} numbers",
        "parameters": f"{written.parameters:,}, stored as {written.stored}",
        "score": f"{config.score.kind} of {checkpoint.logit_scale:.4g} x cosine"
        + (f" {checkpoint.logit_bias:+.4g}" if config.score.kind == "sigmoid" else ""),
        "pictures": f"{config.preprocess.resize}, {config.preprocess.interpolation}, mean "
        f"{list(config.preprocess.mean)}, std {list(config.preprocess.std)}",
        "source": f"{shown} ({checkpoint.fingerprint[:16]})",
    }
    table = "| fact | value |\n|---|---|\n" + "".join(
        f"| {k} | {_cell(v)} |\n" for k, v in rows.items()
    )
    said = (
        "A CLIP model: it puts pictures and texts into one space, where a picture lies near what "
        f"describes it. Exported by keshin {__version__} in the format '{form}'. Checked when it "
        f"was written: the largest difference of {written.compared} to the model is "
        f"{written.difference:.2g}.\n"
    )
    if original is not None:
        said += (
            f"\nThe model's own card is in [{original}]({original}); it says more than this one.\n"
        )
    return f"{said}\n{table}"


def kind_of(part: Any) -> str:
    """The kind of a tower, as the fact sheet calls it."""
    return str(part.__struct_config__.tag)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _use(form: str, config: Config, written: Written) -> str:
    family = "Siglip" if kind_of(config.vision) == "vit-attention-pool" else "CLIP"
    wide = ' padding="max_length",' if family == "Siglip" else " padding=True,"
    code = {
        "openclip": 'import open_clip\nname = "local-dir:FOLDER"  # this folder\n'
        "model, _, preprocess = open_clip.create_model_and_transforms(name)\n"
        "tokenizer = open_clip.get_tokenizer(name)\nmodel.eval()",
        "transformers": "from transformers import AutoImageProcessor, AutoTokenizer, "
        f"{family}Model\n"
        f'model = {family}Model.from_pretrained("FOLDER")  # this folder\n'
        'processor = AutoImageProcessor.from_pretrained("FOLDER")\n'
        'tokenizer = AutoTokenizer.from_pretrained("FOLDER")\n'
        f'tokenizer(["a photo of a cat."],{wide} truncation=True, return_tensors="pt")',
        "onnx": 'import onnxruntime\nimages = onnxruntime.InferenceSession("image.onnx")\n'
        '(vectors,) = images.run(["vectors"], {"pixels": pixels})  # (n, 3, h, w) float32\n'
        'texts = onnxruntime.InferenceSession("text.onnx")\n'
        '(vectors,) = texts.run(["vectors"], {"ids": ids})  # (n, length) int64',
        "keshin": 'import keshin\nmodel = keshin.load("FOLDER")  # this folder\n'
        'model.classifier(["cat", "dog"]).predict(["photo.jpg"])',
    }[form]
    text = f"```python\n{code}\n```\n"
    if form == "onnx":
        tokens = config.tokenizer
        start = "" if tokens.start is None else f"{tokens.start}, "
        text += (
            f"\nA text's ids are {start}its tokens (cleaning '{config.tokenizer.cleaning}'), "
            f"{tokens.end}, then {tokens.pad} to fill the row, at most {config.text.context_length}"
            f"{'' if config.text.trims else ', and always filled to that length'}. Pixels are in "
            "0..1, less the mean, divided by the std. The fact sheet and the tokenizer are also "
            "in the files' metadata, under 'keshin.facts' and 'keshin.tokenizer'.\n"
        )
    if written.labels:
        text += (
            f"\n`classifier.onnx` gives scores and cosines for {len(written.labels)} labels "
            "(`labels.json`, in the order of its columns).\n"
        )
    return text


def _data(config: Config, story: Story, original: str | None) -> str:
    lines = [f"Stated source: {config.source}." if config.source != UNKNOWN else ""]
    sources = (story.recipe or {}).get("data", {}).get("sources", [])
    if sources:
        lines += ["", "The recipe of the run names:", ""]
        lines += [f"- {Path(str(each.get('path', UNKNOWN))).name}" for each in sources]
    elif story.records:
        lines += ["", "What the training run read is not stated by its files."]
    if not sources:
        lines += ["", _not_known("On which pictures and texts it was trained", original)]
    lines += ["", "What the data hold of people, languages and places is not known to this card."]
    return "\n".join(lines).strip() + "\n"


def _not_known(what: str, original: str | None) -> str:
    known = f" See [{original}]({original})." if original else ""
    return f"{what} is not known to keshin.{known}"


def _compute(story: Story, original: str | None) -> str:
    steps = [r for r in story.records if "pairs_per_second" in r and "step" in r]
    if not steps:
        return _not_known("What it took to train the model", original)
    optim = (story.recipe or {}).get("optim", {})
    last, seconds, pairs, before = steps[-1], 0.0, 0.0, 0.0
    for record in steps:
        batch = optim.get("batch_size") or math.exp(float(record.get("chance_loss", 0.0)))
        done = (float(record["step"]) - before) * batch
        if done > 0:
            pairs += done
            seconds += done / max(float(record["pairs_per_second"]), 1e-9)
        before = float(record["step"])
    rows = {
        "steps": f"{int(last['step']):,}",
        "pairs seen": f"about {pairs:,.0f}",
        "epochs": f"{float(last['epoch']):.2f}" if "epoch" in last else UNKNOWN,
        "time of training": f"about {seconds / 3600:.2f} hours, from the speed that was logged",
        "last loss": f"{float(last['loss']):.4f} (chance {float(last['chance_loss']):.3f})"
        if {"loss", "chance_loss"} <= last.keys()
        else UNKNOWN,
        "machine": f"device '{(story.recipe or {}).get('run', {}).get('device', UNKNOWN)}', "
        "otherwise unknown",
        "energy": UNKNOWN,
    }
    return "| of the run | value |\n|---|---|\n" + "".join(
        f"| {k} | {_cell(v)} |\n" for k, v in rows.items()
    )


def _accuracy(story: Story, original: str | None) -> str:
    text = ""
    if story.measured:
        columns = ("data", "measure", "value", "95 % interval", "chance", "pictures")
        text += f"| {' | '.join(columns)} |\n{'|---' * len(columns)}|\n"
        for each in story.measured:
            title = " ".join(filter(None, (each.data.title, each.data.split)))
            title += " (a part)" if each.data.limited else ""
            title += f", {each.model.mode}" if each.model.mode != "fp32" else ""
            for score in each.scores:
                row = (
                    _cell(title),
                    _cell(score.name),
                    percent(score.value),
                    interval(score.low, score.high),
                    percent(score.chance),
                    f"{score.count:,}",
                )
                text += f"| {' | '.join(row)} |\n"
    checks = [r for r in story.records if r.get("event") == "validation"]
    if checks:
        values = {k: v for k, v in checks[-1].items() if isinstance(v, float)}
        text += "\nOf the run's own validation, at its end (no test set):\n\n"
        text += "".join(f"- {name}: {value:.4f}\n" for name, value in values.items())
    if not story.measured:
        text += "\n" + _not_known("How good it is on test pictures", original) + "\n"
        text += "`keshin eval` measures it; `keshin export --evaluation` puts the result here.\n"
    return text.strip() + "\n"


def _licence(config: Config) -> str:
    if config.licence == UNKNOWN:
        return (
            "Unknown. Nobody stated one, so assume that you may not use the model before its "
            "makers say so.\n"
        )
    return f"{config.licence}\n"


def _limits(config: Config, form: str, written: Written) -> str:
    text, vision = config.text, config.vision
    height, width = vision.image_size
    cut = "scaled to that shape" if config.preprocess.resize == "squash" else "cut to their centre"
    lines = [
        f"Pictures are seen at {height} x {width} pixels, {cut}; smaller things are lost.",
        f"Texts end after {text.context_length} tokens.",
        "A score compares the labels that were given; it is not the probability of being right.",
        "It learnt from pairs as they were found, with their prejudices; what it says of people "
        "has not been examined here. Do not decide about people with it.",
        "Which languages it reads, how it counts, and how it reads writing in pictures is unknown "
        "unless the accuracies above say so.",
    ]
    if written.stored == "float16":
        lines.append("Weights are stored as float16; answers differ a little from float32's.")
    if isinstance(text, RobertaText):
        lines.append("Its tokenizer marks what it does not know as unknown, in any language.")
    lines += written.notes
    return "".join(f"- {line}\n" for line in lines)
