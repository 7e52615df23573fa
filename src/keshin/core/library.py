"""The models of the hub that can be named: found on this machine, or fetched.

A name is that of a release (``openai/ViT-B-32``, see ``facts/releases.toml``), or ``hf:OWNER/NAME``
for any other repository of the hub in OpenCLIP's or transformers' layout.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from keshin.core.pulled import Pulled, adopt, check, read_record, records_in, write_record
from keshin.errors import CheckpointError, DownloadError
from keshin.facts import releases
from keshin.facts.releases import Release

HUB = "hf:"


@dataclass(frozen=True)
class Target:
    """What a name means."""

    name: str
    repo: str
    release: Release | None
    revision: str | None = None
    layout: str | None = None


def target(name: str) -> Target | None:
    """What a name means; ``None`` if it is no name of a model on the hub."""
    if name.startswith(HUB):
        repo, _, revision = name.removeprefix(HUB).partition("@")
        if repo.count("/") != 1 or not all(repo.split("/")):
            raise CheckpointError(f"'{name}' names no repository. Write hf:OWNER/NAME.")
        return Target(name, repo, None, revision or None)
    release = releases.find(name)
    if release is None:
        return None
    return Target(release.name, release.repo, release, release.revision, release.layout)


def on_this_machine(wanted: Target, records: Path) -> Pulled | None:
    """The model if it was pulled, or if another program left it in the hub's cache.

    Raises ``CheckpointError`` if it is there but damaged.
    """
    pulled = read_record(records, wanted.name)
    if pulled is not None and pulled.name == wanted.name:
        check(pulled)
        return pulled
    pulled = adopt(wanted.name, wanted.repo, wanted.revision, wanted.layout)
    if pulled is not None:
        write_record(records, pulled)
    return pulled


def pull(
    wanted: Target,
    records: Path,
    *,
    offline: bool = False,
    verify: bool = False,
    progress: Callable[[str, int, int], None] = lambda _name, _here, _all: None,
) -> Pulled:
    """The model, fetched if it is not here; ``verify`` recomputes every hash first.

    Raises ``DownloadError``, and ``CheckpointError`` if the repository holds no model.
    """
    from keshin.core import download

    try:
        pulled = on_this_machine(wanted, records)
        if pulled is not None:
            if verify:
                check(pulled, whole=True)
            return pulled
    except CheckpointError as damaged:
        if download.is_offline(offline):
            raise DownloadError(f"{damaged} The network is switched off.") from damaged
    pulled = download.pull(
        wanted.name,
        wanted.repo,
        revision=wanted.revision,
        layout=wanted.layout,
        offline=offline,
        progress=progress,
    )
    write_record(records, pulled)
    return pulled


def pulled_models(records: Path) -> list[Pulled]:
    """All models that were pulled and whose files are still there."""
    found = []
    for pulled in records_in(records):
        if all((Path(pulled.folder) / file.name).is_file() for file in pulled.files):
            found.append(pulled)
    return found


def how_to_get(wanted: Target) -> str:
    """A sentence for a model that is not on this machine."""
    size = f" (about {wanted.release.about_bytes / 1e9:.1f} GB)" if wanted.release else ""
    return (
        f"{wanted.name} is not on this machine. Fetch it with: keshin pull {wanted.name}{size}; "
        "in Python: keshin.load(..., download=True)."
    )
