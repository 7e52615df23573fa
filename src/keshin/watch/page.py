"""Runs as one page, as a table of records, and as plain values."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from keshin import __version__
from keshin.errors import DataError
from keshin.pages.drawing import Canvas
from keshin.pages.numbers import NOTHING, percent
from keshin.pages.page import render, safe
from keshin.pages.words import Words, languages_of, words_in
from keshin.watch.charts import By, draw, key_of, panels
from keshin.watch.curves import RunLog

HERE = Path(__file__).parent
WORDS = HERE / "words.toml"
STUCK, WAITS, FULL = 0.97, 0.2, 100.0
"""Share of ln(batch) above which nothing is learned; of time, above which data are slow; the logit
scale's usual limit."""
LISTED = 200


def languages() -> tuple[str, ...]:
    """Those that a page can be written in."""
    return languages_of(WORDS)


def plot_page(runs: Sequence[RunLog], *, language: str = "en", by: By = "step") -> str:
    """One HTML page about one run or several. Raises ``KeshinError``, ``MissingExtra``."""
    words = words_in(WORDS, language)
    for run in runs:
        if by == "pairs" and run.chance is None:
            raise DataError(
                f"{run.path} does not say how large its batches are (an old version wrote it). "
                "Draw it by step."
            )
    several = len(runs) > 1
    title = words["title_several" if several else "title_one"]
    towers = not several and "gradient_norm_image" in runs[0].step_keys
    charts = []
    for panel in panels(runs, words, by):
        legend = ""
        if towers and panel.title == words["of_gradient_norm"]:
            legend = _towers(words)
        charts.append((panel.title, safe(draw(panel, words, by)), legend and safe(legend)))
    return render(
        HERE / "plot.html.jinja",
        words,
        title=title.format(name=runs[0].name, n=len(runs)),
        made_by=words["made_by"].format(version=__version__),
        sections=[(k, words[n]) for k, n in SECTIONS],
        several=several,
        key=safe(key_of(runs, words)),
        names=[run.name for run in runs],
        rows=_rows([_facts(run, words) for run in runs]),
        careful=[said for run in runs for said in _careful(run, words)],
        charts=charts,
        events=[event for run in runs for event in _events(run, words)],
    )


SECTIONS = (("glance", "at_a_glance"), ("curves", "curves"), ("events", "events"))


def _towers(words: Words) -> str:
    canvas = Canvas(460, 18, words["of_gradient_norm"])
    for number, name in enumerate(("of_both", "of_image", "of_text")):
        canvas.line((4 + 140 * number, 9), (24 + 140 * number, 9), f"line s{number}")
        canvas.text(30 + 140 * number, 13, words[name])
    return canvas.svg()


def _rows(facts: Sequence[Mapping[str, str]]) -> list[tuple[str, list[str]]]:
    """What is known of any of the runs, with what each says of it."""
    known = dict.fromkeys(key for each in facts for key in each)
    return [(key, [each.get(key, NOTHING) for each in facts]) for key in known]


def _facts(run: RunLog, words: Words) -> dict[str, str]:
    steps, rates = run.start.get("steps"), [v for _, v in run.series("pairs_per_second")]
    waits = [v for _, v in run.series("data_wait")]
    step = f"{run.step:,}"
    if isinstance(steps, int):
        step = words["of_steps"].format(step=step, steps=f"{steps:,}")
    named = {
        words["of_validation"].format(name=key.replace("_", " ")): _value(run, key)
        for key in run.validation_keys
    }
    return {
        words["steps"]: step,
        words["last_loss"]: _loss(run),
        words["rate"]: f"{median(rates):,.0f}" if rates else NOTHING,
        words["waiting"]: percent(sum(waits) / len(waits)) if waits else NOTHING,
        words["left_out"]: str(len(run.events("left out"))),
        words["put_back"]: str(len(run.events("put back"))),
        words["restarts"]: str(len(run.events("resume"))),
        words["batch"]: f"{run.batch:,}" if run.chance else NOTHING,
        words["device"]: str(run.start.get("device", NOTHING)),
        **named,
    }


def _loss(run: RunLog) -> str:
    losses = run.series("loss")
    chance = f"{run.chance:.3f}" if run.chance else NOTHING
    return f"{losses[-1][1]:.3f} ({chance})" if losses else NOTHING


def _value(run: RunLog, key: str) -> str:
    values = [value for _, value in run.series(key)]
    return percent(values[-1]) if all(0 <= v <= 1 for v in values) else f"{values[-1]:.4g}"


def _careful(run: RunLog, words: Words) -> list[str]:
    """Sentences on what a person should look at."""
    found = []
    losses, waits = run.series("loss"), [v for _, v in run.series("data_wait")][1:]
    if losses and run.chance and min(v for _, v in losses[-5:]) > STUCK * run.chance:
        found.append(
            words["careful_chance"].format(
                name=run.name, loss=f"{losses[-1][1]:.3f}", chance=f"{run.chance:.3f}"
            )
        )
    if waits and (share := median(waits)) > WAITS:
        found.append(words["careful_wait"].format(name=run.name, share=percent(share, 0)))
    left, back = len(run.events("left out")), len(run.events("put back"))
    if left or back:
        found.append(words["careful_trouble"].format(name=run.name, left_out=left, put_back=back))
    scales = run.series("logit_scale")
    if scales and abs(scales[-1][1] - FULL) < 0.01 * FULL:
        found.append(words["careful_scale"].format(name=run.name, limit=f"{FULL:g}"))
    return found


def _events(run: RunLog, words: Words) -> list[tuple[str, str, str]]:
    found = []
    for event in run.events("resume", "left out", "put back")[:LISTED]:
        said = words["event_" + str(event["event"]).replace(" ", "_")].format(
            step=f"{event['step']:,}", why=event.get("why", ""), to=event.get("weights_of", "")
        )
        found.append((run.name, said, str(event.get("file", ""))))
    return found


def plain(runs: Sequence[RunLog]) -> list[dict[str, Any]]:
    """What is known of each run: numbers of events, and every series as [step, value] pairs."""
    return [
        {
            "name": run.name,
            "file": str(run.path),
            "step": run.step,
            "steps": run.start.get("steps"),
            "batch": run.batch if run.chance else None,
            "chance_loss": run.chance,
            **{k.replace(" ", "_"): run.events(k) for k in ("resume", "left out", "put back")},
            "series": {k: run.series(k) for k in [*run.step_keys, *run.validation_keys]},
        }
        for run in runs
    ]


def as_csv(runs: Sequence[RunLog]) -> str:
    """Every record of every run as a row."""
    rows: list[Mapping[str, Any]] = [
        {"run": run.name, **record} for run in runs for record in run.records
    ]
    columns = list(dict.fromkeys(key for row in rows for key in ("run", "step", "event", *row)))
    stream = io.StringIO()
    writer = csv.DictWriter(stream, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue()
