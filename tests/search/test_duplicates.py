"""What is there more than once: the same, nearly the same, bursts; and what is not."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageFilter

import keshin
from keshin.search.duplicates import duplicates
from keshin.search.signatures import NEAR, signature, similarity


def scene(seed, size=(160, 120)):
    """A picture with shapes at all scales."""
    dice = np.random.default_rng(seed)
    pixels = np.zeros((size[1], size[0], 3))
    for cells in (3, 6, 12, 24):
        small = Image.fromarray(dice.integers(0, 256, (cells, cells, 3), np.uint8))
        pixels += np.asarray(small.resize(size, Image.Resampling.BICUBIC), float) / cells**0.5
    pixels -= pixels.min()
    return Image.fromarray(np.uint8(255 * pixels / pixels.max()))


def encoded(image, quality):
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=quality)
    return Image.open(io.BytesIO(stream.getvalue()))


def cut(image, share):
    width, height = (int(side * share) for side in image.size)
    left, top = (image.width - width) // 3, (image.height - height) // 2
    return image.crop((left, top, left + width, top + height))


VARIANTS = {
    "itself": lambda i: i,
    "encoded": lambda i: encoded(i, 40),
    "smaller": lambda i: i.resize((80, 60)),
    "larger": lambda i: i.resize((320, 240), Image.Resampling.BICUBIC),
    "lighter": lambda i: ImageEnhance.Brightness(i).enhance(1.2),
    "flatter": lambda i: ImageEnhance.Contrast(i).enhance(0.7),
    "grey": lambda i: i.convert("L"),
    "blurred": lambda i: i.filter(ImageFilter.GaussianBlur(1)),
    "cut": lambda i: cut(i, 0.93),
}


@pytest.mark.parametrize("name", VARIANTS)
def test_variants_are_the_same_picture_and_others_are_not(name):
    one = signature(np.asarray(scene(1)))
    other = VARIANTS[name](scene(1))
    assert similarity(one, signature(other)) >= NEAR
    assert similarity(signature(other), one) >= NEAR
    assert all(similarity(signature(scene(seed)), signature(other)) < NEAR for seed in range(2, 12))


def test_a_picture_of_one_colour_is_like_nothing():
    plain = signature(np.full((50, 50, 3), 200, np.uint8))
    assert similarity(plain, plain) == 0
    assert similarity(plain, signature(scene(1))) == 0


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for seed in range(8):
        scene(seed).save(folder / f"{seed}.png")
    (folder / "copy of 0.png").write_bytes((folder / "0.png").read_bytes())
    encoded(scene(1), 60).save(folder / "1.jpg")
    scene(1).resize((80, 60)).save(folder / "1 small.png")
    return folder


def names(group):
    return [Path(copy.path).name for copy in group.files]


def test_groups(tiny_folder, photos):
    with keshin.Index.open(photos, tiny_folder, threads=1) as index:
        index.update()
        groups = duplicates(index)
        assert [(group.kind, names(group)) for group in groups] == [
            ("near", ["1.png", "1.jpg", "1 small.png"]),
            ("same", ["0.png", "copy of 0.png"]),
        ]
        assert groups[0].files[2].width == 80
        assert [group.kind for group in duplicates(index, near=False)] == ["same"]
        (photos / "1.jpg").unlink()
        (photos / "1 small.png").unlink()
        assert len(duplicates(index)) == 2  # of the index as it is
        index.update()
        assert [group.kind for group in duplicates(index)] == ["same"]


def taken(at):
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0x9003] = at
    return exif


def test_bursts(tiny_folder, tmp_path):
    for seed in range(40):
        scene(seed).save(tmp_path / f"{seed}.jpg", exif=taken(f"2024:05:01 12:{seed:02}:00"))
    noise = np.random.default_rng(0).normal(0, 60, (3, 120, 160, 1))
    for number in range(3):
        pixels = np.clip(np.asarray(scene(50), float) + noise[number], 0, 255)
        Image.fromarray(np.uint8(pixels)).save(
            tmp_path / f"burst {number}.jpg", exif=taken(f"2024:05:01 13:00:0{number}")
        )
    scene(60).save(tmp_path / "other.jpg", exif=taken("2024:05:01 13:00:03"))
    with keshin.Index.open(tmp_path, tiny_folder, threads=1) as index:
        index.update()
        groups = duplicates(index, burst=5)
        assert [sorted(names(group)) for group in groups] == [[f"burst {n}.jpg" for n in range(3)]]
        assert groups[0].kind in ("burst", "near")
        assert duplicates(index, near=False, burst=None) == []


def test_the_command(invoke, photos, tmp_path):
    page = tmp_path / "sheet.html"
    result = invoke("duplicates", photos, "-f", "json", "--html", page)
    assert result.exit_code == 0, result.output
    groups = json.loads(result.stdout)
    assert [group["kind"] for group in groups] == ["near", "same"]
    assert "2 groups" in result.stderr
    text = page.read_text(encoding="utf-8")
    assert text.count("<img") == 5
    assert "http://" not in text
    assert "https://" not in text
    assert "<script" not in text
    spare = invoke("duplicates", photos, "--exact", "-f", "paths").stdout
    assert spare == f"{photos / 'copy of 0.png'}\n"
    assert "1.png  (160 x 120" in invoke("duplicates", photos).stdout
    (photos / "copy of 0.png").unlink()
    nothing = invoke("duplicates", photos, "--exact")
    assert (nothing.stdout, "No picture is there more" in nothing.stderr) == ("", True)


def test_a_gallery(invoke, photos, tmp_path):
    page = tmp_path / "found.html"
    odd = photos / "<b>&.png"
    scene(30).save(odd)
    result = invoke("search", photos, "a <i>cat</i>", "--min-relevance", 0, "--html", page)
    assert result.exit_code == 0, result.output
    text = page.read_text(encoding="utf-8")
    assert text.count("<img") == 11
    assert "&lt;b&gt;&amp;.png" in text
    assert "<b>&.png" not in text
    assert "<i>cat" not in text
