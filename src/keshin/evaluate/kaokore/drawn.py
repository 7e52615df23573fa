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
        parts.append(
            f'<text x="{LEFT - 12}" y="{y + 22}" '
            f'text-anchor="end">{escape(name(method.key))}</text>'
        )
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
    """Area after 1 to 16 examples a class, on dev and within unseen works."""
    if not study.few:
        return ""
    width, height, left, bottom, top = 640, 320, 50, 270, 30
    count = len(study.few)

    def x(number: int) -> float:
        return left + 30 + number * (width - left - 190) / max(1, count - 1)

    def y(value: float) -> float:
        return bottom - (min(max(value, 0.3), 1.0) - 0.3) / 0.7 * (bottom - top)

    parts = [_open(width, height, words["heading_few"])]
    for value in (0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0):
        css = "dash" if value == 0.5 else "grid"
        parts.append(
            f'<line x1="{left}" x2="{width - 150}" y1="{y(value):.1f}" y2="{y(value):.1f}" '
            f'class="{css}"/>'
            f'<text x="{left - 8}" y="{y(value) + 4:.1f}" text-anchor="end" class="soft">'
            f"{100 * value:.0f} %</text>"
        )
    for number, entry in enumerate(study.few):
        parts.append(
            f'<text x="{x(number):.1f}" y="{bottom + 18}" text-anchor="middle">{entry.shots}</text>'
        )
    parts.append(
        f'<text x="{(left + width - 150) / 2:.1f}" y="{bottom + 38}" text-anchor="middle" '
        f'class="soft">{escape(words["examples"])}</text>'
    )
    within = zero_shot.apart.within if zero_shot.apart else None
    lines = (
        ("a", "on_dev", zero_shot.dev.area, _dev),
        ("c", "within_unseen", within, _within),
    )
    ends = sorted(((y(of(study.few[-1])[0]), css) for css, _, _, of in lines))
    close = len(ends) == 2 and ends[1][0] - ends[0][0] < 16
    for css, key, zero, of in lines:
        places = [of(entry) for entry in study.few]
        upper = [f"{x(n):.1f},{y(place[2]):.1f}" for n, place in enumerate(places)]
        lower = [f"{x(n):.1f},{y(place[1]):.1f}" for n, place in enumerate(places)]
        middle = " ".join(f"{x(n):.1f},{y(place[0]):.1f}" for n, place in enumerate(places))
        parts.append(f'<polygon points="{" ".join(upper + lower[::-1])}" class="{css} band"/>')
        parts.append(f'<polyline points="{middle}" class="{css} l"/>')
        if zero is not None:
            level = y(zero.value)
            parts.append(
                f'<line x1="{left}" x2="{width - 150}" y1="{level:.1f}" y2="{level:.1f}" '
                f'class="{css} l" stroke-dasharray="6 4"/>'
            )
        moved = (-8 if (css == ends[0][1]) else 8) if close else 0
        parts.append(
            f'<text x="{width - 144}" y="{y(places[-1][0]) + 4 + moved:.1f}">'
            f"{escape(words[key])}</text>"
        )
    return "\n".join([*parts, "</svg>"])


def _dev(entry: Shots) -> tuple[float, float, float]:
    return entry.dev, entry.dev_low, entry.dev_high


def _within(entry: Shots) -> tuple[float, float, float]:
    return entry.within, entry.within_low, entry.within_high


def _open(width: int, height: int, label: str) -> str:
    return (
        f'<svg viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" '
        f'aria-label="{escape(label)}">'
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
