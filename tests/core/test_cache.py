"""The cache: an entry is sound or not there, and no trouble of a disk reaches the user."""

import os
import time

import pytest

from keshin.core.cache import SETTLED, cache_folder, mark_of, read_entry, write_entry

MANY = 1 << 20


def age(path, seconds=60.0):
    now = time.time()
    os.utime(path, (now - seconds, now - seconds))


@pytest.fixture
def settled(monkeypatch):
    """Files count as old enough at once."""
    monkeypatch.setattr("keshin.core.cache.SETTLED", -1.0)


def test_the_folder_is_the_users_or_the_one_named(monkeypatch, tmp_path):
    monkeypatch.setenv("KESHIN_CACHE", str(tmp_path / "own"))
    assert cache_folder() == tmp_path / "own"
    monkeypatch.delenv("KESHIN_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "keshin"


def test_an_entry_comes_back_whole_or_not_at_all(tmp_path):
    path = tmp_path / "deep" / "entry"
    assert read_entry(path) is None
    assert write_entry(path, b"content" * 100, at_most=MANY)
    assert read_entry(path) == b"content" * 100
    assert [entry.name for entry in path.parent.iterdir()] == ["entry"]
    sound = path.read_bytes()
    for damaged in (b"", sound[:20], sound[:-1], sound + b"x", sound[:50] + b"?" + sound[51:]):
        path.write_bytes(damaged)
        assert read_entry(path) is None


def test_a_folder_that_cannot_be_written_is_done_without(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    assert not write_entry(tmp_path / "file" / "entry", b"x", at_most=MANY)
    assert read_entry(tmp_path / "file" / "entry") is None

    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.replace", full)
    assert not write_entry(tmp_path / "entry", b"x", at_most=MANY)
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_what_was_not_used_for_longest_goes_first(tmp_path):
    for number in range(4):
        write_entry(tmp_path / str(number), bytes(1000), at_most=MANY)
        age(tmp_path / str(number), 100 - number)
    assert read_entry(tmp_path / "0")  # used
    left = tmp_path / ".5.abcd.tmp"
    left.write_bytes(b"of a process that ended")
    age(left, 4000)
    write_entry(tmp_path / "4", bytes(1000), at_most=3200)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["0", "3", "4"]


def test_a_mark_follows_content_and_state(tmp_path, settled):
    path, other = tmp_path / "a", tmp_path / "b"
    path.write_bytes(bytes(500_000))
    other.write_bytes(b"facts")
    age(path)
    first = mark_of([path, other])
    assert len(first) == 64
    assert mark_of([path, other]) == first
    before = path.stat()
    path.write_bytes(bytes(250_000) + b"1" + bytes(249_999))  # where no sample is taken
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_mtime_ns == before.st_mtime_ns
    if path.stat().st_ctime_ns != before.st_ctime_ns:
        assert mark_of([path, other]) != first
    second = mark_of([path, other])
    other.write_bytes(b"fact2")
    assert mark_of([path, other]) != second
    assert mark_of([path, tmp_path / "missing"]) == ""


def test_files_that_changed_just_now_have_no_mark(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"x")
    assert SETTLED > 0
    assert mark_of([path]) == ""
