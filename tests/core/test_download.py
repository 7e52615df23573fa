"""Fetching from a hub that cuts, lies, refuses and is not there; and never using what is broken."""

import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import keshin
from hub import COMMIT, body, cut_after, git_sha1, redirect, serve, sha256, status, whole
from keshin.core import download
from keshin.core import hub as hub_module
from keshin.core.download import PART, pull
from keshin.core.pulled import adopt, check, choose, hub_cache, storage
from keshin.errors import CheckpointError, DownloadError

REPO = "someone/model"
CONFIG, WEIGHTS = "open_clip_config.json", "open_clip_model.safetensors"
DATA = bytes(range(256)) * 3000  # 768,000 bytes: several reads


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    for name in ("HF_HUB_OFFLINE", "HF_TOKEN", "HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(hub_module, "WAITS", (0.0, 0.0))
    monkeypatch.setattr(hub_module, "SILENCE", 0.5)
    monkeypatch.setattr(download, "SILENCE", 0.5)


@pytest.fixture
def hub(monkeypatch):
    files = {REPO: {CONFIG: b'{"model_cfg": {}}', WEIGHTS: DATA, "README.md": b"hello"}}
    with serve(files) as running:
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        yield running


def weights():
    return storage(hub_cache(), REPO) / "snapshots" / COMMIT / WEIGHTS


def left_over():
    return [path.name for path in (storage(hub_cache(), REPO) / "blobs").glob("*")]


def test_a_model_arrives_whole_and_checked(hub):
    seen = []
    pulled = pull("m", REPO, progress=lambda *now: seen.append(now))
    assert weights().read_bytes() == DATA
    assert pulled.commit == COMMIT
    assert {file.name: file.digest for file in pulled.files} == {
        CONFIG: git_sha1(b'{"model_cfg": {}}'),
        WEIGHTS: sha256(DATA),
    }
    assert seen[-1] == (WEIGHTS, len(DATA), len(DATA))
    assert not hub.asked("README.md")
    check(pulled, whole=True)
    assert adopt("m", REPO, None, "open_clip") == pulled


def test_the_hubs_own_library_finds_it(hub):
    pull("m", REPO)
    from huggingface_hub import hf_hub_download, scan_cache_dir

    found = hf_hub_download(REPO, WEIGHTS, cache_dir=hub_cache(), local_files_only=True)
    assert weights().samefile(found)
    assert [repo.repo_id for repo in scan_cache_dir(hub_cache()).repos] == [REPO]


def test_what_the_hubs_library_fetched_is_not_fetched_again(hub):
    pull("m", REPO)
    hub.requests.clear()
    shutil.rmtree(storage(hub_cache(), REPO) / "snapshots")
    pull("m", REPO)
    assert not hub.asked(WEIGHTS)


# --- connections that break ----------------------------------------------------------------------


def test_a_cut_connection_goes_on_where_it_broke(hub):
    hub.faults[WEIGHTS] = [cut_after(200_000), cut_after(300_000)]
    pull("m", REPO)
    assert weights().read_bytes() == DATA
    ranges = [entry[1] for entry in hub.asked(WEIGHTS)]
    assert ranges[0] is None
    starts = [int(text.removeprefix("bytes=").rstrip("-")) for text in ranges[1:]]
    assert len(starts) == 2
    assert 0 < starts[0] < starts[1] < len(DATA)


def test_an_interrupted_run_is_resumed_by_the_next(hub):
    hub.faults[WEIGHTS] = [cut_after(200_000), *[status(503)] * 3]
    with pytest.raises(DownloadError, match=r"did not come in 3 attempts: the server answered 503"):
        pull("m", REPO)
    part = storage(hub_cache(), REPO) / "blobs" / (sha256(DATA) + PART)
    have = part.stat().st_size
    assert 0 < have <= 200_000
    assert not weights().exists()
    assert adopt("m", REPO, None, "open_clip") is None
    hub.requests.clear()
    pull("m", REPO)
    assert [entry[1] for entry in hub.asked(WEIGHTS)] == [f"bytes={have}-"]
    assert weights().read_bytes() == DATA
    assert not part.exists()


def test_many_cuts_that_each_bring_something(hub):
    hub.faults[WEIGHTS] = [cut_after(70_000)] * 8  # more often than there are waits
    pull("m", REPO)
    assert weights().read_bytes() == DATA


def test_a_server_without_ranges(hub):
    hub.faults[WEIGHTS] = [cut_after(100_000), whole]
    pull("m", REPO)
    assert weights().read_bytes() == DATA


def test_a_range_that_starts_elsewhere(hub):
    def elsewhere(handler, data, start):
        from hub import say

        say(handler, 206, data[:10], Content_Range=f"bytes 0-9/{len(data)}")

    hub.faults[WEIGHTS] = [cut_after(100_000), elsewhere]
    pull("m", REPO)
    assert weights().read_bytes() == DATA


def test_an_old_part_that_is_too_long_or_wrong(hub):
    part = storage(hub_cache(), REPO) / "blobs" / (sha256(DATA) + PART)
    for content in (b"x" * (len(DATA) + 5), b"x" * 1000, b"x" * len(DATA)):
        shutil.rmtree(storage(hub_cache(), REPO), ignore_errors=True)
        part.parent.mkdir(parents=True)
        part.write_bytes(content)
        pull("m", REPO)
        assert weights().read_bytes() == DATA


# --- wrong bytes, wrong lengths ------------------------------------------------------------------


def test_wrong_bytes_are_thrown_away(hub):
    wrong = bytes(len(DATA))
    hub.faults[WEIGHTS] = [body(wrong), body(wrong)]
    with pytest.raises(DownloadError, match=r"arrived twice with the hash .* It was thrown away"):
        pull("m", REPO)
    assert sha256(DATA) not in left_over()
    assert sha256(wrong) not in left_over()
    assert not weights().exists()
    assert not [name for name in left_over() if name.endswith(PART)]


def test_wrong_bytes_once(hub):
    hub.faults[WEIGHTS] = [body(bytes(len(DATA)))]
    pull("m", REPO)
    assert weights().read_bytes() == DATA


def test_too_much_is_refused(hub):
    hub.faults[WEIGHTS] = [body(DATA + b"more")]
    with pytest.raises(DownloadError, match="sends more of"):
        pull("m", REPO)
    assert not weights().exists()


def test_a_short_answer_that_claims_to_be_all(hub):
    hub.faults[WEIGHTS] = [body(DATA[:5000])]
    pull("m", REPO)
    assert weights().read_bytes() == DATA
    assert hub.asked(WEIGHTS)[1][1] == "bytes=5000-"


def test_nothing_at_all(hub):
    hub.faults[WEIGHTS] = [body(b"")] * 3
    with pytest.raises(DownloadError, match="the server sent nothing"):
        pull("m", REPO)


def test_small_files_are_checked_too(hub):
    hub.faults[CONFIG] = [body(b'{"model_cfg": []}')] * 2
    with pytest.raises(DownloadError, match=f"{CONFIG} .* arrived twice"):
        pull("m", REPO)


def test_a_damaged_blob_is_fetched_again(hub):
    pulled = pull("m", REPO)
    blob = storage(hub_cache(), REPO) / "blobs" / sha256(DATA)
    blob.write_bytes(b"?" + DATA[1:])
    with pytest.raises(CheckpointError, match="has changed since it was pulled"):
        check(pulled)
    with pytest.raises(CheckpointError, match="is damaged"):
        adopt("m", REPO, None, "open_clip")
    pull("m", REPO)
    assert weights().read_bytes() == DATA
    blob.unlink()
    with pytest.raises(CheckpointError, match="no longer there"):
        check(pulled)
    assert adopt("m", REPO, None, "open_clip") is None


# --- answers of the server -----------------------------------------------------------------------


def test_busy_servers_are_asked_again(hub, monkeypatch):
    waits = []
    monkeypatch.setattr(hub_module.time, "sleep", waits.append)
    hub.listing_faults = [status(429, Retry_After=7), status(503)]
    hub.faults[WEIGHTS] = [status(429, Retry_After=100_000), status(500)]
    pull("m", REPO)
    assert weights().read_bytes() == DATA
    assert waits == [7.0, 0.0, 60.0, 0.0]


def test_redirects_are_followed_and_keep_the_token_from_others(hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    with serve({"cdn/files": {"blob": DATA}}) as cdn:
        hub.faults[WEIGHTS] = [redirect(f"{cdn.url}/cdn/files/resolve/main/blob")]
        pull("m", REPO)
        assert weights().read_bytes() == DATA
        assert hub.asked(WEIGHTS)[0][2] == "Bearer hf_secret"
        assert cdn.asked("blob")[0][2] is None


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        (status(401, X_Error_Code="GatedRepo"), "asks for permission. Accept its terms"),
        (status(403, X_Error_Code="GatedRepo"), "asks for permission. Accept its terms"),
        (status(404, X_Error_Code="RepoNotFound"), "has no model someone/model, or it is private"),
        (status(404, X_Error_Code="RevisionNotFound"), "has no revision 'v9'"),
        (status(418), "answered 418"),
        (body(b"<html>log in to the wireless network</html>"), "does not answer as a hub does"),
        (body(b'{"id": "someone/model", "siblings": []}'), "names no commit"),
        (body(b"[]"), "does not answer as a hub does"),
    ],
)
def test_refusals_are_sentences(hub, fault, sentence):
    hub.listing_faults = [fault] * 3
    with pytest.raises(DownloadError, match=sentence):
        pull("m", REPO, revision="v9")


@pytest.mark.parametrize(
    ("code", "sentence"), [(403, "asks for permission"), (404, "no more"), (410, "answered 410")]
)
def test_refusals_of_a_file(hub, code, sentence):
    hub.faults[WEIGHTS] = [status(code)]
    with pytest.raises(DownloadError, match=sentence):
        pull("m", REPO)


def test_a_file_without_a_hash_is_not_fetched(hub):
    listing = {"sha": COMMIT, "id": REPO, "siblings": [{"rfilename": n} for n in (CONFIG, WEIGHTS)]}
    hub.listing_faults = [body(json.dumps(listing).encode())]
    with pytest.raises(DownloadError, match="no size or hash"):
        pull("m", REPO)


def test_a_repository_without_a_model(hub):
    hub.files["someone/else"] = {"README.md": b"", CONFIG: b"{}"}
    with pytest.raises(CheckpointError, match=r"it lacks weights, or config\.json and weights"):
        pull("m", "someone/else")


def test_a_name_that_no_repository_has(hub):
    with pytest.raises(CheckpointError, match="is no name of a repository"):
        pull("m", "some one/else--")


def test_a_silent_server_times_out():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{port}")
            patch.setattr(hub_module, "SILENCE", 0.1)
            with pytest.raises(DownloadError, match="did not answer within"):
                pull("m", REPO)


def test_no_server(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{port}")
    with pytest.raises(DownloadError, match="cannot be reached"):
        pull("m", REPO)


def test_proxies_of_the_environment(hub, tmp_path):
    code = f"""
import os
os.environ.pop("NO_PROXY", None)
os.environ.update(HF_ENDPOINT="http://hub.invalid", HTTP_PROXY="{hub.url}")
from keshin.core.download import pull
print(pull("m", "{REPO}").size)
"""
    root = str(Path(keshin.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": root},
    )
    assert done.returncode == 0, done.stderr
    assert weights().read_bytes() == DATA
    assert hub.asked(WEIGHTS)  # though nobody knows hub.invalid


@pytest.mark.parametrize("how", ["argument", "environment"])
def test_offline_asks_nobody(hub, monkeypatch, how):
    if how == "environment":
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(DownloadError, match="the network is switched off"):
        pull("m", REPO, offline=how == "argument")
    assert hub.requests == []


# --- the disk ------------------------------------------------------------------------------------


def test_a_disk_without_room(hub, monkeypatch):
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(download.shutil, "disk_usage", lambda _path: usage._replace(free=1000))
    with pytest.raises(DownloadError, match="Make room, or set HF_HUB_CACHE"):
        pull("m", REPO)


def test_a_disk_that_fills_up(hub, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(download.os, "fsync", full)
    with pytest.raises(DownloadError, match="is full"):
        pull("m", REPO)


def test_two_at_once(hub):
    results = []
    threads = [threading.Thread(target=lambda: results.append(pull("m", REPO))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 3
    assert weights().read_bytes() == DATA
    assert len(hub.asked(WEIGHTS)) == 1


# --- which files ---------------------------------------------------------------------------------


def test_choice_of_files():
    split = [
        "open_clip_model.safetensors.index.json",
        "open_clip_model-00001-of-00002.safetensors",
        "open_clip_model-00002-of-00002.safetensors",
    ]
    found = choose([CONFIG, "x.bin", "../evil", "tokenizer.json", *split], None, REPO)
    assert found == [CONFIG, "tokenizer.json", *split[1:], split[0]]
    both = [CONFIG, WEIGHTS, "open_clip_pytorch_model.bin", "config.json", "model.safetensors"]
    assert choose(both, None, REPO) == [CONFIG, WEIGHTS]
    assert choose(both, "transformers", REPO) == ["config.json", "model.safetensors"]


def test_git_hash():
    assert git_sha1(b"hello\n") == "ce013625030ba8dba906f756967f9e9ca394464a"
    assert hashlib.sha256(DATA).hexdigest() == sha256(DATA)
