"""The two charts of the report, as SVG text. All words are escaped here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from html import escape

from keshin.evaluate.kaokore.results import Method, Shots, Study
from keshin.statistics.figure import Figure

WIDTH, LEFT, RIGHT = 860, 330, 20
ROW, LINE = 58, 15
LOWEST = 0.2
"""Where the axis of areas begins; below chance there is little to see."""
LEAST = 680
"""Pixels below which the words in a chart would be too small; a phone scrolls it instead."""
LONG = 24
"""Signs of a label from which it takes two lines."""
MARKS = (("a", "same_pages"), ("b", "unseen_works"), ("c", "within"))


def method_bars(study: Study, words: Mapping[str, str], name: Callable[[str], str]) -> str:
    """A point with its interval for each method: same pages, unseen works, within works."""
    methods = [m for m in study.methods if m.key != "majority"]
    height = ROW * len(methods) + 60
    parts = [_open(WIDTH, height, words["chart_label"])]
    for number, (css, key) in enumerate(MARKS):
        begin = LEFT + 205 * number
        parts.append(f'<rect x="{begin}" y="6" width="10" height="10" class="{css}"/>')
        parts.append(f'<text x="{begin + 15}" y="15">{escape(words[key])}</text>')
    for value in (0.25, 0.5, 0.75, 1.0):
        x = _across(value)
        css = "dash" if value == 0.5 else "grid"
        parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="26" y2="{height - 24}" class="{css}"/>')
        parts.append(
            f'<text x="{x:.1f}" y="{height - 8}" text-anchor="middle" class="soft">'
            f"{100 * value:.0f} %</text>"
        )
    for number, method in enumerate(methods):
        y = 34 + ROW * number
        lines = in_two(name(method.key))
        for line, said in enumerate(lines):
            at = y + 23 + 16 * line - 8 * (len(lines) - 1)
            parts.append(f'<text x="{LEFT - 12}" y="{at}" text-anchor="end">{escape(said)}</text>')
        figures = (
            method.dev.area,
            method.apart.area if method.apart else None,
            method.apart.within if method.apart else None,
        )
        for line, ((css, _), figure) in enumerate(zip(MARKS, figures, strict=True)):
            if figure is not None:
                parts.append(_point(figure, y + 4 + LINE * line, css))
    return "\n".join([*parts, "</svg>"])


def few_curve(study: Study, zero_shot: Method, words: Mapping[str, str]) -> str:
    """Area after 1 to 16 examples a class, from nothing and from the text: on dev, and within
    unseen works."""
    if not study.few:
        return ""
    within = zero_shot.apart.within if zero_shot.apart else None
    panels = (("on_dev", zero_shot.dev.area, _dev), ("within_unseen", within, _within))
    parts = [_open(WIDTH, 330, words["heading_few"])]
    for number, (key, zero, of) in enumerate(panels):
        parts += _panel(study.few, 12 + 430 * number, words[key], zero, of)
    for css, start, place in STARTS:
        parts.append(f'<rect x="{50 + place}" y="308" width="10" height="10" class="{css}"/>')
        parts.append(f'<text x="{65 + place}" y="317">{escape(words[f"start_{start}"])}</text>')
    parts.append(
        f'<text x="{WIDTH - RIGHT}" y="317" text-anchor="end" class="soft">'
        f"{escape(words['examples'])}</text>"
    )
    return "\n".join([*parts, "</svg>"])


STARTS = (("a", "zero", 0), ("b", "text", 200))
TOP, BOTTOM, ACROSS = 34, 270, 330


def _panel(
    few: tuple[Shots, ...],
    begin: int,
    title: str,
    zero: Figure | None,
    of: Callable[[Shots], tuple[float, float, float]],
) -> list[str]:
    left = begin + 44
    sizes = sorted({entry.shots for entry in few})

    def x(shots: int) -> float:
        return left + 20 + sizes.index(shots) * (ACROSS - 20) / max(1, len(sizes) - 1)

    def y(value: float) -> float:
        return BOTTOM - (min(max(value, 0.3), 1.0) - 0.3) / 0.7 * (BOTTOM - TOP)

    parts = [f'<text x="{left}" y="18">{escape(title)}</text>']
    for tenth in range(4, 11):
        level, css = y(tenth / 10), "dash" if tenth == 5 else "grid"
        parts.append(
            f'<line x1="{left}" x2="{left + ACROSS + 16}" y1="{level:.1f}" y2="{level:.1f}" '
            f'class="{css}"/><text x="{left - 6}" y="{level + 4:.1f}" text-anchor="end" '
            f'class="soft">{10 * tenth} %</text>'
        )
    parts += [
        f'<text x="{x(shots):.1f}" y="{BOTTOM + 18}" text-anchor="middle">{shots}</text>'
        for shots in sizes
    ]
    for css, start, _ in STARTS:
        places = [(x(entry.shots), *of(entry)) for entry in few if entry.start == start]
        upper = [f"{at:.1f},{y(high):.1f}" for at, _, _, high in places]
        lower = [f"{at:.1f},{y(low):.1f}" for at, _, low, _ in places]
        middle = " ".join(f"{at:.1f},{y(value):.1f}" for at, value, _, _ in places)
        parts.append(f'<polygon points="{" ".join(upper + lower[::-1])}" class="{css} band"/>')
        parts.append(f'<polyline points="{middle}" class="{css} l"/>')
    if zero is not None:
        parts.append(
            f'<line x1="{left}" x2="{left + ACROSS + 16}" y1="{y(zero.value):.1f}" '
            f'y2="{y(zero.value):.1f}" class="c l" stroke-dasharray="6 4"/>'
        )
    return parts


def in_two(text: str) -> list[str]:
    """A long label on two lines, broken at the comma that is nearest to its middle."""
    places = [i + 1 for i, sign in enumerate(text) if sign in ",、"]
    if len(text) < LONG or not places:
        return [text]
    cut = min(places, key=lambda place: abs(place - len(text) / 2))
    return [text[:cut].strip(), text[cut:].strip()]


def _dev(entry: Shots) -> tuple[float, float, float]:
    return entry.dev, entry.dev_low, entry.dev_high


def _within(entry: Shots) -> tuple[float, float, float]:
    return entry.within, entry.within_low, entry.within_high


def _open(width: int, height: int, label: str) -> str:
    return (
        f'<svg viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" '
        f'style="min-width:{LEAST}px" aria-label="{escape(label)}">'
    )


def _across(value: float) -> float:
    share = (min(max(value, LOWEST), 1.0) - LOWEST) / (1 - LOWEST)
    return LEFT + share * (WIDTH - LEFT - RIGHT)


def _point(figure: Figure, y: float, css: str) -> str:
    low, value, high = (_across(v) for v in (figure.low, figure.value, figure.high))
    said = f"{100 * figure.value:.1f} [{100 * figure.low:.1f}, {100 * figure.high:.1f}]"
    return (
        f'<line x1="{low:.1f}" x2="{high:.1f}" y1="{y}" y2="{y}" class="{css} whisker"/>'
        f'<circle cx="{value:.1f}" cy="{y}" r="4.5" class="{css}"><title>{said}</title></circle>'
    )
