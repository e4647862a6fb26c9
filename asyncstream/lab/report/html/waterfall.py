"""The geometry of traces on a shared time axis. Does no I/O.

A file, or a gathered page, is a row. Its parts are in lanes, because they overlap, with reads above and
writes below.
"""

from collections.abc import Iterator, Sequence

from msgspec import Struct

from asyncstream.lab.report.html import scales
from asyncstream.lab.report.rows import Row
from asyncstream.lab.report.spans import Span, Trace

# With more files than this, all parts of a file share one lane.
MAX_SPANS_WITH_LANES = 12
# A later tick has no room for its text.
MAX_SHARE_OF_AXIS = 0.94
READING = ("GET", "body", "fetch")
WRITING = ("PUT", "batch")
# Spans with a row and lanes: a file of a transfer, or an item of a mapping, such as a page.
WITH_LANES = ("file", "item")


class Bar(Struct, frozen=True):
    """A span's start and length in percent of the axis, and its details."""

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
    """A row: a span, and the spans in its lanes."""

    label: str
    depth: int
    bar: Bar
    parts: list[Bar]
    lanes: int


class Waterfall(Struct, frozen=True):
    """One trace. `notes` are remarks for the reader."""

    label: str
    tracks: list[Track]
    dense: bool
    notes: list[str]


class Waterfalls(Struct, frozen=True):
    """Traces with a shared axis, and its ticks: percent and text."""

    traces: list[Waterfall]
    ticks: list[tuple[float, str]]


def waterfalls(rows: Sequence[Row]) -> Waterfalls:
    """Return the traces of the rows' median runs."""
    traced = [(row, row.run.trace) for row in rows if row.run is not None and row.run.trace is not None]
    longest = max((_end(trace) - _begin(trace) for _, trace in traced), default=0.0)
    if longest <= 0:
        return Waterfalls([], [])
    ticks = [tick for tick in scales.linear_ticks(longest) if tick <= MAX_SHARE_OF_AXIS * longest]
    return Waterfalls(
        [waterfall(row.way.label, trace, longest) for row, trace in traced],
        [(round(100 * tick / longest, 2), f"{scales.short(tick)} s") for tick in ticks],
    )


def waterfall(label: str, trace: Trace, longest: float) -> Waterfall:
    """Return one trace, on an axis of `longest` seconds from its start."""
    scale = _Scale(_begin(trace), _end(trace), longest)
    spans = [pair for root in trace.roots for pair in _outline(root, 0)]
    dense = sum(span.name in WITH_LANES for span, _ in spans) > MAX_SPANS_WITH_LANES
    notes = [*trace.problems]
    if trace.limit_exceeded:
        notes.insert(0, "X-Ray dropped a part of the trace, which was larger than its limit.")
    notes += [f"Shown {name}s: {count}." for span, _ in spans for name, count in _sampled(span)]
    return Waterfall(label, [_track(span, depth, scale, dense) for span, depth in spans], dense, notes)


class _Scale(Struct, frozen=True):
    begin: float
    end: float
    longest: float

    def bar(self, span: Span, lane: int = 0, inner: Sequence[Bar] = ()) -> Bar:
        """Return a span as a bar. A span without an end reaches to the end of the trace."""
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
    """Yield the spans with their own row: all except those within a file or an item."""
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
    """Return a lane for each span, ordered by start, so that spans in a lane do not overlap."""
    free_from: list[float] = []
    lanes = []
    for span in spans:
        lane = next((lane for lane, free in enumerate(free_from) if free <= span.start), len(free_from))
        free_from[lane : lane + 1] = [end if span.end is None else span.end]
        lanes.append(lane)
    return lanes


def detail(span: Span, begin: float) -> str:
    """Return a span's details, a line each."""
    took = "in progress" if span.end is None else scales.seconds(span.end - span.start)
    number = f" {span.annotations['number']}" if "number" in span.annotations else ""
    lines = [f"{span.name}{number}: {took}, from {scales.seconds(max(0.0, span.start - begin))}"]
    if span.kind:
        lines.append(span.kind)
    if span.inferred:
        lines.append("reported by its caller")
    lines += [f"{name}: {value}" for name, value in span.annotations.items() if name != "number"]
    if span.error is not None:
        lines.append(f"failed: {span.error}")
    return "\n".join(lines)


def _kind(span: Span) -> str:
    """Return the span's kind, which sets its colour."""
    if span.name in READING:
        return "read"
    if span.name in WRITING:
        return "write"
    return {"part": "part", **dict.fromkeys(WITH_LANES, "file")}.get(span.name, "other")


def _label(span: Span) -> str:
    """Return a row's label: the last part of a file's key, or an item's number."""
    if span.name == "file":
        return str(span.annotations.get("source", "file")).rstrip("/").rpartition("/")[2] or "file"
    if span.name == "item":
        return f"item {span.annotations.get('index', '')}".rstrip()
    return span.kind.rpartition("::")[2] or span.name


def _sampled(span: Span) -> Iterator[tuple[str, str]]:
    metadata = span.metadata.get("asyncstream")
    sampled = metadata.get("sampled") if isinstance(metadata, dict) else None
    if isinstance(sampled, dict):
        yield from sampled.items()


def _all(spans: Sequence[Span]) -> Iterator[Span]:
    for span in spans:
        yield span
        yield from _all(span.children)


def _begin(trace: Trace) -> float:
    return min((span.start for span in _all(trace.roots)), default=0.0)


def _end(trace: Trace) -> float:
    """Return the last end of a finished span or start of a span."""
    spans = list(_all(trace.roots))
    return max(
        [*(span.end for span in spans if span.end is not None), *(span.start for span in spans)], default=0.0
    )
