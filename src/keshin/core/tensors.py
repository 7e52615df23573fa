"""One safetensors file: its tensors by name, mapped and not copied.

The header is read and checked here, since an ONNX graph needs the place of each tensor in the
file. What is accepted is what the ``safetensors`` library accepts (a test compares the two): the
header is JSON, each tensor's bytes follow from its type and shape, and the tensors fill the file
without a gap or an overlap. Format: https://github.com/huggingface/safetensors#format.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from stat import S_ISREG
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from keshin.errors import CheckpointError

LARGEST_HEADER = 100_000_000  # bytes; the limit of the safetensors library
ITEM_BYTES = {
    **dict.fromkeys(("F64", "I64", "U64"), 8),
    **dict.fromkeys(("F32", "I32", "U32"), 4),
    **dict.fromkeys(("F16", "BF16", "I16", "U16"), 2),
    **dict.fromkeys(("BOOL", "I8", "U8", "F8_E4M3", "F8_E5M2"), 1),
}
NUMPY_TYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "BOOL": "?",
    "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1",
    "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "u1",
}  # fmt: skip
WRITTEN_TYPES = {"float32": "F32", "float16": "F16"}
"""What a checkpoint is written in."""
ALL_WRITTEN = WRITTEN_TYPES | {"int64": "I64", "int32": "I32", "int8": "I8", "uint8": "U8"}
ALIGNMENT = 64  # of the first tensor, so that mapped weights sit well for vector instructions

RESTORE = "Restore the file or export the checkpoint again."


class _Entry(msgspec.Struct, forbid_unknown_fields=True):
    """What the header says of one tensor."""

    dtype: str
    shape: list[int]
    data_offsets: tuple[int, int]


@dataclass(frozen=True)
class TensorInfo:
    """Where one tensor lies in its file."""

    name: str
    dtype: str
    """safetensors' name: ``F32``, ``F16``, ``BF16``, ..."""
    shape: tuple[int, ...]
    offset: int
    """Of the first byte, from the beginning of the file."""
    nbytes: int


class TensorFile:
    """The tensors of one safetensors file. Raises ``CheckpointError`` for a damaged file."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.infos: dict[str, TensorInfo] = _read_header(self.path)

    @cached_property
    def _bytes(self) -> npt.NDArray[np.uint8]:
        return np.memmap(self.path, np.uint8, mode="r")

    def raw(self, name: str) -> npt.NDArray[np.uint8]:
        """The stored bytes of a tensor, mapped."""
        info = self.infos[name]
        return self._bytes[info.offset : info.offset + info.nbytes]

    def read(self, name: str) -> npt.NDArray[Any]:
        """A tensor as stored, mapped; bfloat16, which NumPy lacks, as float32."""
        info = self.infos[name]
        if info.dtype == "BF16":
            widened = self.raw(name).view("<u2").astype(np.uint32) << 16
            return widened.view(np.float32).reshape(info.shape)
        if info.dtype not in NUMPY_TYPES:
            raise CheckpointError(
                f"{self.path}: the tensor '{name}' is stored as {info.dtype}, which keshin cannot "
                "read. Store it as float32 or float16."
            )
        return self.raw(name).view(NUMPY_TYPES[info.dtype]).reshape(info.shape)

    def read_float32(self, name: str) -> npt.NDArray[np.float32]:
        """A tensor as float32, mapped if it is stored so."""
        return self.read(name).astype(np.float32, copy=False)


def _read_header(path: Path) -> dict[str, TensorInfo]:
    try:
        with open(path, "rb", opener=_open_without_waiting) as file:
            status = os.fstat(file.fileno())
            if not S_ISREG(status.st_mode):
                raise CheckpointError(f"{path} is not a regular file. {RESTORE}")
            length = int.from_bytes(file.read(8), "little")
            space = status.st_size - 8
            if not 2 <= length <= space:
                raise CheckpointError(
                    f"{path} is damaged or cut short: it has {status.st_size} bytes, and its "
                    f"header claims {length}. {RESTORE}"
                )
            if length > LARGEST_HEADER:
                raise CheckpointError(
                    f"{path} claims a header of {length} bytes; more than {LARGEST_HEADER} is not "
                    f"safetensors. {RESTORE}"
                )
            header = file.read(length)
    except OSError as error:
        raise CheckpointError(f"Cannot read {path}: {error.strerror}.") from error
    entries = _parse_header(header, path)
    return _placed(entries, 8 + length, space - length, path)


def _open_without_waiting(path: str, flags: int) -> int:
    """A named pipe in place of the file must not make us wait for a writer."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _parse_header(header: bytes, path: Path) -> dict[str, _Entry]:
    damaged = f"{path} is not a safetensors file: its header"
    try:
        if header[:1] != b"{":
            raise CheckpointError(f"{damaged} does not begin with '{{'. {RESTORE}")
        raw = msgspec.json.decode(header, type=dict[str, msgspec.Raw])
        if metadata := raw.pop("__metadata__", None):
            msgspec.json.decode(metadata, type=dict[str, str])
        return {name: msgspec.json.decode(entry, type=_Entry) for name, entry in raw.items()}
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{damaged} is wrong ({error}). {RESTORE}") from error


def _placed(
    entries: dict[str, _Entry], base: int, available: int, path: Path
) -> dict[str, TensorInfo]:
    """The tensors in the order of the file, if they fill it exactly."""
    infos: dict[str, TensorInfo] = {}
    expected = 0
    for name, entry in sorted(entries.items(), key=lambda item: item[1].data_offsets):
        begin, end = entry.data_offsets
        where = f"{path}: the tensor '{name}'"
        if entry.dtype not in ITEM_BYTES:
            raise CheckpointError(f"{where} has the unknown type '{entry.dtype}'. {RESTORE}")
        if any(side < 0 for side in entry.shape):
            raise CheckpointError(f"{where} has the shape {entry.shape}. {RESTORE}")
        if begin != expected or end < begin:
            raise CheckpointError(
                f"{where} lies at bytes {begin} to {end} where byte {expected} was next: tensors "
                f"overlap or leave a gap. {RESTORE}"
            )
        if end > available:
            raise CheckpointError(
                f"{where} ends at byte {end}, but the file holds only {available} bytes of "
                f"tensors: it is cut short. {RESTORE}"
            )
        if math.prod(entry.shape) * ITEM_BYTES[entry.dtype] != end - begin:
            raise CheckpointError(
                f"{where} has {end - begin} bytes, which is not what {entry.dtype} of shape "
                f"{entry.shape} takes. {RESTORE}"
            )
        infos[name] = TensorInfo(name, entry.dtype, tuple(entry.shape), base + begin, end - begin)
        expected = end
    if expected != available:
        raise CheckpointError(
            f"{path} has {available - expected} bytes after its last tensor. {RESTORE}"
        )
    return infos


def write_tensors(path: Path, tensors: Mapping[str, npt.NDArray[Any]]) -> None:
    """Write arrays of the types in ``ALL_WRITTEN``, larger items first, and flush them."""
    order = sorted(tensors, key=lambda name: (-tensors[name].dtype.itemsize, name))
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name in order:
        array = tensors[name]
        begin, end = end, end + array.nbytes
        header[name] = {
            "dtype": ALL_WRITTEN[array.dtype.name],
            "shape": array.shape,
            "data_offsets": (begin, end),
        }
    text = msgspec.json.encode(header)
    text += b" " * (-(8 + len(text)) % ALIGNMENT)
    with path.open("xb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name in order:
            array = np.ascontiguousarray(tensors[name])
            file.write(array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes())
        file.flush()
        os.fsync(file.fileno())
