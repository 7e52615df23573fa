"""Pictures as a page shows them: upright, of bounded size, without anything but pixels."""

from __future__ import annotations

import base64
import io
import threading
from typing import NamedTuple

from PIL import Image

from keshin.core.pictures import Picture, open_picture, to_rgb

SIDE = 160
"""Longer side in pixels, unless another is asked for."""
PNG = b"\x89PNG"
_AT_ONCE = threading.Semaphore(2)  # whole pictures in memory


class Thumbnail(NamedTuple):
    """A small picture as a file."""

    content: bytes
    media: str


def thumbnail(
    picture: Picture, side: int = SIDE, *, exact: int = 0, quality: int = 85
) -> Thumbnail:
    """The picture as a small JPEG; as a PNG, bit by bit, where neither side exceeds ``exact``.

    EXIF rotation is applied; names, places and all other notes in the file are left behind. Raises
    ``PictureError``.
    """
    with _AT_ONCE:
        image = to_rgb(open_picture(picture))
        small = max(image.size) <= exact
        image.thumbnail((side, side), Image.Resampling.LANCZOS)
        plain = Image.frombytes("RGB", image.size, image.tobytes())  # pixels, and nothing else
        stream = io.BytesIO()
        if small:
            plain.save(stream, "PNG", optimize=True)
            return Thumbnail(stream.getvalue(), "image/png")
        plain.save(stream, "JPEG", quality=quality, optimize=True)
        return Thumbnail(stream.getvalue(), "image/jpeg")


def data_url(content: bytes) -> str:
    """A PNG or JPEG file as an address that holds it."""
    media = "image/png" if content.startswith(PNG) else "image/jpeg"
    return f"data:{media};base64,{base64.b64encode(content).decode()}"
