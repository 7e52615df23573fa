"""``keshin train --plan``: the options, and the plan as tables or JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

import click

if TYPE_CHECKING:
    from rich.table import Table

    from keshin.train.plan.answer import Plan
    from keshin.train.recipe import Recipe

FACTORS = {"k": 1e3, "m": 1e6, "g": 1e9, "b": 1e9, "t": 1e12, "p": 1e15}


class Amount(click.ParamType):  # type: ignore[type-arg,unused-ignore]
    """A positive number with a letter behind it: 400M, 12.8G, 60T."""

    name = "number"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        if isinstance(value, float):
            return value
        text = str(value).strip().replace("_", "").lower()
        factor = FACTORS.get(text[-1:], 1.0)
        try:
            found = float(text[:-1] if text[-1:] in FACTORS else text) * factor
        except ValueError:
            self._refuse(value, param, ctx)
        if not 0 < found < float("inf"):
            self._refuse(value, param, ctx)
        return found

    def _refuse(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> NoReturn:
        self.fail(f"{value!r} is not a positive number such as 400M, 12.8G or 60T.", param, ctx)


OPTIONS: dict[str, tuple[str, Any, str]] = {
    "devices": ("--devices", click.IntRange(1), "Devices that share the batch [1]."),
    "samples": ("--samples", Amount(), "Pairs to see, as 400M [the recipe's epochs]."),
    "price": ("--price", Amount(), "Of one device for an hour, in your currency."),
    "flops": ("--flops", Amount(), "Operations/s that another kind of device sustains, as 60T."),
    "rate": ("--rate", Amount(), "Samples/s that another kind of device was measured to do."),
    "bandwidth": ("--bandwidth", Amount(), "Bytes/s that each device sends, as 25G."),
    "steps": ("--steps", click.IntRange(0), "Steps to measure here; 0: none [20]."),
    "form": ("--format", click.Choice(["table", "json"]), "How the plan is printed [table]."),
}
"""Name of the argument -> option, type, help; all of them belong to ``--plan``."""


def plan_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of ``--plan`` to a command, which gets them by the names in ``OPTIONS``."""
    for name, (option, kind, text) in reversed(OPTIONS.items()):
        command = click.option(option, name, type=kind, help=f"With --plan: {text}")(command)
    text = "Train nothing: say what the run takes, after some measured steps. Writes nothing."
    return click.option("--plan", "planned", is_flag=True, help=text)(command)


def refuse_without_plan(answers: Mapping[str, object]) -> None:
    """An option of ``--plan`` alone is a mistake. Raises ``click.UsageError``."""
    for name, value in answers.items():
        if value is not None:
            raise click.UsageError(f"{OPTIONS[name][0]} belongs to --plan: add it.")


def print_plan(recipe: Recipe, answers: Mapping[str, Any]) -> None:
    """Make the plan and print it on standard output."""
    from keshin.train.plan.answer import Question, as_builtins
    from keshin.train.plan.planner import make_plan

    given = {name: value for name, value in answers.items() if value is not None}
    form = given.pop("form", "table")
    plan = make_plan(recipe, Question(**given), progress=_progress)
    if form == "json":
        click.echo(json.dumps(as_builtins(plan), indent=1, ensure_ascii=False))
        return
    from keshin.cli.reports import console

    screen = console(sys.stdout)
    for title, table, notes in _sections(plan):
        screen.print(f"[bold]{title}[/bold]")
        screen.print(table)
        for note in notes:
            screen.print(note, markup=False)
        screen.print()


def _progress(done: int, steps: int) -> None:
    end = "\n" if done == steps else ""
    if sys.stderr.isatty() or done == steps:
        click.echo(f"\rstep {done} of {steps} measured{end}", nl=False, err=True)


Section = tuple[str, "Table", list[str]]


def _sections(plan: Plan) -> Iterator[Section]:
    yield _towers(plan)
    yield _memory(plan)
    yield _pace(plan)
    if plan.exchanges:
        rows = [[row.what, row.kind, size(row.sent)] for row in plan.exchanges]
        total = sum(row.sent for row in plan.exchanges)
        rows.append(["all", "", size(total)])
        title = "Sent by each device in a step"
        yield title, grid(["what", "how", "bytes"], rows), []
    if plan.length is not None:
        yield _length(plan)
    yield _paper(plan)


def _towers(plan: Plan) -> Section:
    numbers, work = plan.parameters, plan.operations
    rows = [
        ["image tower", amount(numbers["image"]), amount(work.image_forward)],
        ["text tower", amount(numbers["text"]), amount(work.text_forward)],
        ["backward" , "", amount(work.backward)],
        ["again for micro-batches", "", amount(work.repeated)],
        ["loss and others", amount(numbers["other"]), amount(work.loss)],
        ["all", amount(numbers["total"]), amount(work.total)],
    ]  # fmt: skip
    notes = [
        f"A caption takes {plan.caption_tokens:.1f} positions of the text tower on average; "
        f"{100 * plan.distinct_captions:.0f} % of the captions of a batch differ."
    ]
    if numbers["trained"] != numbers["total"]:
        notes.append(f"Trained: {amount(numbers['trained'])} of the parameters.")
    return f"{plan.name}: towers", grid(["", "parameters", "operations a sample"], rows), notes


WORDS = {
    "weights": "weights", "gradients": "gradients", "optimizer": "AdamW's moments",
    "average": "moving average of the weights", "buckets": "gradients on their way (DDP)",
    "gathered_weights": "weights put together (FSDP)", "activations": "activations",
    "features": "features, own and gathered", "loss": "blocks of the loss",
    "runtime": "PyTorch beside its tensors",
}  # fmt: skip


def _memory(plan: Plan) -> Section:
    rows = [[WORDS[name], size(value)] for name, value in plan.memory.items() if value]
    rows.append(["all", size(plan.memory_total)])
    many = f" in {plan.micro_batches} micro-batches" if plan.micro_batches > 1 else ""
    notes = [
        f"Pictures that the loader holds on the host: {size(plan.pictures_waiting)}. "
        f"A checkpoint: {size(plan.checkpoint)}."
    ]
    if plan.measured is not None and plan.measured.peak_bytes and plan.devices == 1:
        notes.append(f"The measured steps took {size(plan.measured.peak_bytes)}, loader included.")
    title = f"Memory of a device, {plan.batch_of_a_device:,} of {plan.batch:,} pairs{many}"
    return title, grid(["", "bytes"], rows), notes


def _pace(plan: Plan) -> Section:
    pace = plan.measured
    if pace is None:
        return "Measured", grid(["", ""], []), [f"Nothing: {plan.not_measured}."]
    rows = [
        [
            "device",
            f"{pace.device}, {pace.threads} threads" if pace.device == "cpu" else pace.device,
        ],
        ["pairs of a step", f"{pace.batch:,}"],
        ["seconds of a step", f"{pace.seconds:.3g}"],
        ["samples a second", f"{pace.samples_per_second:.4g}"],
        ["operations a second", amount(plan.measured_flops or 0)],
        ["waiting for pictures", f"{100 * pace.data_wait:.1f} %"],
        ["decoding a picture, one core", f"{1e3 * pace.decoding:.2f} ms"],
        ["cores that decode as fast", f"{plan.cores_for_decoding or 0:.2g}"],
    ]
    return f"Measured here in {pace.steps} steps", grid(["", ""], rows), []


def _length(plan: Plan) -> Section:
    found = plan.length
    assert found is not None  # the caller looked  # noqa: S101
    rows = [
        ["samples", amount(found.samples)],
        ["steps", f"{found.steps:,.0f}"],
        ["samples a second", amount(found.samples_per_second)],
        ["hours", f"{found.hours:,.4g}"],
        ["device hours", f"{found.device_hours:,.4g}"],
    ]
    if found.cost is not None:
        rows.append(["cost", f"{found.cost:,.0f}"])
    notes = [f"By {found.by}; without validation and checkpoints."]
    if found.waiting is None:
        notes.append("Exchanges between devices are not counted: state --bandwidth.")
    elif plan.devices > 1:
        notes.append(f"{100 * found.waiting:.1f} % of a step waits for exchanges.")
    many = "device" if plan.devices == 1 else "devices"
    return f"The run on {plan.devices:,} {many}", grid(["", ""], rows), notes


def _paper(plan: Plan) -> Section:
    rows = [
        [
            run.model,
            f"{run.devices} {run.device}, {run.days:g} days",
            amount(run.flops_per_sample),
            f"{run.flops_per_second / 1e12:.1f} T",
            f"{100 * run.share_of_peak:.0f} %",
            f"{100 * run.share_with_recomputation:.0f} %",
        ]
        for run in plan.paper
    ]
    head = ["model", "took", "operations a sample", "a second and device", "of peak", "recomputing"]
    notes = ["If these were not between a tenth and a half of the peak, the counting would be off."]
    return "The paper's own runs by the same counting", grid(head, rows), notes


def grid(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """A plain table; the first column to the left, the others to the right."""
    from rich.table import Table
    from rich.text import Text

    table = Table(
        box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 2), show_header=any(head)
    )
    for number, name in enumerate(head):
        table.add_column(name, justify="right" if number else "left", no_wrap=True)
    for row in rows:
        style = "bold" if row[0] == "all" else ""
        table.add_row(*(Text(cell, style=style) for cell in row))
    return table


def amount(value: float) -> str:
    """Four digits and a letter."""
    for letter, factor in (("P", 1e15), ("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if abs(value) >= factor:
            return f"{value / factor:.4g} {letter}"
    return f"{value:.4g}"


def size(value: float) -> str:
    """Bytes for people."""
    return f"{amount(value)}B" if value >= 1e3 else f"{value:.0f} B"
