"""Hashes of large files: remembered for as long as a file is left alone, and never wrong."""

import hashlib
import os

from keshin.core import cache, hashes
from keshin.core.kept import HASHES


def test_a_hash_is_remembered_until_the_file_changes(tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "SETTLED", -1)
    reads = []
    real = hashlib.file_digest
    monkeypatch.setattr(hashlib, "file_digest", lambda *a: reads.append(1) or real(*a))
    path = tmp_path / "weights"
    data = os.urandom(hashes.SMALL + 1)
    path.write_bytes(data)
    assert {hashes.sha256_of(path) for _ in range(3)} == {hashlib.sha256(data).digest()}
    assert len(reads) == 1
    assert HASHES.size()[0] == 1
    path.write_bytes(data[::-1])
    assert hashes.sha256_of(path) == hashlib.sha256(data[::-1]).digest()
    next(HASHES.files()).write_bytes(b"damaged")
    assert hashes.sha256_of(path) == hashlib.sha256(data[::-1]).digest()


def test_small_files_and_files_that_may_still_change_leave_no_note(tmp_path):
    small, fresh = tmp_path / "small", tmp_path / "fresh"
    small.write_bytes(b"x")
    fresh.write_bytes(bytes(hashes.SMALL + 1))
    for path in (small, fresh):
        assert hashes.sha256_of(path) == hashlib.sha256(path.read_bytes()).digest()
    assert HASHES.size() == (0, 0)
