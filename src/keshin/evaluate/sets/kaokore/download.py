"""KaoKore from its holders: the makers' label files, and each picture from the museum that owns it.

The makers left the pictures out of their repository so that the holders can see which are used.
So every user fetches them here, by the official addresses (IIIF), one connection a host. A run
that is interrupted goes on where it was. What a holder no longer has is listed, not asked again.
"""

from __future__ import annotations

import csv
import hashlib
import io
import os
import re
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from keshin.core.pictures import open_picture
from keshin.core.polite import Caller, HostLost, Manners, Stopped, fetch_one
from keshin.core.writing import whole
from keshin.errors import DataError, PictureError
from keshin.evaluate.sets.kaokore.faces import FOLDERS, MARK, Mark, read_faces, read_mark
from keshin.facts import kaokore as facts

GONE, FAILED = "gone.csv", "failed.csv"
COLUMNS = ("file", "url", "reason")
ASKED = re.compile(r"/\d+,\d+,\d+,\d+/(!?)(\d+),(\d*)/0/default\.jpg$")
"""The end of an IIIF address: region, size (``w,``, ``w,h`` or ``!w,h``: at most), rotation,
quality."""

Progress = Callable[[int, int, str], None]
"""Called with the pictures done, those in all, and the host of the last."""


@dataclass(frozen=True)
class Wanted:
    """One picture and where it is."""

    file: str
    url: str

    @property
    def host(self) -> str:
        """Whom to ask."""
        return urlsplit(self.url).netloc


@dataclass
class Summary:
    """How a download ended."""

    version: str
    folder: Path
    wanted: int
    here: int = 0
    """Pictures that were there before and are sound."""
    new: int = 0
    gone: dict[str, str] = field(default_factory=dict)
    """file -> what the server said; not asked again while ``gone.csv`` says so."""
    failed: dict[str, str] = field(default_factory=dict)
    """file -> why it did not come; asked again by the next run."""
    lost: list[str] = field(default_factory=list)
    """Hosts that were left alone, and why."""
    unlisted: int = 0
    """Labelled faces for which the official list has no address."""

    @property
    def complete(self) -> bool:
        """Whether everything is here that still exists."""
        return not self.failed

    def __str__(self) -> str:
        lines = [
            f"KaoKore {self.version} in {self.folder}: {self.here + self.new} of {self.wanted} "
            f"pictures ({self.new} new), {len(self.gone)} gone, {len(self.failed)} failed."
        ]
        if self.unlisted:
            lines.append(f"{self.unlisted} labelled faces have no address in the official list.")
        if self.gone:
            lines.append(f"What the holders no longer have is listed in {GONE}.")
        lines += [f"{why}." for why in self.lost]
        if self.failed:
            lines.append(f"What failed is listed in {FAILED}; the same command goes on.")
        return "\n".join(lines)


def download(
    version: str | facts.Version,
    folder: str | Path,
    *,
    progress: Progress = lambda _done, _all, _host: None,
    manners: Manners | None = None,
    base: str = "",
) -> Summary:
    """Fetch a version of KaoKore into a folder of its own, or go on with it.

    ``base`` replaces the address of the label files in the facts (for tests). Raises
    ``DataError`` if the
    folder holds another version, and ``DownloadError`` if the label files cannot be had.
    """
    chosen = facts.version(version) if isinstance(version, str) else version
    root, manners = Path(folder), manners or Manners()
    _claim(root, chosen)
    for file, digest in chosen.sha256.items():
        _official_file(root / file, _address(chosen, file, base), digest, manners)
    faces = read_faces(root)  # names, labels and tags must belong together
    wanted = list(read_urls((root / facts.URLS).read_text(encoding="utf-8")))
    listed = {f"{FOLDERS[0]}/{item.file}" for item in wanted}
    summary = Summary(chosen.name, root, len(wanted))
    summary.unlisted = sum(face.file not in listed for face in faces.faces)
    if len(wanted) != chosen.images or summary.unlisted != chosen.unlisted:
        raise DataError(
            f"{root / facts.URLS} lists {len(wanted)} pictures, version {chosen.name} has "
            f"{chosen.images}. Delete the file and start again."
        )
    (root / FOLDERS[0]).mkdir(exist_ok=True)
    _Download(root, manners, progress, summary).run(wanted)
    return summary


def read_urls(text: str) -> Iterator[Wanted]:
    """The pictures of a list of addresses: line n (from 0) is picture n, empty lines are no
    picture."""
    for number, line in enumerate(text.splitlines()):
        if line.strip():
            yield Wanted(f"{number:08d}.jpg", line.strip())


def check_picture(url: str) -> Callable[[bytes], None]:
    """A function that raises ``ValueError`` for a body that is not the picture that ``url`` asks
    for."""
    asked = ASKED.search(url)

    def check(body: bytes) -> None:
        try:
            image = open_picture(body)
            image.load()
        except PictureError as error:
            raise ValueError(f"what came is no sound picture ({error})") from error
        if asked is None:
            return
        width, height = image.size
        most, (w, h) = bool(asked[1]), (int(asked[2]), int(asked[3] or 0))
        fits = width <= w and height <= h if most else width == w and height in (h or height,)
        if not fits or min(width, height) < 8:
            raise ValueError(f"the picture is {width} x {height}, which was not asked for")

    return check


class _Download:
    """The pictures of one run: a thread a host, results noted by one thread."""

    def __init__(self, root: Path, manners: Manners, progress: Progress, summary: Summary) -> None:
        self.root, self.manners, self.progress, self.summary = root, manners, progress, summary
        self.stop, self.lock = threading.Event(), threading.Lock()
        self.urls: dict[str, str] = {}

    def run(self, wanted: list[Wanted]) -> None:
        self.urls = {item.file: item.url for item in wanted}
        known = _read_list(self.root / GONE)
        hosts: dict[str, list[Wanted]] = defaultdict(list)
        for item in wanted:
            if known.get(item.file, ("", ""))[0] == item.url:
                self.summary.gone[item.file] = known[item.file][1]
            elif _sound(self.root / FOLDERS[0] / item.file, item.url):
                self.summary.here += 1
            else:
                hosts[item.host].append(item)
        self.progress(self._done(), self.summary.wanted, "")
        pool = ThreadPoolExecutor(max(1, len(hosts)), "kaokore")
        try:
            for work in as_completed([pool.submit(self._host, *entry) for entry in hosts.items()]):
                work.result()
        finally:  # also by Ctrl-C: threads end after the bytes they wait for
            self.stop.set()
            pool.shutdown(wait=True, cancel_futures=True)
            self._write_lists()

    def _host(self, host: str, items: list[Wanted]) -> None:
        left = iter(items)
        try:
            with Caller(host, self.manners, self.stop) as caller:
                for item in left:
                    self._one(caller, item)
        except Stopped:
            return
        except HostLost as lost:
            with self.lock:
                self.summary.lost.append(str(lost))
                here = {*self.summary.gone, *self.summary.failed}
                for item in items:
                    if item.file not in here and not self._path(item).is_file():
                        self.summary.failed[item.file] = str(lost)
        except OSError:
            self.stop.set()  # a full disk is not of one host
            raise

    def _one(self, caller: Caller, item: Wanted) -> None:
        found = caller.fetch(item.url, check_picture(item.url))
        if found.body is not None:
            with whole(self._path(item)) as scratch:  # not flushed: the next run looks at each anew
                scratch.write_bytes(found.body)
        with self.lock:
            if found.body is not None:
                self.summary.new += 1
            elif found.gone:
                self.summary.gone[item.file] = found.reason
                self._write_lists()
            else:
                self.summary.failed[item.file] = found.reason
            self.progress(self._done(), self.summary.wanted, item.host)

    def _path(self, item: Wanted) -> Path:
        return self.root / FOLDERS[0] / item.file

    def _done(self) -> int:
        found = self.summary
        return found.here + found.new + len(found.gone) + len(found.failed)

    def _write_lists(self) -> None:
        for name, entries in ((GONE, self.summary.gone), (FAILED, self.summary.failed)):
            _write_list(self.root / name, [(f, self.urls[f], why) for f, why in entries.items()])


def _claim(root: Path, version: facts.Version) -> None:
    """Note the version in the folder. Raises ``DataError`` if it holds another."""
    mark, wanted = read_mark(root), Mark(version.name, facts.facts().commit)
    if mark is not None and mark.version != version.name:
        raise DataError(
            f"{root} holds version {mark.version} of KaoKore. Names are renumbered between "
            f"versions: "
            f"fetch version {version.name} into a folder of its own."
        )
    if mark is None and any((root / name).is_dir() for name in FOLDERS):
        raise DataError(
            f"{root} has pictures, and nothing says of which version (no {MARK}). Fetch into an "
            "empty folder."
        )
    root.mkdir(parents=True, exist_ok=True)
    _write(root / MARK, msgspec.json.encode(wanted))


def _official_file(path: Path, url: str, digest: str, manners: Manners) -> None:
    def check(body: bytes) -> None:
        if hashlib.sha256(body).hexdigest() != digest:
            raise ValueError(f"what came is not the official {path.name}: its SHA-256 is another")

    if path.is_file():
        try:
            check(path.read_bytes())
        except ValueError:
            pass
        else:
            return
    _write(path, fetch_one(url, check, manners))


def _address(version: facts.Version, file: str, base: str) -> str:
    if base:
        return f"{base}/{version.folder}/{file}"
    return facts.facts().address(version, file)


def _sound(path: Path, url: str) -> bool:
    try:
        check_picture(url)(path.read_bytes())
    except (OSError, ValueError):
        return False
    return True


def _write(path: Path, data: bytes) -> None:
    with whole(path) as scratch, scratch.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _write_list(path: Path, rows: Iterable[tuple[str, str, str]]) -> None:
    ordered = sorted(rows)
    if not ordered:
        path.unlink(missing_ok=True)
        return
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([COLUMNS, *ordered])
    _write(path, text.getvalue().encode())


def _read_list(path: Path) -> dict[str, tuple[str, str]]:
    """file -> (url, reason); empty where there is no list."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return {row["file"]: (row["url"], row["reason"]) for row in csv.DictReader(file)}
    except (OSError, KeyError, UnicodeDecodeError):
        return {}
