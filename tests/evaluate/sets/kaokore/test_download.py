"""The downloader against a server that is slow, fails, forgets, cuts and lies."""

import itertools
import json
import threading
import time

import pytest

import keshin.evaluate.sets.kaokore.download as module
from kaokore_faces import SIZE, Holder, jpeg, official_files, plan, serve, version_of
from keshin.core.polite import Manners
from keshin.errors import DataError, DownloadError
from keshin.evaluate.sets.kaokore.download import GONE, Summary, check_picture, download, read_urls
from keshin.evaluate.sets.kaokore.faces import MARK, read_faces
from keshin.facts import kaokore as facts

QUICK = Manners(pause=0.0, waits=(0.0, 0.0), silence=2.0, longest=2.0)
SOME = [entry for entry in plan() if entry[0] < 40]
ALL = len(SOME) - 1


@pytest.fixture(scope="module")
def standing():
    with serve() as holder:
        yield holder


@pytest.fixture
def holder(standing):
    standing.faults, standing.requests = {}, []
    standing.files = official_files(standing.url, SOME)
    return standing


def fetch(holder: Holder, folder, manners=QUICK, **options) -> Summary:
    return download(version_of(holder.files), folder, manners=manners, base=holder.url, **options)


def test_fetches_all_and_nothing_twice(holder, tmp_path):
    seen = []
    summary = fetch(holder, tmp_path / "k", progress=lambda *of: seen.append(of))
    assert (summary.new, summary.here, summary.gone, summary.failed) == (ALL, 0, {}, {})
    assert summary.complete
    assert seen[0] == (0, ALL, "")
    assert seen[-1][:2] == (ALL, ALL)
    assert len(read_faces(tmp_path / "k").rows("train")) > 10
    assert json.loads((tmp_path / "k" / MARK).read_text())["version"] == "1.0"
    assert all("keshin" in agent for _, _, agent in holder.requests)
    assert holder.most_open == 1
    holder.requests.clear()
    again = fetch(holder, tmp_path / "k")
    assert (again.new, again.here) == (0, ALL)
    assert holder.requests == []
    assert not list((tmp_path / "k").rglob("*.tmp"))


def test_goes_on_where_it_was_and_mends_what_is_damaged(holder, tmp_path):
    fetch(holder, tmp_path)
    pictures = tmp_path / "images_256"
    (pictures / "00000001.jpg").unlink()
    (pictures / "00000002.jpg").write_bytes((pictures / "00000002.jpg").read_bytes()[:400])
    (pictures / "00000003.jpg").write_bytes(b"<html>Please log in</html>")
    holder.requests.clear()
    summary = fetch(holder, tmp_path)
    assert sorted(holder.numbers()) == [1, 2, 3]
    assert (summary.new, summary.here) == (3, ALL - 3)


def test_what_is_gone_is_listed_and_not_asked_again(holder, tmp_path):
    holder.faults = {7: [(404, {}, b"")], 8: [(410, {}, b"")]}
    summary = fetch(holder, tmp_path)
    assert set(summary.gone) == {"00000007.jpg", "00000008.jpg"}
    assert summary.complete
    assert "2 gone" in str(summary)
    assert "410" in (tmp_path / GONE).read_text()
    holder.faults = {}
    holder.requests.clear()
    assert set(fetch(holder, tmp_path).gone) == set(summary.gone)
    assert holder.numbers() == []
    (tmp_path / GONE).unlink()
    assert fetch(holder, tmp_path).new == 2


def cut(handler, body):
    handler.say(200, {}, body[: len(body) // 2], length=len(body))
    handler.close_connection = True


def half(handler, body):
    handler.say(200, {}, body[: len(body) // 2])


@pytest.mark.parametrize(
    "fault",
    [
        (503, {}, b""),
        (429, {"Retry-After": "0"}, b""),
        (200, {}, b"<html>we are sorry</html>"),
        (200, {}, b""),
        (200, {}, jpeg((1, 1, 1), (SIZE + 1, SIZE))),
        (200, {}, jpeg((1, 1, 1), (1, 1))),
        cut,
        half,
    ],
    ids=["503", "429", "page", "empty", "other size", "one pixel", "cut", "half"],
)
def test_what_fails_once_comes_with_the_next_attempt(holder, tmp_path, fault):
    holder.faults = {9: [fault, None]}
    summary = fetch(holder, tmp_path)
    assert (summary.new, summary.failed) == (ALL, {})
    assert holder.numbers().count(9) == 2


def test_what_keeps_failing_is_listed_and_asked_again_by_the_next_run(holder, tmp_path):
    holder.faults = {9: [(200, {}, b"no picture")], 11: [(400, {}, b"")]}
    summary = fetch(holder, tmp_path)
    assert set(summary.failed) == {"00000009.jpg", "00000011.jpg"}
    assert not summary.complete
    assert holder.numbers().count(9) == 3
    assert not (tmp_path / "images_256" / "00000009.jpg").exists()
    assert "400" in (tmp_path / "failed.csv").read_text()
    holder.faults = {}
    assert fetch(holder, tmp_path).new == 2
    assert not (tmp_path / "failed.csv").exists()


def test_retry_after_is_honoured(holder, tmp_path):
    holder.faults = {9: [(429, {"Retry-After": "0.4"}, b""), None]}
    fetch(holder, tmp_path)
    times = [t for t, path, _ in holder.requests if "/9,2,90,90/" in path]
    assert times[1] - times[0] >= 0.4


def test_a_host_that_asks_for_more_is_left_alone(holder, tmp_path):
    holder.faults = {9: [(503, {"Retry-After": "86400"}, b"")]}
    began = time.monotonic()
    summary = fetch(holder, tmp_path)
    assert time.monotonic() - began < 20
    assert "86400 seconds" in summary.lost[0]
    assert len(summary.failed) + summary.new == ALL
    assert len(summary.failed) > 10
    assert holder.numbers()[-1] == 9


def test_a_host_that_fails_and_fails_is_left_alone(holder, tmp_path):
    holder.faults = {number: [(500, {}, b"")] for number in range(20, 40)}
    summary = fetch(holder, tmp_path)
    assert "5 times in a row" in summary.lost[0]
    assert len(holder.numbers()) < 19 + 5 * 3 + 1
    assert len(summary.failed) + summary.new == ALL


def test_one_that_refuses_is_not_asked_again(holder, tmp_path):
    holder.faults = {0: [(403, {}, b"")]}
    summary = fetch(holder, tmp_path)
    assert "refuses (403)" in summary.lost[0]
    assert holder.numbers() == [0]


def drip(handler, body):
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    for byte in body:
        handler.wfile.write(bytes([byte]))
        handler.wfile.flush()
        time.sleep(0.05)


def test_a_server_that_drips_does_not_hold_the_run(holder, tmp_path):
    holder.faults = {9: [drip]}
    manners = Manners(pause=0.0, waits=(), silence=2.0, longest=0.3)
    summary = fetch(holder, tmp_path, manners)
    assert "longer than" in summary.failed["00000009.jpg"]
    assert summary.new == ALL - 1


def test_there_is_a_pause_between_requests(holder, tmp_path):
    holder.faults = {number: [(403, {}, b"")] for number in (4,)}
    fetch(holder, tmp_path, Manners(pause=0.1, waits=()))
    times = [t for t, path, _ in holder.requests if ".tif/" in path]
    assert all(later - earlier >= 0.1 for earlier, later in itertools.pairwise(times))


def test_an_interrupt_keeps_what_came_and_the_lists(holder, tmp_path):
    holder.faults = {7: [(404, {}, b"")]}

    def stop(done, total, host):
        if done == 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch(holder, tmp_path, progress=stop)
    assert "00000007.jpg" in (tmp_path / GONE).read_text()
    assert len(list((tmp_path / "images_256").glob("*.jpg"))) >= 18
    assert not [t for t in threading.enumerate() if t.name.startswith("kaokore")]
    summary = fetch(holder, tmp_path)
    assert summary.here + summary.new + len(summary.gone) == ALL


def test_a_full_disk_ends_the_run(holder, tmp_path, monkeypatch):
    whole = module.whole

    def full(path):
        if path.name == "00000030.jpg":
            raise OSError(28, "No space left on device", str(path))
        return whole(path)

    monkeypatch.setattr(module, "whole", full)
    with pytest.raises(OSError, match="No space"):
        fetch(holder, tmp_path)
    assert max(holder.numbers()) == 30


def test_label_files_that_lie_are_refused(holder, tmp_path):
    holder.faults = {facts.LABELS: [(200, {}, b"image,gender,status,set\n")]}
    with pytest.raises(DownloadError, match=r"not the official labels\.csv"):
        fetch(holder, tmp_path)
    assert not (tmp_path / facts.LABELS).exists()
    assert holder.numbers() == []


def test_no_version_is_put_into_anothers_folder(holder, tmp_path):
    fetch(holder, tmp_path)
    with pytest.raises(DataError, match=r"holds version 1\.0 .* into a folder of its own"):
        download(version_of(holder.files, "1.3"), tmp_path, manners=QUICK, base=holder.url)
    (tmp_path / MARK).write_text("{")
    with pytest.raises(DataError, match="damaged"):
        fetch(holder, tmp_path)
    (tmp_path / MARK).unlink()
    with pytest.raises(DataError, match="nothing says of which version"):
        fetch(holder, tmp_path)


def test_labels_and_tags_of_two_versions_are_refused(holder, tmp_path):
    other = official_files(holder.url, [(n, w, (s + 1) % 4, g, p) for n, w, s, g, p in SOME])
    holder.files = {**holder.files, facts.TAGS: other[facts.TAGS]}
    with pytest.raises(DataError, match="different versions"):
        fetch(holder, tmp_path)
    assert holder.numbers() == []


def test_addresses_number_the_pictures_by_line():
    found = list(read_urls("http://a/x\n\nhttps://b/y\n"))
    assert [(item.file, item.host) for item in found] == [
        ("00000000.jpg", "a"),
        ("00000002.jpg", "b"),
    ]


@pytest.mark.parametrize(
    ("size", "shape", "right"),
    [
        ("256,", (256, 300), True),
        ("256,", (255, 256), False),
        ("256,256", (256, 256), True),
        ("256,256", (256, 255), False),
        ("!200,200", (200, 200), True),
        ("!200,200", (120, 120), True),
        ("!200,200", (201, 200), False),
    ],
)
def test_the_size_is_what_was_asked_for(size, shape, right):
    check = check_picture(f"https://x/a.tif/1,2,3,4/{size}/0/default.jpg")
    if right:
        check(jpeg((9, 9, 9), shape))
    else:
        with pytest.raises(ValueError, match="not asked for"):
            check(jpeg((9, 9, 9), shape))


def test_every_official_version_is_stated():
    for version in facts.facts().versions:
        assert sum(version.splits.values()) == sum(version.status.values())
        address = facts.facts().address(version, facts.URLS)
        assert address.startswith("https://raw.githubusercontent.com/rois-codh/kaokore/2a12178")
        assert address.endswith(f"/{version.folder}/urls.txt")
    with pytest.raises(DataError, match=r"no version '2'.*1\.0, 1\.1, 1\.2, 1\.3"):
        facts.version("2")
