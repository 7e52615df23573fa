import math

import pytest

from keshin.pages.numbers import interval, p_value, percent, points, points_interval, with_interval


def test_shares_are_shown_in_per_cent():
    assert [percent(0.1234), percent(1), percent(0.5, 0)] == ["12.3 %", "100.0 %", "50 %"]
    assert interval(0.1, 0.1464) == "10.0 – 14.6"
    assert with_interval(0.1234, 0.1, 0.1464) == "12.3 % [10.0, 14.6]"


def test_differences_have_a_sign():
    assert [points(0.012), points(-0.004)] == ["+1.2", "−0.4"]
    assert points_interval(-0.004, 0.012) == "−0.4 … +1.2"


@pytest.mark.parametrize("unknown", [None, math.nan])
def test_what_is_not_known_is_a_dash(unknown):
    assert percent(unknown) == points(unknown) == interval(unknown, 1.0) == "–"
    assert with_interval(unknown, 0.0, 1.0) == points_interval(0.0, unknown) == "–"


def test_p_values():
    assert [p_value(0.0123), p_value(1e-9)] == ["= 0.012", "< 0.0001"]
