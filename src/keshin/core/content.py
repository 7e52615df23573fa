"""The digest of a picture's content, by which vectors, studies and evaluations know it again."""

from __future__ import annotations

import hashlib

import numpy as np
from PIL import Image

from keshin.core.picture_files import Picture


def content_of(picture: Picture) -> bytes:
    """SHA-256 of what a picture is made of, 32 bytes; names and places play no part.

    Of a file, the file's bytes; of bytes, themselves, so that a file has one digest wherever it
    lies; of an array, its type, shape and values; of a Pillow image, the same of its pixels as RGB.
    Raises ``OSError`` for a file that cannot be read.
    """
    if isinstance(picture, bytes | bytearray | memoryview):
        return hashlib.sha256(picture).digest()
    if isinstance(picture, Image.Image):
        picture = np.asarray(picture.convert("RGB"))
    if isinstance(picture, np.ndarray):
        head = f"{picture.dtype.str} {picture.shape} ".encode()
        return hashlib.sha256(head + picture.tobytes()).digest()
    with open(picture, "rb") as file:
        return hashlib.file_digest(file, "sha256").digest()
