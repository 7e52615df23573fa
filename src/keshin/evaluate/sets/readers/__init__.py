"""Readers of data sets in the formats in which their makers publish them.

A reader is called ``read(folder, split, *, labels, **options)`` and gives ``Labelled`` with its
targets in the order of ``labels``, which are the set's own. The table maps the names in
``facts/datasets.toml`` to readers; another module may add its own to it.
"""

from __future__ import annotations

from collections.abc import Callable

from keshin.evaluate.sets.captioned import Captioned
from keshin.evaluate.sets.kaokore.reader import read_kaokore
from keshin.evaluate.sets.labelled import Labelled
from keshin.evaluate.sets.readers.arrays import read_hdf5, read_idx, read_pixels, read_stl10
from keshin.evaluate.sets.readers.captions import read_captions, read_parquet_captions
from keshin.evaluate.sets.readers.cifar import read_cifar
from keshin.evaluate.sets.readers.folders import read_folder, read_folders
from keshin.evaluate.sets.readers.lists import read_jsonl, read_lists, read_rows
from keshin.evaluate.sets.readers.matlab import read_cars, read_flowers
from keshin.evaluate.sets.readers.scenes import read_clevr, read_ilsvrc, read_kitti, read_voc
from keshin.evaluate.sets.readers.sentences import read_sentences
from keshin.evaluate.sets.readers.tables import read_csv, read_parquet, read_parquet_files
from keshin.evaluate.sets.readers.tars import read_tars

__all__ = [
    "CAPTIONS",
    "READERS",
    "read_captions",
    "read_csv",
    "read_folder",
    "read_parquet",
    "read_parquet_captions",
    "read_parquet_files",
    "read_tars",
]

READERS: dict[str, Callable[..., Labelled]] = {
    "cars": read_cars,
    "cifar": read_cifar,
    "clevr": read_clevr,
    "flowers": read_flowers,
    "folders": read_folders,
    "hdf5": read_hdf5,
    "idx": read_idx,
    "ilsvrc": read_ilsvrc,
    "jsonl": read_jsonl,
    "kaokore": read_kaokore,
    "kitti": read_kitti,
    "lists": read_lists,
    "pixels": read_pixels,
    "rows": read_rows,
    "sentences": read_sentences,
    "stl10": read_stl10,
    "voc": read_voc,
}
CAPTIONS: dict[str, Callable[..., Captioned]] = {"captions": read_captions}
