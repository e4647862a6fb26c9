"""Positions of numbers on the page's axes."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncstream.lab.report.html import scales

VALUES = st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=20)


@given(VALUES)
def test_all_values_lie_within_the_axis_in_their_order(values: list[float]) -> None:
    axis = scales.values_axis(values, 0.0, 400.0)
    places = [axis.at(value) for value in sorted(values)]
    assert places == sorted(places)
    assert all(0 <= place <= 400 for place in places)
    assert axis.low <= min(values) or not axis.logarithmic
    assert axis.high >= max(values) * (1 - 1e-9)


@given(VALUES)
def test_ticks_are_few_rise_and_end_the_axis(values: list[float]) -> None:
    axis = scales.values_axis(values, 0.0, 400.0)
    assert 2 <= len(axis.ticks) <= 40
    assert axis.ticks == sorted(set(axis.ticks))
    assert (axis.ticks[0], axis.ticks[-1]) == (axis.low, axis.high)


def test_values_that_are_close_have_a_linear_axis_from_zero() -> None:
    axis = scales.values_axis([10.0, 20.0], 100.0, 0.0)
    assert (axis.low, axis.logarithmic) == (0.0, False)
    assert axis.at(0.0) == 100.0


def test_values_that_are_far_apart_have_a_logarithmic_axis() -> None:
    axis = scales.values_axis([1.0, 100.0], 100.0, 0.0)
    assert axis.logarithmic
    assert axis.at(10.0) == 50.0


def test_each_doubling_of_memory_takes_the_same_room() -> None:
    axis = scales.sizes_axis([128, 256, 512], 0.0, 200.0)
    assert [axis.at(size) for size in (128, 256, 512)] == [0.0, 100.0, 200.0]


def test_a_single_size_stands_in_the_middle() -> None:
    assert scales.sizes_axis([512], 0.0, 200.0).at(512) == 100.0


@pytest.mark.parametrize("high", [0.003, 0.9, 1.0, 11.2, 100.0, 101.0, 4999.0])
def test_linear_ticks_are_round_and_reach_the_highest_value(high: float) -> None:
    ticks = scales.linear_ticks(high)
    assert ticks[0] == 0
    assert ticks[-1] >= high
    assert len(ticks) <= 6
    step = ticks[1]
    assert round(step / 10 ** math.floor(math.log10(step)), 6) in (1, 2, 2.5, 5)


@pytest.mark.parametrize(
    ("value", "expected_message"),
    [(0.0004, "0 ms"), (0.085, "85 ms"), (1.25, "1.25 s"), (11.24, "11.2 s"), (125.0, "125 s")],
)
def test_seconds_are_shown_with_the_digits_that_matter(value: float, expected_message: str) -> None:
    assert scales.seconds(value) == expected_message
