"""The paper's figures of several evaluations: one page, an SVG of each, and the numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from keshin.errors import DataError
from keshin.evaluate.reporting import paper_figures
from keshin.evaluate.reporting.paper import paper_results
from keshin.evaluate.reporting.summary import metric_name
from keshin.evaluate.reporting.tables import as_csv
from keshin.evaluate.reporting.words import words_of
from keshin.evaluate.results import Evaluation
from keshin.pages import page
from keshin.pages.drawing import alone, clean
from keshin.pages.numbers import percent
from keshin.pages.words import Words
from keshin.statistics.intervals import wilson

TEMPLATE = Path(__file__).with_name("figures.html.jinja")
FIGURES = {  # file name -> what draws it, and its texts
    "figure5": (paper_figures.figure_five, "figure_five"),
    "figure6": (paper_figures.few_shot, "figure_six"),
    "figure7": (paper_figures.efficiency, "figure_seven"),
    "prompt-ensembles": (paper_figures.ensembling, "figure_four"),
}


def write_figures(
    found: Sequence[Evaluation],
    folder: Path,
    *,
    language: str = "en",
    command: str = "",
    reports: Mapping[str, str] | None = None,
) -> list[Path]:
    """``index.html``, an SVG for each figure that has something to show, ``figures.json`` (what the
    charts show) and ``results.csv``, each whole or not at all.

    Arguments: ``reports``: title of a data set -> the file, relative to ``folder``, of its own
    report. Raises ``DataError`` if there is no evaluation or the folder cannot be written.
    """
    if not found:
        raise DataError("There is no evaluation, so there are no figures to draw.")
    words = words_of(language)
    drawn = {name: draw(found, words) for name, (draw, _) in FIGURES.items()}
    text = _page(found, drawn, words, command, reports or {})
    written = [page.write(folder / "index.html", text)]
    for name, svg in drawn.items():
        if svg:
            written.append(page.write(folder / f"{name}.svg", alone(svg)))
    written.append(page.write(folder / "figures.json", _numbers(found)))
    written.append(page.write(folder / "results.csv", as_csv(found)))
    return written


def _page(
    found: Sequence[Evaluation],
    drawn: Mapping[str, str],
    words: Words,
    command: str,
    reports: Mapping[str, str],
) -> str:
    models = sorted({one.model.name for one in found})
    figures = [
        (words[text], words[f"{text}_said"], page.safe(drawn[name]))
        for name, (_, text) in FIGURES.items()
    ]
    return page.render(
        TEMPLATE,
        words,
        title=words["figures_title"].format(model=clean(", ".join(models))),
        made_by=words["made_by"].format(
            version=found[0].run.versions.get("keshin", ""), date=found[0].run.date
        ),
        figures=figures,
        wins=_wins(found, words),
        rows=[
            (one, metric_name(one.main.name, words), reports.get(one.data.title, ""))
            for one in sorted(found, key=lambda one: one.data.title)
        ],
        command=command or found[0].run.command,
    )


def _wins(found: Sequence[Evaluation], words: Words) -> str:
    """On how many data sets zero-shot beats the ResNet-50 probe measured on the same pictures."""
    measured = [one.baseline.versus.difference for one in found if one.baseline is not None]
    if not measured:
        return ""
    won = sum(difference < 0 for difference in measured)
    share = wilson(won, len(measured))
    paper = sum(row.figure5 > 0 for row in paper_results().values())
    return words["wins"].format(
        k=won,
        n=len(measured),
        low=percent(share.low, 0),
        high=percent(share.high, 0),
        paper=paper,
    )


def _numbers(found: Sequence[Evaluation]) -> str:
    rows = {
        "figure5": paper_figures.figure_five_rows(found),
        "prompt_ensembles": paper_figures.gain_rows(found),
        "figure6": {one.data.title: one.few_shot for one in found if one.few_shot},
    }
    return msgspec.json.format(msgspec.json.encode(rows), indent=1).decode() + "\n"
