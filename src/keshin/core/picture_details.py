"""What the header of a picture file says: its size upright, its orientation, when it was taken."""

from __future__ import annotations

import os
import re
import struct
from dataclasses import dataclass
from datetime import datetime

from PIL import Image

from keshin.core.picture_files import quiet, readers

ORIENTATION, EXIF, TAKEN, CHANGED = 0x0112, 0x8769, 0x9003, 0x0132
SIDEWAYS = (5, 6, 7, 8)


@dataclass(frozen=True)
class Details:
    """Of a picture file; what is not known is 0 or ""."""

    width: int = 0
    """In pixels, after the orientation was applied."""
    height: int = 0
    orientation: int = 1
    """The EXIF tag, 1 to 8; 1 is upright."""
    taken: str = ""
    """The EXIF time, ``YYYY-MM-DDTHH:MM:SS``, of the place where it was taken."""


def picture_details(path: str | os.PathLike[str]) -> Details:
    """Reads the header only. Never raises for what the file holds: nothing is known of it then."""
    try:
        with open(path, "rb") as stream, quiet:
            head = stream.read(1024)
            for _, reader, _ in readers(head):
                stream.seek(0)
                try:
                    image = reader(stream, "")
                except (SyntaxError, IndexError, TypeError, struct.error):
                    continue
                return _of(image)
    except Exception:  # hostile bytes make decoders raise anything
        return Details()
    return Details()


def _of(image: Image.Image) -> Details:
    width, height = image.size
    try:
        exif = image.getexif()
        orientation = exif.get(ORIENTATION, 1)
        taken = _time(exif.get_ifd(EXIF).get(TAKEN) or exif.get(CHANGED))
    except Exception:  # damaged metadata
        return Details(width, height)
    if orientation not in range(1, 9):
        orientation = 1
    if orientation in SIDEWAYS:
        width, height = height, width
    return Details(width, height, int(orientation), taken)


def _time(text: object) -> str:
    """EXIF writes ``2024:05:01 12:34:56``; an unset camera clock writes zeros or blanks."""
    found = re.match(r"(\d{4})[:-](\d\d)[:-](\d\d)[ T](\d\d):(\d\d):(\d\d)", str(text or ""))
    if not found:
        return ""
    try:
        return datetime(*map(int, found.groups())).isoformat()  # type: ignore[arg-type]
    except ValueError:
        return ""
