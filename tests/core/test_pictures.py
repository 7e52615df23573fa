"""keshin.core.pictures: the reference's values, and every kind of picture that people have."""

from __future__ import annotations

import hashlib
import io
import json
import os
import struct
import threading
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile

from keshin.core import pictures, resample
from keshin.core.pictures import (
    Limits,
    PreprocessFacts,
    find_pictures,
    load_batch,
    open_picture,
    preprocess,
    to_rgb,
)
from keshin.errors import PictureError

pytestmark = pytest.mark.filterwarnings("error")
ROOT = Path(__file__).parents[2]
REFERENCE = ROOT.parent / "shared" / "data" / "reference"
GOLDEN = ROOT / "tests" / "golden" / "pixels.json"
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
CLIP = PreprocessFacts(
    size=(224, 224), resize="shorter-side", interpolation="bicubic", mean=MEAN, std=STD
)
SMALL = PreprocessFacts(
    size=(32, 32), resize="shorter-side", interpolation="bicubic", mean=(0, 0, 0), std=(1, 1, 1)
)
SQUASH = PreprocessFacts(
    size=(32, 32), resize="squash", interpolation="bicubic", mean=(0.5,) * 3, std=(0.5,) * 3
)


def drawn(width: int, height: int, channels: int = 3) -> np.ndarray:
    """A picture by an integer formula: waves, edges and a little grain, the same everywhere."""
    y, x, c = np.ogrid[:height, :width, :channels]
    wave = (x * x // 37 + y * (3 + c) + c * 41) ^ ((x // 9 + y // 13) * 29)
    return (wave % 256).astype(np.uint8)


def image(width: int, height: int, channels: int = 3) -> Image.Image:
    array = drawn(width, height, channels)
    return Image.fromarray(array[..., 0] if channels == 1 else array)


def saved(picture: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def png(width: int, height: int, bits: int, colour: int, data: bytes) -> bytes:
    """A PNG file written by hand, for the kinds that Pillow does not write."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def original(picture: Image.Image, size: int, mean=MEAN, std=STD) -> np.ndarray:
    """openai's transform written once more, plainly: rows first, as the Pillow of its day."""
    w, h = picture.size
    whole = (size, int(size * h / w)) if w <= h else (int(size * w / h), size)
    rows = picture.resize((whole[0], h), Image.Resampling.BICUBIC)
    full = rows.resize(whole, Image.Resampling.BICUBIC)
    left, top = round((whole[0] - size) / 2.0), round((whole[1] - size) / 2.0)
    rgb = full.crop((left, top, left + size, top + size)).convert("RGB")
    x = np.asarray(rgb).transpose(2, 0, 1).astype(np.float32) / np.float32(255)
    return (x - np.float32(mean)[:, None, None]) / np.float32(std)[:, None, None]


def levels(tensor: np.ndarray) -> np.ndarray:
    """(h, w, 3) bytes of a tensor made with SMALL."""
    return np.rint(tensor * 255).astype(np.uint8).transpose(1, 2, 0)


# --- the reference ------------------------------------------------------------------------------


@pytest.mark.skipif(not REFERENCE.is_dir(), reason="../shared/data/reference is not here")
@pytest.mark.parametrize("mode", ["exact", "reference"])
def test_the_stored_tensors_of_openai_clip_are_reproduced_with_difference_zero(mode):
    with np.load(REFERENCE / "clip_vitb32_reference.npz") as stored:
        want = dict(
            zip(
                stored["clip_retrieval/names"],
                stored["clip_retrieval/preprocessed_224"],
                strict=False,
            )
        )
        want = {f"clip_retrieval_{name}.jpg": tensor for name, tensor in want.items()}
        want["franz-kafka.jpg"] = stored["kafka/preprocessed_224"].reshape(3, 224, 224)
    assert len(want) == 8
    for name, tensor in want.items():
        got = preprocess(REFERENCE / "pictures" / name, CLIP, mode=mode)
        assert got.dtype == np.float32
        assert np.abs(got - tensor).max() == 0.0, name


SIZES = [(224, 224), (225, 224), (640, 480), (480, 641), (227, 230), (100, 37), (448, 1120), (3, 2)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("mode", ["exact", "reference"])
@pytest.mark.parametrize("kind", ["RGB", "L", "CMYK", "YCbCr"])
def test_ordinary_pictures_equal_the_original(size, mode, kind):
    picture = (
        image(*size) if kind != "CMYK" else Image.frombytes("CMYK", size, drawn(*size, 4).tobytes())
    )
    picture = picture.convert(kind)
    assert np.array_equal(preprocess(picture, CLIP, mode=mode), original(picture, 224))


def golden() -> dict[str, np.ndarray]:
    made = {f"rgb {w}x{h}": preprocess(image(w, h), CLIP) for w, h in SIZES}
    made["long 4000x7"] = preprocess(image(4000, 7), CLIP)
    made["tall 40x9000"] = preprocess(image(40, 9000), CLIP)
    made["rgba 300x200"] = preprocess(image(300, 200, 4), CLIP)
    made["squash 300x200"] = preprocess(image(300, 200), SQUASH)
    return made


def test_golden_pixels():
    """Digests of whole tensors: another Pillow or processor must give the same bits."""
    digests = {
        k: hashlib.sha256(v.astype("<f4").tobytes()).hexdigest() for k, v in golden().items()
    }
    assert digests == json.loads(GOLDEN.read_text())


def test_the_crop_is_rounded_half_to_even_like_the_original():
    wide = np.zeros((32, 37, 3), np.uint8)  # (37 - 32) / 2 = 2.5 -> 2; Python rounds half to even
    wide[:, 2] = 255
    assert preprocess(wide, SMALL)[0, 0, 0] == 1.0
    wide = np.zeros((32, 39, 3), np.uint8)  # 3.5 -> 4, where a floor would give 3
    wide[:, 4] = 255
    assert preprocess(wide, SMALL)[0, 0, 0] == 1.0


def test_squash_and_oblong_towers():
    picture = image(300, 200)
    squashed = np.asarray(picture.resize((32, 200), 3).resize((32, 32), 3)).transpose(2, 0, 1)
    want = (squashed / np.float32(255) - np.float32(0.5)) / np.float32(0.5)
    assert np.array_equal(preprocess(picture, SQUASH), want)
    for size in [(48, 16), (16, 48), (31, 64)]:
        facts = PreprocessFacts(
            size=size, resize="shorter-side", interpolation="bilinear", mean=MEAN, std=STD
        )
        assert preprocess(picture, facts).shape == (3, *size)
        assert preprocess(image(5, 900), facts).shape == (3, *size)


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear", "lanczos", "nearest"])
def test_every_interpolation_keeps_a_flat_picture_flat(interpolation):
    facts = PreprocessFacts(
        size=(8, 8), resize="shorter-side", interpolation=interpolation, mean=(0,) * 3, std=(1,) * 3
    )
    flat = np.full((31, 47, 3), 77, np.uint8)
    assert set(preprocess(flat, facts).ravel()) == {np.float32(77) / np.float32(255)}


@pytest.mark.parametrize("wrong", [{"size": (0, 4)}, {"std": (1, 0, 1)}, {"mean": (0, np.nan, 0)}])
def test_senseless_facts_are_refused(wrong):
    good = {
        "size": (4, 4),
        "resize": "squash",
        "interpolation": "bicubic",
        "mean": (0,) * 3,
        "std": (1,) * 3,
    }
    with pytest.raises(ValueError):
        PreprocessFacts(**(good | wrong))


def test_an_unknown_mode_is_a_programming_error():
    with pytest.raises(ValueError, match="exact"):
        preprocess(image(4, 4), SMALL, mode="quick")


# --- long pictures ------------------------------------------------------------------------------


@pytest.mark.parametrize("kernel", ["bicubic", "bilinear"])
@pytest.mark.parametrize("kind", ["L", "RGB", "CMYK", "YCbCr"])
@pytest.mark.parametrize("size", [(9, 700), (700, 9), (300, 4000), (4000, 300), (33, 32), (1, 50)])
def test_the_strip_of_a_long_picture_has_the_bits_of_the_whole(size, kind, kernel):
    picture = (
        image(*size) if kind != "CMYK" else Image.frombytes("CMYK", size, drawn(*size, 4).tobytes())
    )
    picture, (w, h) = picture.convert(kind), size
    whole = (32, int(32 * h / w)) if w <= h else (int(32 * w / h), 32)
    left, top = round((whole[0] - 32) / 2.0), round((whole[1] - 32) / 2.0)
    box = (left, top, left + 32, top + 32)
    want = np.asarray(resample.resize(picture, whole, kernel).crop(box))
    assert np.array_equal(np.asarray(resample.resize_long(picture, whole, box, kernel)), want)


@pytest.mark.parametrize("shape", [(1, 1), (1, 10_000), (10_000, 1), (2, 3_000_000), (999_999, 1)])
def test_extreme_aspects_give_a_picture_in_bounded_memory(shape):
    array = np.full((*shape, 3), 200, np.uint8)
    for mode in ("exact", "reference"):
        assert set(levels(preprocess(array, SMALL, mode=mode)).ravel()) == {200}


def test_a_long_picture_that_cannot_be_cut_is_refused_and_says_what_helps():
    long = Image.new("P", (100_000, 1))
    with pytest.raises(PictureError, match=r"so long.*mode='exact'"):
        preprocess(long, SMALL, mode="reference", limits=Limits(pixels=1_000_000))
    assert preprocess(long, SMALL).shape == (3, 32, 32)


# --- orientation --------------------------------------------------------------------------------

TURNED = {  # what the eight values mean, in NumPy: stored -> as people see it
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    8: lambda a: np.rot90(a),
}


def with_exif(value: int, kind: str = "PNG", **options: object) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = value
    return saved(image(40, 60), kind, exif=exif, **options)


@pytest.mark.parametrize("value", TURNED)
@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_exif_orientation_is_applied(value, kind):
    file = with_exif(value, kind, **({"lossless": True} if kind == "WEBP" else {}))
    seen = np.ascontiguousarray(TURNED[value](drawn(40, 60)))
    assert np.array_equal(np.asarray(open_picture(file)), seen)
    assert np.array_equal(preprocess(file, SMALL), preprocess(seen, SMALL))
    opened = open_picture(file)  # the tag is gone, so that nobody turns it twice
    assert np.array_equal(preprocess(opened, SMALL), preprocess(seen, SMALL))
    if kind != "TIFF":
        stored = preprocess(drawn(40, 60), SMALL, mode="reference")
        assert np.array_equal(preprocess(file, SMALL, mode="reference"), stored)


def test_jpeg_orientation_and_pillow_images():
    file = with_exif(6, "JPEG")
    assert open_picture(file).size == (60, 40)
    with Image.open(io.BytesIO(file)) as lazy:
        assert np.array_equal(preprocess(lazy, SMALL), preprocess(file, SMALL))
        assert lazy.size == (40, 60)  # the caller's image is not changed
        assert open_picture(lazy) is not lazy


@pytest.mark.parametrize("value", [0, 9, 255, 65535])
def test_an_orientation_that_does_not_exist_is_none(value):
    assert open_picture(with_exif(value)).size == (40, 60)


def test_damaged_exif_is_no_reason_to_refuse_a_picture():
    for damage in (
        b"Exif\0\0",
        b"Exif\0\0II*\0\xff\xff\xff\xff",
        b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\1",
    ):
        assert open_picture(saved(image(40, 60), "JPEG", exif=damage)).size == (40, 60)


# --- kinds of pixels ----------------------------------------------------------------------------


def test_a_palette_is_resolved_before_the_resize():
    picture = image(90, 70).quantize(64)
    want = preprocess(picture.convert("RGB"), SMALL)
    assert np.array_equal(preprocess(saved(picture, "PNG"), SMALL), want)
    nearest = original(picture, 32, (0, 0, 0), (1, 1, 1))  # what the original does with it
    assert np.array_equal(preprocess(picture, SMALL, mode="reference"), nearest)
    assert not np.array_equal(want, nearest)


def test_transparency_of_a_palette_is_white():
    picture = Image.new("P", (50, 50), 1)
    picture.putpalette([255, 0, 0, 0, 0, 255])
    picture.paste(0, (0, 0, 25, 50))
    for transparency in (0, b"\0\xff"):
        seen = levels(preprocess(saved(picture, "PNG", transparency=transparency), SMALL))
        assert (seen[:, 2] == 255).all()
        assert (seen[:, -2] == (0, 0, 255)).all()
    dropped = levels(
        preprocess(saved(picture, "PNG", transparency=b"\0\xff"), SMALL, mode="reference")
    )
    assert (dropped[:, 2] == (255, 0, 0)).all()


def test_one_bit_is_antialiased():
    bits = Image.fromarray(drawn(97, 97, 1)[..., 0]).convert("1")
    want = preprocess(bits.convert("L"), SMALL)
    assert np.array_equal(preprocess(saved(bits, "PNG"), SMALL), want)
    assert set(np.unique(levels(preprocess(bits, SMALL, mode="reference")))) <= {0, 255}


def test_alpha_is_laid_over_white_and_hidden_colours_do_not_bleed():
    array = np.zeros((64, 64, 4), np.uint8)
    array[:, :32] = (0, 255, 0, 0)  # hidden green
    array[:, 32:] = (0, 0, 0, 255)
    seen = levels(preprocess(array, SMALL))
    assert (seen[:, :12] == 255).all()
    assert (seen[..., 0] == seen[..., 1]).all()
    dropped = preprocess(array, SMALL, mode="reference")
    assert np.array_equal(dropped, original_alpha(array))


def original_alpha(array: np.ndarray) -> np.ndarray:
    whole = Image.fromarray(array).resize((32, 32), Image.Resampling.BICUBIC).convert("RGB")
    return np.asarray(whole).transpose(2, 0, 1).astype(np.float32) / np.float32(255)


def test_opaque_alpha_changes_nothing():
    array = drawn(300, 200, 4)
    array[..., 3] = 255
    for mode in ("exact", "reference"):
        assert np.array_equal(preprocess(array, CLIP, mode=mode), preprocess(array[..., :3], CLIP))


@pytest.mark.parametrize("kind", ["LA", "La", "PA", "RGBA", "RGBa", "RGBX", "HSV", "LAB", "1", "P"])
def test_every_mode_of_pillow_gives_rgb(kind):
    picture = Image.new(kind, (20, 30))
    assert to_rgb(picture).mode == "RGB"
    assert preprocess(picture, SMALL).shape == (3, 32, 32)


def test_a_transparent_colour_in_rgb_and_grey_png_is_white():
    for picture, key in (
        (Image.new("RGB", (9, 9), (1, 2, 3)), (1, 2, 3)),
        (Image.new("L", (9, 9)), 0),
    ):
        assert set(levels(preprocess(saved(picture, "PNG", transparency=key), SMALL)).ravel()) == {
            255
        }


def test_sixteen_bit_grey_is_scaled_not_clipped():
    grey = drawn(60, 60, 1)[..., 0]
    want = preprocess(grey, SMALL)
    deep = grey.astype(np.uint16) * 257
    pgm = b"P5 60 60 65535\n" + deep.astype(">u2").tobytes()
    tiff = saved(Image.fromarray(deep), "TIFF")
    for file in (
        saved(Image.fromarray(deep), "PNG"),
        tiff,
        pgm,
        Image.fromarray(deep.astype(np.int32)),
    ):
        assert np.array_equal(preprocess(file, SMALL), want)
    assert levels(preprocess(pgm, SMALL, mode="reference")).mean() > 240  # clipped, as the original


def test_sixteen_bit_colour_keeps_its_upper_byte():
    deep = (drawn(20, 20).astype(np.uint16) * 257).astype(">u2")
    rows = b"".join(b"\0" + row.tobytes() for row in deep)
    assert np.array_equal(
        preprocess(png(20, 20, 16, 2, rows), SMALL), preprocess(drawn(20, 20), SMALL)
    )


def test_floats_in_0_to_1_are_scaled_and_others_refused():
    ramp = np.linspace(0, 1, 256, dtype=np.float32).reshape(16, 16)
    want = preprocess((ramp * 255).round().astype(np.uint8), SMALL)
    assert np.array_equal(preprocess(saved(Image.fromarray(ramp), "TIFF"), SMALL), want)
    for bad in (ramp * 255, ramp * np.nan, ramp - 1, ramp + np.inf):
        with pytest.raises(PictureError, match="not within 0 to 1"):
            preprocess(Image.fromarray(bad.astype(np.float32)), SMALL)
    with pytest.raises(PictureError, match="not within 0 to 65535"):
        to_rgb(Image.fromarray(np.array([[-1, 70_000]], np.int32)))


def test_cmyk_jpeg_is_read_as_adobe_writes_it():
    red = Image.new("CMYK", (40, 40), (0, 255, 255, 0))
    seen = levels(preprocess(saved(red, "JPEG", quality=95), SMALL))
    assert (seen.astype(int) @ (1, -1, -1) > 240).all()


def test_an_icc_profile_is_ignored():
    from PIL import ImageCms

    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    file = saved(image(50, 50), "PNG", icc_profile=profile)
    assert np.array_equal(preprocess(file, SMALL), preprocess(drawn(50, 50), SMALL))


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF", "MPO", "AVIF"])
def test_of_many_frames_the_first_counts(kind):
    Image.init()
    if kind not in Image.SAVE:
        pytest.skip("this Pillow has no AVIF")
    frames = [Image.new("RGB", (40, 40), colour) for colour in ("red", "lime", "blue")]
    options = {"lossless": True} if kind == "WEBP" else {}
    file = saved(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    r, g, b = levels(preprocess(file, SMALL)).reshape(-1, 3).astype(int).mean(0)
    assert r > 240
    assert g < 15
    assert b < 15


def test_a_pillow_image_counts_where_it_stands():
    frames = [Image.new("RGB", (40, 40), colour) for colour in ("red", "blue")]
    with Image.open(
        io.BytesIO(saved(frames[0], "GIF", save_all=True, append_images=frames[1:]))
    ) as gif:
        gif.seek(1)
        assert (levels(preprocess(gif, SMALL)) == (0, 0, 255)).all()


# --- arrays -------------------------------------------------------------------------------------


def test_arrays_of_every_allowed_shape_and_stride():
    rgb, grey = drawn(50, 40), drawn(50, 40, 1)
    assert np.array_equal(preprocess(grey, SMALL), preprocess(grey[..., 0], SMALL))
    for view in (rgb[::-1, ::-1], rgb[::2, 1:], np.asfortranarray(rgb), rgb.transpose(1, 0, 2)):
        assert np.array_equal(preprocess(view, SMALL), preprocess(view.copy(order="C"), SMALL))
    rgb.setflags(write=False)
    assert np.array_equal(preprocess(rgb, SMALL), preprocess(image(50, 40), SMALL))


def test_an_opened_array_is_a_copy():
    array = np.zeros((4, 4), np.uint8)
    opened = open_picture(array)
    array[:] = 9
    assert np.asarray(opened).max() == 0


@pytest.mark.parametrize(
    ("array", "says"),
    [
        (np.zeros((4, 4, 3), np.float32), r"uint8.*255"),
        (np.full((4, 4, 3), np.nan), "uint8"),
        (np.zeros((4, 4), np.uint16), ">> 8"),
        (np.zeros((4, 4), bool), "uint8"),
        (np.zeros((4, 4), object), "uint8"),
        (np.zeros((3, 4, 5), np.uint8), "transpose"),
        (np.zeros((4, 4, 2), np.uint8), "shape"),
        (np.zeros(4, np.uint8), "shape"),
        (np.zeros((1, 4, 4, 3), np.uint8), "shape"),
        (np.zeros((0, 4, 3), np.uint8), "no pixels"),
        (None, "give a path"),
        (7, "give a path"),
        (["x.jpg"], "give a path"),
    ],
)
def test_what_is_no_picture_is_refused_with_advice(array, says):
    with pytest.raises(PictureError, match=says):
        preprocess(array, SMALL)


# --- files that cannot be read ------------------------------------------------------------------

HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100)
UNREADABLE = {
    "empty.jpg": (b"", "empty"),
    "text.jpg": (b"Hello, this is a text and no picture.\n" * 20, "not a picture"),
    "page.jpg": (b"<!DOCTYPE html><html><body>404</body></html>", "web page"),
    "drawing.svg": (
        b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>',
        "cairosvg",
    ),
    "phone.heic": (HEIC, "pillow-heif"),
    "new.jxl": (b"\xff\x0a" + bytes(50), "pillow-jxl-plugin"),
    "paper.pdf": (b"%PDF-1.7\n" + bytes(50), "PDF"),
    "program.eps": (
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n",
        "PostScript",
    ),
    "lfs.png": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
    "cut.jpg": (saved(image(90, 90), "JPEG")[:900], "truncated JPEG"),
    "cut.png": (saved(image(90, 90), "PNG")[:900], "truncated PNG"),
    "cut.gif": (saved(image(90, 90), "GIF")[:1900], "truncated GIF"),
    "cut.webp": (saved(image(90, 90), "WEBP")[:900], "truncated WEBP"),
    "cut.bmp": (saved(image(90, 90), "BMP")[:900], "truncated BMP"),
    "cut.tif": (saved(image(90, 90), "TIFF")[:-900], "truncated TIFF"),
    "broken.png": (
        saved(image(90, 90), "PNG").replace(b"IDAT", b"IDXX"),
        "damaged PNG|truncated PNG",
    ),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_an_unreadable_file_is_named_and_explained(tmp_path, name):
    content, says = UNREADABLE[name]
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(PictureError, match=says) as caught:
        open_picture(path)
    assert name in str(caught.value)
    with pytest.raises(PictureError, match=says):
        preprocess(content, SMALL, mode="reference")


def test_places_that_are_no_picture_files(tmp_path, monkeypatch):
    for path, says in [
        (tmp_path, "folder"),
        (tmp_path / "missing.jpg", "no such file"),
        ("https://example.org/x.jpg", "download it first"),
        ("x\0.jpg", "null"),
        ("", "no such file"),
        ("n" * 5000, "check the path"),
    ]:
        with pytest.raises(PictureError, match=says):
            open_picture(path)
    file = tmp_path / "secret.png"
    file.write_bytes(saved(image(4, 4), "PNG"))

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(PictureError, match="permission denied"):
        open_picture(file)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes on this system")
def test_a_named_pipe_does_not_hang(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    with pytest.raises(PictureError, match="not a regular file"):
        open_picture(tmp_path / "pipe.jpg")


@pytest.mark.skipif(os.name == "nt", reason="no such names on Windows")
def test_odd_names_can_be_read_and_printed(tmp_path):
    path = os.path.join(os.fsencode(tmp_path), b"caf\xe9\n.png")
    with open(path, "wb") as file:
        file.write(b"nothing")
    with pytest.raises(PictureError) as caught:
        open_picture(os.fsdecode(path))
    assert str(caught.value).isprintable()
    assert str(caught.value).encode()


def test_a_bomb_is_refused_before_it_is_decoded():
    bomb = png(60_000, 60_000, 8, 2, b"\0")
    with pytest.raises(PictureError, match=r"60,000 x 60,000 pixels.*Limits\(pixels"):
        open_picture(bomb)
    with pytest.raises(PictureError, match="over the limit"):
        preprocess(image(40, 40), SMALL, limits=Limits(pixels=1599))
    assert preprocess(image(40, 40), SMALL, limits=Limits(pixels=1600)).shape == (3, 32, 32)


def test_pillows_own_limit_is_neither_used_nor_changed(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)  # 40 x 60 would be an error in Image.open
    assert preprocess(saved(image(40, 60), "PNG"), SMALL).shape == (3, 32, 32)
    assert Image.MAX_IMAGE_PIXELS == 1000
    assert ImageFile.LOAD_TRUNCATED_IMAGES is False


def test_a_closed_or_broken_pillow_image():
    closed = Image.open(io.BytesIO(saved(image(9, 9), "PNG")))
    closed.close()
    with pytest.raises(PictureError, match="Pillow says"):
        preprocess(closed, SMALL)
    cut = Image.open(io.BytesIO(saved(image(90, 90), "PNG")[:900]))
    with cut, pytest.raises(PictureError, match="truncated"):
        preprocess(cut, SMALL)
    with pytest.raises(PictureError, match="La cannot be resized in mode 'reference'"):
        preprocess(Image.new("La", (4, 4)), SMALL, mode="reference")


# --- threads, handles, warnings -----------------------------------------------------------------


@pytest.mark.filterwarnings(
    "error::ResourceWarning", "error::pytest.PytestUnraisableExceptionWarning"
)
@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs /proc")
def test_no_handle_stays_open(tmp_path):
    frames = [image(40, 40), image(40, 40)]
    many = {"save_all": True, "append_images": frames[1:]}
    for kind, options in {"PNG": many, "JPEG": {}, "GIF": many, "TIFF": many, "WEBP": many}.items():
        (tmp_path / kind).write_bytes(saved(frames[0], kind, **options))
    (tmp_path / "cut").write_bytes(saved(image(90, 90), "TIFF")[:-900])
    before, kept = len(os.listdir("/proc/self/fd")), []
    for path in find_pictures(sorted(tmp_path.iterdir())):
        try:
            kept.append(open_picture(path))
        except PictureError as error:
            kept.append(error)
    assert len(kept) == 6
    assert len(os.listdir("/proc/self/fd")) == before


def test_many_threads_give_the_same_and_leave_the_warning_filters_alone():
    sources = [with_exif(1 + i % 8, "JPEG") for i in range(16)]
    palette = saved(image(50, 50).quantize(8), "PNG", transparency=bytes(range(8)))  # Pillow warns
    alone = [preprocess(s, SMALL) for s in sources]
    filters = list(warnings.filters)
    start = threading.Barrier(8)

    def work(_: int) -> list[np.ndarray]:
        start.wait()
        return [preprocess(s, SMALL) for s in sources] + [
            preprocess(palette, SMALL, mode="reference")
        ]

    with ThreadPoolExecutor(8) as pool:
        for result in pool.map(work, range(8)):
            assert all(np.array_equal(a, b) for a, b in zip(result, alone, strict=False))
    assert list(warnings.filters) == filters


@pytest.mark.parametrize("threads", [1, 4])
def test_one_bad_picture_does_not_shift_the_others(tmp_path, threads):
    cut = tmp_path / "cut.jpg"
    cut.write_bytes(UNREADABLE["cut.jpg"][0])
    sources = [drawn(40, 50), cut, saved(image(50, 40), "PNG"), None, image(30, 30)]
    batch, failed = load_batch(sources, SMALL, threads=threads)
    assert batch.shape == (5, 3, 32, 32)
    assert batch.dtype == np.float32
    assert [f.index for f in failed] == [1, 3]
    assert "cut.jpg" in failed[0].file
    assert "truncated JPEG" in failed[0].error
    assert np.isnan(batch[[1, 3]]).all()
    for index in (0, 2, 4):
        assert np.array_equal(batch[index], preprocess(sources[index], SMALL))
    empty, none = load_batch([], SMALL)
    assert empty.shape == (0, 3, 32, 32)
    assert none == []


# --- finding ------------------------------------------------------------------------------------


def test_folders_are_walked_in_order_without_hidden_files_and_loops(tmp_path):
    for name in ("b.JPG", "a.png", ".hidden.png", "c/z.webp", "c/notes.txt", ".git/x.png", "d.txt"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"")
    (tmp_path / "c" / "loop").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere.png")
    found = [p.relative_to(tmp_path).as_posix() for p in find_pictures([tmp_path])]
    assert found == ["a.png", "b.JPG", "c/z.webp", "gone.png"]
    given = [tmp_path / "d.txt", str(tmp_path / "missing.jpg"), tmp_path / "c", tmp_path / "d.txt"]
    names = [p.name for p in find_pictures(given)]
    assert names == ["d.txt", "missing.jpg", "a.png", "b.JPG", "gone.png", "z.webp", "d.txt"]
    assert [p.name for p in find_pictures([tmp_path / ".git"])] == ["x.png"]


def test_a_folder_that_may_not_be_listed_is_reported_and_the_others_go_on(tmp_path, monkeypatch):
    (tmp_path / "locked").mkdir()
    (tmp_path / "z.png").write_bytes(b"")
    scandir = os.scandir

    def refuse(path):
        if os.fspath(path).endswith("locked"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    found = list(find_pictures([tmp_path]))
    assert [p.name for p in found] == ["locked", "z.png"]
    with pytest.raises(PictureError, match="permission denied"):
        open_picture(found[0])


def test_public_names():
    assert pictures.__all__ == sorted(
        pictures.__all__, key=lambda n: (not n.isupper(), n[0].islower(), n)
    )
