"""What the command ``human`` does: a study made or found again, its page, its report."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import click

from keshin.classify.labels import SEPARATORS
from keshin.core.writing import whole
from keshin.errors import DataError, require
from keshin.evaluate.human import (
    Source,
    Study,
    ask_model,
    load_study,
    open_answers,
    open_source,
    plan,
    read_answers,
    reopened,
    save_study,
    summarise,
)
from keshin.evaluate.human.model_answers import ModelAnswers
from keshin.evaluate.human.report import MEASURES, Report, Round
from keshin.evaluate.human.scoring import Row
from keshin.evaluate.human.study import FILE
from keshin.facts.human import PaperRow

SPLIT, QUESTIONS, SEED = "test", 100, 0


@dataclass(frozen=True)
class Wanted:
    """A study as the options describe it; None: not said."""

    source: str
    folder: Path | None
    people: str | None = None
    shots: str | None = None
    questions: int | None = None
    seed: int | None = None
    order: Literal["own", "same"] | None = None
    split: str | None = None

    def found(self) -> tuple[Study, Source, Path]:
        """The study, made if it is not there yet. Raises ``DataError``, ``click.UsageError``."""
        given = Path(self.source)
        if (given / FILE).is_file():
            folder = given
        else:
            folder = self.folder or Path(f"{self._name()}.study")
            if not (folder / FILE).is_file():
                return self._made(folder)
        study = load_study(folder)
        self._agrees(study, folder)
        return study, reopened(study), folder

    def _name(self) -> str:
        return re.sub(r"[^\w.-]+", "-", Path(self.source).resolve().name) or "people"

    def _made(self, folder: Path) -> tuple[Study, Source, Path]:
        shows = max(self._rounds(), default=0) > 0
        source = open_source(self.source, self.split or SPLIT, with_examples=shows)
        if folder.exists() and any(folder.iterdir()):
            raise DataError(f"{folder} is not empty and holds no study. Name another with --study.")
        study, notes = plan(
            source,
            source.origin,
            questions=QUESTIONS if self.questions is None else self.questions,
            rounds=self._rounds() or (0,),
            seed=SEED if self.seed is None else self.seed,
            order=self.order or "own",
            people=self._people(),
            progress=_progress("Pictures read"),
        )
        save_study(study, folder)
        for note in notes:
            click.echo(f"Left out: {note}", err=True)
        return study, source, folder

    def _rounds(self) -> tuple[int, ...]:
        parts = re.split(r"[,\s]+", (self.shots or "").strip())
        if self.shots is not None and not all(part in ("0", "1", "2") for part in parts):
            raise click.UsageError("--shots takes 0, 1 and 2, or several of them as 0,1,2.")
        return tuple(sorted({int(part) for part in parts if part}))

    def _people(self) -> tuple[str, ...]:
        parts = re.split(f"[{SEPARATORS}]", self.people or "")
        return tuple(part.strip() for part in parts if part.strip())

    def _agrees(self, study: Study, folder: Path) -> None:
        """What is said again must be what the study was made with."""
        said: dict[str, tuple[Any, Any]] = {
            "shots": (self._rounds() or None, study.rounds),
            "people": (self._people() or None, study.people),
            "seed": (self.seed, study.seed),
            "order": (self.order, study.order),
            "split": (self.split, study.split),
        }
        if self.questions is not None and self.questions:
            said["questions"] = (self.questions, len(study.questions))
        for name, (wish, is_) in said.items():
            if wish is not None and wish != is_:
                shown = ", ".join(map(str, is_)) if isinstance(is_, tuple) else str(is_)
                how = f"with --{name} {shown}" if shown else f"without --{name}"
                raise DataError(
                    f"The study in {folder} was made {how}, and "
                    "what people answered belongs to it. For other settings name another folder "
                    "with --study."
                )


def run_page(
    wanted: Wanted,
    *,
    model: str | None,
    mode: str,
    threads: int | None,
    host: str,
    port: int,
    browse: bool,
    language: str | None = None,
) -> None:
    """Serve a study's page until Ctrl-C."""
    require("starlette", extra="serve")
    from keshin.serve.human import Page
    from keshin.serve.running import is_loopback, place_for, serve

    study, source, folder = wanted.found()

    def asked() -> ModelAnswers | None:
        return _asked(study, folder, source, model, mode, threads)

    def ready(address: str) -> None:
        rounds = ", ".join(map(str, study.rounds))
        click.echo(f"{study.title}: {len(study.questions)} pictures, {len(study.names)} classes, "
                   f"rounds with {rounds} examples.", err=True)  # fmt: skip
        if not is_loopback(host):
            click.echo(
                "Whoever has this address may answer. It changes with every start, and is sent "
                "unencrypted: use it in a network that you trust.",
                err=True,
            )
        click.echo(address)
        sys.stdout.flush()
        click.echo("Ctrl-C ends the page; answers stay.", err=True)
        if browse:
            click.launch(address)

    with open_answers(folder, study) as answers:
        with suppress(KeyboardInterrupt):  # the usual way to end
            page = Page(answers, source, asked, language=language)
            serve(page.app(), place_for(host, port), ready)
        done = sum(sitting.answered for sitting in answers.sittings)
    click.echo(
        f"\nStopped. {done} answers are in {folder}. Go on with: keshin human {folder}\n"
        f"Compare with: keshin human report {folder}",
        err=True,
    )


def print_report(
    folder: Path,
    *,
    model: str | None,
    mode: str,
    threads: int | None,
    html: Path | None,
    form: str,
    partial: bool,
    language: str,
) -> None:
    """Compare and print; with ``html`` write the page too."""
    study = load_study(folder)
    sittings = read_answers(folder, study)
    summarise(study, sittings, partial=partial)  # says so before the model is asked for nothing
    said = _asked(study, folder, None, model, mode, threads)
    found = summarise(study, sittings, said, partial=partial)
    if html is not None:
        from keshin.evaluate.human.page import to_html

        with whole(html) as scratch:
            scratch.write_text(to_html(found, language=language), encoding="utf-8")
        click.echo(f"The report is in {html}.", err=True)
    if form == "json":
        click.echo(found.to_json())
    elif form == "csv":
        click.echo(found.to_csv(), nl=False)
    else:
        _print_table(found)


def _asked(
    study: Study,
    folder: Path,
    source: Source | None,
    name: str | None,
    mode: str,
    threads: int | None,
) -> ModelAnswers | None:
    if name is None:
        return None
    from keshin import api

    model = api.load(name, mode=mode, threads=threads, prepack=False)
    return ask_model(model, study, folder, source=source, progress=_progress(f"{name} asked"))


def _progress(what: str) -> Callable[[int, int], None] | None:
    """A line that counts, on a terminal only."""
    if not sys.stderr.isatty():
        return None

    def show(done: int, wanted: int) -> None:
        click.echo(f"\r{what}: {done} of {wanted}", err=True, nl=done >= wanted)

    return show


def _print_table(found: Report) -> None:
    from keshin.cli.reports import print_facts, print_rows

    print_rows(
        [_row(f"{r.name} {who}", row) for r in found.rounds for who, row in _sides(found, r)]
        + [_paper(row) for row in found.paper.rows],
        sys.stdout,
    )
    for r in found.rounds:
        click.echo(f"\n{r.name}")
        facts: dict[str, Any] = {
            person.name: f"{_said(person.accuracy)}, on guesses "
            f"{_said(person.accuracy_on_guesses)}, don't know {100 * person.dont_know:.0f} %, "
            f"{person.median_seconds:.1f} s"
            for person in r.people
        }
        a = r.agreement
        if a.value == a.value:
            facts["agreement (Krippendorff)"] = f"{a.value:.2f} [{a.low:.2f}, {a.high:.2f}]"
        if r.difference is not None:
            d = r.difference
            facts["model less majority"] = (
                f"{100 * d.value:+.1f} [{100 * d.low:+.1f}, {100 * d.high:+.1f}] points, McNemar "
                f"p = {d.p:.2g}: {d.verdict}"
            )
        if r.correlation is not None:
            c = r.correlation
            facts["difficulty, people and model"] = (
                f"Spearman {c.value:.2f} [{c.low:.2f}, {c.high:.2f}] over {c.count} classes"
            )
        print_facts(facts, sys.stdout)
    click.echo("\nEach class, the hardest first")
    print_rows(_classes(found), sys.stdout)
    for change in found.changes:
        click.echo(
            f"\nFrom {change.shots} to {change.next_shots} examples: {100 * change.gain:+.1f} "
            f"points of all answers, {100 * change.gain_from_dont_know:+.1f} of them from "
            '"I don\'t know".'
        )
    click.echo()
    for note in found.notes:
        click.echo(note)


def _sides(found: Report, r: Round) -> list[tuple[str, Row]]:
    sides = [("human", r.human)]
    return [*sides, (f"({found.model}, same answers)", r.model)] if r.model else sides


def _row(name: str, row: Row) -> dict[str, str]:
    return {"": name, **{said: _said(getattr(row, key)) for key, said in MEASURES.items()}}


def _paper(row: PaperRow) -> dict[str, str]:
    values = {said: f"{getattr(row, key):.1f}" for key, said in MEASURES.items()}
    return {"": f"paper, Pets: {row.setting}", **values}


def _classes(found: Report) -> list[dict[str, str]]:
    """A row a class: the model, and the people of each round."""
    people = [(r.name, {row.name: row for row in r.classes}) for r in found.rounds]
    shown = []
    for row in found.rounds[0].classes:
        entry = {"class": row.name, "pictures": str(row.pictures)}
        if row.model is not None:
            entry["model"] = _said(row.model)
        for name, rows in people:
            entry[f"{name} people"] = _said(rows[row.name].people) if row.name in rows else "–"
        shown.append({**entry, "people say instead": row.confused_with})
    return shown


def _said(score: Any) -> str:
    if score.value != score.value:
        return "–"
    return f"{100 * score.value:.1f} [{100 * score.low:.1f}, {100 * score.high:.1f}]"
