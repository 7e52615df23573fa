"""Options that several commands share. This module declares them and imports nothing heavy."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

MODES = ("fp32", "int8-safe", "int8", "bf16")
LANGUAGES = ("en", "ja")
ENGINES = ("onnx", "openvino", "torch")
FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
NEW_FILE = click.Path(dir_okay=False, path_type=Path)
Command = TypeVar("Command", bound=Callable[..., Any])


def mode_option(default: str, text: str) -> Callable[[Command], Command]:
    """``--mode``, with another default and another meaning for each command."""
    return click.option(
        "--mode", type=click.Choice(MODES), default=default, show_default=True, help=text
    )


def engine_option(command: Command) -> Command:
    """``--engine``."""
    return click.option(
        "--engine",
        type=click.Choice(ENGINES),
        default="onnx",
        show_default=True,
        help="What computes; bf16 needs openvino or torch (keshin[openvino], keshin[train]).",
    )(command)


def threads_option(command: Command) -> Command:
    """``--threads``."""
    return click.option(
        "--threads", type=click.IntRange(min=1), help="Default: as many as there are cores."
    )(command)


def language_option(text: str) -> Callable[[Command], Command]:
    """``--language``: which of a command's words are in it."""
    return click.option(
        "--language",
        "--lang",
        type=click.Choice(LANGUAGES),
        default=LANGUAGES[0],
        show_default=True,
        help=text,
    )


def model_options(command: Command) -> Command:
    """Which model looks at pictures, and how: ``model``, ``threads``, ``engine``, ``mode``,
    ``fast`` and ``no_cache``. ``model`` is None where none was named.
    """
    for option in (
        click.option(
            "--no-cache",
            is_flag=True,
            help="Neither use nor keep vectors. (They are kept for folders only.)",
        ),
        click.option(
            "--fast",
            is_flag=True,
            help="Decode large JPEGs at a part of their size: several times faster, nearly the "
            "same vectors.",
        ),
        mode_option(
            "fp32", "Precision; int8 is the fastest. 'keshin info --fidelity' shows its price."
        ),
        engine_option,
        threads_option,
        click.option("-m", "--model", metavar="NAME|FOLDER", help="Default: mini."),
    ):
        command = option(command)
    return command


def index_options(command: Command) -> Command:
    """Of commands on the index of a folder: ``index``, ``rebuild`` and ``no_update``."""
    for option in (
        click.option("--no-update", is_flag=True, help="Take the index as it is; look at no file."),
        click.option("--rebuild", is_flag=True, help="Forget the index and make it anew."),
        click.option(
            "--index",
            type=click.Path(file_okay=False, path_type=Path),
            help="The folder of the index's files. Default: one in the cache folder.",
        ),
    ):
        command = option(command)
    return command
