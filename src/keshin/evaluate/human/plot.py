"""The paper's Figure 16 as SVG: each class's accuracy for the model and for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from keshin.evaluate.human.difficulty import ClassRow
from keshin.statistics.figure import Figure

LEFT, WIDTH, RIGHT, ROW, TOP = 190.0, 520.0, 24.0, 22.0, 34.0
MOST = 120
"""Classes drawn; of more, the hardest and the easiest."""
LONGEST = 28
SHAPES = ("circle", "square", "diamond")
"""Of people in rounds with 0, 1 and 2 examples; the model is a bar."""


def difficulty_plot(rounds: Mapping[int, Sequence[ClassRow]], model: str | None) -> str:
    """One row a class, the hardest for the model on top (without a model: for people in the first
    round); a mark for people in each round and a bar for the model, with 95 % intervals.

    ``rounds``: examples of each class -> its rows. Returns an ``<svg>`` that is styled by the page.
    """
    first = next(iter(rounds.values()))
    names = [row.name for row in first]
    left_out = max(0, len(names) - MOST)
    if left_out:
        names = names[: MOST // 2] + names[-(MOST // 2) :]
    found = {shots: {row.name: row for row in rows} for shots, rows in rounds.items()}
    height = TOP + ROW * len(names) + 12
    width = LEFT + WIDTH + RIGHT
    parts = [
        f'<svg class="plot" viewBox="0 0 {width:.0f} {height:.0f}" role="img" '
        f'aria-label="Accuracy of each class, the hardest first">',
        *_axis(height),
    ]
    for place, name in enumerate(names):
        y = TOP + ROW * (place + 0.5)
        if left_out and place == MOST // 2:
            at = y - ROW / 2
            parts.append(f'<line class="gap" x1="0" x2="{width:.0f}" y1="{at:.1f}" y2="{at:.1f}"/>')
        parts.append(_label(name, y))
        if model is not None and (share := first[_place(first, name)].model) is not None:
            parts.append(_bar(share, y, f"{model}, {name}"))
        for number, (shots, rows) in enumerate(found.items()):
            if name in rows:
                spread = (number - (len(found) - 1) / 2) * 5
                said = f"people with {shots} examples, {name}"
                parts.append(_mark(rows[name].people, y + spread, shots, said))
    return "".join([*parts, "</svg>"])


def _place(rows: Sequence[ClassRow], name: str) -> int:
    return next(place for place, row in enumerate(rows) if row.name == name)


def _x(value: float) -> float:
    return LEFT + WIDTH * value


def _axis(height: float) -> list[str]:
    parts = []
    for tick in (0, 0.25, 0.5, 0.75, 1):
        x = _x(tick)
        line = (
            f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP - 6}" y2="{height - 8:.0f}"/>'
        )
        parts += [line, f'<text class="tick" x="{x:.1f}" y="18">{100 * tick:.0f} %</text>']
    return parts


def _label(name: str, y: float) -> str:
    shown = name if len(name) <= LONGEST else name[: LONGEST - 1] + "…"
    return (
        f'<text class="name" x="{LEFT - 10}" y="{y + 4:.1f}">{escape(shown)}'
        f"<title>{escape(name)}</title></text>"
    )


def _bar(share: Figure, y: float, said: str) -> str:
    return (
        f'<g class="model"><title>{escape(_words(share, said))}</title>'
        f'<rect x="{LEFT}" y="{y - 8:.1f}" width="{max(WIDTH * share.value, 1):.1f}" height="16" '
        'rx="2"/></g>'
    )


def _mark(share: Figure, y: float, shots: int, said: str) -> str:
    x, shape = _x(share.value), SHAPES[shots]
    drawn = {
        "circle": f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4"/>',
        "square": f'<rect x="{x - 3.6:.1f}" y="{y - 3.6:.1f}" width="7.2" height="7.2"/>',
        "diamond": f'<path d="M{x:.1f} {y - 5:.1f}l5 5l-5 5l-5 -5z"/>',
    }[shape]
    return (
        f'<g class="people shots{shots}"><title>{escape(_words(share, said))}</title>'
        f'<line x1="{_x(share.low):.1f}" x2="{_x(share.high):.1f}" y1="{y:.1f}" y2="{y:.1f}"/>'
        f"{drawn}</g>"
    )


def _words(share: Figure, said: str) -> str:
    return f"{said}: {100 * share.value:.1f} % [{100 * share.low:.1f}, {100 * share.high:.1f}]"
