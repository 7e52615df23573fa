"""The paper's Figure 16 as SVG: each class's accuracy for the model and for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from keshin.evaluate.human.difficulty import ClassRow
from keshin.pages.axes import grid_x
from keshin.pages.drawing import Canvas, Scale, fitted, text_width
from keshin.pages.numbers import with_interval
from keshin.pages.words import Words
from keshin.statistics.figure import Figure

WIDTH, ROW, TOP, BELOW = 720, 22, 8, 26
MOST = 120
"""Classes drawn; of more, the hardest and the easiest."""
COLOURS = (0, 2, 3)
"""Of people in rounds with 0, 1 and 2 examples, whose marks differ too; the model is a bar."""
BAR = "f1 pale"


def difficulty_plot(
    rounds: Mapping[int, Sequence[ClassRow]], model: str | None, words: Words
) -> str:
    """One row a class, the hardest for the model on top (without a model: for people in the first
    round); a mark for people in each round and a bar for the model, with 95 % intervals.

    ``rounds``: examples of each class -> its rows.
    """
    rows = next(iter(rounds.values()))
    left_out = max(0, len(rows) - MOST)
    if left_out:
        rows = [*rows[: MOST // 2], *rows[-(MOST // 2) :]]
    found = {shots: {row.name: row for row in of} for shots, of in rounds.items()}
    top = TOP + 20 * (len(found) + (model is not None))
    bottom = top + ROW * (len(rows) + bool(left_out))
    left = min(max(text_width(row.name) for row in rows) + 14, 220)
    canvas = Canvas(WIDTH, bottom + BELOW, words["plot"])
    scale = Scale(0, 1, left, WIDTH - 20)
    _key(canvas, left, list(found), model, words)
    grid_x(canvas, scale, top, bottom)
    y = top + ROW / 2
    for place, row in enumerate(rows):
        if left_out and place == MOST // 2:
            said = words["plot_between"].format(n=left_out)
            canvas.text(scale(0.5), y + 4, said, "soft", "middle")
            y += ROW
        canvas.text(left - 8, y + 4, fitted(row.name, left - 8), anchor="end")
        if model is not None and (share := row.model) is not None:
            said = f"{model}, {row.name}: {_said(share)}"
            canvas.rect(left, y - 8, max(scale(share.value) - left, 1), 16, BAR, said)
        for number, (shots, of) in enumerate(found.items()):
            if row.name in of:
                at = y + (number - (len(found) - 1) / 2) * 5
                share, colour = of[row.name].people, COLOURS[shots]
                canvas.line((scale(share.low), at), (scale(share.high), at), f"s{colour} thin")
                who = words["key_people"].format(round=words[f"round{shots}"])
                said = f"{who}, {row.name}: {_said(share)}"
                canvas.mark(scale(share.value), at, shots, f"f{colour}", said)
        y += ROW
    return canvas.svg()


def _key(canvas: Canvas, x: float, rounds: Sequence[int], model: str | None, words: Words) -> None:
    y = TOP + 6.0
    if model is not None:
        canvas.rect(x, y - 6, 18, 12, BAR)
        canvas.text(x + 26, y + 4, words["key_model"].format(model=model))
        y += 20
    for shots in rounds:
        canvas.mark(x + 9, y, shots, f"f{COLOURS[shots]}")
        said = words["key_people"].format(round=words[f"round{shots}"])
        canvas.text(x + 26, y + 4, said)
        y += 20


def _said(share: Figure) -> str:
    return with_interval(share.value, share.low, share.high)
