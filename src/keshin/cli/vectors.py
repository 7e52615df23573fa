"""Vectors of pictures to a file, record by record: NumPy's npz, Parquet, JSON lines."""

from __future__ import annotations

import json
import os
import shutil
import sys
import zipfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, BinaryIO, Protocol

import numpy as np

from keshin.cli.interrupts import Interrupts
from keshin.cli.walking import Bar, Files
from keshin.encode.embedded import Embedded, embed
from keshin.encode.embeddings import Store
from keshin.encode.encoder import Encoder
from keshin.errors import require

ROWS = 1024
"""In a row group of Parquet."""


class Writer(Protocol):
    """What takes the records of one run."""

    def add(self, item: Embedded) -> None:
        """One picture, as it is done."""
        ...

    def end(self) -> None:
        """After the last one; not after a failure."""
        ...


def run(encoder: Encoder, files: Files, writer: Writer, store: Store | None) -> int:
    """Encode and write; the number of pictures that failed."""
    names = files.names()
    items = embed(encoder, names) if store is None else store.embed(names)
    with Interrupts() as interrupts, closing(items), Bar(files, store) as bar:
        for item in items:
            files.next_name()
            bar.add(failed=item.error is not None)
            with interrupts.held():
                writer.add(item)
    writer.end()
    return bar.failed


@contextmanager
def open_writer(form: str, output: Path | None, encoder: Encoder) -> Iterator[Writer]:
    """A writer of a format; the file gets its name when it is whole, else nothing is left.

    Vectors are kept by the stored embeddings, so a part of the file would serve nobody.
    """
    if output is None:
        yield JsonLines(sys.stdout.buffer)
        return
    require("pyarrow.parquet", extra="eval") if form == "parquet" else None
    partial = output.with_name(f"{output.name}.partial")
    try:
        with partial.open("w+b") as stream:
            yield WRITERS[form](stream, encoder)
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(output)
    finally:
        partial.unlink(missing_ok=True)


@dataclass
class JsonLines:
    """One object a line. File names that are not text come out escaped."""

    stream: BinaryIO
    encoder: Encoder | None = None

    def add(self, item: Embedded) -> None:
        line: dict[str, object] = {"file": item.path}
        if item.vector is None:
            line["error"] = str(item.error)
        else:  # the shortest decimals that give the same float32 again
            line["vector"] = [float(str(value)) for value in item.vector]
        try:
            text = json.dumps(line, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            text = json.dumps(line).encode()
        self.stream.write(text + b"\n")
        self.stream.flush()

    def end(self) -> None:
        self.stream.flush()


@dataclass
class Npz:
    """A zip of arrays that ``numpy.load`` reads without pickle. Vectors wait in a file."""

    stream: BinaryIO
    encoder: Encoder
    files: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def add(self, item: Embedded) -> None:
        if item.vector is None:
            self.failed.append(item.path)
            self.errors.append(str(item.error))
        else:
            self.files.append(item.path)
            self.stream.write(item.vector.astype("<f4").tobytes())

    def end(self) -> None:
        """The vectors are at the start of the file; the zip is built behind and moved there."""
        import tempfile

        shape = (len(self.files), self.encoder.config.embed_dim)
        with tempfile.TemporaryFile(dir=Path(self.stream.name).parent) as raw:
            self.stream.seek(0)
            shutil.copyfileobj(self.stream, raw)
            self.stream.seek(0)
            self.stream.truncate()
            raw.seek(0)
            with zipfile.ZipFile(self.stream, "w", allowZip64=True) as archive:
                with archive.open("vectors.npy", "w", force_zip64=True) as entry:
                    header = {"descr": "<f4", "fortran_order": False, "shape": shape}
                    np.lib.format.write_array_header_2_0(entry, header)
                    shutil.copyfileobj(raw, entry)
                texts = {"files": self.files, "failed": self.failed, "errors": self.errors}
                for name, values in texts.items():
                    _put(archive, name, np.array(values, np.str_))
                _put(archive, "model", np.array(self.encoder.config.name))
                _put(archive, "fingerprint", np.array(self.encoder.fingerprint))


def _put(archive: zipfile.ZipFile, name: str, values: np.ndarray[Any, Any]) -> None:
    with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
        np.lib.format.write_array(entry, values, allow_pickle=False)


@dataclass
class Parquet:
    """Columns file, vector (d float32), error; row groups of ``ROWS``."""

    stream: IO[bytes]
    encoder: Encoder
    rows: list[dict[str, object]] = field(default_factory=list)

    def __post_init__(self) -> None:
        pa = self._pa = require("pyarrow", extra="eval")
        vector = pa.list_(pa.float32(), self.encoder.config.embed_dim)
        facts = {"model": self.encoder.config.name, "fingerprint": self.encoder.fingerprint}
        self._schema = pa.schema(
            [("file", pa.string()), ("vector", vector), ("error", pa.string())], metadata=facts
        )
        parquet = require("pyarrow.parquet", extra="eval")
        self._writer = parquet.ParquetWriter(self.stream, self._schema)

    def add(self, item: Embedded) -> None:
        name = item.path.encode("utf-8", "backslashreplace").decode()  # Parquet holds only text
        error = str(item.error) if item.error is not None else None
        self.rows.append({"file": name, "vector": item.vector, "error": error})
        if len(self.rows) == ROWS:
            self._flush()

    def end(self) -> None:
        self._flush()
        self._writer.close()

    def _flush(self) -> None:
        if self.rows:
            self._writer.write_table(self._pa.Table.from_pylist(self.rows, schema=self._schema))
        self.rows = []


WRITERS: dict[str, Any] = {"jsonl": JsonLines, "npz": Npz, "parquet": Parquet}
