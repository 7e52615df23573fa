"""PyTorch's pickled files, read without running what they contain.

Only ``torch.load(weights_only=True)`` opens them: it builds tensors and plain containers, and
refuses every other class or function that a pickle names. OpenAI released TorchScript archives,
which ``torch.load`` declines as such. Their tensors are pickled like any others, inside records
of the module tree; the archive is copied in memory without its code and each record is read into
an inert ``_Node``, so that nothing of TorchScript is loaded or run.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

from keshin.core.foreign.keys import Array
from keshin.errors import CheckpointError, MissingExtra, require

PICKLED = (".pt", ".pth", ".bin", ".ckpt")
SCRIPTED = "__torch__."  # how TorchScript names the classes of its own modules
TYPED = "torch.jit._pickle."  # functions around its typed lists, which return their first argument
LARGEST_TREE = 100_000  # values in one file; a ViT-L/14 has some two thousand
PARALLEL = "module."  # what distributed training puts before each name


class _Node:
    """A module of a TorchScript archive: its attributes and nothing else."""


def _first(value: Any, *_: Any) -> Any:
    return value


def read_pickled(path: Path) -> dict[str, Array]:
    """The tensors of a pickled state dict, a training state that has one, or a TorchScript archive.

    Raises ``CheckpointError`` if the file names anything but tensors and plain containers.
    """
    if not path.is_file():
        raise CheckpointError(f"There is no file {path}.")
    try:
        torch = require("torch", extra="train")
        state = _leaves(torch, _load(torch, path), path)
    except (CheckpointError, MissingExtra):
        raise
    except Exception as error:  # whatever a parser may raise on a damaged or hostile file
        reason = (str(error).splitlines() or [""])[0].partition("WeightsUnpickler error:")
        raise CheckpointError(
            f"{path} is damaged, or holds more than tensors, which could run code on this machine "
            f"({type(error).__name__}: {(reason[2] or reason[0]).strip()[:200]}). keshin does not "
            "load it; look for the same weights as .safetensors."
        ) from error
    if all(name.startswith(PARALLEL) for name in state):
        state = {name.removeprefix(PARALLEL): array for name, array in state.items()}
    return state


def _load(torch: Any, path: Path) -> Any:
    if not _is_torchscript(path):
        loaded = torch.load(path, map_location="cpu", weights_only=True)
        return loaded.get("state_dict", loaded) if isinstance(loaded, dict) else loaded
    plain = _without_code(path)
    names = torch.serialization.get_unsafe_globals_in_checkpoint(plain)
    inert: list[tuple[Any, str]] = [(_Node, name) for name in names if name.startswith(SCRIPTED)]
    inert += [(_first, name) for name in names if name.startswith(TYPED)]
    plain.seek(0)
    with torch.serialization.safe_globals(inert):
        return torch.load(plain, map_location="cpu", weights_only=True)


def _is_torchscript(path: Path) -> bool:
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def _without_code(path: Path) -> BinaryIO:
    """The archive's module tree and tensors as ``torch.save`` would lay them out."""
    memory = io.BytesIO()
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(memory, "w") as plain:
        entries = [entry for entry in archive.infolist() if _is_data(entry.filename)]
        stored = all(entry.compress_type == zipfile.ZIP_STORED for entry in entries)
        if not stored or sum(entry.file_size for entry in entries) > path.stat().st_size:
            raise CheckpointError(
                f"{path} is a TorchScript archive that unpacks to more than it holds. PyTorch "
                "does not write such files; keshin does not load it."
            )
        for entry in entries:
            plain.writestr(entry.filename, archive.read(entry))
    memory.seek(0)
    return memory


def _is_data(name: str) -> bool:
    inner = name.partition("/")[2]
    return inner in ("data.pkl", "version", "byteorder") or inner.startswith("data/")


def _leaves(torch: Any, root: Any, path: Path) -> dict[str, Array]:
    """Tensors with dotted names; other plain values (flags, counters) are no weights."""
    found: dict[str, Array] = {}
    waiting = [("", root)]
    seen = 0
    while waiting:
        name, value = waiting.pop()
        seen += 1
        if seen > LARGEST_TREE:  # or a tree that contains itself would keep us for ever
            raise CheckpointError(f"{path} holds more than {LARGEST_TREE} values: no CLIP model.")
        if isinstance(value, torch.Tensor):
            wide = value.float() if value.dtype == torch.bfloat16 else value
            found[name] = wide.detach().numpy()
        elif isinstance(value, (_Node, Mapping)):
            children = vars(value) if isinstance(value, _Node) else value
            waiting += [(f"{name}.{key}" if name else str(key), v) for key, v in children.items()]
    return found
