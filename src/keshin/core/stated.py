"""What people state about a model: in a ``facts.json`` beside it, or in Python.

A statement is an object of facts as ``foreign.known.STATEMENTS`` names them; ``like`` names a
release whose facts hold wherever neither the model's files nor people say otherwise.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from keshin.core.pulled import ANY_SHA256, compute_digest
from keshin.errors import CheckpointError
from keshin.facts import releases
from keshin.facts.releases import Release

FILE = "facts.json"
LIKE = "like"


def statement_file(path: Path) -> Path:
    """Where the statement on a model is looked for: in its folder, or beside its file."""
    return path.with_name(f"{path.stem}.{FILE}") if path.is_file() else path / FILE


def gather(path: Path, facts: Mapping[str, Any] | str | None) -> dict[str, Any]:
    """All that is stated about a model. ``facts``: as given to ``keshin.load``.

    A release under ``like`` is named only: ``fill`` takes from it what is missing in the end.
    Raises ``CheckpointError`` if file and argument contradict each other, or for no such release.
    """
    given = {LIKE: facts} if isinstance(facts, str) else dict(facts or {})
    file = statement_file(path)
    written = _read(file) if file.is_file() else {}
    for name in written.keys() & given.keys():
        if _plain(written[name]) != _plain(given[name]):
            raise CheckpointError(
                f"{file} says that {name} is {written[name]!r}, but facts= says {given[name]!r}. "
                "State it once."
            )
    stated = {**written, **given}
    if LIKE in stated:
        stated[LIKE] = releases.get(str(stated[LIKE])).name
    return stated


def fill(path: Path, names: Iterable[str], release: Release | None) -> dict[str, Any] | None:
    """Missing facts from the table of releases: of the release that was pulled or named, or of
    the one whose original file this is, by its hash. ``None`` if the table does not have all.
    """
    if release is None and path.is_file():
        release = releases.by_sha256(compute_digest(path, ANY_SHA256))
    known = release.statements() if release else {}
    found = {name: known[name] for name in names if name in known}
    if release is None or len(found) < len(tuple(names)):
        return None
    extra = {"text_head_width": known["text_head_width"]} if "text_head_width" in known else {}
    return {**found, **(extra if "head_width" in found else {})}


def _read(file: Path) -> dict[str, Any]:
    try:
        return msgspec.json.decode(file.read_bytes(), type=dict[str, Any])
    except OSError as error:
        raise CheckpointError(f"Cannot read {file}: {error.strerror}.") from error
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise CheckpointError(
            f"{file} is not a JSON object of facts ({error}). Write it as "
            '{"activation": "gelu", ...} or {"like": "openai/ViT-B-32"}.'
        ) from error


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
