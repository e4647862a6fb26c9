"""Axes and number formats. Pure."""

import math
from collections.abc import Sequence

from msgspec import Struct

# With a larger ratio of the largest to the smallest value, small values would overlap on a linear axis.
LOG_FROM = 3.0


class Axis(Struct, frozen=True):
    """A scale from values to pixels, from `low` at `start` to `high` at `end`, logarithmic or linear."""

    low: float
    high: float
    start: float
    end: float
    logarithmic: bool
    ticks: list[float]

    def at(self, value: float) -> float:
        """Return the pixel of a value, rounded for SVG."""
        low, high, here = self.low, self.high, value
        if self.logarithmic:
            low, high, here = math.log(low), math.log(high), math.log(max(value, low))
        share = (here - low) / (high - low) if high > low else 0.5
        return round(self.start + share * (self.end - self.start), 1)


def values_axis(values: Sequence[float], start: float, end: float) -> Axis:
    """Return an axis for measured values: linear from zero, or logarithmic if they differ by a factor of 3.

    Args:
        values: all values for the axis, above zero.
        start, end: the pixels of its ends.
    """
    low, high = min(values), max(values)
    if high / low >= LOG_FROM:
        ticks = log_ticks(low, high)
        return Axis(ticks[0], ticks[-1], start, end, True, ticks)
    ticks = linear_ticks(high)
    return Axis(0.0, ticks[-1], start, end, False, ticks)


def sizes_axis(sizes: Sequence[int], start: float, end: float) -> Axis:
    """Return a logarithmic axis for function sizes, with a tick for each size."""
    return Axis(min(sizes), max(sizes), start, end, True, [float(size) for size in sizes])


def linear_ticks(high: float, most: int = 5) -> list[float]:
    """Return round numbers from 0 to at least `high`."""
    step = next(step for step in _round_numbers(high / most) if step * most >= high * (1 - 1e-9))
    return [round(step * number, 12) for number in range(math.ceil(high / step - 1e-9) + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """Return numbers of the series 1, 2, 5 from at most `low` to at least `high`."""
    numbers = [base * 10.0**power for power in range(-9, 9) for base in (1, 2, 5)]
    first = max(number for number in numbers if number <= low * (1 + 1e-9))
    last = min(number for number in numbers if number >= high * (1 - 1e-9))
    return [round(number, 12) for number in numbers if first <= number <= last]


def _round_numbers(least: float) -> list[float]:
    power = 10.0 ** math.floor(math.log10(least))
    return [base * power for base in (1, 2, 2.5, 5, 10)]


def seconds(value: float) -> str:
    """Format seconds, such as `85 ms`, `1.25 s`, `11.2 s` or `125 s`."""
    if round(value, 3) < 1:
        return f"{value * 1000:.0f} ms"
    if value < 10:
        return f"{value:.2f} s"
    return f"{value:.1f} s" if value < 100 else f"{value:.0f} s"


def dollars(value: float) -> str:
    """Format USD with enough digits to compare amounts of this size."""
    if value < 0.1:
        return f"${value:.4f}"
    return f"${value:.3f}" if value < 1 else f"${value:.2f}"


def mebibytes(value: float) -> str:
    """Format bytes as MiB."""
    return f"{value / 2**20:.0f} MiB"


def short(value: float) -> str:
    """Format a tick's number without meaningless digits."""
    return f"{value:,.10g}"
