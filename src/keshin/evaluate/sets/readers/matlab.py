"""Lists in MATLAB's files (Stanford Cars, Oxford Flowers), which SciPy reads and does not run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from keshin.errors import DataError, require
from keshin.evaluate.sets.labelled import Labelled
from keshin.evaluate.sets.readers.own import Own, below, needed


def read_cars(
    root: Path,
    split: str,
    *,
    labels: Sequence[str] = (),
    file: str,
    folder: str,
) -> Labelled:
    """A structure ``annotations`` with ``fname`` and ``class``, from 1."""
    path, place = needed(root, file), needed(root, folder)
    entries = np.atleast_1d(variable(path, "annotations"))
    try:
        found = [(str(entry["fname"]), str(int(entry["class"]))) for entry in entries]
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise DataError(
            f"{path} has annotations without 'fname' and 'class' ({error}). The test set needs "
            "cars_test_annos_withlabels.mat."
        ) from error
    files = [below(place, name, path) for name, _ in found]
    return Own(labels).data(files, [said for _, said in found], path)


def read_flowers(
    root: Path,
    split: str,
    *,
    labels: Sequence[str] = (),
    folder: str,
    labels_file: str,
    sets_file: str,
    key: str,
) -> Labelled:
    """``imagelabels.mat`` (a class from 1 for each picture) and ``setid.mat`` (numbers of pictures
    from 1 under ``trnid``, ``valid``, ``tstid``)."""
    place = needed(root, folder)
    path = needed(root, sets_file)
    classes = np.atleast_1d(variable(needed(root, labels_file), "labels")).astype(np.int64)
    numbers = np.atleast_1d(variable(path, key)).astype(np.int64)
    if len(numbers) and not 1 <= numbers.min() <= numbers.max() <= len(classes):
        raise DataError(f"{path} names picture {numbers.max()}, but {len(classes)} have labels.")
    files = [place / f"image_{number:05d}.jpg" for number in numbers]
    return Own(labels).data(files, [str(classes[number - 1]) for number in numbers], path)


def variable(path: Path, name: str) -> Any:
    """One variable of a file, structures as dictionaries. Raises ``DataError``."""
    io: Any = require("scipy.io", extra="eval")
    try:
        return io.loadmat(path, variable_names=[name], simplify_cells=True)[name]
    except KeyError as error:
        raise DataError(f"{path} has no variable '{name}'.") from error
    except Exception as error:  # SciPy raises anything on damaged files
        raise DataError(f"{path} is no file of MATLAB that SciPy reads: {error}.") from error
