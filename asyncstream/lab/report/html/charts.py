"""The geometry of charts: lines over sizes, bars, memory over time. Does no I/O.

The page draws its own SVG instead of using a chart library. Screen readers and keyboards reach its points,
its colours follow light and dark mode, it prints, works without a script, and takes a few KB.
"""

from collections.abc import Callable, Sequence

from msgspec import Struct

from asyncstream.lab.report.html import scales
from asyncstream.lab.report.html.scales import Axis
from asyncstream.lab.report.measurement import MemorySample
from asyncstream.lab.report.rows import Figures, Row, Section

WIDTH, HEIGHT = 420, 260
LEFT, RIGHT, TOP, BOTTOM = 48, 14, 26, 34
SMALL_WIDTH, SMALL_HEIGHT = 240, 118
MAX_SAMPLES = 200


class Point(Struct, frozen=True):
    """A value on a chart, and its details."""

    x: float
    y: float
    detail: str


class Line(Struct, frozen=True):
    """One variant's values. `style` is a number that selects colour and marker."""

    label: str
    style: int
    reference: bool
    points: list[Point]
    failed: list[Point]

    @property
    def path(self) -> str:
        """The line through the points, in the format of SVG's `points`."""
        return " ".join(f"{point.x},{point.y}" for point in self.points)


class LineChart(Struct, frozen=True):
    """A chart of values over function sizes."""

    title: str
    x: Axis
    y: Axis
    lines: list[Line]


class Bar(Struct, frozen=True):
    """One variant's value as consecutive parts, with widths in percent of the longest bar."""

    label: str
    style: int
    reference: bool
    parts: list[float]
    value: str
    detail: str


class MemoryChart(Struct, frozen=True):
    """One function's resident memory over its invocation.

    `cap` is the position of its limit, if it is within the chart. `ended` is the reason if the function
    failed.
    """

    label: str
    ended: str
    style: int
    path: str
    peak: Point
    cap: float | None
    x: Axis
    y: Axis


def styles(section: Section) -> dict[str, int]:
    """Return each variant's style number, the same in all charts."""
    return {name: number for number, name in enumerate(dict.fromkeys(row.way.name for row in section.rows))}


def line_chart(
    section: Section, title: str, value: Callable[[Figures], float], written: Callable[[float], str]
) -> LineChart | None:
    """Return a chart of one figure over a sweep's sizes, or None if nothing was measured."""
    values = [value(row.figures) for row in section.rows if row.figures is not None]
    sizes = sorted({row.memory_mb for row in section.rows if row.memory_mb is not None})
    if not values or not sizes:
        return None
    x = scales.sizes_axis(sizes, LEFT + 12, WIDTH - RIGHT - 12)
    y = scales.values_axis(values, HEIGHT - BOTTOM, TOP)
    numbers = styles(section)
    lines = []
    for name, style in numbers.items():
        rows = sorted(
            (row for row in section.rows if row.way.name == name and row.memory_mb is not None),
            key=lambda row: row.memory_mb or 0,
        )
        lines.append(
            Line(
                rows[0].way.label,
                style,
                rows[0].way.reference,
                [
                    Point(
                        x.at(row.memory_mb or 0),
                        y.at(value(row.figures)),
                        _detail(row, row.figures, written(value(row.figures))),
                    )
                    for row in rows
                    if row.figures is not None
                ],
                # Failed runs have no value, so they are in a row at the top.
                [
                    Point(
                        round(x.at(row.memory_mb or 0) + 9 * (style - len(numbers) / 2), 1),
                        12,
                        f"{row.way.label} at {row.memory_mb:,} MB: {row.short}",
                    )
                    for row in rows
                    if row.figures is None
                ],
            )
        )
    return LineChart(title, x, y, lines)


def bars(
    section: Section, parts: Callable[[Figures], Sequence[float]], written: Callable[[float], str]
) -> list[Bar]:
    """Return a bar for each row, divided into the parts of its figure."""
    measured = [(row, row.figures) for row in section.rows if row.figures is not None]
    longest = max((sum(parts(figures)) for _, figures in measured), default=1.0)
    numbers = styles(section)
    return [
        Bar(
            row.way.label,
            numbers[row.way.name],
            row.way.reference,
            [round(100 * part / longest, 2) for part in parts(figures)],
            written(sum(parts(figures))),
            _detail(row, figures, written(sum(parts(figures)))),
        )
        for row, figures in measured
    ]


def memory_charts(rows: Sequence[Row], numbers: dict[str, int]) -> list[MemoryChart]:
    """Return a chart of memory over time for each row, all with the same axes."""
    shown = [row for row in rows if row.memory]
    if not shown:
        return []
    longest = max(row.memory[-1].seconds for row in shown) or 1.0
    peak = max(sample.bytes for row in shown for sample in row.memory)
    # A cap far above all peaks would flatten the lines.
    in_sight = [cap for cap in map(_cap, shown) if cap is not None and cap <= 3 * peak]
    ticks = [tick * 2**20 for tick in scales.linear_ticks(max([peak, *in_sight]) / 2**20, most=3)]
    x = Axis(0.0, longest, 34, SMALL_WIDTH - 6, False, [0.0, longest])
    y = Axis(0.0, ticks[-1], SMALL_HEIGHT - 18, 8, False, ticks)
    return [_memory_chart(row, numbers[row.way.name], x, y, in_sight) for row in shown]


def _memory_chart(row: Row, style: int, x: Axis, y: Axis, in_sight: Sequence[int]) -> MemoryChart:
    cap = _cap(row)
    top = max(row.memory, key=lambda sample: sample.bytes)
    peak = top.bytes if row.figures is None else row.figures.peak_bytes
    ended = row.short if row.figures is None else ""
    cap_text = "" if cap is None else f" of {scales.mebibytes(cap)}"
    detail = f"{row.way.label}: peak {scales.mebibytes(peak)}{cap_text}{ended and f', {ended}'}"
    return MemoryChart(
        row.way.label,
        ended,
        style,
        " ".join(f"{x.at(sample.seconds)},{y.at(sample.bytes)}" for sample in _thinned(row.memory)),
        Point(x.at(top.seconds), y.at(top.bytes), detail),
        y.at(cap) if cap is not None and cap in in_sight else None,
        x,
        y,
    )


def _cap(row: Row) -> int | None:
    return None if row.memory_mb is None else row.memory_mb << 20


def _thinned(samples: Sequence[MemorySample]) -> Sequence[MemorySample]:
    """Return at most about `MAX_SAMPLES` samples, including the last."""
    step = -(-len(samples) // MAX_SAMPLES)
    return [*samples[:-1:step], samples[-1]]


def _detail(row: Row, figures: Figures, value: str) -> str:
    size = f" at {row.memory_mb:,} MB" if row.memory_mb is not None else ""
    halves = (
        f" (compute {scales.dollars(figures.compute_usd * 1000)}, "
        f"requests {scales.dollars(figures.requests_usd * 1000)})"
        if figures.requests_usd
        else ""
    )
    return (
        f"{row.way.label}{size}: {value}\n{scales.seconds(figures.seconds)}, "
        f"{scales.dollars(figures.usd * 1000)} per 1,000 runs{halves}\n"
        f"CPU {scales.seconds(figures.cpu_seconds)}, peak {scales.mebibytes(figures.peak_bytes)}, "
        f"{figures.request_count:,} requests"
    )
