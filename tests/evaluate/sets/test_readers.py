"""Labelled pictures from tables and folders, and what a classifier says of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("pyarrow")

import keshin
from keshin.errors import DataError
from keshin.evaluate import Labelled, answer, read_folder, read_parquet
from shapes import NAMES, encoded, picture, rows, write_parquet


def test_parquet(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "x.parquet", 12)
    data = read_parquet(path)
    assert data.names == tuple(NAMES)
    assert data.targets.tolist() == [0, 1, 2, 3, 4, 5] * 2
    assert list(data.pictures) == [image for image, _, _ in rows(12)]
    named = read_parquet(path, [f"class {i}" for i in range(6)], limit=4)
    assert named.names[0] == "class 0"
    assert len(named.pictures) == 4
    with pytest.raises(DataError, match="labels from 0 to 5, but 2 class names"):
        read_parquet(path, ["a", "b"])
    with pytest.raises(DataError, match="Cannot read"):
        read_parquet(path, ["a"], label="lable")


def test_folder_per_class(tmp_path: Path) -> None:
    for index, name in enumerate(("a_cat", "dog")):
        (tmp_path / name).mkdir()
        for number in range(index + 1):
            image = encoded(picture("red", "square", number))
            (tmp_path / name / f"{number}.png").write_bytes(image)
    data = read_folder(tmp_path)
    assert data.names == ("a cat", "dog")
    assert data.targets.tolist() == [0, 1, 1]
    with pytest.raises(DataError, match="one per class"):
        read_folder(tmp_path / "dog")


def test_broken_pictures_are_listed_and_not_counted(tiny_folder) -> None:
    images = [encoded(picture("red", "square", n)) for n in range(3)]
    data = Labelled([images[0], b"broken", *images[1:]], np.array([0, 1, 0, 1]), ("cat", "dog"))
    model = keshin.load(tiny_folder)
    found = answer(model.classifier(["cat", "dog"]), data)
    assert found.targets.tolist() == [0, 0, 1]
    assert found.cosines.shape == (3, 2)
    assert [failure.index for failure in found.failures] == [1]
    assert found.predictions.tolist() == found.cosines.argmax(axis=1).tolist()
