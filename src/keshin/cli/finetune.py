"""``keshin finetune``: parse, call, print."""

from __future__ import annotations

import sys
from pathlib import Path

import click

METHODS = ("zero-shot", "text", "linear", "lora", "full")


@click.command(short_help="Teach a model what is in a hundred pictures of yours.")
@click.argument("source", metavar="FOLDER|TABLE|DATASET")
@click.option("-m", "--model", default="mini", show_default=True, metavar="NAME|FOLDER")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="New folder for the result [finetuned/NAME]. An interrupted run goes on there.",
)
@click.option(
    "--method",
    "methods",
    type=click.Choice(METHODS),
    multiple=True,
    help="Choose among these only; repeatable. Zero-shot always takes part.",
)
@click.option(
    "--anchor",
    metavar="DATASET|FOLDER",
    help="Labelled pictures at which the model must not get worse. Default: 200 drawn things that "
    "come with keshin.",
)
@click.option(
    "--may-forget",
    type=float,
    default=1.0,
    show_default=True,
    metavar="POINTS",
    help="How much of the anchor's accuracy may be lost; a negative number: any.",
)
@click.option(
    "--captions",
    multiple=True,
    metavar="COLUMN",
    help="Column of a table that holds captions; repeatable.",
)
@click.option(
    "-t",
    "--template",
    "templates",
    multiple=True,
    metavar="TEXT|NAME",
    help='A prompt with {} for the class, or a published set; repeatable. Default: "a photo of a '
    '{}."',
)
@click.option("--test", metavar="FOLDER|TABLE", help="Pictures that are asked at the end only.")
@click.option(
    "--metric",
    type=click.Choice(["accuracy", "mean per class"]),
    default="accuracy",
    show_default=True,
    help="mean per class: every class counts alike, however many pictures it has.",
)
@click.option("--epochs", type=click.IntRange(1), help="Of adapters and whole models.")
@click.option("--rate", type=float, help="Learning rate of adapters and whole models.")
@click.option("--threads", type=click.IntRange(1), help="Default: as many as there are cores.")
@click.option("--device", help="cpu, cuda, mps, ... of PyTorch. Default: the best there is.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option(
    "-f",
    "--format",
    "form",
    type=click.Choice(["table", "json"]),
    default="table",
    show_default=True,
    help="What is printed; the report in the folder is JSON.",
)
@click.pass_context
def finetune(
    ctx: click.Context,
    /,
    source: str,
    model: str,
    output: Path | None,
    methods: tuple[str, ...],
    anchor: str | None,
    may_forget: float,
    captions: tuple[str, ...],
    templates: tuple[str, ...],
    test: str | None,
    metric: str,
    epochs: int | None,
    rate: float | None,
    threads: int | None,
    device: str | None,
    seed: int,
    form: str,
) -> None:
    """Teach a model what is in a hundred pictures: the best of five methods, and what it is worth.

    SOURCE is a folder with one folder per class, a CSV or Parquet table, or pictures with captions
    (x.txt beside x.jpg, or a column). Zero-shot, a probe that starts from the texts, a linear
    probe, low-rank adapters and a full fine-tune answer pictures that they have not seen, and the
    simplest that is as good as the best is made from all pictures. Probes need keshin[eval];
    adapters and full fine-tuning keshin[train] too.

    Copies of a picture are never learnt from and judged by at once. A tuned model keeps what it
    knew: see --anchor and --may-forget.

    \b
    Examples:
      keshin finetune photos/ --output photos-tuned/
      keshin classify new.jpg --classifier photos-tuned/model.classifier
      keshin finetune pairs.csv --captions caption --anchor cifar10 --output tuned/
      keshin classify new.jpg --labels "cat, dog" --model tuned/model
    """
    from msgspec.structs import replace

    from keshin.api import load
    from keshin.cli.main import FAILED
    from keshin.finetune import PLANS
    from keshin.finetune.running import finetune as run
    from keshin.finetune.running import torch_is_here

    folder = output or Path("finetuned") / Path(source).stem
    if not torch_is_here():
        click.echo(
            "PyTorch is not installed, so only probes are tried; adapters and full fine-tuning "
            "need: pip install 'keshin[train]'",
            err=True,
        )
    elif threads:
        from keshin.finetune.torch_trial import set_threads

        set_threads(threads)
    changes = {name: value for name, value in (("epochs", epochs), ("rate", rate)) if value}
    result = run(
        load(model, threads=threads),
        source,
        folder,
        methods=methods or METHODS,
        anchor=anchor,
        may_forget=None if may_forget < 0 else may_forget,
        captions=captions,
        templates=templates or None,
        test=test,
        metric=metric,
        plans={name: replace(plan, **changes) for name, plan in PLANS.items()},
        device=device,
        seed=seed,
        watch=_Progress(),
    )
    if form == "json":
        click.echo(result.to_json().decode(), nl=False)
    else:
        click.echo(result.table(), nl=False)
    if result.unreadable:
        click.echo(f"{len(result.unreadable)} pictures could not be read.", err=True)
        ctx.exit(FAILED)


class _Progress:
    """A line that says what is done, where somebody sees it; else a line for each thing."""

    def __init__(self) -> None:
        self.last = ""
        self.live = sys.stderr.isatty()

    def __call__(self, what: str, done: int, total: int) -> None:
        if self.live:
            end = "\n" if done == total else ""
            sys.stderr.write(f"\r{what}: {done} of {total}   {end}")
            sys.stderr.flush()
        elif what != self.last:
            click.echo(f"{what} ...", err=True)
        self.last = what
