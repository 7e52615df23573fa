"""How answers are printed: a table for people; CSV, JSON and JSON lines for programs.

A report is begun once, gets each picture as it is done, and is ended once, also when the run is
interrupted: what was done until then is always whole.
"""

from __future__ import annotations

import csv
import io
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TextIO

from keshin.classify import Answer, Classifier, Result
from keshin.core.pictures import Failure

if TYPE_CHECKING:  # rich takes 40 ms to import and is needed for tables only
    from rich.console import Console
    from rich.text import Text

BAR = 12


class Report(Protocol):
    """What the command line needs of a way to print."""

    def begin(self, classifier: Classifier) -> None:
        """Before the first picture."""
        ...

    def add(self, file: str, result: Result | Failure) -> None:
        """One picture, as it is done."""
        ...

    def end(self) -> None:
        """After the last picture, or when interrupted."""
        ...


def _rounded(value: float) -> float:
    """Six significant digits: all that float32 has."""
    return float(f"{value:.6g}")


def _as_json(value: object) -> str:
    """JSON in plain characters; file names that are not text come out escaped."""
    text = json.dumps(value, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        text = json.dumps(value)
    return text


def printable(name: str) -> str:
    """A file name without characters that would move the cursor or are not text."""
    if name.isprintable():
        return name
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in name)


def _entry(file: str, result: Result, rejecting: bool) -> dict[str, Any]:
    answers = [
        {"label": a.label, "score": _rounded(a.score), "cosine": _rounded(a.cosine)}
        for a in result.answers
    ]
    if rejecting:
        return {"file": file, "answer": result.label, "answers": answers}
    return {"file": file, "answers": answers}


@dataclass
class JsonReport:
    """One JSON object; pictures are written as they are done."""

    stream: TextIO
    failed: list[dict[str, str]] = field(default_factory=list)
    rejecting: bool = False
    first: bool = True

    def begin(self, classifier: Classifier) -> None:
        self.rejecting = classifier.rejection.active
        head = {
            "model": classifier.encoder.config.name,
            "labels": list(classifier.names),
            "templates": list(classifier.templates),
        }
        self.stream.write(_as_json(head)[:-1] + ',\n "results": [')

    def add(self, file: str, result: Result | Failure) -> None:
        if isinstance(result, Failure):
            self.failed.append({"file": file, "error": result.error})
            return
        self.stream.write("\n  " if self.first else ",\n  ")
        self.stream.write(_as_json(_entry(file, result, self.rejecting)))
        self.stream.flush()
        self.first = False

    def end(self) -> None:
        self.stream.write('],\n "failed": ' + _as_json(self.failed) + "}\n")


@dataclass
class JsonLinesReport:
    """One JSON object a line: a picture's answers or its error."""

    stream: TextIO
    rejecting: bool = False

    def begin(self, classifier: Classifier) -> None:
        self.rejecting = classifier.rejection.active

    def add(self, file: str, result: Result | Failure) -> None:
        line = (
            {"file": file, "error": result.error}
            if isinstance(result, Failure)
            else _entry(file, result, self.rejecting)
        )
        self.stream.write(_as_json(line) + "\n")
        self.stream.flush()

    def end(self) -> None:
        self.stream.flush()


@dataclass
class CsvReport:
    """One line for each answer, best first; a picture that failed has one line with its error."""

    stream: TextIO

    COLUMNS = ("file", "answer", "rank", "label", "score", "cosine", "error")

    def begin(self, classifier: Classifier) -> None:
        del classifier
        self._write(self.COLUMNS)

    def add(self, file: str, result: Result | Failure) -> None:
        if isinstance(result, Failure):
            self._write((file, "", "", "", "", "", result.error))
        else:
            for rank, a in enumerate(result.answers, start=1):
                values = _rounded(a.score), _rounded(a.cosine)
                self._write((file, result.label, rank, a.label, *values, ""))
        self.stream.flush()

    def end(self) -> None:
        self.stream.flush()

    def _write(self, values: Sequence[object]) -> None:
        line = io.StringIO()
        csv.writer(line, lineterminator="\n").writerow(values)
        self.stream.write(line.getvalue().encode("utf-8", "backslashreplace").decode())


@dataclass
class TableReport:
    """A table for people; errors go to standard error, a line each."""

    stream: TextIO
    errors: TextIO
    rows: list[tuple[str, Result]] = field(default_factory=list)
    failed: list[tuple[str, str]] = field(default_factory=list)

    def begin(self, classifier: Classifier) -> None:
        del classifier

    def add(self, file: str, result: Result | Failure) -> None:
        if isinstance(result, Failure):
            self.failed.append((file, result.error))
        else:
            self.rows.append((file, result))

    def end(self) -> None:
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
        table.add_column("file", overflow="fold")
        table.add_column("label", overflow="fold")
        table.add_column("score", justify="right", no_wrap=True)
        table.add_column("", no_wrap=True)
        table.add_column("cosine", justify="right", no_wrap=True)
        for file, result in self.rows:
            name = printable(file)
            if result.rejected:
                table.add_row(Text(name), Text(result.label, style="bold yellow"))
                name = ""
            for rank, answer in enumerate(result.answers):
                style = "bold" if rank == 0 and not result.rejected else ""
                table.add_row(
                    Text(name if rank == 0 else ""),
                    Text(printable(answer.label), style=style),
                    _percent(answer),
                    Text(_bar(answer.score), style="cyan"),
                    f"{answer.cosine:.3f}",
                )
        if self.rows:
            console(self.stream).print(table)
        for _, error in self.failed:
            self.errors.write(error + "\n")


def _percent(answer: Answer) -> str:
    return f"{100 * answer.score:.1f} %"


def _bar(share: float) -> str:
    """A bar of up to ``BAR`` signs, in eighths of a sign."""
    eighths = round(share * BAR * 8)
    parts = " ▏▎▍▌▋▊▉"
    return ("█" * (eighths // 8) + parts[eighths % 8]).rstrip()


FORMATS: dict[str, Callable[[TextIO], Report]] = {
    "csv": CsvReport,
    "json": JsonReport,
    "jsonl": JsonLinesReport,
}


def _report(form: str, stream: TextIO, errors: TextIO) -> Report:
    """The report of a format, on ``stream``."""
    return TableReport(stream, errors) if form == "table" else FORMATS[form](stream)


@contextmanager
def _output_file(path: Path) -> Iterator[TextIO]:
    """A text file that gets its name when it is whole.

    If the run ends early, what was done stays beside it as ``NAME.partial``, and is named.
    """
    partial = path.with_name(f"{path.name}.partial")
    with partial.open("w", encoding="utf-8", newline="") as stream:
        try:
            yield stream
        except BaseException:
            sys.stderr.write(f"What was done is in '{partial}'.\n")
            raise
        stream.flush()
        os.fsync(stream.fileno())
    partial.replace(path)


@contextmanager
def whole_output(output: Path | None) -> Iterator[TextIO]:
    """Standard output for any text, or a file that gets its name when it is whole."""
    if output is not None:
        with _output_file(output) as stream:
            yield stream
        return
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8", errors="surrogateescape", newline="")
    yield sys.stdout
    sys.stdout.flush()


@contextmanager
def open_report(form: str, output: Path | None) -> Iterator[Report]:
    """A report on standard output or in a file; ends well whatever happens."""
    if output is not None:
        with _output_file(output) as stream:
            yield _report(form, stream, sys.stderr)
        return
    if isinstance(sys.stdout, io.TextIOWrapper):
        if form == "table":
            sys.stdout.reconfigure(errors="replace")
        else:
            sys.stdout.reconfigure(encoding="utf-8", newline="")
    yield _report(form, sys.stdout, sys.stderr)
    sys.stdout.flush()


def print_rows(rows: Sequence[Mapping[str, Any]], stream: TextIO) -> None:
    """Rows with the same keys, as a table."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for name, value in rows[0].items():
        table.add_column(name, justify="right" if isinstance(value, int) else "left")
    for row in rows:
        table.add_row(*map(_shown, row.values()))
    console(stream).print(table)


def print_facts(facts: Mapping[str, Any], stream: TextIO) -> None:
    """Names and values, nested ones with dots in their names."""
    from rich.table import Table

    table = Table.grid(padding=(0, 2, 0, 0))
    for name, value in _flat(facts):
        table.add_row(name, _shown(value))
    console(stream).print(table)


def _flat(facts: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in facts.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        elif isinstance(value, list) and any(" " in str(item) for item in value):  # sentences
            yield from zip([prefix + name, *[""] * (len(value) - 1)], value, strict=True)
        else:
            yield prefix + name, value


def _shown(value: object) -> Text:
    from rich.text import Text

    if isinstance(value, int) and not isinstance(value, bool):
        return Text(f"{value:,}")
    if isinstance(value, list | tuple):
        whole = all(isinstance(item, int) for item in value)
        return Text((" x " if whole else ", ").join(map(str, value)))
    return Text(f"{value:.4g}" if isinstance(value, float) else str(value))


def console(stream: TextIO) -> Console:
    """A screen for people; a pipe has no width."""
    from rich.console import Console

    console = Console(file=stream, highlight=False)
    if not console.is_terminal:
        console.width = 1000  # a pipe has no width: do not cut names
    return console
