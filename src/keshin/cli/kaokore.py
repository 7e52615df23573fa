"""The command ``kaokore``: fetch the faces from their holders, and answer the question."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from keshin.cli.main import FAILED, MISUSED
from keshin.cli.options import FILE, FOLDER, NEW_FILE, mode_option, threads_option

if TYPE_CHECKING:
    from keshin.evaluate.kaokore.results import Study
    from keshin.evaluate.kaokore.run import Look

VERSIONS = ("1.0", "1.1", "1.2", "1.3")


@click.command(short_help="Can a model tell 化身 (incarnations) from 人 (people)?")
@click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of KaoKore. Default: kaokore-VERSION here, else what keshin eval fetched.",
)
@click.option(
    "--version",
    type=click.Choice(VERSIONS),
    default="1.0",
    show_default=True,
    help="Published results are of 1.0. Each version needs a folder of its own.",
)
@click.option(
    "--download",
    is_flag=True,
    help="Fetch from the holders what is not here, politely (an hour or more). A run goes on.",
)
@click.option("-m", "--model", default="mini", show_default=True, metavar="NAME|FOLDER")
@click.option("--finetuned", type=FOLDER, help="Runs of recipes/kaokore: official, fold0, ...")
@click.option(
    "--resnet50",
    metavar="FILE|FOLDER|hf:NAME",
    help="Weights of ImageNet's ResNet-50, to compare with a probe on its features.",
)
@click.option(
    "--resnet50-preprocess",
    type=click.Choice(["torchvision-v1", "torchvision-v2"]),
    help="How its pictures were prepared, where nothing beside a file says it.",
)
@click.option(
    "--final",
    is_flag=True,
    help="Ask the official test split too. Once, when nothing is left to choose.",
)
@click.option(
    "--earlier",
    type=FILE,
    help="JSON of a study that asked the test split before; its numbers are told beside.",
)
@click.option("--earlier-note", default="", help="How that study differed, in a few words.")
@click.option("--report", type=NEW_FILE, help="Write a page with tables, charts and mistakes.")
@click.option("--language", type=click.Choice(["en", "ja"]), default="en", show_default=True)
@click.option("--no-pictures", is_flag=True, help="Leave the faces out of the report.")
@click.option(
    "-f", "--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True
)
@click.option("--no-cache", is_flag=True, help="Neither use nor keep vectors.")
@mode_option("fp32", "Precision.")
@threads_option
@click.pass_context
def kaokore(ctx: click.Context, /, **given: Any) -> None:
    """Can a model tell 化身 (incarnations) from 人 (people)?

    A study on KaoKore, faces of Japanese picture scrolls: zero-shot in English and Japanese with
    prompts chosen on train, few examples, a linear probe, beside what the title of the scroll alone
    gives away; for faces of known pages, of unseen works, and within works. Learns and chooses on
    train only, tells about dev; --final adds the test split.

    The pictures are fetched from the institutions that hold the scrolls, as the makers ask; keshin
    ships none. The report shows some: it is for you, not to be passed on as a data set.

    \b
    Examples:
      keshin kaokore --download --report kaokore.html
      keshin kaokore --data kaokore-1.0 --model openai/ViT-B-32 --report 化身.html --language ja
      keshin kaokore --download --version 1.3 --data faces/
    """
    from keshin import api

    data: Path = given["data"] or _folder(given["version"], download=given["download"])
    complete = True
    if given["download"]:
        complete = _download(given["version"], data)
    elif not data.is_dir():
        click.echo(
            f"There is no folder {data}. Name it with --data, or fetch KaoKore with --download.",
            err=True,
        )
        ctx.exit(MISUSED)
    study = _study(api, data, given)
    _tell(study, data, given)
    if study.unread:
        click.echo(f"{len(study.unread)} pictures could not be read: {study.unread[0]}", err=True)
    if study.unread or not complete:
        ctx.exit(FAILED)


def _folder(version: str, *, download: bool) -> Path:
    """The version's folder here; or among the known data sets, if it is only there."""
    from keshin.evaluate.sets.datasets import data_folder
    from keshin.facts.datasets import get

    here = Path(f"kaokore-{version}")
    known = data_folder() / get(f"kaokore@{version}").place
    return known if not download and not here.is_dir() and known.is_dir() else here


def _study(api: Any, data: Path, given: dict[str, Any]) -> Study:
    from keshin.evaluate.kaokore.results import read_earlier
    from keshin.evaluate.kaokore.run import Options, run_study

    def load(folder: str | Path) -> Any:
        return api.load(folder, mode=given["mode"], threads=given["threads"]).encoder

    earlier = (
        () if given["earlier"] is None else read_earlier(given["earlier"], given["earlier_note"])
    )
    options = Options(
        version=given["version"],
        final=given["final"],
        earlier=earlier,
        finetuned=given["finetuned"],
        command=shlex.join(["keshin", *sys.argv[1:]]),
        cache=not given["no_cache"],
    )
    features: dict[str, Look] = {}
    if given["resnet50"] is not None:
        features["resnet50"] = _supervised(given["resnet50"], given["resnet50_preprocess"])
    return run_study(load(given["model"]), data, options, load=load, features=features, say=_say())


def _tell(study: Study, data: Path, given: dict[str, Any]) -> None:
    import msgspec

    from keshin.evaluate.kaokore.answer import answer
    from keshin.evaluate.kaokore.page import page

    report: Path | None = given["report"]
    if report is not None:
        from keshin.core.writing import whole

        text = page(study, given["language"], None if given["no_pictures"] else data)
        with whole(report) as scratch:
            scratch.write_text(text, encoding="utf-8")
        click.echo(f"The report is in {report}.", err=True)
    if given["form"] == "json":
        click.echo(msgspec.json.format(msgspec.json.encode(study), indent=1))
    else:
        paragraphs = answer(study, given["language"])
        click.echo("\n\n".join(text.replace("*", "").replace("`", "") for text in paragraphs))


def _download(version: str, data: Path) -> bool:
    """Fetch, and say how it went; whether all came that still exists."""
    from keshin.evaluate.sets.kaokore.download import download

    click.echo(
        f"Fetching KaoKore {version} from the institutions that hold the scrolls into {data}, one "
        "picture at a time from each. Ctrl-C stops it; the same command goes on.",
        err=True,
    )
    summary = download(version, data, progress=_count())
    click.echo(str(summary), err=True)
    return summary.complete


def _count() -> Callable[[int, int, str], None]:
    """One line that is written over on a terminal; every hundredth elsewhere."""
    terminal = sys.stderr.isatty()

    def show(done: int, total: int, host: str) -> None:
        if terminal:
            click.echo(f"\r{done} of {total} {host:40}", err=True, nl=done == total)
        elif done % 100 == 0 or done == total:
            click.echo(f"{done} of {total}", err=True)

    return show


def _say() -> Callable[[str], None]:
    return lambda text: click.echo(f"{text} ...", err=True)


def _supervised(source: str, preprocess: str | None) -> Look:
    """Features of a supervised ResNet-50 in torchvision's or timm's layout."""
    from keshin.evaluate.features import extract
    from keshin.evaluate.probes.supervised import load_supervised

    network = load_supervised(source, preprocess=preprocess)
    return lambda faces, rows: extract(network, [faces.path(row) for row in rows]).vectors
