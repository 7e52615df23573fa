"""Copies are found, listed by file, and never in two folds."""

import io

import numpy as np
import pytest
from PIL import Image

from fine_pictures import COLOURS, picture, write_classes
from keshin.api import load
from keshin.errors import DataError
from keshin.finetune.folds import assign, fold_count, repeat_count, splits
from keshin.finetune.leaks import find_pairs, joined, look
from keshin.finetune.material import open_material
from keshin.finetune.preparing import leaks_into, prepare


def test_groups_are_never_in_two_folds_and_classes_are_in_all():
    rng = np.random.default_rng(0)
    targets = rng.integers(0, 4, 120)
    groups = rng.integers(0, 60, 120)  # some of several classes
    for seed in range(20):
        place = assign(targets, groups, 5, seed)
        assert all(len(set(place[groups == g])) == 1 for g in set(groups))
        counts = np.array([np.bincount(targets[place == f], minlength=4) for f in range(5)])
        assert counts.min() >= 2
        assert np.ptp(counts.sum(axis=1)) <= 8


def test_each_picture_is_held_out_once_in_each_repeat():
    targets, groups = np.repeat([0, 1], 6), np.arange(12)
    seen = np.zeros((3, 12))
    for split in splits(targets, groups, 3):
        assert not set(split.train) & set(split.held)
        seen[split.repeat, split.held] += 1
    assert (seen == 1).all()
    assert fold_count(targets, groups) == 5
    assert fold_count(np.array([0, 0, 1, 1, 1]), np.arange(5)) == 2
    assert [repeat_count(n) for n in (10, 50, 100, 1000)] == [5, 4, 2, 1]


def test_pictures_that_are_all_copies_cannot_be_judged():
    with pytest.raises(DataError, match="copies of 1 picture"):
        assign(np.array([0, 1]), np.array([0, 0]), 2, 0)


def test_groups_of_the_data_and_copies_are_joined():
    assert len(set(joined(5, [(0, 1), (1, 2)], np.array([0, 1, 2, 3, 3])))) == 2


def _photo(seed):
    """A picture with structure, as photographs have."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 255, (6, 6, 3), np.uint8))
    return small.resize((96, 96), Image.Resampling.BICUBIC)


def _jpeg(image, quality):
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=quality)
    return stream.getvalue()


def test_other_quality_size_mirror_and_brightness_are_near_copies_and_others_are_not():
    one = _photo(1)
    copies = [
        one,
        _jpeg(one, 40),
        one.resize((50, 50)),
        one.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    ]
    looks = look([*copies, *(_photo(s) for s in range(2, 40))], [str(i) for i in range(42)])
    blind = np.eye(42, dtype=np.float32)  # vectors that see no likeness
    pairs = find_pairs(looks, blind, 0.9)
    assert {(i, j) for i, j, _, _ in pairs} == {(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)}
    assert not any(same for _, _, same, _ in pairs)


def test_flat_pictures_of_other_colours_are_no_copies():
    flat = [Image.new("RGB", (20, 20), colour) for colour in COLOURS.values()]
    assert find_pairs(look(flat, ["a", "b", "c"]), np.ones((3, 1), np.float32), 0.9) == []


@pytest.fixture
def leaking(tmp_path):
    folder = write_classes(tmp_path / "data")
    twin = picture(COLOURS["cat"], 0)  # the same pixels as cat/000.png
    twin.save(folder / "dog" / "twin.png")
    _photo(3).save(folder / "cat" / "photo.png")
    (folder / "dog" / "photo.jpg").write_bytes(_jpeg(_photo(3), 60))
    (folder / "cat" / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 no picture")
    return folder


def test_leaks_and_unreadable_pictures_are_listed_by_file(leaking, tiny_folder):
    prepared = prepare(load(tiny_folder), open_material(leaking))
    crossing = {
        (pair.first.rpartition("/")[2], pair.second.rpartition("/")[2], pair.same)
        for pair in prepared.pairs
        if pair.crosses
    }
    assert ("000.png", "twin.png", True) in crossing
    assert ("photo.png", "photo.jpg", False) in crossing
    assert [failure.file.rpartition("/")[2] for failure in prepared.unreadable] == ["broken.jpg"]
    names = [file.rpartition("/")[2] for file in prepared.material.files]
    assert not {"000.png", "twin.png", "broken.jpg"} & set(names)  # which label would be right?
    copies = prepared.groups[[names.index("photo.png"), names.index("photo.jpg")]]
    assert copies[0] == copies[1]


def test_copies_among_test_pictures_are_listed(leaking, tiny_folder, tmp_path):
    test = tmp_path / "test" / "cat"
    test.mkdir(parents=True)
    (test / "again.jpg").write_bytes(_jpeg(_photo(3), 80))
    (tmp_path / "test" / "dog").mkdir()
    _photo(99).save(tmp_path / "test" / "dog" / "new.png")
    model = load(tiny_folder)
    first = prepare(model, open_material(leaking))
    second = prepare(model, open_material(tmp_path / "test"))
    found = leaks_into(first, second)
    assert {pair.second.rpartition("/")[2] for pair in found} == {"again.jpg"}
