"""Bytes that pretend to be pictures: a PictureError or a sound array may come out, nothing else."""

from __future__ import annotations

import contextlib
import io
import time
import warnings

import numpy as np
import pytest
from PIL import Image

from keshin.core.pictures import Limits, PreprocessFacts, open_picture, preprocess
from keshin.errors import PictureError

FACTS = PreprocessFacts(
    size=(16, 16), resize="shorter-side", interpolation="bicubic", mean=(0.5,) * 3, std=(0.5,) * 3
)
LIMITS = Limits(pixels=4_000_000)  # a flipped size must not cost the test its memory
SECONDS = 1.0  # a file kind, at most


def seeds() -> dict[str, bytes]:
    rng = np.random.default_rng(7)
    base = np.kron(rng.integers(0, 256, (6, 5, 3)), np.ones((6, 7, 1))).astype(np.uint8)
    picture, exif = Image.fromarray(base), Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "a remark"
    alpha = picture.copy()
    alpha.putalpha(Image.linear_gradient("L").resize(picture.size))
    frames = {"save_all": True, "append_images": [picture.rotate(180)]}
    kinds: dict[str, tuple[Image.Image, str, dict[str, object]]] = {
        "jpeg": (picture, "JPEG", {"exif": exif}),
        "jpeg progressive": (picture, "JPEG", {"progressive": True, "quality": 60}),
        "jpeg cmyk": (picture.convert("CMYK"), "JPEG", {}),
        "png": (picture, "PNG", {"exif": exif}),
        "png palette": (picture.quantize(16), "PNG", {"transparency": bytes(range(16))}),
        "png 16": (Image.fromarray(base[..., 0].astype(np.uint16) * 257), "PNG", {}),
        "apng": (picture, "PNG", frames),
        "webp": (picture, "WEBP", {"exif": exif}),
        "webp lossless": (alpha, "WEBP", {"lossless": True}),
        "gif": (picture, "GIF", frames),
        "tiff": (picture, "TIFF", {"exif": exif}),
        "tiff lzw": (picture, "TIFF", {"compression": "tiff_lzw"}),
        "tiff float": (Image.fromarray(base[..., 0] / np.float32(255)), "TIFF", {}),
        "bmp": (picture, "BMP", {}),
        "ico": (picture, "ICO", {"sizes": [(16, 16)]}),
        "tga": (alpha, "TGA", {}),
        "ppm": (picture, "PPM", {}),
        "mpo": (picture, "MPO", frames),
        "jpeg 2000": (picture, "JPEG2000", {}),
        "avif": (picture, "AVIF", {}),
    }
    if "AVIF" not in Image.SAVE:
        del kinds["avif"]
    files = {}
    for name, (image, kind, options) in kinds.items():
        file = io.BytesIO()
        image.save(file, kind, **options)
        files[name] = file.getvalue()
    return files


Image.init()
FILES = seeds()


def broken(data: bytes, rng: np.random.Generator) -> bytes:
    """One of: cut off, a few bytes changed, bits flipped near the start, a piece removed or doubled."""
    array = np.frombuffer(data, np.uint8).copy()
    how = rng.integers(5)
    if how == 0:
        return data[: rng.integers(len(data))]
    if how == 1:
        array[rng.integers(len(data), size=rng.integers(1, 9))] = rng.integers(256)
    elif how == 2:
        where = rng.integers(min(len(data), 120), size=rng.integers(1, 4))
        array[where] ^= np.uint8(1) << rng.integers(8, size=len(where), dtype=np.uint8)
    else:
        a, b = sorted(rng.integers(len(data), size=2))
        return data[:a] + data[b:] if how == 3 else data[:b] + data[a:]
    return array.tobytes()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("kind", FILES)
def test_broken_bytes_give_a_picture_error_or_a_sound_array(kind):
    rng = np.random.default_rng(sorted(FILES).index(kind))
    stop, tried, refused = time.monotonic() + SECONDS, 0, 0
    said: set[str] = set()
    for number in range(400):
        if time.monotonic() > stop:
            break
        data = broken(FILES[kind], rng)
        mode = ("exact", "reference")[number % 2]
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            tried += 1
            try:
                array = preprocess(data, FACTS, mode=mode, limits=LIMITS)
            except PictureError as error:
                refused += 1
                array = None
                said.add(str(error))
            if array is not None:
                assert array.shape == (3, 16, 16)
                assert array.dtype == np.float32
                assert np.isfinite(array).all()
        assert not caught, [str(w.message) for w in caught]
    assert tried > 20
    assert refused
    assert all(m.startswith("Cannot read the picture of") and m.endswith(".") for m in said)


@pytest.mark.parametrize("kind", FILES)
def test_the_unbroken_seed_is_read(kind):
    assert preprocess(FILES[kind], FACTS, limits=LIMITS).shape == (3, 16, 16)


@pytest.mark.parametrize("kind", ["jpeg", "png", "webp", "gif", "bmp", "tiff"])
def test_every_cut_in_the_header_is_refused_or_read(kind):
    for length in range(min(200, len(FILES[kind]))):
        with contextlib.suppress(PictureError):
            open_picture(FILES[kind][:length], limits=LIMITS)


def test_random_bytes_behind_every_signature():
    rng = np.random.default_rng(3)
    for data in FILES.values():
        for _ in range(10):
            try:
                open_picture(data[:12] + rng.bytes(400), limits=LIMITS)
            except PictureError:
                continue
