"""The command ``human``: people against the model on the same pictures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from keshin.cli.options import (
    FOLDER,
    LANGUAGES,
    NEW_FILE,
    Command,
    language_option,
    mode_option,
    threads_option,
)

WITHOUT = "none"


class Default(click.Group):
    """A group that takes what is no command of its own as the arguments of ``start``."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] in self.commands:
            return super().resolve_command(ctx, args)
        return "start", self.commands["start"], args

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        own = {"-h", "--help", "--debug"}
        if args and args[0].startswith("-") and args[0] not in own:
            args = ["start", *args]  # options may come before the dataset
        return super().parse_args(ctx, args)


def _model_option(text: str) -> Callable[[Command], Command]:
    return click.option("-m", "--model", default="mini", show_default=True,
                        metavar="NAME|FOLDER|none", help=text)  # fmt: skip


@click.group(cls=Default, short_help="Compare people with the model on the same pictures.")
def human() -> None:
    """Compare people with the model on the same pictures.

    "keshin human DATASET" opens a page on which people say what pictures show ("keshin human start
    --help" has its options); "keshin human report STUDY" compares their answers with a model's. A
    dataset is a name that keshin knows, or a folder with one folder of pictures per class.

    \b
    Examples:
      keshin human photos/
      keshin human photos/ --shots 0,1,2 --questions 50 --people "Ann, Ben"
      keshin human report photos.study --html people.html --language ja
    """


@human.command(short_help="Open the page on which people answer.")
@click.argument("source", metavar="DATASET|FOLDER|STUDY")
@click.option("--study", "folder", type=click.Path(file_okay=False, path_type=Path), metavar="DIR",
              help="Where the study is kept. Default: DATASET.study in this folder.")  # fmt: skip
@click.option("--people", metavar="NAMES", help='Who answers, as "Ann, Ben". Default: who comes.')
@click.option("--shots", metavar="0|1|2|0,1,2",
              help="Examples of each class, one number a round. Default: 0.")  # fmt: skip
@click.option("--questions", type=click.IntRange(min=0), metavar="N",
              help="Pictures, evenly over the classes; 0 is all. Default: 100.")  # fmt: skip
@click.option("--seed", type=int, help="Of the draw and the order. Default: 0.")
@click.option("--order", type=click.Choice(["own", "same"]),
              help="Each person's own order, or the same for all. Default: own.")  # fmt: skip
@click.option("--split", help="Pictures to ask about, where a dataset has splits. Default: test.")
@_model_option("What people see their results beside, at the end.")
@click.option("--port", type=click.IntRange(0, 65535), default=8642, show_default=True,
              help="0 is any that is free.")  # fmt: skip
@click.option("--host", default="127.0.0.1", show_default=True,
              help="0.0.0.0 lets others in your network in, by a secret address.")  # fmt: skip
@click.option("--language", "--lang", type=click.Choice(LANGUAGES),
              help="In which the page begins. Default: the browser's.")  # fmt: skip
@click.option("--open", "browse", is_flag=True, help="Open the page in the browser.")
@mode_option("fp32", "Precision of the model.")
@threads_option
def start(
    source: str,
    folder: Path | None,
    model: str,
    port: int,
    host: str,
    browse: bool,
    language: str | None,
    mode: str,
    threads: int | None,
    **chosen: Any,
) -> None:
    """Open the page on which people say what pictures show. Ctrl-C ends it.

    The study is made the first time; afterwards the same command, or the study's folder alone, goes
    on with it. Every answer is on the disk before it is acknowledged. With --shots 0,1,2 the same
    people answer the same pictures three times: without examples, with one picture of each class,
    and with two (paper, section 4). Examples are never asked about.

    \b
    Examples:
      keshin human photos/ --shots 0,1,2 --questions 50
      keshin human photos.study --port 9000
    """
    from keshin.cli.studies import Wanted, run_page

    wanted = Wanted(source, folder, **chosen)
    run_page(wanted, model=_named(model), mode=mode, threads=threads,
             host=host, port=port, browse=browse, language=language)  # fmt: skip


@human.command(short_help="Compare the answers of a study with a model's.")
@click.argument("study", type=FOLDER, metavar="STUDY")
@_model_option("What people are compared with; 'none' for people alone.")
@click.option("--html", type=NEW_FILE, metavar="FILE", help="Write a page with all figures, too.")
@language_option("Of the page.")
@click.option("-f", "--format", "form", type=click.Choice(["table", "json", "csv"]),
              default="table", show_default=True)  # fmt: skip
@click.option("--partial", is_flag=True, help="Count people who have not finished a round, too.")
@mode_option("fp32", "Precision of the model.")
@threads_option
def report(
    study: Path,
    model: str,
    html: Path | None,
    language: str,
    form: str,
    partial: bool,
    mode: str,
    threads: int | None,
) -> None:
    """Compare the answers of a study with a model's zero-shot answers to the same pictures.

    Gives the paper's Table 2 for these people with 95 % intervals: accuracy, majority vote, and
    both on guesses (without "I don't know"); the model on the same answers, a paired test, each
    class, agreement among people, and what examples changed. It may run while people answer.

    \b
    Examples:
      keshin human report photos.study
      keshin human report photos.study --model openai/ViT-B-32 --html people.html --format json
    """
    from keshin.cli.studies import print_report

    print_report(study, model=_named(model), mode=mode, threads=threads,
                 html=html, form=form, partial=partial, language=language)  # fmt: skip


def _named(model: str) -> str | None:
    return None if model == WITHOUT else model
