"""The options and the report of ``keshin info --fidelity``.

This module declares options, so it imports what it needs when it runs.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from keshin.cli.main import FAILED
from keshin.cli.options import FOLDER, Command, engine_option, mode_option, threads_option


def fidelity_options(command: Command) -> Command:
    """The options of ``keshin info`` that belong to ``--fidelity``."""
    for option in (
        threads_option,
        engine_option,
        mode_option("int8", "With --fidelity: the mode that is compared with fp32."),
        click.option(
            "-l",
            "--labels",
            metavar="TEXT",
            help="With --fidelity: labels whose answers are compared. "
            "Default: the names of the folder's folders.",
        ),
        click.option(
            "--fidelity",
            "pictures",
            type=FOLDER,
            help="Compare a mode with fp32 on the pictures of this folder.",
        ),
    ):
        command = option(command)
    return command


def asked(
    ctx: click.Context,
    model: str,
    form: str,
    *,
    pictures: Path | None,
    labels: str | None,
    mode: str,
    engine: str,
    threads: int | None,
) -> bool:
    """Print the comparison if ``--fidelity`` was given; whether it was."""
    if pictures is None:
        if labels is not None:
            raise click.UsageError("--labels belongs to --fidelity FOLDER.")
        return False
    from keshin import api
    from keshin.classify import labels_from_folders, labels_from_text
    from keshin.classify.fidelity import fidelity
    from keshin.cli.reports import print_facts, printable
    from keshin.core.pictures import find_pictures

    files = list(map(str, find_pictures([pictures])))
    if not files:
        raise click.UsageError(f"There is no picture in {printable(str(pictures))}.")
    named = None
    if labels is not None:
        named = labels_from_text(labels)
    elif sum(entry.is_dir() for entry in pictures.iterdir()) > 1:
        named = labels_from_folders(pictures)
    exact = api.load(model, threads=threads)
    faster = api.load(model, mode=mode, threads=threads, engine=engine)
    found = fidelity(exact.encoder, faster.encoder, files, named)
    report: dict[str, Any] = {
        "model": exact.name,
        "mode": found.mode,
        "pictures": found.pictures,
        "cosine to fp32": {
            "least": found.least,
            "1st percentile": found.percentile,
            "median": found.median,
        },
    }
    if change := found.changed:
        report["changed answers"] = {
            "labels": change.labels,
            "count": change.count,
            "rate": change.rate,
            "95 % interval": [change.low, change.high],
        }
    if form == "json":
        report["failed"] = [{"file": files[f.index], "error": f.error} for f in found.failed]
        click.echo(json.dumps(report, ensure_ascii=False, indent=2))
    else:
        print_facts(_shown(report), sys.stdout)
        for failure in found.failed:
            click.echo(printable(failure.error), err=True)
    if found.failed:
        ctx.exit(FAILED)
    return True


def _shown(report: dict[str, Any]) -> dict[str, Any]:
    """The same for people: cosines near 1 need their digits, rates are read as per cent."""
    shown = dict(report)
    cosines = report["cosine to fp32"]
    shown["cosine to fp32"] = {name: f"{value:.6f}" for name, value in cosines.items()}
    if change := report.get("changed answers"):
        low, high = change["95 % interval"]
        shown["changed answers"] = {
            **change,
            "rate": f"{100 * change['rate']:.2f} %",
            "95 % interval": f"{100 * low:.2f} to {100 * high:.2f} %",
        }
    return shown
