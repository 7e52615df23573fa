"""Pictures between Pillow and the towers."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from PIL import Image  # noqa: E402

from keshin.train.pixels import normalised, resized  # noqa: E402


def noise(width: int, height: int) -> Image.Image:
    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (height // 8, width // 8, 3), np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


def test_a_large_crop_is_pillows_but_for_rounding():
    image, box = noise(480, 360), (10.0, 20.0, 330.0, 340.0)
    ours = np.asarray(resized(image, (224, 200), box)).astype(int)
    theirs = np.asarray(image.crop(box).resize((224, 200), Image.Resampling.BICUBIC)).astype(int)
    assert ours.shape == (200, 224, 3)
    assert abs(ours - theirs).max() <= 2
    assert abs(ours - theirs).mean() < 0.1


def test_a_small_crop_keeps_fractions_of_pixels():
    image, box = noise(96, 96), (1.25, 2.5, 60.75, 62.0)
    expected = image.resize((32, 32), Image.Resampling.BICUBIC, box)
    assert np.array_equal(np.asarray(resized(image, (32, 32), box)), np.asarray(expected))


def test_without_a_box_it_is_the_whole_picture():
    image = noise(256, 160)
    assert resized(image, (64, 40)).size == (64, 40)
    assert resized(image, image.size).size == image.size


def test_numbers_are_normalised_bit_for_bit():
    pixels = torch.randint(0, 256, (3, 3, 8, 8), dtype=torch.uint8)
    mean, std = torch.rand(3, 1, 1), torch.rand(3, 1, 1) + 0.1
    found = normalised(pixels, mean, std)
    assert torch.equal(found, (pixels.float() / 255 - mean) / std)
    assert found.is_contiguous(memory_format=torch.channels_last)
    assert normalised(pixels[:0], mean, std).shape == (0, 3, 8, 8)
