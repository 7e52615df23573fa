"""Which class is taken for which: the matrix as a chart that 10 classes and 1000 can be read in."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from keshin.errors import require
from keshin.pages.drawing import LEVELS, Canvas, fitted, text_width
from keshin.pages.numbers import percent
from keshin.pages.words import Words

Cells = Sequence[tuple[int, int, int]]
"""Right class, answer, pictures."""
LABELLED = 30
"""Up to so many classes every row and column has its name and every cell its number."""
CLOSE_UP = 20


def counts(targets: npt.NDArray[np.int64], predictions: npt.NDArray[np.int64]) -> list[tuple[int, int, int]]:  # fmt: skip  # noqa: E501
    """Right class, answer, pictures: every pair that occurs."""
    pairs, n = np.unique(np.stack([targets, predictions], 1), axis=0, return_counts=True)
    return [(int(t), int(p), int(c)) for (t, p), c in zip(pairs, n, strict=True)]


def matrix(cells: Cells, k: int) -> npt.NDArray[np.int64]:
    """(k, k) pictures: rows are the right classes, columns the answers."""
    found = np.zeros((k, k), np.int64)
    for target, prediction, count in cells:
        found[target, prediction] = count
    return found


def most_confused(cells: Cells, n: int) -> list[tuple[int, int, int]]:
    """The most frequent mistakes: right class, answer, pictures."""
    wrong = [cell for cell in cells if cell[0] != cell[1]]
    return sorted(wrong, key=lambda cell: (-cell[2], cell[0], cell[1]))[:n]


def chart(cells: Cells, names: Sequence[str], words: Words) -> str:
    """The matrix. Few classes: in their order, with numbers. Many: as a map of shades, in an order
    that puts classes that are taken for each other side by side."""
    if len(names) <= LABELLED:
        return _labelled(cells, names, list(range(len(names))), words)
    return _map(cells, names, words)


def close_up(cells: Cells, names: Sequence[str], words: Words) -> str:
    """Of many classes, those with the most frequent mistakes, with names and numbers."""
    if len(names) <= LABELLED:
        return ""
    chosen: list[int] = []
    for target, prediction, _ in most_confused(cells, CLOSE_UP * 4):
        for index in (target, prediction):
            if index not in chosen and len(chosen) < CLOSE_UP:
                chosen.append(index)
    if not chosen:
        return ""
    table = matrix(cells, len(names))[np.ix_(chosen, chosen)]
    order = [chosen[row] for row in side_by_side(table)]
    return _labelled(cells, names, order, words)


def side_by_side(table: npt.NDArray[np.int64]) -> list[int]:
    """An order of the classes in which those that are confused lie near each other."""
    if len(table) < 3:
        return list(range(len(table)))
    hierarchy = require("scipy.cluster.hierarchy", extra="eval")
    both = table + table.T
    shares = both / np.maximum(both.sum(axis=1, keepdims=True), 1)
    distance = 1 - (shares + shares.T) / 2
    upper = distance[np.triu_indices(len(table), 1)]
    return [int(row) for row in hierarchy.leaves_list(hierarchy.linkage(upper, "average"))]


def _labelled(cells: Cells, names: Sequence[str], order: Sequence[int], words: Words) -> str:
    k = len(order)
    whole = matrix(cells, len(names))
    table, totals = whole[np.ix_(order, order)], whole.sum(axis=1)[list(order)]
    said = [names[index] for index in order]
    size = max(22.0, min(44.0, 560 / k))
    font = 12 if size >= 30 else 10
    css = "" if font == 12 else "small"
    left = min(max(map(text_width, said), default=0), 170) + 44
    top = min(max(map(text_width, said), default=0), 130) + 22
    canvas = Canvas(left + size * k + 70, top + size * k + 8, words["chart_confusion"])
    canvas.text(left + size * k / 2, 12, words["axis_answer"], "soft", "middle")
    canvas.text(12, top + size * k / 2, words["axis_class"], "soft", "middle", -90)
    for row in range(k):
        y = top + size * row
        canvas.text(left - 6, y + size / 2 + 4, fitted(said[row], left - 34, font), css, "end")
        canvas.text(
            left + size * (row + 0.5) + 4, top - 6, fitted(said[row], top - 22, font), css,
            turn=-60 if k > 6 else -30,
        )  # fmt: skip
        for column in range(k):
            share = table[row, column] / totals[row] if totals[row] else 0.0
            level = _level(share)
            x = left + size * column
            title = f"{said[row]} → {said[column]}: {table[row, column]} / {totals[row]}"
            fill = f"h{level}" if level else "hollow"
            canvas.rect(x + 0.5, y + 0.5, size - 1, size - 1, fill, title)
            if table[row, column]:
                ink = "white" if level >= 4 else "dark"
                number = f"{table[row, column]}"
                small = " small" if len(number) * 7 > size - 6 or font < 12 else ""
                canvas.text(x + size / 2, y + size / 2 + 4, number, f"{ink}{small}", "middle")
        right = percent(table[row, row] / totals[row], 0) if totals[row] else "–"
        canvas.text(left + size * k + 6, y + size / 2 + 4, right, "soft small")
    return canvas.svg()


def _map(cells: Cells, names: Sequence[str], words: Words) -> str:
    k = len(names)
    table = matrix(cells, k)
    place = {index: row for row, index in enumerate(side_by_side(table))}
    totals = table.sum(axis=1)
    side = 640.0
    canvas = Canvas(side + 40, side + 62, words["chart_confusion"])
    at = (24.0, 22.0)
    canvas.rect(*at, side, side, "hollow grid")
    levels: list[list[tuple[int, int]]] = [[] for _ in range(LEVELS + 1)]
    for target, prediction, count in cells:
        levels[_level(count / totals[target])].append((place[prediction], place[target]))
    for level, places in enumerate(levels):
        if level and places:
            canvas.cells(places, side / k, at, f"h{level}")
    canvas.text(at[0] + side / 2, 14, words["axis_answer"], "soft", "middle")
    canvas.text(12, at[1] + side / 2, words["axis_class"], "soft", "middle", -90)
    _legend(canvas, at[0], at[1] + side + 12)
    return canvas.svg()


def _legend(canvas: Canvas, x: float, y: float) -> None:
    edges = [0.0, *_EDGES[1:], 1.0]
    for level in range(1, LEVELS + 1):
        canvas.rect(x + 92 * (level - 1), y, 14, 14, f"h{level}")
        said = f"{100 * edges[level - 1]:.0f}–{100 * edges[level]:.0f} %"
        canvas.text(x + 92 * (level - 1) + 20, y + 11, said, "soft small")


_EDGES = (0.0, 0.05, 0.15, 0.3, 0.5, 0.75)


def _level(share: float) -> int:
    """0 for nothing, then 1 to ``LEVELS``; finer where shares are small, as mistakes are."""
    return sum(share > edge for edge in _EDGES)
