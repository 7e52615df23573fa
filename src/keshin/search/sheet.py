"""Contact sheets: groups of duplicates and results of a search as one HTML file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from keshin import __version__
from keshin.encode.pipeline import available_cores
from keshin.errors import PictureError
from keshin.pages import page
from keshin.pages.thumbnails import thumbnail
from keshin.pages.words import Words, words_in
from keshin.search.answer import Found, Hit
from keshin.search.duplicates import Copy, Group, spare_bytes

HERE = Path(__file__).parent
WORDS, TEMPLATE = HERE / "words.toml", HERE / "sheet.html.jinja"
MOST = 2000
"""Pictures on one page."""


def write_groups_page(
    path: Path, groups: Sequence[Group], folder: str, pictures: int, language: str = "en"
) -> Path:
    """Write the contact sheet of groups of duplicates. Needs jinja2 (``keshin[eval]``)."""
    words = words_in(WORDS, language)
    shown, left = [], MOST
    for group in groups:
        if (left := left - len(group.files)) < 0:
            break
        shown.append(group)
    images = _images([copy.path for group in shown for copy in group.files])
    sections = [
        {
            "heading": f"{words[group.kind]} ({len(group.files)})",
            "cards": [_copy(copy, place, images, words) for place, copy in enumerate(group.files)],
        }
        for group in shown
    ]
    summary = words["duplicates_summary"].format(
        groups=f"{len(groups):,}",
        pictures=f"{pictures:,}",
        bytes=f"{spare_bytes(groups) / 1e6:,.1f}",
    )
    rest = (
        words["more_groups"].format(n=len(groups) - len(shown)) if len(shown) < len(groups) else ""
    )
    title = words["duplicates_title"].format(folder=folder)
    return _write(path, words, title, [summary, words["how"]], sections, rest)


def write_found_page(path: Path, found: Found, query: str, language: str = "en") -> Path:
    """Write a gallery of what a search found. Needs jinja2 (``keshin[eval]``)."""
    words = words_in(WORDS, language)
    hits = found.hits[:MOST]
    images = _images([hit.path for hit in hits])
    summary = words["search_summary"].format(hits=len(found), searched=f"{found.searched:,}")
    intro = [words["nothing"]] if found.nothing else [summary, words["meaning"]]
    cards = [_hit(hit, images, words) for hit in hits]
    title = words["search_title"].format(query=query)
    return _write(path, words, title, intro, [{"heading": "", "cards": cards}] if cards else [], "")


def _write(
    path: Path, words: Words, title: str, intro: list[str], sections: list[Any], rest: str
) -> Path:
    made_by = f"keshin {__version__}"
    values = {"intro": intro, "groups": sections, "rest": rest}
    return page.write(path, page.render(TEMPLATE, words, title=title, made_by=made_by, **values))


def _images(paths: Iterable[str]) -> dict[str, bytes]:
    """Thumbnails; empty for what cannot be read any more."""

    def small(path: str) -> bytes:
        try:
            return thumbnail(path).content
        except PictureError:
            return b""

    wanted = list(dict.fromkeys(paths))
    with ThreadPoolExecutor(available_cores(), "keshin-thumbnails") as pool:
        return dict(zip(wanted, pool.map(small, wanted), strict=True))


def _copy(copy: Copy, place: int, images: dict[str, bytes], words: Words) -> dict[str, Any]:
    rows = [(f"{copy.width} x {copy.height}", f"{copy.bytes / 1000:,.0f} kB")]
    if copy.taken:
        rows.append((copy.taken.replace("T", " "), ""))
    if place == 0:
        rows.append((words["keep"], "✓"))
    return {"name": copy.path, "image": images[copy.path], "rows": rows}


def _hit(hit: Hit, images: dict[str, bytes], words: Words) -> dict[str, Any]:
    relevance = "?" if hit.relevance is None else f"{hit.relevance:.2f}"
    rows = [(words["relevance"], relevance), (words["score"], f"{hit.score:.3f}")]
    return {"name": hit.path, "image": images[hit.path], "rows": rows}
