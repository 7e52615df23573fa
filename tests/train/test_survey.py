"""The pre-flight check counts what was put in, with one process and with several."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest

from flawed import noise, write
from keshin.errors import DataError
from keshin.train.pairs import open_source
from keshin.train.recipe import Source
from keshin.train.survey import Findings, survey
from keshin.train.verdicts import Check, Surveyed, judge, repeats


def look(source: Source, **options: object) -> Surveyed:
    found, rows = survey(source, **options)
    return Surveyed(source.path, open_source(source), rows, found)


def verdicts(check: Check) -> dict[str, tuple[str, int]]:
    return {f.name: (f.verdict, f.count) for f in check.findings}


def test_each_defect_is_found_and_named(tmp_path: Path) -> None:
    check = judge(look(write(tmp_path)), context_length=77, size=224)
    assert verdicts(check) == {
        "broken pictures": ("bad", 1),
        "no caption": ("bad", 1),
        "tiny pictures": ("warning", 1),
        "small pictures": ("warning", 1),
        "huge pictures": ("good", 0),
        "long pictures": ("warning", 1),
        "duplicate pictures": ("warning", 1),
        "cut captions": ("warning", 1),
        "equal captions": ("note", 1),
        "scripts": ("note", 1),
    }
    by_name = {f.name: f for f in check.findings}
    assert "5.png" in check.broken[0]
    assert "2.png" in by_name["duplicate pictures"].examples[0]
    assert by_name["equal captions"].examples == ("2 x a cat",)
    assert by_name["cut captions"].examples[0].startswith("a very long caption")
    assert by_name["scripts"].examples == ("赤い鳥",)
    assert check.facts["picture_size"]["longest"] == 1000
    assert check.verdict == "bad"


def test_leaks_between_sources(tmp_path: Path) -> None:
    train = write(tmp_path / "train")
    (tmp_path / "held").mkdir()
    (tmp_path / "held" / "same.png").write_bytes(noise(300, 260, 1))
    (tmp_path / "held" / "other.png").write_bytes(noise(300, 260, 99))
    held = look(Source(path=str(tmp_path / "held")))
    check = judge(look(train), context_length=77, size=224, others=[held])
    leak = check.findings[-1]
    assert (leak.name, leak.verdict, leak.count) == ("leaks", "bad", 1)
    assert "1.png" in leak.examples[0]


def test_a_sample_is_drawn_evenly(tmp_path: Path) -> None:
    found, rows = survey(write(tmp_path), sample=4)
    assert rows.tolist() == [0, 2, 4, 6]
    assert len(found.counts) == 4


def test_processes_change_nothing(tmp_path: Path) -> None:
    for index in range(130):
        (tmp_path / f"{index:03}.png").write_bytes(noise(8, 8, index % 100))
    said: list[tuple[int, int]] = []
    one, _ = survey(Source(path=str(tmp_path)))
    two, _ = survey(
        Source(path=str(tmp_path)),
        workers=2,
        progress=lambda done, total: said.append((done, total)),
    )
    for name in Findings.__dataclass_fields__:
        assert np.array_equal(getattr(one, name), getattr(two, name)), name
    assert said == [(64, 130), (128, 130), (130, 130)]


def test_repeats() -> None:
    hashes = np.array([5, 7, 5, 0, 0, 7, 5], np.uint64)
    assert repeats(hashes).tolist() == [False, False, True, False, False, True, True]


def test_parquet_is_read_by_groups_of_rows(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    images = [noise(8, 8, i) for i in range(10)]
    table = pa.table({"image": images, "captions": [f"number {i}" for i in range(10)]})
    parquet.write_table(table, tmp_path / "p.parquet", row_group_size=3)
    source = Source(path=str(tmp_path / "p.parquet"))
    groups, whole = open_source(source, whole=False), open_source(source)
    assert len(groups) == len(whole) == 10
    assert all(groups[i] == whole[i] for i in (0, 2, 3, 9, 8, 1))


def test_broken_table(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="Cannot read"):
        survey(Source(path=str(tmp_path / "x.csv")))


def test_a_broken_shard_is_counted_and_the_others_are_checked(tmp_path: Path) -> None:
    def shard(name: str, seeds: range) -> None:
        with tarfile.open(tmp_path / name, "w") as archive:
            for seed in seeds:
                for kind, data in (("png", noise(300, 260, seed)), ("txt", f"cat {seed}".encode())):
                    info = tarfile.TarInfo(f"{seed}.{kind}")
                    info.size = len(data)
                    archive.addfile(info, io.BytesIO(data))

    shard("0.tar", range(3))
    shard("1.tar", range(3, 5))
    (tmp_path / "2.tar").write_bytes(b"no tar at all" * 100)
    whole = (tmp_path / "0.tar").read_bytes()
    (tmp_path / "3.tar").write_bytes(whole[: len(whole) // 2])
    source = Source(path=str(tmp_path / "*.tar"))
    found, rows = survey(source)
    pairs = open_source(source, whole=False, tolerant=True)
    check = judge(Surveyed("x", pairs, rows, found), context_length=77, size=224)
    assert (check.findings[0].name, check.findings[0].count) == ("broken shards", 2)
    assert check.findings[0].total == 4
    assert check.verdict == "bad"
    assert "2.tar" in check.findings[0].examples[0]
    assert "3.tar" in check.findings[0].examples[1]
    assert check.looked_at == 5
    assert not check.broken
    # Where a file beside the shards counts their samples, these are not read until they are used.
    sizes = {"0.tar": 3, "1.tar": 2, "2.tar": 200, "3.tar": 3}
    (tmp_path / "sizes.json").write_text(json.dumps(sizes), encoding="utf-8")
    found, _ = survey(source, workers=2)
    assert len(found.shards) == 2
    assert not found.broken
    assert len(found.counts) == 208
    (tmp_path / "sizes.json").unlink()
    with pytest.raises(DataError, match=r"2\.tar"):  # there is nothing else to check
        survey(Source(path=str(tmp_path / "2.tar")))
