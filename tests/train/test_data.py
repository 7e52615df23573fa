"""Order, draws and augmentation depend on the seed and the place, and on nothing else."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("pyarrow")

from PIL import Image  # noqa: E402

from keshin.train.data import (  # noqa: E402
    Pool,
    Stream,
    augmented,
    batches,
    draw_caption,
    fill_template,
)
from keshin.train.order import Extent, Order, even_pieces  # noqa: E402
from keshin.train.pairs import Pair  # noqa: E402
from keshin.train.recipe import AugmentPart, Source, read_recipe  # noqa: E402
from shapes import write_recipe  # noqa: E402


def test_a_stream_goes_on_where_it_was() -> None:
    extents = [Extent(even_pieces(7)), Extent(even_pieces(6), 1.5)]
    whole = list(Stream(Order(extents, 5, seed=1), start=0, stop=12))
    assert list(Stream(Order(extents, 5, seed=1), start=7, stop=12)) == whole[7:]
    assert list(Stream(Order(extents, 5, seed=2), start=0, stop=12)) != whole
    assert {place[0] for batch in whole for place in batch} == {0, 1, 2, 3}


@pytest.mark.slow
def test_workers_change_nothing(tmp_path: Path) -> None:
    recipe = read_recipe(write_recipe(tmp_path, workers="0"))
    more = read_recipe(write_recipe(tmp_path, workers="2"))
    pool = Pool(recipe)
    for one, two in zip(batches(pool, recipe, 2, 6), batches(Pool(more), more, 2, 6), strict=True):
        assert torch.equal(one.pixels, two.pixels)
        assert one.texts == two.texts


def test_broken_pictures_are_left_out_and_named(tmp_path: Path) -> None:
    recipe = read_recipe(write_recipe(tmp_path, broken=(3, 8), workers="0"))
    found = list(batches(Pool(recipe), recipe, 0, 3))
    assert sum(len(batch.texts) for batch in found) == 34
    named = sorted(name for batch in found for name in batch.bad)
    assert [name.split(": ")[0].split("row ")[1] for name in named] == ["3", "8"]


def test_captions_are_drawn_by_weight() -> None:
    rng = np.random.default_rng(0)
    pair = Pair(b"", ("a", "b", "c"), (6.0, 3.0, 1.0))
    counts = Counter(draw_caption(pair, rng) for _ in range(4000))
    assert counts["a"] / 4000 == pytest.approx(0.6, abs=0.03)
    assert counts["c"] / 4000 == pytest.approx(0.1, abs=0.02)
    even = Counter(draw_caption(Pair(b"", ("a", "b")), rng) for _ in range(2000))
    assert even["a"] / 2000 == pytest.approx(0.5, abs=0.05)


def test_templates_fit_the_script() -> None:
    rng = np.random.default_rng(0)
    source = Source(path="", templates=("a photo of a {}.",), templates_ja=("{}の写真",))
    assert fill_template("cat", source, rng) == "a photo of a cat."
    assert fill_template("猫", source, rng) == "猫の写真"
    assert fill_template("cat", Source(path=""), rng) == "cat"


def test_the_papers_crop_is_a_random_square_of_the_whole_height() -> None:
    wide = np.zeros((20, 60, 3), np.uint8)
    wide[:, :, 0] = np.arange(60) * 4
    seen = set()
    for seed in range(40):
        pixels = augmented(wide, (20, 20), AugmentPart(), np.random.default_rng(seed))
        assert pixels.shape == (3, 20, 20)
        assert pixels.dtype == np.uint8
        steps = np.diff(pixels[0, 0].astype(int))
        assert abs(steps.mean() - 4) < 0.3  # neither stretched nor reduced
        seen.add(int(pixels[0, 0, 0]))
    assert len(seen) > 15


def test_each_augmentation_changes_the_picture_and_its_draw_is_repeatable() -> None:
    image = Image.effect_noise((40, 30), 80).convert("RGB")
    image.putpixel((0, 0), (255, 0, 0))
    plain = augmented(image, (24, 24), AugmentPart(), np.random.default_rng(5))
    for change in (
        {"min_area": 0.3},
        {"flip": 1.0},
        {"blur": 1.0},
        {"colour": 0.5},
    ):
        first, again = (
            augmented(image, (24, 24), AugmentPart(**change), np.random.default_rng(5))
            for _ in range(2)
        )
        assert np.array_equal(first, again)
        assert not np.array_equal(first, plain)
