"""KaoKore's questions as labelled pictures: incarnation against people, status, gender."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from keshin.errors import DataError
from keshin.evaluate.sets.kaokore.faces import Faces, IntArray, read_faces
from keshin.evaluate.sets.labelled import Labelled
from keshin.facts import kaokore as facts

VALIDATION = {"val": "dev"}
"""What other data sets call the split."""


def read_kaokore(
    root: str | Path,
    split: str = "dev",
    *,
    question: str = "incarnation",
    version: str = "",
    labels: Sequence[str] = (),
) -> Labelled:
    """The labelled pictures of a split that are in the folder ``root``.

    ``question`` is ``incarnation`` (1) against people (0), ``status`` or ``gender``; ``groups``
    are works (titles), since faces of one scroll are no independent samples; ``version``, if given,
    is what the folder must hold. Raises ``DataError``.
    """
    if labels and tuple(labels) != facts.CLASSES.get(question):
        raise DataError(f"The classes of '{question}' are {facts.CLASSES.get(question)}.")
    faces = read_faces(root)
    if version and facts.version(version).name != faces.version:
        raise DataError(
            f"{root} holds "
            f"{f'version {faces.version}' if faces.version else 'no official version'} "
            f"of KaoKore, not {version}."
        )
    return labelled(faces, faces.rows(VALIDATION.get(split, split)), question)


def labelled(faces: Faces, rows: IntArray, question: str) -> Labelled:
    """The pictures of these rows with the answers to a question. Raises ``DataError``."""
    return Labelled(
        pictures=[faces.path(row) for row in rows],
        targets=targets(faces, question)[rows],
        names=facts.CLASSES[question],
        groups=faces.column("work")[rows],
        ids=tuple(Path(faces.faces[row].file).name for row in rows),
    )


def targets(faces: Faces, question: str) -> IntArray:
    """(n,) the right class of every face. Raises ``DataError`` for a question that is not known."""
    if question not in facts.CLASSES:
        raise DataError(
            f"KaoKore has no question '{question}'. There are: {', '.join(facts.CLASSES)}."
        )
    if question == "incarnation":
        return np.asarray(faces.column("status") == facts.INCARNATION_STATUS, np.int64)
    return faces.column(question)
