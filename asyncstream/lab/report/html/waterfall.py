"""Traces as geometry: what ran when, all on one time axis. Pure.

A file is a row. Its parts lie in lanes, as they overlap: what was read above, what was written below. A page
that is gathered is a row likewise.
"""

from collections.abc import Iterator, Sequence

from msgspec import Struct

from asyncstream.lab.report.html import scales
from asyncstream.lab.report.rows import Row
from asyncstream.lab.report.spans import Span, Trace

# With more files than this, all parts of a file share a lane.
MOST_WITH_LANES = 12
# A tick further on has no room for its text.
MOST_OF_AXIS = 0.94
READING = ("GET", "body", "fetch")
WRITING = ("PUT", "batch")
# What has a row with lanes: a file of a transfer, an item of a mapping, such as a page.
WITH_LANES = ("file", "item")


class Bar(Struct, frozen=True):
    """A span: where it begins and how long it is, in percent of the axis, and what is told of it."""

    kind: str
    left: float
    width: float
    detail: str
    lane: int = 0
    open: bool = False
    failed: bool = False
    inferred: bool = False
    inner: list["Bar"] = []


class Track(Struct, frozen=True):
    """One row: a span, and the spans within it that are shown in its lanes."""

    label: str
    depth: int
    bar: Bar
    parts: list[Bar]
    lanes: int


class Waterfall(Struct, frozen=True):
    """One trace. `notes` are what a reader must know of it."""

    label: str
    tracks: list[Track]
    dense: bool
    notes: list[str]


class Waterfalls(Struct, frozen=True):
    """Traces side by side, and the ticks of the axis they share: percent and text."""

    traces: list[Waterfall]
    ticks: list[tuple[float, str]]


def waterfalls(rows: Sequence[Row]) -> Waterfalls:
    """The traces of the rows' median runs."""
    traced = [(row, row.run.trace) for row in rows if row.run is not None and row.run.trace is not None]
    longest = max((_end(trace) - _begin(trace) for _, trace in traced), default=0.0)
    if longest <= 0:
        return Waterfalls([], [])
    ticks = [tick for tick in scales.linear_ticks(longest) if tick <= MOST_OF_AXIS * longest]
    return Waterfalls(
        [waterfall(row.way.label, trace, longest) for row, trace in traced],
        [(round(100 * tick / longest, 2), f"{scales.short(tick)} s") for tick in ticks],
    )


def waterfall(label: str, trace: Trace, longest: float) -> Waterfall:
    """One trace, on an axis of so many seconds from its own begin."""
    scale = _Scale(_begin(trace), _end(trace), longest)
    spans = [pair for root in trace.roots for pair in _outline(root, 0)]
    dense = sum(span.name in WITH_LANES for span, _ in spans) > MOST_WITH_LANES
    notes = [*trace.problems]
    if trace.limit_exceeded:
        notes.insert(0, "X-Ray dropped some of it: the trace was larger than X-Ray keeps.")
    notes += [f"In the picture: {name}s {told}." for span, _ in spans for name, told in _sampled(span)]
    return Waterfall(label, [_track(span, depth, scale, dense) for span, depth in spans], dense, notes)


class _Scale(Struct, frozen=True):
    begin: float
    end: float
    longest: float

    def bar(self, span: Span, lane: int = 0, inner: Sequence[Bar] = ()) -> Bar:
        """A span as a bar; one without an end goes on to the end of the trace."""
        end = self.end if span.end is None else span.end
        return Bar(
            kind=_kind(span),
            left=round(100 * (span.start - self.begin) / self.longest, 3),
            width=round(100 * max(0.0, end - span.start) / self.longest, 3),
            detail=detail(span, self.begin),
            lane=lane,
            open=span.end is None,
            failed=span.error is not None,
            inferred=span.inferred,
            inner=list(inner),
        )


def _outline(span: Span, depth: int) -> Iterator[tuple[Span, int]]:
    """The spans that have a row of their own: all but what is within a file."""
    yield span, depth
    if span.name not in WITH_LANES:
        for child in span.children:
            yield from _outline(child, depth + 1)


def _track(span: Span, depth: int, scale: _Scale, dense: bool) -> Track:
    label = _label(span)
    if span.name not in WITH_LANES:
        return Track(label, depth, scale.bar(span), [], 0)
    lanes = [0] * len(span.children) if dense else packed(span.children, scale.end)
    parts = [
        scale.bar(child, lane, [scale.bar(within) for within in child.children])
        for child, lane in zip(span.children, lanes, strict=True)
    ]
    return Track(label, depth, scale.bar(span), parts, max(lanes, default=-1) + 1)


def packed(spans: Sequence[Span], end: float) -> list[int]:
    """A lane for each span, in the order of their starts, so that none of a lane overlap."""
    free_from: list[float] = []
    lanes = []
    for span in spans:
        lane = next((lane for lane, free in enumerate(free_from) if free <= span.start), len(free_from))
        free_from[lane : lane + 1] = [end if span.end is None else span.end]
        lanes.append(lane)
    return lanes


def detail(span: Span, begin: float) -> str:
    """What is told of a span, a line each."""
    took = "in progress" if span.end is None else scales.seconds(span.end - span.start)
    number = f" {span.annotations['number']}" if "number" in span.annotations else ""
    lines = [f"{span.name}{number}: {took}, from {scales.seconds(max(0.0, span.start - begin))}"]
    if span.kind:
        lines.append(span.kind)
    if span.inferred:
        lines.append("told by its caller")
    lines += [f"{name}: {value}" for name, value in span.annotations.items() if name != "number"]
    if span.error is not None:
        lines.append(f"failed: {span.error}")
    return "\n".join(lines)


def _kind(span: Span) -> str:
    """By which the page gives it a colour."""
    if span.name in READING:
        return "read"
    if span.name in WRITING:
        return "write"
    return {"part": "part", **dict.fromkeys(WITH_LANES, "file")}.get(span.name, "other")


def _label(span: Span) -> str:
    """What stands before a row: of a file the last piece of its key, of an item its number."""
    if span.name == "file":
        return str(span.annotations.get("source", "file")).rstrip("/").rpartition("/")[2] or "file"
    if span.name == "item":
        return f"item {span.annotations.get('index', '')}".rstrip()
    return span.kind.rpartition("::")[2] or span.name


def _sampled(span: Span) -> Iterator[tuple[str, str]]:
    told = span.metadata.get("asyncstream")
    sampled = told.get("sampled") if isinstance(told, dict) else None
    if isinstance(sampled, dict):
        yield from sampled.items()


def _all(spans: Sequence[Span]) -> Iterator[Span]:
    for span in spans:
        yield span
        yield from _all(span.children)


def _begin(trace: Trace) -> float:
    return min((span.start for span in _all(trace.roots)), default=0.0)


def _end(trace: Trace) -> float:
    """Of what has ended; else of what has begun."""
    spans = list(_all(trace.roots))
    return max(
        [*(span.end for span in spans if span.end is not None), *(span.start for span in spans)], default=0.0
    )
