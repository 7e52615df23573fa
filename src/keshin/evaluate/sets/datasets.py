"""Open a data set by its name, or pictures of people's own by their path.

A known set lies in ``DATA/KEY``, where DATA is what the caller says, ``KESHIN_DATA``, or the folder
``datasets`` in keshin's cache. A path is a folder with one folder per class, a CSV, a Parquet
table or webdataset shards; with ``like`` it is read with the classes, the prompts and the metric
of a known set.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from keshin.classify.labels import Labels
from keshin.core.cache import cache_folder
from keshin.errors import DataError
from keshin.evaluate.sets.captioned import Captioned
from keshin.evaluate.sets.labelled import Labelled
from keshin.evaluate.sets.readers import (
    CAPTIONS,
    READERS,
    read_captions,
    read_csv,
    read_folder,
    read_parquet_captions,
    read_parquet_files,
    read_tars,
)
from keshin.evaluate.sets.readers.own import holds, locate
from keshin.facts import datasets as facts
from keshin.facts import prompts
from keshin.facts.datasets import EITHER, Dataset, Split

Read = TypeVar("Read")


@dataclass(frozen=True, eq=False)
class Opened:
    """Labelled pictures with all that an evaluation needs to know of them."""

    labelled: Labelled
    """Its names are the labels, in the same order."""
    metric: str
    """A key of ``keshin.statistics.metrics.METRICS``."""
    labels: Labels
    templates: tuple[str, ...] | None
    """``None``: each label's default."""
    dataset: Dataset | None
    """The known set, if it is one."""
    split: str
    path: Path
    """Where it lies."""
    notes: tuple[str, ...] = ()
    """What to say beside a result, in sentences: other sizes than the makers', and what the table
    of sets remarks."""

    @property
    def title(self) -> str:
        """What a report calls it."""
        return self.dataset.title if self.dataset else self.path.name


def data_folder(data_dir: str | Path | None = None) -> Path:
    """Where the known sets lie: as given, ``KESHIN_DATA``, or in keshin's cache folder."""
    if data_dir is not None:
        return Path(data_dir).expanduser()
    own = os.environ.get("KESHIN_DATA")
    return Path(own).expanduser() if own else cache_folder() / "datasets"


def open_dataset(
    name_or_path: str | Path,
    split: str = "test",
    *,
    data_dir: str | Path | None = None,
    like: str | None = None,
    image: str = "",
    label: str = "",
) -> Opened:
    """A known set by its key, or pictures by their path.

    ``split``: of a known set ``train``, ``val`` (where it has one) or ``test``; ``test:2`` is the
    second fold of a set with folds. In a folder with folders of such names, the one that is named.
    ``like``: a known set whose classes, prompts and metric the path has. ``image``, ``label``: the
    columns of a table, where they are not named as usual. Raises ``DataError`` with what was
    expected and what is there.
    """
    dataset = facts.find(str(name_or_path)) if _may_be_key(name_or_path) else None
    if dataset is not None and like is None:
        return _known(dataset, data_folder(data_dir) / dataset.place, split)
    path = Path(name_or_path).expanduser()
    if not path.exists():
        if _may_be_key(name_or_path):
            facts.get(str(name_or_path))  # raises, with names that are near
        raise DataError(f"There is no {path}. Give a folder, a table, or a name that keshin knows.")
    model = facts.get(like) if like else None
    if model is not None and _has_layout(model, path, split):
        return _known(model, path, split)
    return _of_people(path, split, model, image, label)


def open_captioned(
    name_or_path: str | Path, split: str = "test", *, data_dir: str | Path | None = None
) -> tuple[Captioned, Dataset | None]:
    """Pictures with captions: a known set for retrieval, or a JSON, text or Parquet file."""
    dataset = facts.find(str(name_or_path)) if _may_be_key(name_or_path) else None
    if dataset is not None:
        return _read(dataset, data_folder(data_dir) / dataset.place, split, CAPTIONS), dataset
    path = Path(name_or_path).expanduser()
    if not path.is_file():
        raise DataError(f"There is no file {path}. Give a list of captions or a known set.")
    if path.suffix.lower() == ".parquet":
        return read_parquet_captions(path, split), None
    return read_captions(path.parent, split, file=path.name), None


def missing(dataset: Dataset, folder: Path, split: str) -> list[str]:
    """What a split needs that is not in the folder of the set."""
    return [name for name in _needs(*dataset.split(split)) if locate(folder, name) is None]


def _known(dataset: Dataset, folder: Path, split: str) -> Opened:
    if dataset.task != "classification":
        raise DataError(f"{dataset.title} has captions, no classes. Open it with open_captioned.")
    found = _read(dataset, folder, split, READERS)
    part, fold = dataset.split(split)
    expected = part.fold_size if fold and part.fold_size else part.size
    notes = list(dataset.notes)
    if len(found) != expected:
        notes.insert(0, f"It has {len(found):,} pictures here; its makers count {expected:,}.")
    return _opened(found, dataset, split, folder, notes)


def _opened(
    found: Labelled, dataset: Dataset, split: str, folder: Path, notes: Sequence[str]
) -> Opened:
    labels = facts.labels(dataset)
    names = dict(zip(labels, facts.class_names(dataset), strict=True))
    return Opened(
        dataclasses.replace(found, names=labels),
        dataset.metric,
        Labels(names),
        prompts.templates(dataset.prompts) if dataset.prompts else None,
        dataset,
        split,
        folder,
        tuple(notes),
    )


def _read(
    dataset: Dataset, folder: Path, split: str, readers: Mapping[str, Callable[..., Read]]
) -> Read:
    """Read a split, or say what is missing and how to get it."""
    part, fold = dataset.split(split)
    lacking = missing(dataset, folder, split)
    if lacking:
        expected = ", ".join(name.replace(EITHER, " or ") for name in lacking)
        raise DataError(
            f"{dataset.title} is not in {folder}: there is no {expected}. {holds(folder)} "
            f"{how_to_get(dataset)}"
        )
    options: dict[str, Any] = _with_fold({**dataset.options, **part.options}, fold or 1)
    if dataset.task == "classification":
        options["labels"] = facts.own_labels(dataset)
    if fold and part.fold_size:
        options["fold"] = fold
    names = (part.reader or dataset.reader).split(EITHER)
    if len(names) == 1:
        return readers[names[0]](folder, split, **options)
    said: list[str] = []
    for name in names:  # the first that finds its layout
        try:
            return readers[name](folder, split, **_accepted(readers[name], options))
        except DataError as error:
            said.append(str(error))
    raise DataError(" ".join(said))


def how_to_get(dataset: Dataset) -> str:
    """A sentence on how to get a set."""
    if dataset.by_hand:
        return dataset.by_hand
    size = dataset.about if dataset.fetcher else facts.bytes_of(dataset.downloads)
    much = f" ({size / 1e9:.1f} GB)" if size else ""
    return f"`keshin eval {dataset.key} --fetch` downloads it{much}."


def _of_people(path: Path, split: str, model: Dataset | None, image: str, label: str) -> Opened:
    """Pictures that no row of the table describes."""
    labels = facts.own_labels(model) if model else ()
    columns: dict[str, Any] = {"labels": labels, "first": _first(model)}
    suffix = path.suffix.lower()
    if path.is_dir():
        found = _folder(path, split, columns, model, image, label)
    elif suffix in (".csv", ".tsv"):
        found = read_csv(path, split, image=image, label=label, **columns)
    elif suffix == ".parquet":
        found = read_parquet_files(path, split, image=image, label=label, **columns)
    elif suffix == ".tar":
        found = read_tars(path, split, label=label, **columns)
    else:
        raise DataError(
            f"{path} is none of what keshin reads: a folder with one folder of pictures per class, "
            "a CSV (.csv, .tsv) of paths and labels, a Parquet table (.parquet), or webdataset "
            "shards (.tar)."
        )
    if not len(found):
        raise DataError(f"{path} has no pictures of the split '{split}'.")
    if model is not None:
        return _opened(found, model, split, path, ())
    names = Labels({name: (name.replace("_", " ").strip() or name,) for name in found.names})
    return Opened(found, "accuracy", names, None, None, split, path)


def _first(model: Dataset | None) -> int | None:
    if model is None:
        return None
    if isinstance(model.labels, str) and model.labels.startswith("from "):
        return int(model.labels.removeprefix("from "))
    return model.first


def _folder(
    path: Path, split: str, columns: dict[str, Any], model: Dataset | None, image: str, label: str
) -> Labelled:
    """A folder of shards, of Parquet files, of folders per class, or of folders per split."""
    inner = path / split
    if _has(path, split, "*.tar"):
        return read_tars(path, split, label=label, **columns)
    if _has_tables(path, split):
        place = inner if any(inner.glob("*.parquet")) else path
        return read_parquet_files(place, split, image=image, label=label, **columns)
    place = inner if _has_folders(inner) else path
    if model is not None:
        return READERS["folders"](place, split, labels=columns["labels"])
    if place == path and _has_folders(path):
        told = {entry.name for entry in path.iterdir() if entry.is_dir()}
        if told <= {"train", "val", "valid", "validation", "test", "dev"}:
            raise DataError(
                f"{path} has the splits {', '.join(sorted(told))}, and none is '{split}'."
            )
    return read_folder(place)


def _has_layout(model: Dataset, path: Path, split: str) -> bool:
    """Whether a folder is the unpacked set itself, not other pictures of its classes."""
    if not path.is_dir() or _has_tables(path, split):
        return False
    return split.partition(":")[0] in model.splits and not missing(model, path, split)


def _has_tables(path: Path, split: str) -> bool:
    return any(_has(path, split, kind) for kind in ("*.tar", "*.parquet", "data/*.parquet"))


def _has(path: Path, split: str, kind: str) -> bool:
    return any(path.glob(kind)) or any((path / split).glob(kind))


def _has_folders(path: Path) -> bool:
    return path.is_dir() and any(
        entry.is_dir() and not entry.name.startswith(".") for entry in path.iterdir()
    )


def _may_be_key(name: str | Path) -> bool:
    """A key of a set, and not a path: a version behind it may have a point."""
    if not isinstance(name, str):
        return False
    key, _, version = name.partition(facts.AT)
    return not any(sign in key for sign in "/\\.") and not any(sign in version for sign in "/\\")


def _needs(part: Split, fold: int) -> list[str]:
    return [name.replace("{fold}", str(fold or 1)) for name in part.needs]


def _with_fold(options: Any, fold: int) -> Any:
    """``{fold}`` in names replaced by its number."""
    if isinstance(options, str):
        return options.replace("{fold}", str(fold))
    if isinstance(options, dict):
        return {key: _with_fold(value, fold) for key, value in options.items()}
    if isinstance(options, list):
        return [_with_fold(value, fold) for value in options]
    return options


def _accepted(reader: Callable[..., Any], options: dict[str, Any]) -> dict[str, Any]:
    """The options that a reader takes, where several readers share a row."""
    code = reader.__code__
    takes = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    return {key: value for key, value in options.items() if key in takes}
