"""What a model finds while it is trained, for people to look at."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from keshin.errors import DataError
from keshin.watch.samples import Samples, evenly
from shapes import NAMES, encoded, picture

pytest.importorskip("jinja2")
CAPTIONS = [*NAMES, "a <b>strange</b> thing", NAMES[0]]


class Known:
    """An encoder that finds what it is told."""

    def __init__(self, order: list[int]) -> None:
        self.order = order

    def encode_images(self, pictures):
        return np.eye(len(pictures), dtype=np.float32)[self.order[: len(pictures)]]

    def encode_texts(self, texts):
        return np.eye(len(texts), dtype=np.float32)


@pytest.fixture
def samples(tmp_path: Path) -> Samples:
    pictures = [encoded(picture(*NAMES[i % 6].split(), i)) for i in range(8)]
    return Samples([*pictures, b"broken"], [*CAPTIONS, "x"], tmp_path, shown=4, top=3)


def test_what_cannot_be_read_is_left_out_and_too_few_are_refused(samples, tmp_path) -> None:
    assert len(samples.pictures) == 8
    with pytest.raises(DataError, match=r"\[samples\] has 1 pairs"):
        Samples([b"broken", encoded(picture("red", "square", 0))], ["a", "b"], tmp_path)


def test_the_right_ones_are_counted_and_equal_captions_are_right(samples) -> None:
    values = dict(samples(Known(list(range(8))), 10))
    assert values["samples_image_to_text_first"] == 1.0
    assert values["samples_text_to_image_chance"] == pytest.approx((6 + 2 * 2) / 64)
    turned = [1, 0, *range(2, 8)]
    values = dict(samples(Known(turned), 20))
    assert values["samples_image_to_text_first"] == 6 / 8
    swapped = [7, *range(1, 7), 0]  # two pairs with the same caption
    assert dict(samples(Known(swapped), 30))["samples_image_to_text_first"] == 1.0


def test_the_page_holds_all_validations_and_needs_nothing(samples, tmp_path) -> None:
    for step in (10, 20, 30):
        list(samples(Known(list(range(8))), step))
    page = (tmp_path / "samples.html").read_text(encoding="utf-8")
    assert "strange&lt;/b&gt;" in page or "<b>" not in page
    assert not re.search(r"<script|https?://", page)
    assert page.count("data:image/jpeg;base64") <= 8  # each picture once
    assert all(f'<td class="n">{step}<' in page for step in (10, 20, 30))
    assert len(page) < 100_000


def test_a_run_that_goes_on_forgets_what_came_after_its_checkpoint(samples, tmp_path) -> None:
    for step in (10, 20, 30, 20):
        list(samples(Known(list(range(8))), step))
    lines = (tmp_path / "samples.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["step"] for line in lines] == [10, 20]
    other = Samples(samples.pictures[:3], samples.captions[:3], tmp_path)
    list(other(Known(list(range(3))), 40))
    lines = (tmp_path / "samples.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["step"] for line in lines] == [40]  # other pairs: nothing to compare


def test_the_same_as_one_picture(samples) -> None:
    shown = []
    samples.show = lambda *given: shown.append(given)
    list(samples(Known(list(range(8))), 10))
    ((name, pixels, said, step),) = shown
    assert (name, step) == ("samples", 10)
    assert pixels.dtype == np.uint8
    assert pixels.shape[2] == 3
    assert "<b>" not in said


def test_evenly() -> None:
    assert list(evenly(10, 5)) == [0, 2, 4, 6, 8]
    assert list(evenly(3, 5)) == [0, 1, 2]
