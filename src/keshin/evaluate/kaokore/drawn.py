"""The two charts of the report (see ``keshin.pages.drawing``)."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from keshin.evaluate.kaokore.results import Method, Shots, Study
from keshin.pages.axes import share
from keshin.pages.drawing import Canvas, Scale, text_width
from keshin.pages.numbers import with_interval
from keshin.statistics.figure import Figure

WIDTH, LEFT, RIGHT = 860, 330, 20
ROW, LINE = 58, 15
LOWEST, LOWEST_CURVE = 0.2, 0.3
"""Where the axes of areas begin; below chance there is little to see."""
CHANCE = 0.5
LONG = 24
"""Signs of a label from which it takes two lines."""
MARKS = ("same_pages", "unseen_works", "within")
STARTS = (("zero", 0), ("text", 200))
"""How a probe was begun, and where the key says so."""
ZERO_SHOT = 2
"""Colour of the zero-shot level among the curves."""
TOP, BOTTOM, ACROSS = 34, 270, 330


def method_bars(study: Study, words: Mapping[str, str], name: Callable[[str], str]) -> str:
    """A point with its interval for each method: same pages, unseen works, within works."""
    methods = [m for m in study.methods if m.key != "majority"]
    height = ROW * len(methods) + 60
    canvas = Canvas(WIDTH, height, words["chart_label"])
    scale = Scale(LOWEST, 1.0, LEFT, WIDTH - RIGHT)
    begin: float = LEFT
    for kind, key in enumerate(MARKS):
        canvas.mark(begin + 5, 11, kind, f"f{kind}")
        canvas.text(begin + 15, 15, words[key])
        begin += text_width(words[key]) + 32
    for value in (0.25, CHANCE, 0.75, 1.0):
        css = "chance" if value == CHANCE else "grid"
        canvas.line((scale(value), 26), (scale(value), height - 24), css)
        canvas.text(scale(value), height - 8, share(value), "soft", "middle")
    for number, method in enumerate(methods):
        y = 34 + ROW * number
        lines = in_two(name(method.key))
        for line, said in enumerate(lines):
            at = y + 23 + 16 * line - 8 * (len(lines) - 1)
            canvas.text(LEFT - 12, at, said, anchor="end")
        figures = (
            method.dev.area,
            method.apart.area if method.apart else None,
            method.apart.within if method.apart else None,
        )
        for kind, figure in enumerate(figures):
            if figure is not None:
                _point(canvas, scale, figure, y + 4 + LINE * kind, kind)
    return canvas.svg()


def few_curve(study: Study, zero_shot: Method, words: Mapping[str, str]) -> str:
    """Area after 1 to 16 examples a class, from nothing and from the text: on dev, and within
    unseen works."""
    if not study.few:
        return ""
    within = zero_shot.apart.within if zero_shot.apart else None
    panels = (("on_dev", zero_shot.dev.area, _dev), ("within_unseen", within, _within))
    canvas = Canvas(WIDTH, 330, words["heading_few"])
    for number, (key, zero, of) in enumerate(panels):
        canvas.text(56 + 430 * number, 18, words[key])
        _panel(canvas, study.few, 56 + 430 * number, zero, of)
    for kind, (start, place) in enumerate(STARTS):
        canvas.mark(55 + place, 313, kind, f"f{kind}")
        canvas.text(65 + place, 317, words[f"start_{start}"])
    canvas.text(WIDTH - RIGHT, 317, words["examples"], "soft", "end")
    return canvas.svg()


def _panel(
    canvas: Canvas,
    few: tuple[Shots, ...],
    left: float,
    zero: Figure | None,
    of: Callable[[Shots], tuple[float, float, float]],
) -> None:
    sizes = sorted({entry.shots for entry in few})
    places = Scale(0, max(1, len(sizes) - 1), left + 20, left + ACROSS)
    y = Scale(LOWEST_CURVE, 1.0, BOTTOM, TOP)
    ends = left, left + ACROSS + 16

    def level(value: float, css: str) -> None:
        canvas.line((ends[0], _within_axis(y, value)), (ends[1], _within_axis(y, value)), css)

    for tenth in range(4, 11):
        level(tenth / 10, "chance" if tenth == 5 else "grid")
        canvas.text(left - 6, y(tenth / 10) + 4, share(tenth / 10), "soft small", "end")
    for number, shots in enumerate(sizes):
        canvas.text(places(number), BOTTOM + 18, str(shots), anchor="middle")
    for kind, (start, _) in enumerate(STARTS):
        curve = [
            (places(sizes.index(entry.shots)), *(_within_axis(y, value) for value in of(entry)))
            for entry in few
            if entry.start == start
        ]
        upper = [(at, high) for at, _, _, high in curve]
        lower = [(at, low) for at, _, low, _ in reversed(curve)]
        canvas.path([*upper, *lower], f"band f{kind}", closed=True)
        canvas.path([(at, value) for at, value, _, _ in curve], f"line s{kind}")
        for entry, (at, value, _, _) in zip(
            (entry for entry in few if entry.start == start), curve, strict=True
        ):
            said = f"{entry.shots}: {with_interval(*of(entry))}"
            canvas.mark(at, value, kind, f"f{kind}", said)
    if zero is not None:
        level(zero.value, f"line dashed s{ZERO_SHOT}")


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


def _within_axis(scale: Scale, value: float) -> float:
    """The place of a value, or the end of the axis that it lies beyond."""
    return scale(min(max(value, scale.low), scale.high))


def _point(canvas: Canvas, scale: Scale, figure: Figure, y: float, kind: int) -> None:
    low, value, high = (_within_axis(scale, v) for v in (figure.low, figure.value, figure.high))
    canvas.line((low, y), (high, y), f"s{kind}")
    said = with_interval(figure.value, figure.low, figure.high)
    canvas.mark(value, y, kind, f"f{kind}", said)
