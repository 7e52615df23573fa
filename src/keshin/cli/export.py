"""``keshin export``: parse, call, print."""

from __future__ import annotations

from pathlib import Path

import click

from keshin.cli.options import FILE, FOLDER


@click.command(short_help="Write a model for OpenCLIP, transformers or ONNX.")
@click.argument("model", metavar="NAME|FOLDER|FILE")
@click.argument("out", type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "-f",
    "--format",
    "form",
    type=click.Choice(["openclip", "transformers", "onnx", "keshin"]),
    required=True,
    help="Which program is to load it.",
)
@click.option(
    "--dtype",
    type=click.Choice(["fp32", "fp16"]),
    help="Of the weights. Default: as they are stored.",
)
@click.option(
    "--classifier",
    type=FILE,
    help="A saved classifier of this model, for onnx: pictures in, scores out.",
)
@click.option(
    "--evaluation",
    "evaluations",
    type=FILE,
    multiple=True,
    help="Results of this model as JSON, for the model card. May be given several times.",
)
@click.option(
    "--run",
    type=FOLDER,
    help="The folder of its training run, for the card. Default: where the model lies in one.",
)
@click.option("--force", is_flag=True, help="Replace all files that are in OUT.")
def export(
    model: str,
    out: Path,
    form: str,
    dtype: str | None,
    classifier: Path | None,
    evaluations: tuple[Path, ...],
    run: Path | None,
    force: bool,
) -> None:
    """Write a model into the folder OUT, for another program, with a model card.

    openclip is for open_clip.create_model_and_transforms("local-dir:OUT"), transformers for
    CLIPModel.from_pretrained("OUT"). onnx writes two towers with weights, tokenizer and facts
    inside. What was written is read back or run, and compared with the model, before the folder
    appears. Prints its path.

    \b
    Examples:
      keshin export openai/ViT-B-32 out/ --format openclip
      keshin export runs/mine/model out/ --format transformers --evaluation result.json
      keshin export mini out/ --format onnx --classifier pets.classifier
    """
    from typing import Any, cast

    from keshin.exporting import export as write

    done = write(
        model,
        out,
        format=cast(Any, form),
        dtype=cast(Any, dtype),
        classifier=classifier,
        evaluations=evaluations,
        run=run,
        force=force,
    )
    click.echo(f"Written: {', '.join(done.files)}.", err=True)
    click.echo(
        f"Checked: the largest difference of {done.compared} is {done.difference:.2g}.", err=True
    )
    for note in done.notes:
        click.echo(note, err=True)
    click.echo(done.folder)
