"""What a user should know about their labels before trusting the answers.

Similar labels: two classes are reported for one of two reasons, neither with a number chosen by
taste but the factor two.

- No picture, whatever it shows, can score one more than twice the other. For unit vectors the two
  logits differ by at most ``scale * |w_a - w_b|``, so that this holds where it is below ln 2.
- They are nearer than the median distance (one minus the cosine) of near-duplicates. A
  near-duplicate of a class is the class itself with the full stop of its prompts taken away, or
  added where there is none. The median is over up to 16 of the classes, and it counts only if the
  model takes the full stop for as little as people do: if each of them is still nearest to itself.
  (A small model that never saw a closing 「。」 moves further on it than from dog to bird.)
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from keshin.classify.labels import Labels
from keshin.classify.templates import fill, templates_for
from keshin.classify.weights import class_weights
from keshin.core.scripts import SCRIPTS, in_japanese_script, script_of
from keshin.core.tokenizer import Truncation
from keshin.encode.encoder import Encoder, FloatArray
from keshin.errors import LabelError
from keshin.facts.languages import models_that_read, reads

Kind = Literal["repeated", "similar", "truncated", "unknown-script", "single"]

RATIO = 2.0
SAMPLE = 16
SHOWN = 5
ROUNDING = 1e-6
"""Distances below it are those of equal vectors in float32."""
ROWS_AT_ONCE = 1024


@dataclass(frozen=True)
class LabelWarning:
    """One thing to know about some labels."""

    kind: Kind
    labels: tuple[str, ...]
    message: str
    """A sentence for people."""

    def __str__(self) -> str:
        return self.message


def toggle_full_stop(prompt: str) -> str:
    """The prompt without its full stop, or with one."""
    bare = prompt.rstrip(".。")
    if bare != prompt:
        return bare
    return prompt + ("。" if in_japanese_script(prompt) else ".")


def check_labels(
    encoder: Encoder,
    labels: Labels,
    templates: tuple[str, ...] | None,
    weights: FloatArray,
    truncated: Iterable[Truncation],
) -> tuple[LabelWarning, ...]:
    """All warnings for these classes. Raises ``LabelError`` for a name that has no token."""
    tokens = {
        name: tuple(encoder.tokenizer.encode(name))
        for said in labels.names.values()
        for name in said
    }
    empty = [name for name, ids in tokens.items() if not ids]
    if empty:
        raise LabelError(
            f"The label {empty[0]!r} is empty to the tokenizer of '{encoder.config.name}'. "
            "Use another word."
        )
    repeated = list(_repeated(labels, tokens))
    same = {frozenset(warning.labels) for warning in repeated}
    return (
        *repeated,
        *_similar(encoder, labels, templates, weights, same),
        *_truncated(labels, templates, truncated),
        *unknown_script(encoder, labels),
    )


def _repeated(labels: Labels, tokens: dict[str, tuple[int, ...]]) -> Iterator[LabelWarning]:
    for label in labels.repeated:
        yield LabelWarning("repeated", (label,), f"'{label}' is given more than once; used once.")
    owners: dict[tuple[int, ...], str] = {}
    for label, said in labels.names.items():
        for name in said:
            other = owners.setdefault(tokens[name], label)
            if other != label:
                yield LabelWarning(
                    "repeated",
                    (other, label),
                    f"'{name}' of '{label}' is the same text to the model as a name of '{other}'.",
                )


def _similar(
    encoder: Encoder,
    labels: Labels,
    templates: tuple[str, ...] | None,
    weights: FloatArray,
    known: set[frozenset[str]],
) -> Iterator[LabelWarning]:
    """Each class with the class nearest to it, if that is too near; nearest pairs first."""
    if len(weights) < 2:
        return
    bound = (math.log(RATIO) / encoder.logit_scale) ** 2 / 2
    limit = max(near_duplicate_distance(encoder, labels, templates, weights), bound, ROUNDING)
    order = list(labels.names)
    pairs: dict[frozenset[str], tuple[float, str, str]] = {}
    for start in range(0, len(weights), ROWS_AT_ONCE):
        cosines = weights[start : start + ROWS_AT_ONCE] @ weights.T
        here = np.arange(len(cosines))
        cosines[here, start + here] = -np.inf
        nearest = cosines.argmax(axis=1)
        for row in np.flatnonzero(1 - cosines[here, nearest] < limit):
            first, second = sorted((start + int(row), int(nearest[row])))
            pair = order[first], order[second]
            pairs[frozenset(pair)] = (float(cosines[row, nearest[row]]), *pair)
    found = sorted((pair for key, pair in pairs.items() if key not in known), reverse=True)
    for cosine, one, other in found:
        why = (
            "no picture can score one more than twice the other"
            if 1 - cosine < max(bound, ROUNDING)
            else "it tells them apart less than it notices a full stop"
        )
        said = f"'{one}' and '{other}' are nearly the same to the model (cosine {cosine:.4f}): "
        yield LabelWarning("similar", (one, other), f"{said}{why}.")


def near_duplicate_distance(
    encoder: Encoder, labels: Labels, templates: tuple[str, ...] | None, weights: FloatArray
) -> float:
    """The median distance between a class and itself with its full stop toggled.

    0 if the full stop changes what a class is taken for, since it is no near-duplicate then.
    """
    order = list(labels.names)
    rows = np.unique(np.linspace(0, len(order) - 1, min(len(order), SAMPLE)).astype(int))
    sample = {order[row]: labels.names[order[row]] for row in rows}
    changed = class_weights(encoder, sample, templates, change=toggle_full_stop)
    cosines = changed @ weights.T
    own = cosines[np.arange(len(rows)), rows]
    if (cosines.max(axis=1) > own + ROUNDING).any():
        return 0.0
    return float(np.median(1 - own))


def _truncated(
    labels: Labels, templates: tuple[str, ...] | None, truncated: Iterable[Truncation]
) -> Iterator[LabelWarning]:
    """For each label with prompts that do not fit, how many, and how long the longest is."""
    cut = {truncation.text: truncation for truncation in truncated}
    if not cut:
        return
    for label, said in labels.names.items():
        prompts = [fill(t, name) for name in said for t in templates_for(name, templates)]
        found = [cut[prompt] for prompt in prompts if prompt in cut]
        if found:
            worst = max(found, key=lambda truncation: truncation.tokens)
            which = "its prompt has" if len(prompts) == 1 else "its longest prompt has"
            count = "" if len(prompts) == 1 else f" of {len(found)} of its {len(prompts)} prompts"
            yield LabelWarning(
                "truncated",
                (label,),
                f"'{_short(label)}' is too long: {which} {worst.tokens} tokens, the model reads "
                f"{worst.kept}: {'its end' if not count else f'the end{count}'} is not seen. "
                "Shorten it.",
            )


def unknown_script(encoder: Encoder, labels: Labels) -> Iterator[LabelWarning]:
    """Labels that the model cannot have learned, one warning for each script."""
    model = encoder.config.name
    found: dict[str | None, list[str]] = {}
    for label, said in labels.names.items():
        for name in said:
            script = script_of(name)
            untrained = script is not None and reads(model, SCRIPTS[script][0]) is False
            if untrained or _falls_apart(encoder, name):
                found.setdefault(script, []).append(label)
                break
    for script, unknown in found.items():
        shown = ", ".join(f"'{_short(label)}'" for label in unknown[:SHOWN])
        more = f" and {len(unknown) - SHOWN} more" if len(unknown) > SHOWN else ""
        if script and not reads(model, SCRIPTS[script][0]):
            what = f"'{model}' does not read {script} script: it has hardly seen"
        else:
            what = f"The tokenizer of '{model}' knows only as bytes, and the model hardly,"
        yield LabelWarning(
            "unknown-script",
            tuple(unknown),
            f"{what} the signs of {shown}{more}. Expect chance; {_instead(model, script)}.",
        )


def _falls_apart(encoder: Encoder, name: str) -> bool:
    """Whether signs beyond ASCII become more tokens than signs, as only bytes do, or unknown."""
    tokenizer = encoder.tokenizer
    # A tokenizer of another kind than CLIP's may begin each text with a sign of its own.
    spare = 0 if tokenizer.facts.cleaning == "clip" else 1
    for run in re.findall(r"[^\x00-\x7f\s]+", name):
        ids = tokenizer.encode(run)
        if len(ids) > len(run) + spare or tokenizer.unknown in ids:
            return True
    return False


def _instead(model: str, script: str | None) -> str:
    language = SCRIPTS[script][0] if script else None
    others = [m for m in models_that_read(language) if m != model] if language else []
    if others:
        return f"load a model that reads it ({', '.join(others[:SHOWN])}), or use other words"
    return "use other words"


def _short(text: str, length: int = 60) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"
