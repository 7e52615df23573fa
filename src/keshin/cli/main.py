"""The command ``keshin``: finds the verb, and turns errors into one sentence and an exit code.

Exit codes: 0 all fine; 1 some inputs failed, named in the report; 2 wrong use; 130 interrupted.
"""

from __future__ import annotations

import difflib
import importlib
import os
import sys
from typing import NoReturn

import click

from keshin import __version__
from keshin.errors import DownloadError, KeshinError, TrainingError

COMMANDS = {
    "classify": ("keshin.cli.infer:classify", "Say which of some labels fits each picture."),
    "models": (
        "keshin.cli.models:models",
        "List the models that are here, and those that can be fetched.",
    ),
    "pull": ("keshin.cli.models:pull", "Fetch a model."),
    "info": (
        "keshin.cli.models:info",
        "Show what exactly a model is, and what is uncertain.",
    ),
    "embed": ("keshin.cli.embed:embed", "Write the vectors of pictures to a file."),
    "search": (
        "keshin.cli.search:search",
        "Find the pictures of a folder that fit a text or a picture.",
    ),
    "duplicates": (
        "keshin.cli.duplicates:duplicates",
        "Find pictures of a folder that are there more than once.",
    ),
    "eval": (
        "keshin.cli.evaluate:evaluate",
        "Say how good a model is on labelled pictures, with a report.",
    ),
    "weaknesses": (
        "keshin.cli.weaknesses:weaknesses",
        "Measure what a model is known to be bad at.",
    ),
    "export": (
        "keshin.cli.export:export",
        "Write a model for OpenCLIP, transformers or ONNX.",
    ),
    "human": ("keshin.cli.human:human", "Compare people with the model on the same pictures."),
    "cache": ("keshin.cli.cache:cache", "Show or clear what keshin keeps on disk."),
    "data": (
        "keshin.cli.data:data",
        "Check image-text pairs before training; write them as shards.",
    ),
    "train": (
        "keshin.cli.train:train",
        "Train a CLIP from image-text pairs, as RECIPE (a TOML file) says.",
    ),
    "plot": ("keshin.cli.plot:plot", "Draw what training runs logged, on one page."),
    "finetune": (
        "keshin.cli.finetune:finetune",
        "Teach a model what is in a hundred pictures of yours.",
    ),
    "kaokore": (
        "keshin.cli.kaokore:kaokore",
        "Can a model tell 化身 (incarnations) from 人 (people)?",
    ),
}
FAILED, MISUSED, INTERRUPTED, PIPE_CLOSED = 1, 2, 130, 141
DEBUG = "keshin.debug"


class CommandFailed(click.ClickException):
    """A sentence on standard error and an exit code."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code  # type: ignore[misc]  # click reads it from the instance


class LazyGroup(click.Group):
    """A group whose commands are imported when they are called, not when they are listed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(importlib.import_module(module), name)
        if DEBUG_OPTION not in command.params:
            command.params.append(DEBUG_OPTION)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name not in COMMANDS and not name.startswith("-"):
            near = difflib.get_close_matches(name, COMMANDS, n=1)
            hint = f"Did you mean '{near[0]}'?" if near else f"There are: {', '.join(COMMANDS)}."
            ctx.fail(f"There is no command '{name}'. {hint}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit):
            raise
        except KeyboardInterrupt:
            click.echo("Interrupted.", err=True)
            raise click.exceptions.Exit(INTERRUPTED) from None
        except BrokenPipeError:
            _leave_quietly()
        except Exception as error:
            if ctx.meta.get(DEBUG) or os.environ.get("KESHIN_DEBUG", "0") not in ("", "0"):
                raise
            raise _as_sentence(error) from error


def _as_sentence(error: Exception) -> CommandFailed:
    if isinstance(error, KeshinError):
        failed = isinstance(error, TrainingError | DownloadError)
        return CommandFailed(str(error), FAILED if failed else MISUSED)
    if isinstance(error, OSError):
        where = f" '{error.filename}'" if error.filename else ""
        return CommandFailed(f"{error.strerror or error}{where}.", FAILED)
    return CommandFailed(
        f"keshin has a bug here, or it met something new: {type(error).__name__}: {error}. "
        "Run again with --debug and report what it shows.",
        FAILED,
    )


def _leave_quietly() -> NoReturn:
    """The reader of our output is gone (as in ``| head``): say nothing, now or at exit."""
    sink = os.open(os.devnull, os.O_WRONLY)
    os.dup2(sink, sys.stdout.fileno())
    raise click.exceptions.Exit(PIPE_CLOSED)


def _set_debug(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    del param
    if value:
        ctx.meta[DEBUG] = True  # shared by all contexts of one call


DEBUG_OPTION = click.Option(
    ["--debug"],
    is_flag=True,
    expose_value=False,
    callback=_set_debug,
    help="Show where an error comes from (also: KESHIN_DEBUG=1).",
)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="keshin", message="%(prog)s %(version)s")
def main() -> None:
    """CLIP from labels to answers, without PyTorch.

    \b
    Example:
      keshin classify photo.jpg --labels "cat, dog, bird"

    Exit codes: 0 all fine; 1 some inputs failed, named in the report; 2 wrong use; 130 interrupted.
    """


main.params.append(DEBUG_OPTION)
