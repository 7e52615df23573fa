"""The command ``plot``: the curves of runs."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from keshin.cli.options import NEW_FILE


@click.command(short_help="Draw what training runs logged, on one page.")
@click.argument("runs", nargs=-1, required=True, metavar="RUN...", type=click.Path(path_type=Path))
@click.option("-o", "--out", "--output", type=NEW_FILE, help="The file [RUN/plot.html].")
@click.option(
    "--by",
    type=click.Choice(["step", "pairs"]),
    default="step",
    show_default=True,
    help="What runs along the axis: runs of different batches are compared by pairs seen.",
)
@click.option("--language", "--lang", default="en", show_default=True, help="en or ja.")
@click.option(
    "-f",
    "--format",
    "form",
    type=click.Choice(["html", "json", "csv"]),
    default="html",
    show_default=True,
    help="json and csv go to standard output unless --out names a file.",
)
def plot(
    runs: tuple[Path, ...],
    out: Path | None,
    by: Literal["step", "pairs"],
    language: str,
    form: str,
) -> None:
    """Draw what training runs logged, on one page.

    RUN is the folder of a run, finished or under way. The page holds the loss with ln(batch), what
    validation measured, the learning rate, the gradient norm, the logit scale, the rate and the
    share of time spent waiting for data. Steps that were left out, weights that were put back and
    restarts are marked. Several runs are drawn into the same charts. It needs no network.

    \b
    Examples:
      keshin plot runs/first
      keshin plot runs/first runs/second --by pairs --out compared.html --lang ja
      keshin plot runs/first --format csv > first.csv
    """
    import msgspec

    from keshin.pages.page import write
    from keshin.watch.curves import read_runs
    from keshin.watch.page import as_csv, plain, plot_page

    found = read_runs(runs)
    if form == "html":
        folder = found[0].path.parent
        written = write(out or folder / "plot.html", plot_page(found, language=language, by=by))
        click.echo(str(written))
        return
    text = as_csv(found)
    if form == "json":
        text = msgspec.json.format(msgspec.json.encode(plain(found))).decode() + "\n"
    if out:
        click.echo(str(write(out, text)))
    else:
        click.echo(text, nl=False)
