"""Which beings a method takes for people, which people for beings, and where it is most sure of
it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from keshin.evaluate.kaokore.clustered import FloatArray, IntArray
from keshin.evaluate.kaokore.results import KindRow, Mistake
from keshin.evaluate.kaokore.study import Found, Material
from keshin.evaluate.sets.kaokore.faces import FROM_BEHIND, Face
from keshin.facts import kaokore as facts

LEAST = 5
"""Faces below which a kind is not listed."""
SHOWN = 8
OTHER = ("others without such a tag", "その他")
BEHIND = ("seen from behind", "後ろ姿")


def kind_of(face: Face) -> int | None:
    """The first kind of being that has one of the face's tags."""
    for number, kind in enumerate(facts.facts().kinds):
        if set(kind.tags) & set(face.tags):
            return number
    return None


def by_kind(material: Material, methods: Sequence[Found]) -> tuple[KindRow, ...]:
    """What each method calls an incarnation, by the makers' tags; works kept apart, train and
    dev."""
    faces = [material.faces.faces[row] for row in material.rows]
    known = material.targets("incarnation")
    kinds = np.array([-1 if (k := kind_of(face)) is None else k for face in faces])
    seen = np.zeros(len(faces), bool)
    seen[material.seen] = True
    rows = []
    for incarnation in (True, False):
        mine = seen & (known == int(incarnation))
        for number, kind in enumerate(facts.facts().kinds):
            rows.append(_kind(material, methods, (kind.en, kind.ja), mine & (kinds == number)))
        rows.append(_kind(material, methods, OTHER, mine & (kinds == -1)))
        behind = np.array([face.facing == FROM_BEHIND for face in faces])
        rows.append(_kind(material, methods, BEHIND, mine & behind))
    return tuple(row for row in rows if row is not None)


def _kind(
    material: Material,
    methods: Sequence[Found],
    name: tuple[str, str],
    mask: np.ndarray[tuple[int], np.dtype[np.bool_]],
) -> KindRow | None:
    count = int(mask.sum())
    if count < LEAST:
        return None
    return KindRow(
        en=name[0],
        ja=name[1],
        incarnation=bool(material.targets("incarnation")[mask][0]),
        count=count,
        works=len(np.unique(material.works[mask])),
        called={found.method.key: float((found.apart[mask] > 0).mean()) for found in methods},
    )


def surest_mistakes(material: Material, found: Found, shown: int = SHOWN) -> list[Mistake]:
    """The missed incarnations that score lowest, then the people that score highest.

    From train and dev with works kept apart; at most two of a scan, which show the same hand.
    """
    known = material.targets("incarnation")[material.seen]
    scores = found.apart[material.seen]
    missed = material.seen[_order(scores, (known == 1) & (scores <= 0))]
    called = material.seen[_order(-scores, (known == 0) & (scores > 0))]
    return [
        _mistake(material, found, row)
        for rows in (missed, called)
        for row in _spread(material, rows, shown)
    ]


def _order(scores: FloatArray, mask: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> IntArray:
    rows = np.flatnonzero(mask)
    return rows[np.argsort(scores[rows], kind="stable")]


def _spread(material: Material, rows: IntArray, shown: int) -> list[int]:
    chosen: list[int] = []
    pages: dict[str, int] = {}
    for row in rows:
        face = material.faces.faces[material.rows[row]]
        page = face.page or face.shelf or face.work
        if pages.get(page, 0) < 2:
            pages[page] = pages.get(page, 0) + 1
            chosen.append(int(row))
        if len(chosen) == shown:
            break
    return chosen


def _mistake(material: Material, found: Found, row: int) -> Mistake:
    face = material.faces.faces[material.rows[row]]
    spread = float(found.apart[material.seen].std()) or 1.0
    return Mistake(
        method=found.method.key,
        file=face.file,
        work=face.work,
        status=facts.STATUS[face.status],
        gender=facts.GENDER[face.gender],
        tags=face.tags,
        facing=face.facing,
        score=float(found.apart[row]) / spread,
    )
