"""Stored embeddings: nothing is encoded twice, and nothing that happens to the files stops the work."""

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import keshin
from keshin.core.pictures import find_pictures
from keshin.encode import embeddings
from keshin.encode.embeddings import open_store, stored_files
from keshin.errors import PictureError
from stub_towers import stub_encoder

LONG_AGO = 1_600_000_000


@pytest.fixture
def folder(tmp_path):
    """Ten pictures that have been at rest for long, in two folders."""
    folder = tmp_path / "photos"
    (folder / "deep").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for number in range(10):
        path = folder / ("deep" if number % 2 else "") / f"{number}.png"
        Image.fromarray(rng.integers(0, 256, (20, 24, 3), np.uint8)).save(path)
        os.utime(path, (LONG_AGO + number, LONG_AGO + number))
    return folder


@pytest.fixture
def new_encoder(tiny_checkpoint):
    return lambda **changes: stub_encoder(tiny_checkpoint.config, **changes)


@pytest.fixture
def embed(tmp_path, new_encoder):
    """Embed with an encoder of its own, as another process would: (path -> vector, encoder)."""

    def run(*paths, cache=tmp_path / "cache", warnings=None, **changes):
        encoder = new_encoder(**changes)
        said = [] if warnings is None else warnings
        with open_store(cache, encoder, on_warning=said.append) as store:
            items = list(store.embed(find_pictures(paths)))
            assert store.counts.done == len(items)
        assert [item.index for item in items] == list(range(len(items)))
        if warnings is None:
            assert said == []
        return {item.path: item.vector for item in items}, encoder.towers.pictures

    return run


def same(one, other):
    assert list(one) == list(other)
    for path in one:
        np.testing.assert_array_equal(one[path], other[path])


# --- nothing is encoded twice ----------------------------------------------------------------------


def test_the_second_run_encodes_and_opens_nothing(folder, embed, monkeypatch):
    first, encoded = embed(folder)
    assert encoded == len(first) == 10
    with monkeypatch.context() as patch:
        patch.setattr("builtins.open", None)
        second, encoded = embed(folder)
    assert encoded == 0
    same(first, second)


def test_with_and_without_a_cache_the_vectors_are_the_same_bits(folder, embed, new_encoder):
    stored, _ = embed(folder)
    plain = new_encoder().encode_images(list(find_pictures([folder])))
    np.testing.assert_array_equal(list(stored.values()), plain)


def test_counts_and_progress(folder, tmp_path, new_encoder):
    (folder / "zz.jpg").write_bytes(b"no picture")
    seen = []
    with open_store(tmp_path / "cache", new_encoder()) as store:
        items = list(store.embed([folder / "0.png"]))
        found = store.embed(
            find_pictures([folder]), progress=lambda c: seen.append((c.cached, c.new, c.failed))
        )
        items = list(found)
    assert seen[-1] == (1, 9, 1)
    assert len(seen) == 11
    assert isinstance(items[-1].error, PictureError)
    assert "zz.jpg" in str(items[-1].error)
    assert [item.cached for item in items].count(True) == 1


def test_touched_changed_renamed_deleted(folder, embed):
    first, _ = embed(folder)
    os.utime(folder / "0.png", (LONG_AGO + 500, LONG_AGO + 500))
    (folder / "2.png").rename(folder / "deep" / "renamed.png")
    shutil.copy(folder / "4.png", folder / "copy.png")
    (folder / "6.png").unlink()
    Image.new("RGB", (20, 24), "red").save(folder / "8.png")
    second, encoded = embed(folder)
    assert encoded == 1  # only 8.png
    path = str(folder)
    np.testing.assert_array_equal(second[f"{path}/0.png"], first[f"{path}/0.png"])
    np.testing.assert_array_equal(second[f"{path}/deep/renamed.png"], first[f"{path}/2.png"])
    np.testing.assert_array_equal(second[f"{path}/copy.png"], first[f"{path}/4.png"])
    assert f"{path}/6.png" not in second
    assert np.abs(second[f"{path}/8.png"] - first[f"{path}/8.png"]).max() > 0.01


def test_a_replaced_file_of_the_same_size_and_time_is_seen_by_its_inode(folder, embed):
    embed(folder)
    path = folder / "0.png"
    data = bytearray((folder / "2.png").read_bytes())
    data += bytes(max(0, path.stat().st_size - len(data)))
    other = folder / "other.tmp"
    other.write_bytes(data[: max(len(data), path.stat().st_size)])
    size = other.stat().st_size
    os.truncate(path, size)
    os.utime(path, (LONG_AGO, LONG_AGO))
    embed(folder)
    os.utime(other, (LONG_AGO, LONG_AGO))
    other.replace(path)
    assert (path.stat().st_size, path.stat().st_mtime) == (size, LONG_AGO)
    vectors, _ = embed(folder)
    np.testing.assert_array_equal(vectors[str(path)], vectors[str(folder / "2.png")])


def test_a_file_that_changed_just_now_is_read_again_but_not_encoded(folder, embed, monkeypatch):
    path = folder / "0.png"
    os.utime(path)
    embed(folder)
    opened = []
    real = open
    monkeypatch.setattr(
        "builtins.open", lambda f, *a, **k: (opened.append(str(f)), real(f, *a, **k))[1]
    )
    _, encoded = embed(folder)
    assert encoded == 0
    assert [name for name in opened if name.endswith(".png")] == [str(path)]


def test_a_file_that_changes_while_it_is_read_is_not_trusted(folder, embed, monkeypatch):
    path = folder / "0.png"
    real = embeddings.Embedded._at_rest
    calls = []

    def changing(self, found):
        if self.path == str(path):
            calls.append(1)
            if len(calls) == 3:  # after the read
                os.utime(path, (LONG_AGO + 9, LONG_AGO + 9))
                found = os.stat(path)
        return real(self, found)

    with monkeypatch.context() as patch:
        patch.setattr(embeddings.Embedded, "_at_rest", changing)
        embed(folder)
    Image.new("RGB", (20, 24), "red").save(path)  # the change goes on, with the same time
    os.utime(path, (LONG_AGO + 9, LONG_AGO + 9))
    vectors, encoded = embed(folder)
    assert encoded == 1
    assert vectors[str(path)][0] == vectors[str(path)][1]


def test_another_model_or_way_of_reading_has_other_vectors(folder, embed, tmp_path):
    embed(folder)
    for change in (
        {"identify": lambda: "another"},
        {"decode": "fast"},
        {"mode": "int8"},
    ):
        assert embed(folder, **change)[1] == 10, change
        assert embed(folder, **change)[1] == 0
    assert embed(folder)[1] == 0
    assert len(stored_files(tmp_path / "cache")) == 5


def test_the_key_holds_even_if_the_encoder_is_changed_afterwards(folder, tmp_path, new_encoder):
    encoder = new_encoder()
    with open_store(tmp_path / "cache", encoder) as store:
        encoder.decode = "reference"
        assert store.encoder.decode == "exact"


def test_without_a_fingerprint_nothing_is_stored(tmp_path, new_encoder):
    assert open_store(tmp_path / "cache", new_encoder(identify=str)) is None


def test_failures_are_listed_in_every_run(folder, embed):
    (folder / "bad.jpg").write_bytes(b"\xff\xd8\xff nothing")
    (folder / "gone.png").symlink_to(folder / "nowhere")
    for _ in range(2):
        vectors, _ = embed(folder)
        assert [Path(path).name for path, v in vectors.items() if v is None] == [
            "bad.jpg", "gone.png"
        ]  # fmt: skip


def test_odd_names(folder, embed):
    odd = os.fsdecode(b"caf\xe9.png")
    (folder / "0.png").rename(folder / odd)
    vectors, _ = embed(folder)
    again, encoded = embed(folder)
    assert str(folder / odd) in again
    assert encoded == 0
    same(vectors, again)


def test_relative_and_absolute_paths_are_the_same_files(folder, embed, monkeypatch):
    embed(folder)
    monkeypatch.chdir(folder / "deep")
    assert embed(Path("..") / "deep", Path("../0.png"))[1] == 0


def test_large_files_are_hashed_without_being_held(folder, embed, monkeypatch):
    from keshin.encode import embedded

    monkeypatch.setattr(embedded, "WHOLE", 10)
    first, encoded = embed(folder)
    assert encoded == 10
    assert embed(folder)[1] == 0
    same(first, embed(folder, cache=folder.parent / "other")[0])


# --- whatever happens to the files of the cache ---------------------------------------------------------


@pytest.mark.parametrize("victim", ["files.sqlite", "stub"])
@pytest.mark.parametrize("damage", ["text", "empty", "header", "middle", "version"])
def test_damaged_files_are_made_anew(folder, embed, tmp_path, victim, damage):
    cache = tmp_path / "cache"
    first, _ = embed(folder)
    name = victim if victim == "files.sqlite" else "tiny-*.sqlite"
    (path,) = cache.glob(name)
    data = bytearray(path.read_bytes())
    if damage == "text":
        path.write_bytes(b"this is no database" * 100)
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "header":
        path.write_bytes(bytes(100) + data[100:])
    elif damage == "middle":
        data[110:] = os.urandom(len(data) - 110)
        path.write_bytes(data)
    else:
        with sqlite3.connect(path) as connection:
            connection.execute("PRAGMA user_version = 99")
        connection.close()
    said = []
    vectors, _ = embed(folder, warnings=said)
    same(first, vectors)
    assert len(said) == (0 if damage == "empty" else 1)
    assert all("made anew" in sentence for sentence in said)
    same(first, embed(folder)[0])
    assert embed(folder)[1] == 0


def test_a_flipped_bit_in_a_vector_is_noticed(folder, embed, tmp_path):
    first, _ = embed(folder)
    (path,) = (tmp_path / "cache").glob("tiny-*.sqlite")
    connection = sqlite3.connect(path)
    rows = connection.execute("SELECT content, vector FROM vectors LIMIT 2").fetchall()
    flipped = bytes([rows[0][1][0] ^ 1]) + rows[0][1][1:]
    connection.execute("UPDATE vectors SET vector = ? WHERE content = ?", (flipped, rows[0][0]))
    connection.execute("UPDATE vectors SET vector = ? WHERE content = ?", (b"xy", rows[1][0]))
    connection.commit()
    connection.close()
    said = []
    vectors, encoded = embed(folder, warnings=said)
    assert encoded == 2
    assert len(said) == 1
    assert "damaged vectors" in said[0]
    same(first, vectors)
    assert embed(folder)[1] == 0


def test_a_place_that_cannot_be_a_folder(folder, embed, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    said = []
    vectors, encoded = embed(folder, cache=tmp_path / "file" / "cache", warnings=said)
    assert encoded == len(vectors) == 10
    assert len(said) == 1
    assert "without it" in said[0]


def test_a_folder_that_may_only_be_read_is_read(folder, embed, monkeypatch):
    first, _ = embed(folder)
    real = sqlite3.connect

    def read_only(path, **options):  # as it is for a user who may not write; tests run as root too
        return real(path.replace("mode=rwc", "mode=ro"), **options)

    monkeypatch.setattr(sqlite3, "connect", read_only)
    Image.new("RGB", (20, 24), "red").save(folder / "new.png")
    said = []
    vectors, encoded = embed(folder, warnings=said)
    assert encoded == 1
    assert len(said) == 1
    assert "may not be written" in said[0]
    assert set(first) < set(vectors)
    assert embed(folder, warnings=[])[1] == 1


def test_a_full_disk_ends_the_writing_and_not_the_work(folder, embed, monkeypatch):
    real = sqlite3.connect

    def small(path, **options):
        connection = real(path, **options)
        connection.execute("PRAGMA max_page_count = 6")
        return connection

    monkeypatch.setattr(sqlite3, "connect", small)
    for number in range(100):
        data = (folder / "0.png").read_bytes() + bytes([number])
        (folder / f"copy{number}.png").write_bytes(data)
    with monkeypatch.context() as patch:
        patch.setattr(embeddings, "FLUSH_SECONDS", 0.0)
        said = []
        vectors, _ = embed(folder, warnings=said)
    assert len(vectors) == 110
    assert all(vector is not None for vector in vectors.values())
    assert len(said) == 1
    assert "full" in said[0]


def test_info_of_what_is_stored(folder, embed, tmp_path):
    cache = tmp_path / "cache"
    embed(folder)
    (cache / "broken.sqlite").write_bytes(b"x" * 99)
    rows = {row["holds"]: row for row in stored_files(cache) if row["rows"]}
    assert (rows["files"]["rows"], rows["vectors"]["rows"]) == (10, 10)
    assert rows["vectors"]["model"] == "tiny"


# --- several processes, and processes that are killed ---------------------------------------------------

WORKER = """
import sys, time
sys.path[:0] = sys.argv[1:3]
from keshin.core.checkpoint import load_checkpoint
from keshin.core.pictures import find_pictures
from keshin.encode import embeddings
from stub_towers import stub_encoder
embeddings.FLUSH_SECONDS = 0.05
encoder = stub_encoder(load_checkpoint(sys.argv[3]).config, delay=float(sys.argv[6]))
def said(message):
    raise SystemExit(message)
with embeddings.open_store(sys.argv[4], encoder, on_warning=said) as store:
    for item in store.embed(find_pictures([sys.argv[5]])):
        print(item.index, flush=True)
print("encoded", encoder.towers.pictures, flush=True)
"""


def worker(tiny_folder, cache, folder, delay):
    root, here = Path(keshin.__file__).parents[1], Path(__file__).parents[1]
    arguments = [root, here, tiny_folder, cache, folder, delay]
    return subprocess.Popen(
        [sys.executable, "-c", WORKER, *map(str, arguments)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


@pytest.fixture
def more(folder):
    rng = np.random.default_rng(1)
    for number in range(60):
        path = folder / f"m{number:02}.png"
        Image.fromarray(rng.integers(0, 256, (20, 24, 3), np.uint8)).save(path)
        os.utime(path, (LONG_AGO, LONG_AGO))
    return folder


def test_two_processes_at_once(more, embed, tiny_folder, tmp_path):
    workers = [worker(tiny_folder, tmp_path / "cache", more, 0.01) for _ in range(2)]
    for process in workers:
        out, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
        assert len(out.splitlines()) == 71
    vectors, encoded = embed(more)
    assert encoded == 0
    same(vectors, embed(more, cache=tmp_path / "fresh")[0])


@pytest.mark.skipif(os.name == "nt", reason="no SIGKILL")
def test_after_kill_9_the_work_goes_on_where_it_was(more, embed, tiny_folder, tmp_path):
    process = worker(tiny_folder, tmp_path / "cache", more, 0.1)
    for line in process.stdout:
        if line.strip() == "40":
            break
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    vectors, encoded = embed(more)
    assert encoded <= 70 - 30
    same(vectors, embed(more, cache=tmp_path / "fresh")[0])


@pytest.mark.slow
def test_100_000_files_cost_the_stat_calls(tmp_path, embed, new_encoder, monkeypatch):
    """Files of one content, so that making them is quick; the second run must open none."""
    folder = tmp_path / "many"
    folder.mkdir()
    Image.new("RGB", (2, 2), "red").save(tmp_path / "0.png")
    data = (tmp_path / "0.png").read_bytes()
    for number in range(100_000):
        path = folder / f"{number:06}.png"
        path.write_bytes(data + number.to_bytes(4, "big"))
        os.utime(path, (LONG_AGO, LONG_AGO))
    with open_store(tmp_path / "cache", new_encoder()) as store:
        began = time.process_time()
        for item in store._items(find_pictures([folder])):  # what a first run leaves, without it
            item.content = item.path[-10:].encode() * 3
            item.fresh, item.read_ns = True, time.time_ns()
            item.vector = np.full(16, 0.25, np.float32)
            store._keep(item)
    print(f"stored in {time.process_time() - began:.1f} s of processor time")
    monkeypatch.setattr("builtins.open", None)
    began = time.process_time()
    encoder = new_encoder(batch_size=32)
    with open_store(tmp_path / "cache", encoder) as store:
        done = sum(1 for _ in store.embed(find_pictures([folder])))
        assert store.counts.cached == done == 100_000
    seconds = time.process_time() - began
    print(f"found again in {seconds:.1f} s of processor time")
    assert encoder.towers.pictures == 0
    assert seconds < 30
