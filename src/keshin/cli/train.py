"""``keshin train``: parse, call, print."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from keshin.cli.planning import plan_options, print_plan, refuse_without_plan
from keshin.errors import require

if TYPE_CHECKING:
    from keshin.encode.encoder import Encoder
    from keshin.train.recipe import Validation


@click.command()
@click.argument("recipe", type=click.Path(path_type=Path))
@click.option("--output", type=click.Path(path_type=Path), help="Folder of the run [runs/NAME].")
@click.option("--restart", is_flag=True, help="Begin anew, though there is a checkpoint.")
@click.option("--threads", type=click.IntRange(1), help="PyTorch's threads.")
@click.option("--device", help="cpu, cuda, mps, ... [the recipe's].")
@click.option("--tensorboard", is_flag=True, default=None, help="Write for TensorBoard too.")
@plan_options
def train(
    recipe: Path,
    output: Path | None,
    restart: bool,
    threads: int | None,
    device: str | None,
    tensorboard: bool | None,
    planned: bool,
    **question: Any,
) -> None:
    """Train a CLIP from image-text pairs, as RECIPE (a TOML file) says.

    A run that was interrupted, even by kill -9 or a power cut, goes on from its last checkpoint
    with the same command, and computes what it would have computed. Under torchrun the batch is
    shared by several processes, on one machine or many. "keshin plot" draws its curves, also while
    it runs.

    \b
    Examples:
        keshin train recipes/mini/recipe.toml --output runs/mini
        keshin classify photo.jpg --labels "cat, dog" --model runs/mini/model
        torchrun --nproc-per-node 8 -m keshin train recipe.toml
        keshin train recipe.toml --plan --samples 400M --devices 256 --price 2.5
    """
    if not planned:
        refuse_without_plan(question)
    require("torch", extra="train")
    from msgspec.structs import replace

    from keshin.cli.watching import watched
    from keshin.train.distributed import is_first
    from keshin.train.loop import train as run
    from keshin.train.recipe import read_recipe

    plan = read_recipe(recipe)
    changes = {"threads": threads, "device": device, "tensorboard": tensorboard}
    how = replace(plan.run, **{k: v for k, v in changes.items() if v is not None})
    plan = replace(plan, run=how)
    if planned:
        print_plan(plan, question)
        return
    folder = output or Path("runs") / plan.name
    if is_first():
        _keep(recipe, folder)
    checks = [_zero_shot(check) for check in plan.validate]
    with watched(plan, folder) as (report, viewers):
        model = run(
            plan, folder, validators=checks, viewers=viewers, report=report, restart=restart
        )
    if is_first():
        _print_skipped(folder)
        click.echo(str(model))


def _keep(recipe: Path, folder: Path) -> None:
    """Leave the recipe in the folder of its run, where ``keshin export`` finds it for the card."""
    from keshin.core.writing import whole

    kept = folder / "recipe.toml"
    folder.mkdir(parents=True, exist_ok=True)
    if not (kept.exists() and kept.samefile(recipe)):
        with whole(kept) as scratch:
            scratch.write_bytes(recipe.read_bytes())


class _zero_shot:  # noqa: N801  (a function with a memory: the pictures are read once)
    """A validator: accuracy on one labelled table, for one ``[[validate]]`` part."""

    def __init__(self, part: Validation) -> None:
        from keshin.evaluate.sets.readers import read_parquet

        self.part = part
        self.data = read_parquet(
            part.path, part.labels, image=part.image, label=part.label, limit=part.limit
        )

    def __call__(self, encoder: Encoder) -> Iterable[tuple[str, float]]:
        from keshin.classify import build_classifier
        from keshin.evaluate.zero_shot import answer

        classifier = build_classifier(encoder, self.data.names, templates=self.part.templates)
        found = answer(classifier, self.data)
        yield f"{self.part.name}_accuracy", float((found.predictions == found.targets).mean())
        yield f"{self.part.name}_chance", 1 / len(self.data.names)


def _print_skipped(folder: Path) -> None:
    for skipped in sorted(folder.glob("skipped*.txt")):
        count = len(skipped.read_text(encoding="utf-8").splitlines())
        click.echo(f"{count} pairs could not be used; they are listed in {skipped}", err=True)
