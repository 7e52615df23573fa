import base64

import numpy as np
import pytest
from PIL import Image

from keshin.errors import PictureError
from keshin.pages.thumbnails import data_url, thumbnail


def test_thumbnails_are_upright_bounded_and_hold_only_pixels(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # stored lying on its side
    exif[0x010E] = "a red kite"
    path = tmp_path / "red_kite.jpg"
    Image.new("RGB", (2400, 1200), "red").save(path, exif=exif, comment=b"red kite")
    content, media = thumbnail(path, 900, exact=160)
    assert media == "image/jpeg"
    assert b"kite" not in content
    assert b"Exif" not in content
    (tmp_path / "t.jpg").write_bytes(content)
    with Image.open(tmp_path / "t.jpg") as image:
        assert image.size == (450, 900)


def test_small_pictures_are_shown_bit_by_bit(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 255, (32, 32, 3), dtype=np.uint8)
    content, media = thumbnail(pixels, 900, exact=160)
    assert media == "image/png"
    (tmp_path / "t.png").write_bytes(content)
    with Image.open(tmp_path / "t.png") as image:
        assert np.array_equal(np.asarray(image), pixels)


def test_small_pictures_are_jpeg_unless_asked_for_bit_by_bit():
    found = thumbnail(np.zeros((32, 48, 3), np.uint8))
    assert found.media == "image/jpeg"
    assert data_url(found.content).startswith("data:image/jpeg;base64,/9j/")


def test_an_address_says_what_it_holds():
    found = thumbnail(np.zeros((4, 4, 3), np.uint8), exact=4)
    head, _, content = data_url(found.content).partition(",")
    assert head == "data:image/png;base64"
    assert base64.b64decode(content) == found.content


def test_what_is_no_picture_is_an_error():
    with pytest.raises(PictureError):
        thumbnail(b"no picture")
