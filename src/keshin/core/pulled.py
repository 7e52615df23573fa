"""Models of the Hugging Face hub on this machine: found, checked and remembered; no network.

They lie in the hub's own cache, so that what another program fetched is not fetched again. There
``blobs/`` holds the files under the hash that the hub states (SHA-256 of large files, git's SHA-1
of small ones) and ``snapshots/COMMIT/`` links to them. A record of keshin's own says which files
of a model were checked, so that the next use costs only the look at sizes and times.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Collection
from pathlib import Path

import msgspec

from keshin.core.writing import whole
from keshin.errors import CheckpointError

HEX_SHA256, HEX_SHA1 = re.compile("[0-9a-f]{64}"), re.compile("[0-9a-f]{40}")
BRANCH = "main"
ANY_SHA256 = "0" * 64
CHUNK = 1 << 20


class Wanted(msgspec.Struct, frozen=True):
    """What a layout needs of a repository: all of ``needed``, the first of ``weights``."""

    needed: tuple[str, ...]
    weights: tuple[str, ...]
    useful: tuple[str, ...]


TOKENIZERS = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "vocab.json",
    "merges.txt",
    "spiece.model",
    "tokenizer.model",
    "sentencepiece.model",
    "sentencepiece.bpe.model",
)
WANTED = {
    "open_clip": Wanted(
        needed=("open_clip_config.json",),
        weights=(
            "open_clip_model.safetensors",
            "open_clip_model.safetensors.index.json",
            "open_clip_pytorch_model.bin",
        ),
        useful=TOKENIZERS,
    ),
    "transformers": Wanted(
        needed=("config.json",),
        weights=(
            "model.safetensors",
            "model.safetensors.index.json",
            "pytorch_model.bin",
            "pytorch_model.bin.index.json",
        ),
        useful=("preprocessor_config.json", "processor_config.json", *TOKENIZERS),
    ),
}


class PulledFile(msgspec.Struct, frozen=True):
    """One checked file."""

    name: str
    size: int
    digest: str
    """SHA-256, or git's SHA-1 for a small file: what the hub states and what was computed."""
    changed_ns: int


class Pulled(msgspec.Struct, frozen=True):
    """One model on this machine."""

    name: str
    repo: str
    commit: str
    folder: str
    files: tuple[PulledFile, ...]

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)


def hub_cache() -> Path:
    """The hub's cache, by its own rules: ``HF_HUB_CACHE``, ``HF_HOME``, the user's cache folder."""
    if own := os.environ.get("HF_HUB_CACHE"):
        return Path(os.path.expandvars(own)).expanduser()
    home = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    hub = os.environ.get("HF_HOME") or f"{home}/huggingface"
    return Path(os.path.expandvars(hub)).expanduser() / "hub"


def storage(cache: Path, repo: str) -> Path:
    """The folder of a repository in the hub's cache."""
    return cache / ("models--" + repo.replace("/", "--"))


def choose(names: Collection[str], layout: str | None, repo: str) -> list[str]:
    """The files to fetch of those that a repository has.

    ``layout``: ``None`` takes the first that fits. Raises ``CheckpointError`` that says what is
    not there.
    """
    lacking = []
    for kind, wanted in WANTED.items():
        if layout not in (None, kind):
            continue
        weights = next((name for name in wanted.weights if name in names), None)
        missing = [name for name in wanted.needed if name not in names]
        if weights is not None and not missing:
            useful = [name for name in wanted.useful if name in names]
            return [*wanted.needed, *useful, *_parts(weights, names), weights]
        lacking.append(" and ".join([*missing, *([] if weights else ["weights"])]))
    raise CheckpointError(
        f"{repo} holds no model that keshin reads: it lacks {', or '.join(lacking)}."
    )


def _parts(weights: str, names: Collection[str]) -> list[str]:
    """The parts of weights that are split, by the naming that both projects use."""
    if not weights.endswith(".index.json"):
        return []
    stem, _, ending = weights.removesuffix(".index.json").rpartition(".")
    part = re.compile(rf"{re.escape(stem)}-\d+-of-\d+\.{ending}")
    return sorted(name for name in names if part.fullmatch(name))


def compute_digest(path: Path, like: str) -> str:
    """SHA-256, or git's SHA-1 of a blob, whichever ``like`` is."""
    if HEX_SHA256.fullmatch(like):
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    digest = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def pulled_file(path: Path, digest: str) -> PulledFile:
    """The record of a file that was checked."""
    stat = path.stat()
    return PulledFile(path.name, stat.st_size, digest, stat.st_mtime_ns)


def adopt(name: str, repo: str, revision: str | None, layout: str | None) -> Pulled | None:
    """A model that another program left in the hub's cache, checked; ``None`` if it is not there.

    Raises ``CheckpointError`` if a file is not what its hash says.
    """
    snapshot = _snapshot(repo, revision)
    if snapshot is None:
        return None
    try:
        names = choose(_names(snapshot), layout, repo)
    except CheckpointError:
        return None  # only a part of it was fetched
    files = []
    for file in names:
        path = snapshot / file
        stated = path.resolve().name  # the name of the blob, where links could be made
        known = bool(HEX_SHA256.fullmatch(stated) or HEX_SHA1.fullmatch(stated))
        digest = compute_digest(path, stated if known else ANY_SHA256)
        if known and digest != stated:
            raise CheckpointError(
                f"{path} is damaged: its hash is {digest[:12]}..., the hub says {stated[:12]}... "
                f"It is not used; `keshin pull {name}` fetches it again."
            )
        files.append(pulled_file(path, digest))
    return Pulled(name, repo, snapshot.name, str(snapshot), tuple(files))


def lies_here(repo: str, revision: str | None, layout: str | None) -> bool:
    """Whether the hub's cache has all files of a model; they are not looked at."""
    snapshot = _snapshot(repo, revision)
    try:
        return snapshot is not None and bool(choose(_names(snapshot), layout, repo))
    except CheckpointError:
        return False


def _snapshot(repo: str, revision: str | None) -> Path | None:
    """The folder of a revision in the hub's cache."""
    home = storage(hub_cache(), repo)
    commit = revision or BRANCH
    ref = home / "refs" / commit
    if not HEX_SHA1.fullmatch(commit) and ref.is_file():
        commit = ref.read_text(encoding="utf-8").strip()
    folder = home / "snapshots" / commit
    return folder if HEX_SHA1.fullmatch(commit) and folder.is_dir() else None


def _names(folder: Path) -> list[str]:
    return [entry.name for entry in folder.iterdir() if entry.is_file()]  # not broken links


def check(pulled: Pulled, *, whole: bool = False) -> None:
    """Look at sizes and times, and recompute the hash of what they do not vouch for.

    ``whole`` recomputes all. Raises ``CheckpointError`` that names the file.
    """
    for file in pulled.files:
        path = Path(pulled.folder) / file.name
        again = f"`keshin pull {pulled.name}` fetches it again."
        if not path.is_file():
            raise CheckpointError(f"{path} is no longer there. {again}")
        stat = path.stat()
        same = (stat.st_size, stat.st_mtime_ns) == (file.size, file.changed_ns)
        if same and not whole:
            continue
        if stat.st_size != file.size or compute_digest(path, file.digest) != file.digest:
            raise CheckpointError(
                f"{path} has changed since it was pulled: its hash is no longer "
                f"{file.digest[:12]}... It is not used; {again}"
            )


def read_record(records: Path, name: str) -> Pulled | None:
    """What is remembered of a model by its exact name; ``None`` if nothing or nonsense is."""
    try:
        return msgspec.json.decode(_place(records, name).read_bytes(), type=Pulled)
    except (OSError, msgspec.MsgspecError, ValueError):
        return None


def write_record(records: Path, pulled: Pulled) -> None:
    """Remember a model, in one step."""
    place = _place(records, pulled.name)
    place.parent.mkdir(parents=True, exist_ok=True)
    with whole(place) as scratch:
        scratch.write_bytes(msgspec.json.format(msgspec.json.encode(pulled), indent=2))


def records_in(records: Path) -> list[Pulled]:
    """All that is remembered, in the order of names."""
    found = (
        read_record(records, entry.stem.replace("--", "/")) for entry in records.glob("*.json")
    )
    return sorted((entry for entry in found if entry is not None), key=lambda entry: entry.name)


def _place(records: Path, name: str) -> Path:
    plain = re.sub(r"[^A-Za-z0-9._-]", "_", name.replace("/", "--"))
    return records / f"{plain}.json"
