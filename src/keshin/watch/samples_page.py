"""What a model finds, as one page: pictures with captions, captions with pictures, all steps."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from keshin import __version__
from keshin.core.pictures import Picture
from keshin.pages.numbers import percent
from keshin.pages.page import render, safe
from keshin.pages.thumbnails import data_url, thumbnail
from keshin.pages.words import words_in

HERE = Path(__file__).parent
SIDE = 112


class Sample(msgspec.Struct, frozen=True):
    """One search among n pairs, of which the first k are shown; places count from 0."""

    step: int
    pairs: str
    """Which pairs were searched: a hash of their captions."""
    for_pictures: list[list[int]]
    """(k, top) captions, the nearest first."""
    for_captions: list[list[int]]
    """(k, top) pictures."""
    picture_ranks: list[int]
    """(k,) the place, from 1, of each picture's own caption among all."""
    caption_ranks: list[int]
    """(k,) the place of each caption's own picture."""
    image_recall: float
    """Share of all pictures that found their own caption first."""
    text_recall: float


def samples_page(
    history: Sequence[Sample],
    pictures: Sequence[Picture],
    captions: list[str],
    *,
    language: str = "en",
) -> str:
    """The page of the last of some searches among the same pairs, and how they changed.

    Each picture is in the page once, however often it is shown.
    """
    words, last = words_in(HERE / "words.toml", language), history[-1]
    shown = len(last.for_pictures)
    used = sorted({*range(shown), *(p for row in last.for_captions for p in row)})
    style = "".join(
        f".p{place}{{background-image:url({data_url(thumbnail(pictures[place], SIDE, quality=75).content)})}}"  # noqa: E501
        for place in used
    )

    def caption(place: int, row: int) -> dict[str, Any]:
        return {"text": captions[place], "right": captions[place] == captions[row]}

    made = words["recall"].format(image=percent(last.image_recall), text=percent(last.text_recall))
    return render(
        HERE / "samples.html.jinja",
        words,
        title=words["samples_title"].format(step=f"{last.step:,}"),
        made_by=f"{made} · keshin {__version__}",
        sections=[(k, words[k]) for k in ("of_pictures", "of_captions", "history")],
        thumbnails=safe(style),
        pairs=len(captions),
        chance=sum(captions.count(text) for text in captions) / len(captions) ** 2,
        pictures=[
            {
                "place": row,
                "own": captions[row],
                "found": [caption(place, row) for place in last.for_pictures[row]],
                "rank": last.picture_ranks[row],
            }
            for row in range(shown)
        ],
        captions=[
            {
                "text": captions[row],
                "own": row,
                "rank": last.caption_ranks[row],
                "found": [
                    {"place": place, **caption(place, row)} for place in last.for_captions[row]
                ],
            }
            for row in range(shown)
        ],
        history=[
            {
                "step": sample.step,
                "image": sample.image_recall,
                "text": sample.text_recall,
                "first": [
                    {**caption(found[0], row), "rank": sample.picture_ranks[row]}
                    for row, found in enumerate(sample.for_pictures)
                ],
            }
            for sample in reversed(history)
        ],
    )
