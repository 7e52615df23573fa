"""Shards hold what the source held; an interrupt and more processes change no byte."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import pytest
from PIL import Image

from flawed import noise, write
from keshin.errors import DataError
from keshin.train import convert as converting
from keshin.train.convert import Settings, convert
from keshin.train.pairs import open_source
from keshin.train.recipe import Source
from keshin.train.survey import picture_bytes


def folder_of(place: Path, count: int = 40) -> Source:
    place.mkdir()
    for index in range(count):
        (place / f"{index:03}.png").write_bytes(noise(24, 16, index))
        lines = [f"number {index}", f"no. {index}"][: 1 + index % 2]
        (place / f"{index:03}.txt").write_text("\n".join(lines))
    return Source(path=str(place))


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_shards_hold_the_pairs_in_order(tmp_path: Path) -> None:
    source = folder_of(tmp_path / "in")
    manifest = convert(Settings(source, shard_size=30_000), tmp_path / "out")
    assert len(manifest.shards) > 1
    assert manifest.samples == manifest.pairs == 40
    assert [s.name for s in manifest.shards][:2] == ["000000.tar", "000001.tar"]
    for shard in manifest.shards:
        path = tmp_path / "out" / shard.name
        assert path.stat().st_size == shard.bytes <= 30_000
        assert converting.hashlib.sha256(path.read_bytes()).hexdigest() == shard.sha256
    before, after = open_source(source), open_source(Source(path=str(tmp_path / "out" / "*.tar")))
    assert len(after) == 40
    for index in range(40):
        assert after[index].captions == before[index].captions
        assert after[index].picture == picture_bytes(before[index])  # not one byte is changed
    assert sorted(p.suffix for p in (tmp_path / "out").iterdir() if p.suffix != ".tar") == [".json"]


def test_an_interrupt_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(folder_of(tmp_path / "in"), shard_size=30_000)
    convert(settings, tmp_path / "whole")
    add, taken = converting._add, []

    def fails(archive: tarfile.TarFile, sample: converting.Sample) -> None:
        if len(taken) == 25:
            raise KeyboardInterrupt
        taken.append(sample.row)
        add(archive, sample)

    monkeypatch.setattr(converting, "_add", fails)
    with pytest.raises(KeyboardInterrupt):
        convert(settings, tmp_path / "out")
    names = set(content(tmp_path / "out"))
    assert "000000.tar" in names
    assert not any(name.endswith(".tmp") for name in names)
    taken.clear()
    taken += [-1] * 26  # no longer fails
    convert(settings, tmp_path / "out", workers=2)
    assert content(tmp_path / "out") == content(tmp_path / "whole")
    assert len(taken) < 26 + 40  # what was whole was not written again
    assert convert(settings, tmp_path / "out").samples == 40  # all is done: nothing to do


def test_other_settings_are_refused(tmp_path: Path) -> None:
    source = folder_of(tmp_path / "in", 3)
    convert(Settings(source), tmp_path / "out")
    with pytest.raises(DataError, match="other settings"):
        convert(Settings(source, max_side=8), tmp_path / "out")
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "a.tar").write_bytes(b"")
    with pytest.raises(DataError, match="did not write"):
        convert(Settings(source), tmp_path / "foreign")


def test_large_pictures_are_reduced_and_broken_ones_left_out(tmp_path: Path) -> None:
    manifest = convert(Settings(write(tmp_path / "in"), max_side=250), tmp_path / "out")
    assert (manifest.pairs, manifest.samples) == (8, 6)
    assert len(manifest.left_out) == 2
    assert "5.png" in manifest.left_out[0]
    pairs = open_source(Source(path=str(tmp_path / "out" / "*.tar")))
    images = [Image.open(io.BytesIO(pairs[i].picture)) for i in range(len(pairs))]
    assert [(i.format, i.size) for i in images] == [
        ("JPEG", (250, 217)), ("JPEG", (250, 217)), ("JPEG", (250, 217)), ("PNG", (20, 20)),
        ("JPEG", (250, 60)), ("PNG", (240, 240)),
    ]  # fmt: skip


def test_a_random_order(tmp_path: Path) -> None:
    source = folder_of(tmp_path / "in")
    convert(Settings(source, shuffle=1), tmp_path / "out")
    pairs = open_source(Source(path=str(tmp_path / "out" / "*.tar")))
    found = [pairs[i].captions[0] for i in range(40)]
    assert found != [f"number {i}" for i in range(40)]
    assert sorted(found) == sorted(f"number {i}" for i in range(40))


def test_weights_of_captions_are_kept(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    table = {"image": [noise(8, 8, 0)], "captions": [["a", "b"]], "w": [[0.75, 0.25]]}
    parquet.write_table(pa.table(table), tmp_path / "p.parquet")
    source = Source(path=str(tmp_path / "p.parquet"), caption_weights="w")
    convert(Settings(source), tmp_path / "out")
    with tarfile.open(tmp_path / "out" / "000000.tar") as archive:
        found = json.load(archive.extractfile("000000000.json"))
    assert found == {"captions": ["a", "b"], "caption_weights": [0.75, 0.25]}


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # webdataset's
def test_webdataset_reads_them(tmp_path: Path) -> None:
    wds = pytest.importorskip("webdataset")
    convert(Settings(folder_of(tmp_path / "in", 6)), tmp_path / "out")
    samples = list(wds.WebDataset(str(tmp_path / "out" / "000000.tar"), shardshuffle=False))
    assert [s["__key__"] for s in samples] == [f"{i:09d}" for i in range(6)]
    assert samples[3]["txt"] == b"number 3"
    assert json.loads(samples[3]["json"])["captions"] == ["number 3", "no. 3"]
    assert samples[0]["png"] == noise(24, 16, 0)
