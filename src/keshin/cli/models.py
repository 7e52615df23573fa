"""Commands about the models themselves: ``models``, ``pull``, ``info``.

What they need is imported when they run, so that ``--help`` is instant.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import click

FORMAT = click.option(
    "-f",
    "--format",
    "form",
    type=click.Choice(["table", "json"]),
    default="table",
    show_default=True,
)


@click.command(short_help="List the models that are here, and those that can be fetched.")
@click.argument("words", nargs=-1, metavar="[WORD...]")
@click.option("--here", is_flag=True, help="Only those on this machine.")
@FORMAT
def models(words: tuple[str, ...], here: bool, form: str) -> None:
    """List the models that are here, and those that can be fetched.

    With words, only those that have all of them in their name, languages, licence or repository.
    "ja" finds what reads Japanese. Sizes are of the weights; ImageNet is the published accuracy.

    \b
    Examples:
      keshin models
      keshin models siglip2 256
      keshin models ja --format json
    """
    from keshin.cli.catalogue import catalogue, matches, short
    from keshin.cli.reports import print_rows

    found = [row for row in catalogue() if matches(row, words)]
    if here:
        found = [row for row in found if row["state"] != "known"]
    if form == "json":
        click.echo(json.dumps(found, ensure_ascii=False, indent=2))
    elif not found:
        click.echo("No model is so. `keshin models` lists all.", err=True)
    else:
        print_rows([short(row) for row in found], sys.stdout)


@click.command(short_help="Fetch a model.")
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@click.option("--offline", is_flag=True, help="Use no network: say whether the model is here.")
@click.option("--verify", is_flag=True, help="Recompute the hashes of a model that is here.")
def pull(names: tuple[str, ...], offline: bool, verify: bool) -> None:
    """Fetch a model, so that it can be used without a network.

    NAME is one that `keshin models` lists, or hf:OWNER/NAME for another repository of the hub. A
    fetch that was interrupted goes on where it stopped; every file is checked by its hash. Prints
    the folder.

    \b
    Examples:
      keshin pull openai/ViT-B-32
      keshin pull siglip2/ViT-B-16-256 laion2b/ViT-B-32
    """
    from keshin import api
    from keshin.cli.fetching import Bars
    from keshin.core import library
    from keshin.errors import CheckpointError
    from keshin.facts import releases

    for name in names:
        wanted = library.target(name)
        if wanted is None:
            if name in api.embedded_models():
                click.echo(f"{name} comes with keshin; there is nothing to fetch.", err=True)
                click.echo(api.EMBEDDED / name)
                continue
            raise CheckpointError(f"There is no model '{name}' to fetch. {releases.near(name)}")
        with Bars(wanted.name) as bars:
            pulled = library.pull(
                wanted, api.records_folder(), offline=offline, verify=verify, progress=bars.show
            )
        click.echo(
            f"{pulled.name} is here: {pulled.size / 1e6:,.0f} MB in {len(pulled.files)} files, "
            f"commit {pulled.commit[:12]}.",
            err=True,
        )
        if any(file.name.endswith(".bin") for file in pulled.files):
            click.echo(
                "Its weights are pickled, not safetensors: to convert them once, "
                "pip install 'keshin[train]'.",
                err=True,
            )
        click.echo(pulled.folder)


@click.command(short_help="Show what exactly a model is, and what is uncertain.")
@click.argument("model", metavar="NAME|FOLDER|FILE")
@FORMAT
def info(model: str, form: str) -> None:
    """Show what exactly a model is: its towers, what is done to pictures and texts, its score, its
    licence, its fingerprint, and what is uncertain.

    Of a file that does not say how its model was made, this shows what is missing and how to state
    it. Nothing is fetched.

    \b
    Examples:
      keshin info mini
      keshin info openai/ViT-B-32
      keshin info weights.safetensors --format json
    """
    from keshin.cli.catalogue import describe_model
    from keshin.cli.reports import print_facts

    facts: dict[str, Any] = describe_model(model)
    if form == "json":
        click.echo(json.dumps(facts, ensure_ascii=False, indent=2))
    else:
        print_facts(facts, sys.stdout)
