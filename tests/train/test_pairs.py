"""Pairs come out of every kind of source as they went in."""

from __future__ import annotations

import csv
import io
import json
import tarfile
from pathlib import Path

import pytest

pytest.importorskip("torch")
pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

from keshin.errors import DataError  # noqa: E402
from keshin.train.pairs import Pair, open_source  # noqa: E402
from keshin.train.recipe import Source  # noqa: E402
from shapes import rows  # noqa: E402


def read(pair: Pair) -> bytes:
    return pair.picture if isinstance(pair.picture, bytes) else pair.picture.read_bytes()


def add(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    archive.addfile(member, io.BytesIO(data))


def write_shards(folder: Path, count: int) -> list[bytes]:
    data = rows(count)
    for shard in range(2):
        with tarfile.open(folder / f"shard-{shard:04}.tar", "w") as archive:
            for index in range(shard, count, 2):
                image, captions, _ = data[index]
                add(archive, f"some/{index:05}.png", image)
                if index % 3:
                    add(archive, f"some/{index:05}.txt", "\n".join(captions).encode())
                else:
                    extra = {"captions": captions, "width": 24}
                    add(archive, f"some/{index:05}.json", json.dumps(extra).encode())
    return [data[i][0] for i in [*range(0, count, 2), *range(1, count, 2)]]


def test_webdataset_shards(tmp_path: Path) -> None:
    expected = write_shards(tmp_path, 9)
    pairs = open_source(Source(path=str(tmp_path / "shard-*.tar")))
    assert [read(pairs[i]) for i in range(len(pairs))] == expected
    assert all(len(pairs[i].captions) == 2 for i in range(9))
    assert pairs[0].captions == ("red square", "a square that is red")
    assert "shard-0000.tar: some/00000" in pairs.name(0)


def test_compressed_shards_are_refused_with_a_reason(tmp_path: Path) -> None:
    path = tmp_path / "x.tar"
    with tarfile.open(path, "w:gz") as archive:
        add(archive, "a.png", b"1")
    with pytest.raises(DataError, match="uncompressed"):
        open_source(Source(path=str(path)))


@pytest.mark.parametrize(("suffix", "delimiter"), [("csv", ","), ("tsv", "\t")])
def test_tables_of_paths(tmp_path: Path, suffix: str, delimiter: str) -> None:
    data = rows(4)
    path = tmp_path / f"pairs.{suffix}"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, delimiter=delimiter)
        writer.writerow(["file", "first", "second"])
        for index, (image, captions, _) in enumerate(data):
            (tmp_path / f"{index}.png").write_bytes(image)
            writer.writerow([f"{index}.png", captions[0], captions[1] if index else ""])
    pairs = open_source(Source(path=str(path), image="file", captions=("first", "second")))
    assert [read(pairs[i]) for i in range(4)] == [d[0] for d in data]
    assert pairs[0].captions == ("red square",)
    assert pairs[1].captions == ("red stripe", "a stripe that is red")
    with pytest.raises(DataError, match=r"no column 'image'.*file, first, second"):
        open_source(Source(path=str(path)))


def test_parquet_of_bytes_and_of_paths(tmp_path: Path) -> None:
    data = rows(3)
    (tmp_path / "0.png").write_bytes(data[0][0])
    table = pa.table(
        {
            "bytes": [d[0] for d in data],
            "paths": ["0.png"] * 3,
            "captions": [d[1] for d in data],
            "one": ["x", None, " y "],
            "weights": [[0.9, 0.1]] * 3,
        }
    )
    pq.write_table(table, tmp_path / "p.parquet")
    path = str(tmp_path / "p.parquet")
    pairs = open_source(Source(path=path, image="bytes", caption_weights="weights"))
    assert read(pairs[2]) == data[2][0]
    assert pairs[2].weights == (0.9, 0.1)
    pairs = open_source(Source(path=path, image="paths", captions=("one", "captions")))
    assert read(pairs[1]) == data[0][0]
    assert pairs[1].captions == tuple(data[1][1])
    assert pairs[2].captions[0] == "y"
    with pytest.raises(DataError, match="no column 'image'"):
        open_source(Source(path=path))


def test_folders_with_captions_beside_or_class_names(tmp_path: Path) -> None:
    data = rows(3)
    for name, (image, captions, _) in zip(("red_square", "other"), data, strict=False):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.png").write_bytes(image)
        if name == "other":
            (tmp_path / name / "x.txt").write_text("\n".join(captions), encoding="utf-8")
    pairs = open_source(Source(path=str(tmp_path)))
    assert [pairs[i].captions for i in range(2)] == [tuple(data[1][1]), ("red square",)]


def test_what_is_no_source(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="neither a folder nor"):
        open_source(Source(path=str(tmp_path / "x.zip")))
    with pytest.raises(DataError, match="holds no pairs"):
        open_source(Source(path=str(tmp_path)))
    for name in ("x.tar", "x.csv", "x.parquet"):
        with pytest.raises(DataError, match="Cannot read"):
            open_source(Source(path=str(tmp_path / name)))
    (tmp_path / "x.parquet").write_bytes(b"no table")
    with pytest.raises(DataError, match="Cannot read"):
        open_source(Source(path=str(tmp_path / "x.parquet")))
