"""Cutting a picture to what a tower sees: turned late with the same bits, and the fast mode's drift."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from keshin.core import fitting, pictures, resample
from keshin.core.fitting import draft, plan, stored_box
from keshin.core.pictures import PreprocessFacts, preprocess

ROOT = Path(__file__).parents[2]
CAMERA = ROOT.parent / "shared" / "data" / "camera" / "DJI_0024.JPG"
TURNS = list(Image.Transpose)


def facts(size, resize="shorter-side", kernel="bicubic"):
    return PreprocessFacts(
        size=size, resize=resize, interpolation=kernel, mean=(0, 0, 0), std=(1, 1, 1)
    )


SQUARE, OBLONG, SQUASH = facts((64, 64)), facts((48, 80)), facts((64, 64), "squash")


def scene(width, height):
    """Smooth shapes, edges and texture, as photographs have them; no two quarters alike."""
    y, x = np.mgrid[:height, :width] / min(width, height)
    red = 128 + 90 * np.sin(7 * x + 3 * y) + 30 * (x > 0.7)
    green = 255 * np.exp(-4 * ((x - 0.4) ** 2 + (y - 0.6) ** 2)) - 60 * (x + y > 1.4)
    grain = np.random.default_rng(0).normal(0, 4, (height, width))
    blue = 100 + 60 * np.cos(40 * x * y) + grain
    return Image.fromarray(np.stack([red, green, blue], -1).clip(0, 255).astype(np.uint8))


def jpeg(image, **options):
    file = io.BytesIO()
    image.save(file, "JPEG", quality=90, **options)
    return file.getvalue()


def turned(image, orientation, **options):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return jpeg(image, exif=exif, **options)


# --- exact: the small picture is turned ---------------------------------------------------------------


@pytest.mark.parametrize("size", [(400, 300), (301, 203), (97, 260), (66, 65), (40, 30)])
@pytest.mark.parametrize("kernel", ["bicubic", "bilinear", "lanczos", "nearest"])
@pytest.mark.parametrize("turn", TURNS)
def test_turning_late_has_the_same_bits(size, kernel, turn):
    for kind in ("RGB", "L", "CMYK", "LAB"):
        picture = scene(*size).convert("RGB").convert(kind if kind != "LAB" else "L")
        whole, _ = plan(fitting.turned_size(picture.size, turn), SQUARE)
        late = resample.resize_turned(picture, whole, kernel, turn)
        early = resample.resize(picture.transpose(turn), whole, kernel)
        assert np.array_equal(np.asarray(late), np.asarray(early))


def test_common_sizes_are_turned_late():
    """Else the shortcut would be there for nothing."""
    sizes = [(4000, 3000), (4032, 3024), (4624, 3468), (4000, 2250), (1920, 1080), (6000, 4000)]
    for width, height in sizes:
        whole, _ = plan((height, width), facts((224, 224)))
        assert resample._mirrors(height, whole[0], "bicubic")
        assert resample._mirrors(width, whole[1], "bicubic")


def test_an_axis_that_is_no_mirror_image_is_turned_first(monkeypatch):
    monkeypatch.setattr(resample, "_mirrors", lambda *_: False)
    picture = scene(300, 200)
    got = resample.resize_turned(picture, (64, 96), "bicubic", Image.Transpose.ROTATE_90)
    want = resample.resize(picture.transpose(Image.Transpose.ROTATE_90), (64, 96), "bicubic")
    assert np.array_equal(np.asarray(got), np.asarray(want))


# --- fast --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("turn", [None, *TURNS])
def test_a_box_finds_its_place_in_the_stored_picture(turn):
    picture = Image.fromarray(np.arange(35, dtype=np.uint8).reshape(5, 7))
    upright = picture if turn is None else picture.transpose(turn)
    box = (1, 2, 4, 5)
    stored = picture.crop(tuple(map(int, stored_box(box, picture.size, turn))))
    stored = stored if turn is None else stored.transpose(turn)
    assert np.array_equal(np.asarray(stored), np.asarray(upright.crop(box)))


def differences(data, of=SQUARE):
    exact, fast = (255 * preprocess(data, of, mode=mode) for mode in ("exact", "fast"))
    distance = abs(exact - fast)
    return distance.max(), distance.mean()


# The bounds are a half more than what was measured with Pillow 13 and libjpeg-turbo 3.2.
@pytest.mark.parametrize("of", [SQUARE, OBLONG, SQUASH], ids=["square", "oblong", "squash"])
@pytest.mark.parametrize("size", [(1203, 802), (803, 1201), (515, 1030), (641, 400)])
@pytest.mark.parametrize(
    "options",
    [{}, {"subsampling": 0}, {"progressive": True}, {"kind": "L"}, {"kind": "CMYK"}],
    ids=lambda o: next(iter(o), "4:2:0"),
)
def test_fast_is_near_to_exact(of, size, options):
    options = dict(options)
    picture = scene(*size).convert(options.pop("kind", "RGB"))
    most, mean = differences(jpeg(picture, **options), of)
    assert most <= 18
    assert mean <= 1.5


@pytest.mark.parametrize("orientation", range(2, 9))
@pytest.mark.parametrize("of", [SQUARE, OBLONG], ids=["square", "oblong"])
def test_fast_turns_as_exact_does(orientation, of):
    most, mean = differences(turned(scene(1203, 802), orientation), of)
    assert most <= 18
    assert mean <= 1.5


@pytest.mark.skipif(not CAMERA.is_file(), reason="../shared/data/camera is not here")
def test_fast_on_a_photograph_of_a_camera():
    most, mean = differences(CAMERA.read_bytes(), facts((224, 224)))
    assert most <= 7
    assert mean <= 0.6


def test_fast_on_other_files_than_jpeg():
    for kind, options in (("PNG", {}), ("WEBP", {"lossless": True}), ("TIFF", {})):
        file = io.BytesIO()
        scene(900, 600).save(file, kind, **options)
        most, mean = differences(file.getvalue())
        assert most <= 6
        assert mean <= 0.6


@pytest.mark.parametrize("size", [(64, 64), (127, 200), (30, 20), (1000, 7), (90, 4000)])
def test_small_pictures_have_the_bits_of_exact(size):
    assert differences(jpeg(scene(*size))) == (0, 0)


def test_only_as_much_is_drafted_as_the_margin_allows():
    for side, part in ((1024, 8), (1023, 4), (512, 4), (511, 2), (256, 2), (255, 1), (64, 1)):
        picture = Image.open(io.BytesIO(jpeg(scene(side + 100, side))))
        full = picture.size
        assert draft(picture, SQUARE) == part
        assert picture.size == (-(-full[0] // part), -(-full[1] // part))
    assert draft(scene(2000, 2000), SQUARE) == 1


def test_fast_takes_pillow_images_and_arrays():
    picture = scene(900, 600)
    for given in (picture, np.asarray(picture), picture.convert("P"), picture.convert("RGBA")):
        assert differences(given)[0] <= 6


def test_what_is_refused_and_bounded_is_the_size_in_the_header():
    limits = pictures.Limits(pixels=100_000)
    with pytest.raises(pictures.PictureError, match="over the limit"):
        preprocess(jpeg(scene(1000, 500)), SQUARE, mode="fast", limits=limits)
