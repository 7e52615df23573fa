"""Shards by glob, braces, list and address; counted without being read where a file says so."""

from __future__ import annotations

import http.server
import json
import threading
from functools import partial
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

from keshin.core.kept import FETCHED
from keshin.errors import DataError
from keshin.train import remote, shards
from keshin.train.convert import Settings, convert
from keshin.train.data import Pool, batches
from keshin.train.pairs import Pairs, open_source
from keshin.train.recipe import Source, read_recipe
from shapes import write_parquet, write_recipe


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """40 pairs in several shards, with a manifest."""
    pytest.importorskip("pyarrow")
    source = Source(path=str(write_parquet(tmp_path / "p.parquet", 40)))
    convert(Settings(source, shard_size=30_000), tmp_path / "shards")
    return tmp_path / "shards"


def captions(pairs: Pairs) -> list[tuple[str, ...]]:
    return [pairs[i].captions for i in range(len(pairs))]


def test_names_are_expanded(tmp_path: Path) -> None:
    for index in (8, 9, 10):
        (tmp_path / f"{index:03}.tar").touch()
    (tmp_path / "{odd,name}.tar").touch()
    at = f"{tmp_path}/"
    assert shards.expand(at + "{008..010}.tar") == [at + f"{i:03}.tar" for i in (8, 9, 10)]
    assert shards.expand(at + "0*.tar") == [at + f"{i:03}.tar" for i in (8, 9, 10)]
    assert shards.expand(at + "{a,b}{0..1}") == [at + n for n in ("a0", "a1", "b0", "b1")]
    assert shards.expand([at + "010.tar", at + "00?.tar"]) == [
        at + f"{i:03}.tar" for i in (10, 8, 9)
    ]
    assert shards.expand(at + "{odd,name}.tar") == [at + "{odd,name}.tar"]  # there is such a file
    assert shards.expand(at + "x*.tar") == [at + "x*.tar"]
    assert shards.expand("s3://a/{00..01}.tar") == ["s3://a/00.tar", "s3://a/01.tar"]


def test_a_list_a_glob_and_braces_are_the_same(folder: Path) -> None:
    names = sorted(folder.glob("*.tar"))
    last = len(names) - 1
    assert last > 0
    ways = (f"{folder}/*.tar", f"{folder}/{{000000..{last:06}}}.tar", tuple(map(str, names)))
    first, second, third = (captions(open_source(Source(path=way))) for way in ways)
    assert first == second == third
    assert len(first) == 40


def test_tables_are_joined(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    for index in range(3):
        write_parquet(tmp_path / f"{index}.parquet", 4 + index)
    pairs = open_source(Source(path=str(tmp_path / "{0..2}.parquet")))
    assert len(pairs) == 15
    assert pairs.name(4).endswith("1.parquet, row 0")
    assert pairs.name(14).endswith("2.parquet, row 5")


@pytest.mark.parametrize("kind", ["manifest", "sizes", "stats", "scan"])
def test_counts(folder: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = json.loads((folder / "manifest.json").read_bytes())
    wanted = {shard["name"]: shard["samples"] for shard in manifest["shards"]}
    if kind != "manifest":
        (folder / "manifest.json").unlink()
    if kind == "sizes":
        (folder / "sizes.json").write_text(json.dumps(wanted))
    if kind == "stats":
        for name, count in wanted.items():
            text = json.dumps({"successes": count, "count": 99})
            (folder / f"{name.removesuffix('.tar')}_stats.json").write_text(text)
    scanned: list[str] = []
    scan = shards._scanned
    monkeypatch.setattr(shards, "mark_of", lambda paths: "a" * 63 + str(paths[0])[-5])
    monkeypatch.setattr(shards, "_scanned", lambda p, s: scanned.append(s) or scan(p, s))
    names = shards.expand(f"{folder}/*.tar")
    assert shards.sample_counts(names).tolist() == [wanted[n.rpartition("/")[2]] for n in names]
    assert len(scanned) == (len(names) if kind == "scan" else 0)
    first = shards.index_of(names[0])
    scanned.clear()
    again = shards.index_of(names[0])
    assert scanned == []  # it was kept
    assert all(np.array_equal(getattr(first, f), getattr(again, f)) for f in vars(first))


def test_a_count_that_is_wrong_costs_its_samples_only(folder: Path) -> None:
    (folder / "manifest.json").unlink()
    names = sorted(p.name for p in folder.glob("*.tar"))
    counts = shards.sample_counts([str(folder / n) for n in names]).tolist()
    wrong = dict(zip(names, [counts[0] + 1, *counts[1:]], strict=True))
    (folder / "sizes.json").write_text(json.dumps(wrong))
    pairs = open_source(Source(path=f"{folder}/*.tar"))
    assert len(pairs) == 41
    with pytest.raises(DataError, match="counts them says"):
        _ = pairs[counts[0]]
    assert pairs.name(counts[0]).endswith(f"sample {counts[0]}")
    assert pairs[counts[0] + 1].captions


def test_a_run_reads_shards_like_tables(tmp_path: Path, folder: Path) -> None:
    recipe = write_recipe(tmp_path, pairs=40)
    text = recipe.read_text().replace('"pairs.parquet"', '["shards/{000000..000001}.tar"]')
    recipe.write_text(text)
    plan = read_recipe(recipe)
    assert plan.data.sources[0].path == (str(tmp_path / "shards/{000000..000001}.tar"),)
    pool = Pool(plan)
    assert pool.extents[0].pieces.tolist() == pool.parts[0][1].pieces.tolist()
    assert len(list(batches(pool, plan, 0, 3))) == 3


def test_memory_store(folder: Path) -> None:
    fsspec = pytest.importorskip("fsspec")
    store = fsspec.filesystem("memory")
    for path in folder.iterdir():
        store.pipe(f"/bucket/{path.name}", path.read_bytes())
    here = captions(open_source(Source(path=f"{folder}/*.tar")))
    assert captions(open_source(Source(path="memory://bucket/*.tar"))) == here
    store.rm("/bucket/manifest.json")  # without it each is fetched to be counted
    assert captions(open_source(Source(path="memory://bucket/*.tar"))) == here
    with pytest.raises(DataError, match=r"There is no memory://bucket/none\.tar"):
        open_source(Source(path="memory://bucket/none.tar"))
    with pytest.raises(DataError, match="only tars are read from addresses"):
        open_source(Source(path="memory://bucket/x.csv"))
    with pytest.raises(DataError, match="Cannot open nonsense://x"):
        open_source(Source(path="nonsense://x/a.tar"))


class Quiet(http.server.SimpleHTTPRequestHandler):
    asked: list[str] = []  # noqa: RUF012

    def do_GET(self) -> None:
        self.asked.append(self.path)
        if "flaky" in self.path and self.asked.count(self.path) < 2:
            self.send_error(503)
            return
        self.path = self.path.replace("flaky/", "")
        super().do_GET()

    def log_message(self, *args: object) -> None:
        del args


@pytest.fixture
def address(folder: Path):
    handler = partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        Quiet.asked.clear()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)
def test_http(folder: Path, address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("fsspec")
    pytest.importorskip("aiohttp")
    monkeypatch.setattr(remote, "PAUSE", 0.001)
    count = len(list(folder.glob("*.tar")))
    pairs = open_source(Source(path=f"{address}/{{000000..{count - 1:06}}}.tar"))
    assert not any(path.endswith(".tar") for path in Quiet.asked)  # the manifest was enough
    assert captions(pairs) == captions(open_source(Source(path=f"{folder}/*.tar")))
    assert sum(path.endswith(".tar") for path in Quiet.asked) == count  # each was fetched once
    assert remote.local(f"{address}/flaky/000000.tar").exists()  # the second time


def test_room_on_the_disk_is_bounded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fsspec = pytest.importorskip("fsspec")
    monkeypatch.setattr(remote, "SMALLEST", 1)
    store = fsspec.filesystem("memory")
    for index in range(5):
        store.pipe(f"/many/{index}.tar", (folder / "000000.tar").read_bytes())
    size = (folder / "000000.tar").stat().st_size
    for index in range(5):
        remote.local(f"memory://many/{index}.tar", limit=2 * size)
    assert len(list(FETCHED.folder.iterdir())) == 2
    assert captions(open_source(Source(path="memory://many/*.tar")))  # deleted ones come again
