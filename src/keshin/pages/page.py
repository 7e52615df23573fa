"""One HTML file: no network, no scripts, light and dark, from a phone's width to paper.

Labels, file names and error messages are not to be trusted: the templates escape all of them,
charts escape their own text, and a policy in the page forbids scripts and everything from
elsewhere.
"""

from __future__ import annotations

import re
from functools import cache
from html import escape
from pathlib import Path
from typing import Any

from keshin.core.writing import whole
from keshin.errors import DataError, require
from keshin.pages.drawing import DARK, STYLE, clean
from keshin.pages.numbers import interval, p_value, percent, points, points_interval
from keshin.pages.thumbnails import data_url
from keshin.pages.words import Words

HERE = Path(__file__).parent
PERCENT = "\N{NO-BREAK SPACE}%"
MARKED = ((r"\*\*(.+?)\*\*", "strong"), (r"(?<![*\w])\*(?!\s)([^*]+?)\*(?![*\w])", "em"))
LONGEST = 60
"""Signs of a path that a page shows; of a longer one, its end."""


def render(template: Path, words: Words, *, title: str, made_by: str = "", **values: Any) -> str:
    """The page that a template makes of ``values``.

    Arguments:
        template: a file that extends ``pages/page.html.jinja`` and fills its block ``main``; it may
            import from ``pages/parts.jinja`` and from files beside it.
        words: ``w`` in the template; ``w.language`` is the page's language.
        values: names that the template uses. ``sections``, pairs of an anchor and its heading, are
            the list of contents.

    Needs jinja2 (``keshin[eval]``).
    """
    page: str = (
        _environment(template.parent)
        .get_template(template.name)
        .render({"sections": (), **values, "w": words, "title": title, "made_by": made_by})
    )
    return page


def write(path: Path, page: str) -> Path:
    """Write text, whole or not at all. Raises ``DataError``."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole(path) as scratch:
            scratch.write_bytes(page.encode("utf-8", "backslashreplace"))
    except OSError as error:
        raise DataError(f"Cannot write the report to {path}: {error.strerror or error}.") from error
    return path


def safe(markup: str) -> Any:
    """What a page shall not escape: a drawing, which has escaped its own texts."""
    return require("markupsafe", extra="eval").Markup(markup)


def rich(said: str) -> Any:
    """Escaped, with ``**strong**``, ``*stressed*`` and backquotes round what is typed."""
    found = escape(clean(said)).replace(" %", PERCENT)
    parts = re.split(r"`([^`]+)`", found)
    for place, part in enumerate(parts):
        if place % 2:
            parts[place] = f"<code>{part}</code>"
        else:
            for pattern, tag in MARKED:
                parts[place] = re.sub(pattern, rf"<{tag}>\1</{tag}>", parts[place])
    return safe("".join(parts))


@cache
def _environment(folder: Path) -> Any:
    jinja = require("jinja2", extra="eval")
    loaders = jinja.PrefixLoader({"pages": jinja.FileSystemLoader(HERE)})
    found = jinja.Environment(
        loader=jinja.ChoiceLoader([loaders, jinja.FileSystemLoader(folder)]),
        autoescape=True,
        undefined=jinja.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    dark = f"@media screen and (prefers-color-scheme:dark){{{DARK}}}"
    sheets = (HERE / name for name in ("colours.css", "page.css"))
    style = "".join(sheet.read_text(encoding="utf-8") for sheet in sheets) + STYLE + dark
    found.globals["style"] = safe(style)
    found.filters |= {
        "pc": _percent,
        "interval": lambda one: interval(one.low, one.high),
        "points": points,
        "points_interval": lambda one: points_interval(one.low, one.high),
        "p": lambda value: p_value(value).removeprefix("= "),
        "number": _decimal,
        "count": lambda value: f"{value:,}",
        "data_url": data_url,
        "clean": clean,
        "shortened": lambda said: clean(
            said if len(said) <= LONGEST else f"…{said[1 - LONGEST :]}"
        ),
        "rich": rich,
    }
    return found


def _shortened(said: str) -> str:
    return clean(said if len(said) <= LONGEST else f"…{said[1 - LONGEST :]}")


def _percent(value: float | None, digits: int = 1) -> str:
    return percent(value, digits).replace(" %", PERCENT)


def _decimal(value: float, digits: int = 1) -> str:
    return f"{value:.{digits}f}"
