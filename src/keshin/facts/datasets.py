"""The data sets that keshin knows (``datasets.toml``): the paper's 27, then others.

What a row says is checked against the paper's Table 9 by a test. Nothing here touches the disk
beside the package's own tables; ``keshin.evaluate.sets.datasets`` opens what a row describes.
"""

from __future__ import annotations

import difflib
import json
import re
import tomllib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from keshin.errors import DataError
from keshin.facts import prompts

TABLE = Path(__file__).with_name("datasets.toml")
IMAGENET = Path(__file__).with_name("imagenet.json")
EITHER = "|"
"""Between names of which the first that is there counts."""
AT = "@"
"""Between the key of a set and a version of it."""

Count = Annotated[int, msgspec.Meta(gt=0)]
Md5 = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{32}$")]
Sha256 = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
Metric = Literal[
    "accuracy", "mean per class", "11-point mAP", "ROC AUC", "mean(top1, top5)", "recall"
]


class Table9(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the paper prints of a set."""

    classes: Count
    train: Count
    test: Count


class Download(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One file that a set consists of."""

    url: str
    origin: str = msgspec.field(name="from")
    """Who publishes the size and the hash: a key of ``sources()``."""
    size: Count | None = None
    """Bytes, where an exact number is published."""
    about: Count | None = None
    md5: Md5 | None = None
    sha256: Sha256 | None = None
    into: str = "."
    """The folder, below the set's own, in which it is unpacked."""
    inner: tuple[str, ...] = ()
    """Archives within the archive that are unpacked too."""
    keep: bool = False
    """Whether it stays as it is, since its reader unpacks it."""
    splits: tuple[str, ...] = ()
    """The splits that need it; none named: all of them."""

    @property
    def name(self) -> str:
        """What the file is called."""
        return self.url.partition("?")[0].rpartition("/")[2]

    @property
    def digest(self) -> str | None:
        """The published hash: 64 hexadecimal signs of SHA-256, 32 of MD5, or nothing."""
        return self.sha256 or self.md5


class Split(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One part of a set."""

    size: Count
    """Pictures in it, of one without folds."""
    needs: tuple[str, ...] = ()
    """What must be there, below the set's folder."""
    fold_size: Count | None = None
    """Pictures of one fold, where the split as a whole is larger."""
    reader: str | None = None
    options: dict[str, Any] = {}
    beyond_paper: bool = False
    """Whether the paper has no such split."""


class Dataset(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One data set."""

    key: str
    """What it is called; of another version than the row's own, ``KEY@VERSION``."""
    title: str
    metric: Metric
    task: Literal["classification", "retrieval"] = "classification"
    classes: int = 0
    prompts: str | None = None
    """The set of templates and of class names in ``keshin.facts.prompts``."""
    names: tuple[str, ...] = ()
    """Class names, where the prompts' are not meant."""
    subset: str | None = None
    """Which of ImageNet's classes it has, in ``imagenet.json``."""
    labels: Literal["names", "from 0", "from 1", "wnids"] | tuple[str, ...] = "names"
    """What the set itself calls its classes, in the order of the prompts."""
    first: int | None = None
    """Number of the first class, where tables number the classes in the order of the prompts."""
    table9: Table9 | None = None
    source: str
    licence: str
    reader: str
    """A key of ``evaluate.sets.readers.READERS``; several, where the first that fits counts."""
    options: dict[str, Any] = {}
    splits: dict[str, Split]
    folds: Count = 1
    """Published folds, over which the paper takes the mean."""
    extra: str | None = None
    """The extra of keshin that its reader needs."""
    downloads: tuple[Download, ...] = ()
    fetcher: str | None = None
    """A key of ``evaluate.sets.fetchers.FETCHERS``, where its pictures come one by one."""
    about: Count | None = None
    """Bytes of them all, rounded."""
    by_hand: str | None = None
    """How to get it, where keshin does not fetch it."""
    folder: str | None = None
    """Where it lies below the data folder, if several rows ask of the same pictures."""
    version: str = ""
    """The published version that ``splits`` describes, which its reader demands."""
    versions: dict[str, dict[str, Count]] = {}
    """The other versions: split -> pictures."""
    sizes_from: str | None = None
    """Who says how many pictures there are: a key of ``sources()``; none: nobody was asked."""
    licence_from: str | None = None
    notes: tuple[str, ...] = ()

    @property
    def place(self) -> str:
        """The set's folder, below the data folder; each version has its own."""
        name = self.folder or self.key.partition(AT)[0]
        return f"{name}-{self.version}" if self.version else name

    def at(self, version: str) -> Dataset:
        """The same set in another published version. Raises ``DataError``."""
        if version == self.version:
            return self
        if version not in self.versions:
            known = ", ".join(sorted({self.version, *self.versions} - {""})) or "none"
            raise DataError(f"{self.title} has no version '{version}'. There are: {known}.")
        sizes = self.versions[version]
        return msgspec.structs.replace(
            self,
            key=f"{self.key.partition(AT)[0]}{AT}{version}",
            version=version,
            about=None,
            options={**self.options, "version": version},
            splits={
                name: msgspec.structs.replace(part, size=sizes[name])
                for name, part in self.splits.items()
            },
        )

    def downloads_of(self, splits: Sequence[str]) -> tuple[Download, ...]:
        """The files that these splits need. Raises ``DataError`` for one that is not there."""
        for name in splits:
            self.split(name)
        plain_names = {name.partition(":")[0] for name in splits}
        return tuple(
            entry for entry in self.downloads if not entry.splits or plain_names & {*entry.splits}
        )

    def split(self, name: str) -> tuple[Split, int]:
        """A split and the fold meant by ``test`` or ``test:2``. Raises ``DataError``.

        The fold is 0 where none is named.
        """
        plain, _, fold = name.partition(":")
        if plain not in self.splits:
            raise DataError(
                f"{self.title} has no split '{plain}'. It has: {', '.join(self.splits)}."
            )
        if fold and not (fold.isdigit() and 1 <= int(fold) <= self.folds and self.folds > 1):
            has = f"folds 1 to {self.folds}" if self.folds > 1 else "no folds"
            raise DataError(f"'{name}' names the fold '{fold}', but {self.title} has {has}.")
        return self.splits[plain], int(fold or 0)


@cache
def all_datasets() -> Mapping[str, Dataset]:
    """All rows by key, in the order of the table: the paper's 27 first."""
    table = _table()["datasets"]
    return {key: msgspec.convert({"key": key, **row}, Dataset) for key, row in table.items()}


def paper_datasets() -> tuple[Dataset, ...]:
    """The 27 of the paper, in the order of its Table 9."""
    return tuple(row for row in all_datasets().values() if row.table9 is not None)


def sources() -> Mapping[str, str]:
    """Where sizes, hashes and terms come from, by the words in ``Download.origin``,
    ``Dataset.sizes_from`` and ``Dataset.licence_from``."""
    found: dict[str, str] = _table()["sources"]
    return found


def find(key: str) -> Dataset | None:
    """The set meant by a key or a title, or ``None``. Case and signs do not matter.

    ``KEY@VERSION`` means a published version of it.
    """
    name, _, version = key.partition(AT)
    found = _index().get(plain(name))
    if found is None or not version:
        return found
    return found.at(version) if version in {found.version, *found.versions} else None


def get(key: str) -> Dataset:
    """The same. Raises ``DataError`` that names what is near."""
    found = find(key)
    if found is None:
        name, _, version = key.partition(AT)
        if (row := find(name)) is not None:
            return row.at(version)
        close = difflib.get_close_matches(key.lower(), all_datasets(), n=3)
        hint = f"Did you mean {' or '.join(close)}? " if close else ""
        raise DataError(
            f"keshin knows no data set '{key}'. {hint}Known are: {', '.join(all_datasets())}."
        )
    return found


def class_names(dataset: Dataset) -> tuple[tuple[str, ...], ...]:
    """The classes in order, each with the names that prompts say, the first one leading."""
    if dataset.names:
        return tuple((name,) for name in dataset.names)
    if dataset.prompts is None:
        return ()
    names = prompts.class_names(dataset.prompts)
    return tuple(names[place] for place in _subset(dataset, len(names)))


def labels(dataset: Dataset) -> tuple[str, ...]:
    """The classes in order, each under a label of its own: the leading name, with the set's own
    label behind it where two classes have the same name."""
    names = [group[0] for group in class_names(dataset)]
    times = Counter(names)
    return tuple(
        f"{name} ({own})" if times[name] > 1 else name
        for name, own in zip(names, own_labels(dataset), strict=True)
    )


def own_labels(dataset: Dataset) -> tuple[str, ...]:
    """What the set itself calls its classes, in the same order."""
    rule = dataset.labels
    if isinstance(rule, tuple):
        return rule
    if rule == "wnids":
        wnids: list[str] = _imagenet()["wnids"]
        return tuple(wnids[place] for place in _subset(dataset, len(wnids)))
    if rule == "names":
        return tuple(group[0] for group in class_names(dataset))
    first = int(rule.removeprefix("from "))
    return tuple(str(number) for number in range(first, first + dataset.classes))


def bytes_of(downloads: Iterable[Download]) -> int | None:
    """Bytes of files, rounded where only rounded ones are published; ``None`` where not even that
    is."""
    total = 0
    for download in downloads:
        size = download.size or download.about
        if size is None:
            return None
        total += size
    return total


def plain(name: str) -> str:
    """A label without case, signs and leading zeros, by which labels are compared."""
    bare = "".join(sign for sign in name.casefold() if sign.isalnum())
    return str(int(bare)) if re.fullmatch("[0-9]+", bare) else bare


def _subset(dataset: Dataset, count: int) -> list[int]:
    if dataset.subset is None:
        return list(range(count))
    places: list[int] = _imagenet()["subsets"][dataset.subset]
    return places


@cache
def _imagenet() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(IMAGENET.read_text(encoding="utf-8"))
    return found


@cache
def _table() -> dict[str, Any]:
    return tomllib.loads(TABLE.read_text(encoding="utf-8"))


@cache
def _index() -> Mapping[str, Dataset]:
    found: dict[str, Dataset] = {}
    for row in all_datasets().values():
        for spelling in (row.key, row.title):
            found.setdefault(plain(spelling), row)
    return found
