"""What the findings about pairs mean for training: one finding, one verdict, one sentence."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgspec
import numpy as np
import numpy.typing as npt

from keshin.train.pairs import Pairs
from keshin.train.survey import SCRIPT_NAMES, Findings

Verdict = Literal["good", "note", "warning", "bad"]
VERDICTS: tuple[Verdict, ...] = ("good", "note", "warning", "bad")
TINY, HUGE, LONG = 32, 16_000_000, 3
EXAMPLES = 5


class Finding(msgspec.Struct, frozen=True):
    """One thing that was looked for: ``count`` of ``total`` have it."""

    name: str
    verdict: Verdict
    count: int
    total: int
    says: str
    examples: tuple[str, ...] = ()


class Check(msgspec.Struct, frozen=True):
    """All that was found in one source."""

    source: str
    pairs: int
    looked_at: int
    facts: dict[str, Any]
    """Medians and extremes: sizes in pixels, captions in tokens, scripts."""
    findings: tuple[Finding, ...]
    broken: tuple[str, ...]
    """The pictures that cannot be read and why, the first ``survey.LISTED``."""

    @property
    def verdict(self) -> Verdict:
        """The worst of all."""
        return max((f.verdict for f in self.findings), key=VERDICTS.index, default="good")


@dataclass(frozen=True)
class Surveyed:
    """A source and what ``survey`` found in it."""

    name: str
    pairs: Pairs
    rows: npt.NDArray[np.int64]
    found: Findings

    def names(self, places: Iterable[int]) -> tuple[str, ...]:
        """The names of some of the pairs that were looked at."""
        return tuple(self.pairs.name(int(self.rows[place])) for place in places)

    def caption(self, place: int) -> str:
        """Caption number ``place`` of all that were looked at."""
        bounds = np.cumsum(self.found.counts)
        pair = int(np.searchsorted(bounds, place, side="right"))
        captions = self.pairs[int(self.rows[pair])].captions
        return captions[place - int(bounds[pair] - self.found.counts[pair])]


def judge(
    surveyed: Surveyed,
    *,
    context_length: int,
    size: int,
    others: Sequence[Surveyed] = (),
) -> Check:
    """The verdicts on a source.

    Arguments: ``context_length``: tokens that the model reads; ``size``: the side of what it sees,
    in pixels; ``others``: sources that must share no picture with this one.
    """
    found = surveyed.found
    findings = [
        *_shards(surveyed),
        _broken(surveyed),
        _without_caption(surveyed),
        *_sizes(surveyed, size),
        _duplicates(surveyed),
        _truncated(surveyed, context_length),
        _equal_captions(surveyed),
        _scripts(surveyed),
        *(_leaks(surveyed, other) for other in others),
    ]
    return Check(
        surveyed.name, len(surveyed.pairs), len(surveyed.rows), _facts(found), tuple(findings),
        found.broken,
    )  # fmt: skip


def _facts(found: Findings) -> dict[str, Any]:
    read = found.sizes[found.sizes[:, 0] > 0]
    sizes = {}
    if len(read):
        middle = np.median(read, axis=0).astype(int).tolist()
        sides = read.min(axis=1)
        sizes = {"median": middle, "shortest_side": int(sides.min()), "longest": int(read.max())}
    tokens = {}
    if len(found.tokens):
        low, high = np.percentile(found.tokens, (50, 95)).astype(int).tolist()
        tokens = {"median": low, "percentile_95": high, "longest": int(found.tokens.max())}
    scripts = np.bincount(found.scripts, minlength=len(SCRIPT_NAMES))
    return {
        "picture_size": sizes,
        "captions": len(found.captions),
        "captions_per_pair": round(len(found.captions) / max(1, len(found.counts)), 2),
        "caption_tokens": tokens,
        "scripts": {SCRIPT_NAMES[i]: int(n) for i, n in enumerate(scripts) if n},
    }


def _graded(count: int, total: int, few: Verdict, many: Verdict, limit: float) -> Verdict:
    """``few`` up to a share of ``limit``, ``many`` beyond it."""
    if count == 0:
        return "good"
    return few if count <= limit * total else many


def _of_pairs(
    surveyed: Surveyed,
    name: str,
    which: npt.NDArray[np.bool_],
    grade: tuple[Verdict, Verdict, float],
    says: str,
    none: str,
) -> Finding:
    count, total = int(which.sum()), len(which)
    examples = surveyed.names(np.flatnonzero(which)[:EXAMPLES])
    sentence = says.format(n=f"{count:,}", share=_percent(count, total)) if count else none
    return Finding(name, _graded(count, total, *grade), count, total, sentence, examples)


def _percent(count: int, total: int) -> str:
    share = 100 * count / max(1, total)
    return f"{share:.0f} %" if share >= 10 or share == 0 else f"{share:.2g} %"


def _broken(surveyed: Surveyed) -> Finding:
    which = surveyed.found.sizes[:, 0] == 0
    says = "{n} ({share}) cannot be read; training leaves them out. Repair or remove them."
    found = _of_pairs(
        surveyed, "broken pictures", which, ("warning", "bad", 0.01), says, "All can be read."
    )
    return msgspec.structs.replace(found, examples=surveyed.found.broken[:EXAMPLES])


def _shards(surveyed: Surveyed) -> list[Finding]:
    """On shards that cannot be read; sources that are no shards have no such finding."""
    shards: Sequence[str] = getattr(surveyed.pairs, "shards", ())
    bad = surveyed.found.shards
    says = "All can be read."
    if bad:
        says = (
            f"{len(bad):,} of {len(shards):,} cannot be read, and training does not start with "
            "them. Write them anew or take them out; the others were checked."
        )
    verdict: Verdict = "bad" if bad else "good"
    return [Finding("broken shards", verdict, len(bad), len(shards), says, bad)] if shards else []


def _without_caption(surveyed: Surveyed) -> Finding:
    which = surveyed.found.counts == 0
    says = "{n} ({share}) have no caption; training leaves them out."
    return _of_pairs(
        surveyed, "no caption", which, ("warning", "bad", 0.01), says, "All have a caption."
    )


def _sizes(surveyed: Surveyed, size: int) -> list[Finding]:
    width, height = surveyed.found.sizes.astype(np.int64).T
    short, long, read = np.minimum(width, height), np.maximum(width, height), width > 0
    return [
        _of_pairs(
            surveyed, "tiny pictures", read & (short < TINY), ("warning", "warning", 0.0),
            f"{{n}} ({{share}}) are under {TINY} pixels at their shorter side: icons or errors?",
            f"None is under {TINY} pixels.",
        ),
        _of_pairs(
            surveyed, "small pictures", read & (short < size), ("note", "warning", 0.1),
            f"{{n}} ({{share}}) have a side under {size} pixels and would be enlarged.",
            f"No side is under {size} pixels.",
        ),
        _of_pairs(
            surveyed, "huge pictures", read & (width * height > HUGE), ("note", "warning", 0.05),
            f"{{n}} ({{share}}) have over {HUGE // 10**6} megapixels and take long to decode. "
            f"Reduce them once: keshin data convert --max-side {2 * size}.",
            f"None has over {HUGE // 10**6} megapixels.",
        ),
        _of_pairs(
            surveyed, "long pictures", read & (long > LONG * short), ("note", "warning", 0.05),
            f"{{n}} ({{share}}) are over {LONG} times as long as wide: a square crop sees less "
            "than a third of them.",
            f"None is over {LONG} times as long as wide.",
        ),
    ]  # fmt: skip


def repeats(hashes: npt.NDArray[np.uint64]) -> npt.NDArray[np.bool_]:
    """Which are equal to an earlier one; 0 counts as nothing."""
    _, first = np.unique(hashes, return_index=True)
    again = np.ones(len(hashes), bool)
    again[first] = False
    again[hashes == 0] = False
    return again


def _duplicates(surveyed: Surveyed) -> Finding:
    which = repeats(surveyed.found.pictures)
    says = (
        "{n} ({share}) are, byte for byte, an earlier picture: it is seen more often than others."
    )
    return _of_pairs(
        surveyed, "duplicate pictures", which, ("note", "warning", 0.01), says,
        "No file occurs twice.",
    )  # fmt: skip


def _truncated(surveyed: Surveyed, context_length: int) -> Finding:
    which = np.flatnonzero(surveyed.found.tokens > context_length)
    count, total = len(which), len(surveyed.found.tokens)
    says = f"All fit into {context_length} tokens."
    if count:
        says = (
            f"{count:,} ({_percent(count, total)}) are longer than {context_length} tokens; the "
            "model sees their beginnings only."
        )
    verdict = _graded(count, total, "note", "warning", 0.05)
    return Finding(
        "cut captions", verdict, count, total, says, _quoted(surveyed.caption, which[:EXAMPLES])
    )


def _quoted(caption: Callable[[int], str], places: Iterable[int]) -> tuple[str, ...]:
    texts = (" ".join(caption(int(place)).split()) for place in places)
    return tuple(text if len(text) <= 80 else text[:79] + "…" for text in texts)


def _equal_captions(surveyed: Surveyed) -> Finding:
    hashes = surveyed.found.captions
    count, total = int(repeats(hashes).sum()), len(hashes)
    if count == 0:
        return Finding("equal captions", "good", 0, total, "No caption occurs twice.")
    _, first, often = np.unique(hashes, return_index=True, return_counts=True)
    top = np.argsort(-often, kind="stable")[:EXAMPLES]
    top = top[often[top] > 1]
    texts = _quoted(surveyed.caption, first[top])
    examples = tuple(f"{often[t]:,} x {text}" for t, text in zip(top, texts, strict=True))
    says = (
        f"{count:,} ({_percent(count, total)}) repeat an earlier one. Keep loss.positives = "
        '"equal" (the default), or equal captions count as wrong answers.'
    )
    verdict = _graded(count, total, "note", "warning", 0.5)
    return Finding("equal captions", verdict, count, total, says, examples)


def _scripts(surveyed: Surveyed) -> Finding:
    found = surveyed.found
    counts = np.bincount(found.scripts, minlength=len(SCRIPT_NAMES))
    latin, none = len(SCRIPT_NAMES) - 2, len(SCRIPT_NAMES) - 1
    total, other = len(found.scripts), int(counts[:latin].sum())
    shares = (f"{SCRIPT_NAMES[i]} {_percent(int(n), total)}" for i, n in enumerate(counts) if n)
    says = "; ".join(shares) or "There is no caption."
    verdict: Verdict = "note" if other or counts[none] else "good"
    if other:
        long = found.tokens[found.scripts < latin].mean()
        plain = found.tokens[found.scripts == latin].mean() if counts[latin] else float("nan")
        says += (
            f". Captions in other scripts take {long:.0f} tokens on average (Latin: {plain:.0f}); "
            'if that is much, learn a vocabulary: [tokenizer] kind = "learn".'
        )
    which = np.flatnonzero((found.scripts < latin) | (found.scripts == none))[:EXAMPLES]
    if counts[none]:
        says += f" {int(counts[none]):,} captions have no letters."
    return Finding(
        "scripts", verdict, other + int(counts[none]), total, says,
        _quoted(surveyed.caption, which),
    )  # fmt: skip


def _leaks(surveyed: Surveyed, other: Surveyed) -> Finding:
    hashes = surveyed.found.pictures
    which = np.isin(hashes, other.found.pictures) & (hashes != 0)
    says = f"{{n}} ({{share}}) are in {other.name} too: what is measured on it would be too good."
    return _of_pairs(
        surveyed, "leaks", which, ("bad", "bad", 0.0), says, f"No picture is in {other.name} too."
    )
