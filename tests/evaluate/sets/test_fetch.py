"""Fetching a data set from a server that cuts, lies and is not there."""

import hashlib
import io
import json
import os
import tarfile
import threading

import msgspec
import numpy as np
import pytest

from hub import body, cut_after, redirect, serve, sha256, status, whole
from keshin.core import hub as hub_module
from keshin.core import transfer
from keshin.core.download import PART
from keshin.errors import DataError, DownloadError
from keshin.evaluate.sets import fetch
from keshin.evaluate.sets.catalogue import row
from keshin.evaluate.sets.datasets import open_dataset
from keshin.evaluate.sets.fetch import OWN, fetch_dataset, left_to_fetch
from keshin.facts import datasets as facts
from keshin.facts.datasets import Dataset, Download
from miniatures import MINIATURES


@pytest.fixture(autouse=True)
def patience(monkeypatch):
    for name in ("HF_HUB_OFFLINE", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "KESHIN_DATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(hub_module, "WAITS", (0.0, 0.0))
    monkeypatch.setattr(transfer, "SILENCE", 0.5)


def packed(folder):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        archive.add(folder, arcname=".")
    return stream.getvalue()


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    folder = tmp_path_factory.mktemp("set")
    MINIATURES["mnist"](folder)
    noise = np.random.default_rng(0).integers(0, 256, 200_000, np.uint8)
    (folder / "more.bin").write_bytes(noise.tobytes())
    return packed(folder)


@pytest.fixture
def server(archive):
    with serve({"set": {"digits.tgz": archive, "read.me": b"hello"}}) as running:
        yield running


def a_set(server, *, size=None, key="digits", **digests):
    mnist = facts.get("mnist")
    url = f"{server.url}/set/resolve/x/"
    digests = {"sha256": digests["sha256"]} if "sha256" in digests else digests
    return Dataset(
        key=key, title="Digits", metric="accuracy", classes=10, prompts="mnist", labels="from 0", source="http://x",
        licence="x", reader="idx", splits={"test": mnist.splits["test"]},
        downloads=(Download(url + "digits.tgz", "public", size=size, **digests),
                   Download(url + "read.me", "public", sha256=sha256(b"hello"), into="doc", keep=True)),
    )  # fmt: skip


def test_a_set_arrives_checked_and_unpacked(server, archive, tmp_path):
    dataset, seen = a_set(server, size=len(archive), sha256=sha256(archive)), []
    folder = tmp_path / "digits"
    assert row(dataset, folder).state == "to fetch"
    came = fetch_dataset(dataset, tmp_path, progress=lambda *now: seen.append(now))
    assert [record.checked for record in came] == [True, True]
    assert came[0].md5 == hashlib.md5(archive).hexdigest()
    assert (folder / "doc/read.me").read_bytes() == b"hello"
    assert sorted(p.name for p in folder.iterdir() if p.suffix == ".gz")[0].startswith("t10k")
    assert not list(folder.rglob("*.tgz"))
    assert not list((folder / OWN).glob(f"*{PART}"))
    assert seen[-1] == ("read.me", 5, 5)
    assert row(dataset, folder).state == "here"
    assert fetch_dataset(dataset, tmp_path) == []  # nothing is left
    opened = open_dataset(folder, like="mnist")
    assert [opened.labelled.names[t] for t in opened.labelled.targets] == ["7", "2", "1"]


def test_it_goes_on_where_it_was_cut(server, archive, tmp_path):
    server.faults["digits.tgz"] = [cut_after(50_000), status(503), cut_after(70_000)]
    dataset = a_set(server, size=len(archive), md5=hashlib.md5(archive).hexdigest())
    assert fetch_dataset(dataset, tmp_path)[0].checked
    assert [entry[1] for entry in server.asked("digits.tgz")] == [
        None,
        "bytes=50000-",
        "bytes=50000-",
        "bytes=120000-",
    ]


def test_a_part_of_an_earlier_run_is_used(server, archive, tmp_path):
    """As after kill -9: the part file is what is left."""
    own = tmp_path / "digits" / OWN
    (own / "unpacking-dead").mkdir(parents=True)
    (own / f"digits.tgz{PART}").write_bytes(archive[:1000])
    assert fetch_dataset(a_set(server, size=len(archive), sha256=sha256(archive)), tmp_path)[
        0
    ].checked
    assert server.asked("digits.tgz")[0][1] == "bytes=1000-"
    assert not (own / "unpacking-dead").exists()


def test_an_archive_whose_unpacking_ended_is_not_fetched_again(server, archive, tmp_path):
    own = tmp_path / "digits" / OWN
    own.mkdir(parents=True)
    (own / "digits.tgz").write_bytes(archive)
    dataset = a_set(server, sha256=sha256(archive))
    assert fetch_dataset(dataset, tmp_path)[0].checked
    assert server.asked("digits.tgz") == []
    assert not list(own.glob("*.tgz"))


def test_only_what_a_split_needs(server, archive, tmp_path):
    dataset = a_set(server, sha256=sha256(archive))
    one, other = dataset.downloads
    downloads = (
        msgspec.structs.replace(one, splits=("test",)),
        msgspec.structs.replace(other, splits=("train",)),
    )
    dataset = msgspec.structs.replace(
        dataset, downloads=downloads, splits={**dataset.splits, "train": dataset.splits["test"]}
    )
    assert len(fetch_dataset(dataset, tmp_path, splits=["test"])) == 1
    assert server.asked("read.me") == []
    assert left_to_fetch(dataset, tmp_path / "digits", ["test"]) == []
    with pytest.raises(DataError, match=r"has no split 'dev'"):
        fetch_dataset(dataset, tmp_path, splits=["dev"])


def test_a_wrong_part_is_thrown_away_once(server, archive, tmp_path):
    own = tmp_path / "digits" / OWN
    own.mkdir(parents=True)
    (own / f"digits.tgz{PART}").write_bytes(b"x" * 1000)
    assert fetch_dataset(a_set(server, size=len(archive), sha256=sha256(archive)), tmp_path)[
        0
    ].checked


def test_a_file_that_is_another_is_refused(server, archive, tmp_path):
    dataset = a_set(server, sha256="0" * 64)
    with pytest.raises(
        DownloadError,
        match=r"arrived twice with the hash .* published is 000000000000\.\.\. \(md5 as many",
    ):
        fetch_dataset(dataset, tmp_path)
    assert [p.name for p in (tmp_path / "digits").rglob("*.tgz*") if p.suffix != ".lock"] == []
    assert len(left_to_fetch(dataset, tmp_path / "digits")) == 2


def test_no_hash_is_said_and_never_resumed(server, archive, tmp_path):
    own = tmp_path / "digits" / OWN
    own.mkdir(parents=True)
    (own / f"digits.tgz{PART}").write_bytes(archive[:1000])
    came = fetch_dataset(a_set(server), tmp_path)
    assert not came[0].checked
    assert came[0].sha256 == sha256(archive)
    assert server.asked("digits.tgz")[0][1] is None
    record = json.loads((own / "digits.tgz.json").read_text())
    assert record["sha256"] == sha256(archive)
    assert not record["checked"]


def test_no_hash_and_a_server_that_cuts(server, archive, tmp_path):
    server.faults["digits.tgz"] = [cut_after(50_000), whole]
    assert fetch_dataset(a_set(server), tmp_path)[0].size == len(archive)


def test_more_than_is_stated(server, archive, tmp_path):
    with pytest.raises(DownloadError, match=r"sends more of digits.tgz than the 100 bytes"):
        fetch_dataset(a_set(server, size=100, sha256=sha256(archive)), tmp_path)


def test_pages_in_stead_of_files(server, archive, tmp_path):
    server.faults["digits.tgz"] = [body(b"<html>log in</html>")]
    with pytest.raises(DataError, match=r"Was a web page saved"):
        fetch_dataset(a_set(server), tmp_path)
    assert left_to_fetch(a_set(server), tmp_path / "digits")
    server.faults["digits.tgz"] = [status(404)]
    with pytest.raises(DownloadError, match=r"answered 404 to the request for digits.tgz"):
        fetch_dataset(a_set(server), tmp_path)
    server.faults["digits.tgz"] = [status(500)] * 3
    with pytest.raises(DownloadError, match=r"did not come in 3 attempts|did not come"):
        fetch_dataset(a_set(server), tmp_path)


def test_redirects_are_followed(server, archive, tmp_path):
    server.faults["digits.tgz"] = [redirect(f"{server.url}/set/resolve/x/digits.tgz")]
    assert fetch_dataset(a_set(server, sha256=sha256(archive)), tmp_path)[0].checked


def test_offline_and_by_hand(server, tmp_path, monkeypatch):
    with pytest.raises(DownloadError, match=r"network is switched off"):
        fetch_dataset(a_set(server), tmp_path, offline=True)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(DownloadError, match=r"network is switched off"):
        fetch_dataset(a_set(server), tmp_path)
    with pytest.raises(DataError, match=r"ImageNet is not fetched by keshin. Register at"):
        fetch_dataset(facts.get("imagenet"), tmp_path)


def test_a_full_disk_is_said_before(server, archive, tmp_path, monkeypatch):
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr(fetch.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(DownloadError, match=r"Make room, or name another folder with KESHIN_DATA"):
        fetch_dataset(a_set(server, size=len(archive), sha256=sha256(archive)), tmp_path)


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written(server, tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(DownloadError, match=r"Cannot write"):
        fetch_dataset(a_set(server), tmp_path)


def test_two_at_once_fetch_it_once(server, archive, tmp_path):
    dataset, errors = a_set(server, size=len(archive), sha256=sha256(archive)), []

    def run():
        try:
            fetch_dataset(dataset, tmp_path)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len(server.asked("digits.tgz")) == 1
