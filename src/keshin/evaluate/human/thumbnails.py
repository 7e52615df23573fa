"""Pictures as a page shows them: upright, of bounded size, without anything but pixels."""

from __future__ import annotations

import io
import threading

from PIL import Image

from keshin.core.pictures import Picture, open_picture, to_rgb

SIDE, EXAMPLE_SIDE = 900, 420
"""Longest sides in pixels, of a question and of an example."""
SMALL = 160
"""Pictures up to this side stay as they are, bit by bit."""
_AT_ONCE = threading.Semaphore(2)


def thumbnail(picture: Picture, side: int = SIDE) -> tuple[bytes, str]:
    """The picture's file and its media type: JPEG, or PNG where it is small.

    EXIF rotation is applied; names, places and all other notes in the file are left behind. Raises
    ``PictureError``.
    """
    with _AT_ONCE:
        image = to_rgb(open_picture(picture))
        small = max(image.size) <= SMALL
        image.thumbnail((side, side), Image.Resampling.LANCZOS)
        plain = Image.frombytes("RGB", image.size, image.tobytes())  # pixels, and nothing else
        stream = io.BytesIO()
        if small:
            plain.save(stream, "PNG")
            return stream.getvalue(), "image/png"
        plain.save(stream, "JPEG", quality=90)
        return stream.getvalue(), "image/jpeg"
