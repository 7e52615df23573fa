from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keshin.pages.drawing import Canvas, Scale, alone, clean, fitted, text_width, ticks


@given(st.text())
def test_any_text_makes_valid_xml(said):
    canvas = Canvas(100, 50, said)
    canvas.text(1, 2, said)
    canvas.rect(0, 0, 1, 1, "f0", said)
    canvas.mark(1, 1, 2, "f1", said)
    root = ElementTree.fromstring(canvas.svg())
    assert root.tag.endswith("svg")
    assert ElementTree.fromstring(alone(canvas.svg()).encode()) is not None


def test_nothing_escapes_into_the_page():
    canvas = Canvas(10, 10, '"><script>')
    canvas.text(0, 0, "</text><script>alert(1)</script>")
    assert "<script" not in canvas.svg()


def test_signs_that_turn_or_hide_text_are_not_drawn():
    assert clean("a\u202eb\x00c\nd") == "a�b c d"


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6), st.integers(2, 10))
def test_ticks_are_round_and_inside(low, span, about):
    found = ticks(low, low + span, about)
    slack = 1e-6 * (abs(low) + span)
    assert all(low - slack <= value <= low + span + slack for value in found)
    assert len(found) <= about + 2


def test_scales():
    straight = Scale(0, 10, 100, 200)
    assert [straight(0), straight(5), straight(10)] == [100, 150, 200]
    doubling = Scale(1, 16, 0, 4, doubling=True)
    assert [doubling(shot) for shot in (1, 2, 4, 8, 16)] == pytest.approx([0, 1, 2, 3, 4])
    assert Scale(1, 1, 0, 10)(1) == 5


@given(st.text(min_size=1, max_size=60), st.floats(40, 200))
def test_text_that_is_too_wide_is_cut(said, width):
    kept = fitted(said, width)
    assert kept == clean(said) or kept.endswith("…")
    assert text_width(kept) <= max(width, text_width("…")) + 1e-6 or len(kept) <= 2


def test_wide_signs_take_twice_the_room():
    assert text_width("猫犬") == text_width("abcd")
