"""The index of a folder: what changes in the folder costs only its own work, and nothing breaks it."""

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
from keshin.core.kept import EMBEDDINGS
from keshin.encode.runtime import OnnxTowers
from keshin.search.lock import writing
from keshin.search.rows import open_rows

LONG_AGO = time.time() - 1000


def paint(path, seed, size=(20, 20), **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)
    Image.fromarray(pixels).save(path, **options)
    os.utime(path, (LONG_AGO, LONG_AGO))
    return path


@pytest.fixture
def encoded(monkeypatch):
    calls = []
    real = OnnxTowers.image_features
    monkeypatch.setattr(
        OnnxTowers, "image_features", lambda s, pixels: (calls.append(len(pixels)), real(s, pixels))[1]
    )  # fmt: skip
    return calls


@pytest.fixture
def photos(tmp_path):
    for number in range(6):
        paint(tmp_path / "photos" / f"{number}.png", number)
    return tmp_path / "photos"


@pytest.fixture
def model(tiny_folder):
    return keshin.load(tiny_folder, threads=1)


@pytest.fixture
def opened(model):
    made = []

    def run(folder, chosen=model, **options):
        made.append(keshin.Index.open(folder, chosen, **options))
        return made[-1]

    yield run
    for index in made:
        index.close()


def numbers(changes):
    names = ("unchanged", "added", "changed", "renamed", "removed", "encoded")
    return {name: getattr(changes, name) for name in names if getattr(changes, name)}


def paths(index, k=100):
    found = index.search("a cat", k=k)
    return sorted(name for hit in found for name in (hit.path, *hit.copies))


def test_the_vectors_are_the_models(opened, photos, model):
    index = opened(photos)
    assert numbers(index.update()) == {"added": 6, "encoded": 6}
    names = [str(path) for path in sorted(photos.iterdir())]
    expected = model.encode_images(names) @ model.encode_texts(["a cat"])[0]
    found = {hit.path: hit.score for hit in index.search("a cat")}
    assert set(found) == set(names)
    np.testing.assert_allclose([found[name] for name in names], expected, atol=2e-3)
    assert list(found.values()) == sorted(found.values(), reverse=True)
    assert len(index) == 6


def test_only_what_changes_costs_work(opened, photos, encoded):
    index = opened(photos)
    index.update()
    encoded.clear()
    assert numbers(index.update()) == {"unchanged": 6}
    assert encoded == []
    (photos / "0.png").rename(photos / "zero.png")
    (photos / "deep").mkdir()
    (photos / "1.png").rename(photos / "deep" / "1.png")
    (photos / "2.png").unlink()
    paint(photos / "3.png", 33)
    os.utime(photos / "3.png", (LONG_AGO + 1, LONG_AGO + 1))
    paint(photos / "new.png", 77)
    shutil.copy2(photos / "4.png", photos / "copy.png")
    assert numbers(index.update(cache=False)) == {
        "unchanged": 2, "added": 2, "changed": 1, "renamed": 2, "removed": 1, "encoded": 2,
    }  # fmt: skip
    assert sum(encoded) == 2
    assert paths(index) == sorted(str(path) for path in photos.rglob("*.png"))
    hits = {hit.path: hit.copies for hit in index.search("a cat")}
    assert hits[str(photos / "4.png")] == (str(photos / "copy.png"),)
    assert numbers(index.update()) == {"unchanged": 7}


def test_a_file_that_was_touched_is_read_and_not_encoded(opened, photos, encoded):
    index = opened(photos)
    index.update()
    encoded.clear()
    os.utime(photos / "0.png", (LONG_AGO + 5, LONG_AGO + 5))
    assert numbers(index.update(cache=False)) == {"unchanged": 5, "changed": 1}
    assert encoded == []


def test_a_file_that_is_too_new_is_looked_at_again(opened, photos):
    index = opened(photos)
    (photos / "0.png").touch()
    index.update()
    assert numbers(index.update()) == {"unchanged": 5, "changed": 1}


def test_what_embed_has_kept_is_not_computed_again(opened, photos, model, encoded):
    list(model.embed([photos]))
    encoded.clear()
    index = opened(photos)
    assert numbers(index.update()) == {"added": 6}
    assert encoded == []
    other = opened(photos, index=photos.parent / "elsewhere")
    assert numbers(other.update()) == {"added": 6}
    assert paths(other) == paths(index)
    assert encoded == []


def test_a_picture_that_comes_back_is_known(opened, photos, encoded):
    index = opened(photos)
    index.update(cache=False)
    (photos / "0.png").rename(photos.parent / "0.png")
    assert numbers(index.update(cache=False)) == {"unchanged": 5, "removed": 1}
    assert len(index) == 5
    encoded.clear()
    (photos.parent / "0.png").rename(photos / "0.png")
    assert numbers(index.update(cache=False)) == {"unchanged": 5, "added": 1}
    assert encoded == []
    assert len(index) == 6


def test_rows_are_written_anew_where_many_are_gone(opened, photos, monkeypatch):
    monkeypatch.setattr("keshin.search.update.WASTE_ROWS", 0)
    index, old = opened(photos), opened(photos)
    index.update()
    before = {hit.path: hit.score for hit in old.search("a cat")}
    for number in range(4):
        (photos / f"{number}.png").unlink()
    index.update()
    assert index.snapshot.state.generation == 1
    assert len(index) == len(index.snapshot.rows) == 2
    after = {hit.path: hit.score for hit in index.search("a cat")}
    assert after == {path: before[path] for path in after}
    # A reader goes on with what it opened; only files that are gone are left out.
    assert len(old.snapshot.rows) == 6
    assert {hit.path: hit.score for hit in old.search("a cat")} == after
    paint(photos / "new.png", 50)
    index.update()
    assert paths(index) == sorted(str(path) for path in photos.glob("*.png"))
    old.refresh()
    assert paths(old) == paths(index)


def test_broken_pictures_are_named_each_time(opened, photos):
    (photos / "bad.jpg").write_bytes(b"\xff\xd8\xff\xe0 no picture")
    (photos / "empty.png").touch()
    index = opened(photos)
    for _ in range(2):
        failed = index.update().failed
        assert [Path(eval(one.file)).name for one in failed] == ["bad.jpg", "empty.png"]
        assert all(str(photos) in one.error for one in failed)
    assert len(index) == 6
    paint(photos / "bad.jpg", 99, format="PNG")
    assert numbers(index.update()) == {"unchanged": 6, "added": 1, "encoded": 1}
    (photos / "0.png").write_bytes(b"damaged now")
    changes = index.update()
    assert changes.removed == 1
    assert str(photos / "0.png") not in paths(index)


@pytest.mark.skipif(os.name == "nt", reason="names of POSIX")
def test_names_of_all_kinds(opened, tmp_path):
    folder = tmp_path / "写真 100%? #1"
    names = ["青い空.png", "caf\u0065\u0301.png", "caf\u00e9.png", "a'b\"c.png", " blank .png",
             "new\nline.png", "-rf.png", "%s{}.PNG", "deep/er/x.png"]  # fmt: skip
    for seed, name in enumerate(names):
        paint(folder / name, seed, format="PNG")
    odd = os.path.join(os.fsencode(folder), b"\xff\xfe.png")
    paint(tmp_path / "y.png", 100)
    (tmp_path / "y.png").rename(os.fsdecode(odd))
    index = opened(folder)
    assert index.update().added == 10
    assert paths(index) == sorted([*(str(folder / name) for name in names), os.fsdecode(odd)])
    assert index.update().unchanged == 10
    assert all(Path(path).exists() for path in paths(index))


def test_an_index_moves_with_its_folder(opened, photos, encoded):
    opened(photos, index=photos.parent / "index").update()
    encoded.clear()
    moved = photos.rename(photos.parent / "moved")
    index = opened(moved, index=moved.parent / "index")
    assert numbers(index.update()) == {"unchanged": 6}
    assert paths(index) == sorted(str(path) for path in moved.iterdir())


def test_another_model_is_refused(opened, photos, tiny_folder):
    opened(photos).update()
    other = opened(photos, keshin.load())
    with pytest.raises(keshin.SearchError, match=r"of the model 'tiny', not 'mini'.*--rebuild"):
        other.update()
    with pytest.raises(keshin.SearchError, match="cannot be compared"):
        other.search("a cat")
    with pytest.raises(keshin.SearchError, match="decode 'exact', not 'fast'"):
        opened(photos, keshin.load(tiny_folder, decode="fast")).search("a cat")
    assert opened(photos, None).search("a cat").hits  # it finds its own model
    anew = opened(photos, keshin.load(), rebuild=True)
    assert anew.update().added == 6
    assert anew.facts()["model"] == "mini"


def test_folders_that_are_empty_missing_or_all_of_a_sudden_empty(opened, photos, tmp_path):
    (tmp_path / "nothing").mkdir()
    index = opened(tmp_path / "nothing")
    assert numbers(index.update()) == {}
    found = index.search("a cat")
    assert (len(found), found.best, found.nothing) == (0, None, True)
    with pytest.raises(keshin.SearchError, match="There is no folder"):
        opened(tmp_path / "missing").update()
    with pytest.raises(keshin.SearchError, match="There is no index"):
        opened(tmp_path / "missing").search("a cat")
    index = opened(photos)
    index.update()
    for path in photos.iterdir():
        path.unlink()
    with pytest.raises(keshin.SearchError, match="knows 6"):
        index.update()
    assert len(index) == 6
    assert opened(photos, rebuild=True).update().added == 0


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may list all folders")
def test_a_folder_that_may_not_be_listed_stays_as_it_was(opened, photos):
    paint(photos / "deep" / "x.png", 60)
    index = opened(photos)
    index.update()
    (photos / "deep").chmod(0)
    try:
        changes = index.update()
    finally:
        (photos / "deep").chmod(0o755)
    assert (changes.removed, len(changes.failed)) == (0, 1)
    assert str(photos / "deep" / "x.png") in paths(index)


def test_a_folder_whose_listing_fails_stays_as_it_was(opened, photos, monkeypatch):
    paint(photos / "deep" / "x.png", 60)
    index = opened(photos)
    index.update()
    real = os.scandir

    def fails(path):
        if Path(path).name == "deep":
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", fails)
    changes = index.update()
    assert (changes.removed, len(changes.failed)) == (0, 1)
    assert str(photos / "deep" / "x.png") in paths(index)


def test_one_writer_at_a_time_while_readers_read(opened, photos):
    index, reader = opened(photos), opened(photos)
    index.update()
    assert len(reader) == 6
    with writing(index.folder):
        with pytest.raises(keshin.IndexBusy, match="Another process"):
            index.update()
        assert len(paths(reader)) == 6
    paint(photos / "new.png", 40)
    index.update()
    assert len(paths(reader)) == 6
    reader.refresh()
    assert len(paths(reader)) == 7


def test_what_a_killed_writer_left_behind_does_not_count(opened, photos):
    index = opened(photos)
    index.update()
    before = [(hit.path, hit.score) for hit in index.search("a cat")]
    for pattern in ("*.f16", "*.i8", "*.bin"):
        for path in index.folder.glob(pattern):
            with path.open("ab") as file:
                file.write(b"half a row")
    (index.folder / "vectors-7.f16").write_bytes(b"of a generation that was not reached")
    again = opened(photos)
    assert [(hit.path, hit.score) for hit in again.search("a cat")] == before
    paint(photos / "new.png", 40)
    again.update()
    assert len(paths(again)) == 7
    assert not (index.folder / "vectors-7.f16").exists()
    rows = open_rows(again.folder, 0, 7, 16)
    np.testing.assert_allclose(np.linalg.norm(rows.vectors.astype(float), axis=1), 1, atol=1e-3)


@pytest.mark.parametrize("name", ["vectors-0.f16", "codes-0.i8", "rows-0.bin"])
def test_damage_is_a_sentence(opened, photos, name):
    opened(photos, index=photos.parent / "index").update()
    path = photos.parent / "index" / name
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(keshin.SearchError, match=r"damaged.*--rebuild"):
        opened(photos, index=photos.parent / "index").search("a cat")
    path.unlink()
    with pytest.raises(keshin.SearchError, match="is missing"):
        opened(photos, index=photos.parent / "index").search("a cat")
    assert opened(photos, index=photos.parent / "index", rebuild=True).update().added == 6


def test_a_damaged_table_is_a_sentence(opened, photos):
    place = photos.parent / "index"
    opened(photos, index=place).update()
    (place / "pictures.sqlite").write_bytes(b"no database" * 1000)
    with pytest.raises(keshin.SearchError, match=r"cannot be used.*--rebuild"):
        opened(photos, index=place).search("a cat")
    assert opened(photos, index=place, rebuild=True).update().added == 6


def test_other_programs_can_read_the_table(opened, photos, model):
    Image.new("RGB", (30, 20)).save(photos / "turned.jpg", exif=exif())
    index = opened(photos)
    index.update()
    with sqlite3.connect(index.folder / "pictures.sqlite") as connection:
        rows = connection.execute(
            "SELECT path, length(content), width, height, orientation, taken, vector FROM pictures "
            "ORDER BY path"
        ).fetchall()
    connection.close()
    assert [row[0] for row in rows][:2] == ["0.png", "1.png"]
    assert rows[-1][:-1] == ("turned.jpg", 64, 20, 30, 6, "2024-05-01T12:34:56")
    assert index.facts()["fingerprint"] == model.encoder.fingerprint
    vectors = np.fromfile(index.folder / "vectors-0.f16", "<f2").reshape(-1, 16)
    assert len(vectors) == 7


def exif():
    made = Image.Exif()
    made[0x0112] = 6
    made.get_ifd(0x8769)[0x9003] = "2024:05:01 12:34:56"
    return made


def test_queries(opened, photos, model):
    index = opened(photos)
    index.update()
    like = index.search(like=[photos / "3.png"], k=1)
    assert like.hits[0].path == str(photos / "3.png")
    assert like.hits[0].score == pytest.approx(1, abs=1e-3)
    plain = index.search("a cat").hits
    assert [hit.path for hit in index.search("a cat -dog").hits] == [
        hit.path for hit in index.search("a cat", without=["dog"]).hits
    ]
    assert index.search("a cat -dog").hits[0].score != plain[0].score
    assert index.search("a cat", like=[photos / "3.png"]).hits
    assert len(index.search("a cat", k=2).hits) == 2
    for arguments, message in (
        ({"text": ""}, "nothing to look for"), ({"text": "-dog"}, "nothing to look for"),
        ({"text": "a cat", "k": 0}, "k = 0"), ({"text": "a", "min_relevance": 2}, "0 to 1"),
    ):  # fmt: skip
        with pytest.raises(keshin.SearchError, match=message):
            index.search(**arguments)
    with pytest.raises(keshin.PictureError):
        index.search(like=[photos / "none.png"])


WRITER = """
import sys, keshin, keshin.search.update as update
update.COMMIT_SECONDS = 0.05
index = keshin.Index.open(sys.argv[1], sys.argv[2], threads=1)
print("begins", flush=True)
print(index.update(cache=False).added)
"""


def writer(photos, tiny_folder):
    environment = {**os.environ, "PYTHONPATH": str(Path(keshin.__file__).parents[1])}
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(photos), str(tiny_folder)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment, text=True,
    )  # fmt: skip


@pytest.mark.skipif(os.name == "nt", reason="kill -9")
def test_a_killed_update_goes_on_where_it_was(opened, tmp_path, tiny_folder, encoded):
    photos, count = tmp_path / "photos", 400
    for number in range(count):
        paint(photos / f"{number:03}.png", number, (64, 64), compress_level=0)
    index, kept = opened(photos), 0
    for _ in range(4):  # until one was killed in the middle
        process = writer(photos, tiny_folder)
        process.stdout.readline()
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and process.poll() is None:
            kept = count_of(index.folder)
            if kept:
                break
        process.send_signal(signal.SIGKILL)
        process.communicate()
        if 0 < kept < count:
            break
    assert len(opened(photos)) == count_of(index.folder)  # whole, as far as it goes
    kept = count_of(index.folder)
    changes = index.update(cache=False)
    assert sum(encoded) == changes.encoded == count - kept
    assert changes.unchanged == kept
    assert len(paths(index, 1000)) == count


def count_of(folder):
    try:
        connection = sqlite3.connect(f"{(folder / 'pictures.sqlite').as_uri()}?mode=ro", uri=True)
        try:
            return connection.execute("SELECT count(*) FROM files").fetchone()[0]
        finally:
            connection.close()
    except sqlite3.Error:
        return 0


@pytest.mark.skipif(os.name == "nt", reason="slow to start there")
def test_two_processes_on_one_index(opened, tmp_path, tiny_folder):
    photos = tmp_path / "photos"
    for number in range(150):
        paint(photos / f"{number:03}.png", number, (64, 64))
    both = [writer(photos, tiny_folder) for _ in range(2)]
    said = [process.communicate(timeout=60) for process in both]
    assert any(process.returncode == 0 for process in both)
    for process, (_, errors) in zip(both, said, strict=True):
        assert process.returncode == 0 or "IndexBusy" in errors
    index = opened(photos)
    assert index.update().unchanged == 150
    assert len(paths(index, 1000)) == 150


def test_the_cache_can_be_cleared(opened, photos):
    from keshin.core.kept import INDEXES

    index = opened(photos)
    index.update()
    index.search("a cat")
    assert EMBEDDINGS.clear() > 0
    assert INDEXES.size()[1] > 6 * 16 * 3
    index.close()
    INDEXES.clear()
    assert not INDEXES.folder.exists()
    assert index.update().added == 6
