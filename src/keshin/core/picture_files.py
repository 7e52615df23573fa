"""Finding and opening picture files: hostile bytes in, a decoded Pillow image or PictureError out.

The table of what happens with each kind of picture stands in ``keshin.core.pictures``. No global
setting of Pillow is changed; its warnings are hidden only while a picture is read. All functions
may be called from many threads, if no two share an unloaded Pillow image.
"""

from __future__ import annotations

import io
import os
import re
import stat
import struct
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, Any, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile

from keshin.errors import PictureError

Picture: TypeAlias = str | os.PathLike[str] | bytes | Image.Image | NDArray[Any]
Prepare: TypeAlias = Callable[[Image.Image], None]

SUFFIXES = frozenset({
    ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".webp", ".gif", ".bmp", ".dib",
    ".tif", ".tiff", ".avif", ".heic", ".heif", ".jp2", ".j2k", ".ppm", ".pgm", ".pbm", ".pnm",
    ".tga", ".ico",
})  # fmt: skip
_TURNS = dict(enumerate((Image.Transpose(t) for t in (0, 3, 1, 5, 4, 6, 2)), start=2))
_AGAIN = "copy or download it again"
_HINTS = (  # how an unreadable file begins -> what it is and what to do
    (rb".{4}ftyp(hei|hev|mif1|msf1)", "is HEIC: pip install pillow-heif, run register_heif_opener"),
    (rb"\xff\x0a|\0\0\0\x0cJXL ", "is JPEG XL: pip install pillow-jxl-plugin, import pillow_jxl"),
    (rb"\W*(<\?xml.{,300})?(<!--.{,500}-->\s*)?<(!doctype )?svg", "is SVG: use cairosvg for a PNG"),
    (rb"%PDF|%!PS|\xc5\xd0\xd3\xc6", "is PDF or PostScript: render a page of it to PNG first"),
    (rb"\W*<(!doctype )?html", "is a web page, so its download failed: fetch the picture itself"),
    (rb"version https://git-lfs", "is a Git LFS pointer: run git lfs pull"),
)  # fmt: skip


class Limits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is refused before decoding: more than ``pixels`` = width x height (4 bytes each)."""

    pixels: int = 256_000_000


DEFAULT_LIMITS = Limits()


class _Quiet:
    """Hides warnings that come from Pillow. ``catch_warnings`` alone is not safe with threads:
    here the first thread in changes the filters and the last one out restores them."""

    def __init__(self) -> None:
        self._lock, self._inside, self._saved = threading.Lock(), 0, warnings.catch_warnings()

    def __enter__(self) -> None:
        with self._lock:
            if self._inside == 0:
                self._saved = warnings.catch_warnings()
                self._saved.__enter__()
                warnings.filterwarnings("ignore", module=r"PIL\.")
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                self._saved.__exit__(None, None, None)


quiet = _Quiet()


def name_of(source: object) -> str:
    """A printable name for messages; odd characters of file names are escaped."""
    if isinstance(source, Image.Image):
        source = getattr(source, "filename", "") or f"{source.mode} image {source.size} in memory"
    elif isinstance(source, np.ndarray):
        return f"the array of shape {source.shape} and type {source.dtype}"
    elif isinstance(source, bytes):
        return f"the picture of {len(source):,} bytes"
    return repr(os.fsdecode(source)) if isinstance(source, str | os.PathLike) else repr(source)


def bad(name: str, why: str) -> PictureError:
    """The error for a picture: one sentence with its name, the reason and what to do."""
    return PictureError(f"Cannot read {name}: {why}.")


def _check_size(width: int, height: int, name: str, limits: Limits) -> None:
    if width * height > limits.pixels:
        why = f"it has {width:,} x {height:,} pixels, over the limit of {limits.pixels:,}"
        raise bad(name, f"{why}; shrink it, or raise Limits(pixels=...)")
    if width * height == 0:
        raise bad(name, "it has no pixels")


def readers(head: bytes) -> Iterator[tuple[str, Callable[..., ImageFile.ImageFile], bool]]:
    """Pillow's readers that may fit, likely ones first; the flag: the file's first bytes fit.
    Image.open is not used, since its pixel limit is a global. PostScript would run a program."""
    tried = {"EPS"}
    for register in (Image.preinit, Image.init):
        register()
        for kind, (reader, accept) in list(Image.OPEN.items()):
            fits = accept(head[:16]) if accept else True
            if kind not in tried and fits and not isinstance(fits, str):
                yield kind, reader, accept is not None
            tried.add(kind)


def _read(
    stream: IO[bytes], size: int, name: str, limits: Limits, prepare: Prepare | None
) -> Image.Image:
    """Identify and decode the first frame, as stored, from a stream of ``size`` bytes."""
    head, kind, sure, refused = stream.read(1024), "", False, ""
    if not head:
        raise bad(name, "it is empty (0 bytes); " + _AGAIN)
    try:
        for kind, reader, sure in readers(head):
            stream.seek(0)
            try:
                image = reader(stream, "")
            except (SyntaxError, IndexError, TypeError, struct.error) as error:  # try the next
                refused = refused or (f"damaged {kind}: {error}; {_AGAIN}" if sure else "")
                continue
            _check_size(*image.size, name, limits)
            if prepare:
                prepare(image)
            image.load()
            return image
    except PictureError:
        raise
    except Exception as error:  # decoders raise anything on hostile bytes
        riff = head[:4] == b"RIFF" and int.from_bytes(head[4:8], "little") + 8 > size
        if riff or isinstance(error, EOFError) or "truncated" in str(error).lower():
            why = f"truncated {kind}: it ends before the picture does"
            raise bad(name, f"{why}; {_AGAIN}") from error
        if sure:
            raise bad(name, f"damaged {kind}: {str(error) or repr(error)}; {_AGAIN}") from error
    hint = next((f"it {text}" for start, text in _HINTS if re.match(start, head, re.S | re.I)), "")
    raise bad(name, hint or refused or "it is not a picture in a format that Pillow knows")


def decode(
    source: Picture, limits: Limits, *, name: str = "", prepare: Prepare | None = None
) -> Image.Image:
    """The picture as stored: no rotation, no conversion. Never leaves a file open.

    Arguments: ``name``: what messages call it; ``prepare``: called with the picture of a file or of
    bytes when its header is known and nothing is decoded yet.
    """
    name = name or name_of(source)
    if isinstance(source, np.ndarray):
        return _from_array(source, name, limits)
    if isinstance(source, bytes):
        with quiet:
            return _read(io.BytesIO(source), len(source), name, limits, prepare)
    if isinstance(source, Image.Image):
        _check_size(*source.size, name, limits)
        try:
            with quiet:
                source.load()
        except Exception as error:
            raise bad(name, f"Pillow says: {error}") from error
        return source
    if isinstance(source, str | os.PathLike):
        return _from_path(source, name, limits, prepare)
    raise bad(name, "give a path, bytes, a Pillow image or a uint8 array")


def _from_path(
    source: str | os.PathLike[str], name: str, limits: Limits, prepare: Prepare | None
) -> Image.Image:
    try:
        state = os.stat(source)
        if stat.S_ISDIR(state.st_mode):
            os.scandir(source).close()
            raise bad(name, "it is a folder; find_pictures gives its pictures")
        if not stat.S_ISREG(state.st_mode):
            raise bad(name, "it is not a regular file")
        with open(source, "rb") as stream, quiet:
            return _read(stream, state.st_size, name, limits, prepare)
    except FileNotFoundError as error:
        hint = "download it first, addresses are not read" if "://" in name else "check the path"
        raise bad(name, f"there is no such file; {hint}") from error
    except (OSError, ValueError) as error:  # "Permission denied", "Too many levels of symbolic ..."
        why = (getattr(error, "strerror", None) or str(error)).lower()
        raise bad(name, f"{why}; check the path and who may read it") from error


def _from_array(array: NDArray[Any], name: str, limits: Limits) -> Image.Image:
    """A copy of a uint8 array (h, w), (h, w, 1), (h, w, 3) or (h, w, 4) as a Pillow image."""
    if array.dtype != np.uint8:
        scaled = "(a >> 8)" if array.dtype == np.uint16 else "(a.clip(0, 1) * 255).round()"
        raise bad(name, f"its type must be uint8, 0 to 255; try {scaled}.astype(np.uint8)")
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)):
        hint = "; for (c, h, w) use a.transpose(1, 2, 0)" if array.ndim == 3 else ""
        raise bad(name, f"its shape must be (h, w), (h, w, 1), (h, w, 3) or (h, w, 4){hint}")
    _check_size(array.shape[1], array.shape[0], name, limits)
    array = array[..., 0] if array.shape[2:] == (1,) else array
    return Image.fromarray(np.array(array, order="C", subok=False))


def turn_of(image: Image.Image) -> Image.Transpose | None:
    """What the EXIF (or XMP) orientation asks for; None where there is none, or a damaged one."""
    try:
        with quiet:
            return _TURNS.get(image.getexif().get(0x0112, 1))
    except Exception:  # metadata is no reason to refuse a picture that decodes
        return None


def upright(image: Image.Image) -> Image.Image:
    """Apply the orientation of a loaded picture and forget the tag. The same object comes back
    where there is none."""
    turn = turn_of(image)
    if turn is None:
        return image
    turned = image.transpose(turn)
    for key in ("exif", "Raw profile type exif", "xmp", "XML:com.adobe.xmp"):
        turned.info.pop(key, None)
    return turned


def open_picture(source: Picture, *, limits: Limits = DEFAULT_LIMITS) -> Image.Image:
    """The first frame of a picture, decoded, upright (EXIF applied), in the mode stored.

    Arguments: ``source``: a path, the bytes of a file, a Pillow image (as it stands), or a uint8
    array (h, w), (h, w, 1), (h, w, 3) RGB or (h, w, 4) RGBA. Returns an image of its own that
    needs no open file. Raises PictureError, a sentence with the name and what to do.
    """
    image = decode(source, limits)
    turned = upright(image)
    return image.copy() if turned is image else turned


def find_pictures(paths: Iterable[str | os.PathLike[str]]) -> Iterator[Path]:
    """Yield files as given, and from folders, in sorted order and at any depth, those whose name
    ends in one of ``SUFFIXES``.

    Hidden files and folders (".x") inside are skipped; links are followed, but no folder is
    walked twice, so that loops end. What is missing or may not be listed is yielded itself:
    opening it gives the PictureError that says so, and the others go on.
    """
    for start in paths:
        seen: set[tuple[int, int]] = set()
        stack = [iter([(Path(start), True, True)])]  # path, may be a folder, was given
        while stack:
            path, folder, given = next(stack[-1], (None, False, False))
            if path is None:
                stack.pop()
            elif folder:
                try:
                    stack.append(_inside(path, seen))
                except (OSError, ValueError) as error:
                    file = isinstance(error, (NotADirectoryError, FileNotFoundError))
                    if given or not file or path.suffix.lower() in SUFFIXES:
                        yield path
            else:
                yield path


def _inside(path: Path, seen: set[tuple[int, int]]) -> Iterator[tuple[Path, bool, bool]]:
    """The folders and pictures of a folder, in order; nothing if it was seen. Only names are held,
    and no file is touched: what a name is, the listing of its folder says."""
    state = os.stat(path)
    with os.scandir(path) as entries:
        names = sorted((e.name, _may_be_folder(e)) for e in entries if e.name[0] != ".")
    if (state.st_dev, state.st_ino) in seen:
        return iter(())
    seen.add((state.st_dev, state.st_ino))
    return (
        (path / name, folder, False)
        for name, folder in names
        if folder or os.path.splitext(name)[1].lower() in SUFFIXES  # noqa: PTH122 - for speed
    )


def _may_be_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a loop of links, or what may not be looked at: the walk says so
        return True
