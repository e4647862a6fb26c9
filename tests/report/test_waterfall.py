"""The geometry of traces."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from asyncstream.lab.report.html.waterfall import Bar, Waterfall, packed, waterfall, waterfalls
from asyncstream.lab.report.spans import Span, Trace

from .page_builders import a_file, a_trace, a_traced_run
from .report_builders import a_section, measured

TIMES = st.tuples(st.floats(0, 100), st.floats(0, 100)).map(sorted)


def a_span(start: float, end: float | None, name: str = "part") -> Span:
    return Span(id="0" * 16, name=name, start=start, end=end)


def shown(*roots: Span, longest: float = 10.0) -> Waterfall:
    return waterfall("threads", Trace(id="1-5759e988-bd862e3fe1be46a994272793", roots=list(roots)), longest)


def all_bars(found: Waterfall) -> list[Bar]:
    outer = [bar for track in found.tracks for bar in (track.bar, *track.parts)]
    return outer + [inner for bar in outer for inner in bar.inner]


@given(st.lists(TIMES, max_size=30))
def test_no_two_parts_of_a_lane_overlap_and_no_lane_is_needless(times: list[list[float]]) -> None:
    spans = [a_span(start, end) for start, end in sorted(times)]
    lanes = packed(spans, 100.0)
    for lane in set(lanes):
        in_lane = [span for span, number in zip(spans, lanes, strict=True) if number == lane]
        assert all(a.end is not None and a.end <= b.start for a, b in itertools.pairwise(in_lane))
    at_once = [sum(s.start <= at.start < (s.end or 0) or s is at for s in spans) for at in spans]
    assert len(set(lanes)) <= max(at_once, default=0)


def test_all_traces_share_one_axis() -> None:
    rows = [measured(name, a_traced_run(seconds)) for name, seconds in (("threads", 5.0), ("slow", 20.0))]
    found = waterfalls(a_section(*rows).rows)
    assert [trace.tracks[0].bar.width for trace in found.traces] == [25.0, 100.0]
    assert found.ticks == [(0.0, "0 s"), (25.0, "5 s"), (50.0, "10 s"), (75.0, "15 s")]


def test_bars_lie_where_their_spans_ran() -> None:
    found = waterfall("threads", a_trace(10.0), 10.0)
    assert [track.label for track in found.tracks] == ["Function", "asyncstream", "0", "1"]
    first, second = found.tracks[2:]
    assert (first.bar.left, first.bar.width, second.bar.left, second.bar.width) == (0.0, 50.0, 50.0, 50.0)
    assert first.lanes == 2
    assert [bar.kind for bar in first.parts[0].inner] == ["read", "read", "write"]


def test_every_bar_lies_on_the_axis() -> None:
    for bar in all_bars(waterfall("threads", a_trace(10.0), 10.0)):
        assert 0 <= bar.left <= bar.left + bar.width <= 100.001


def test_what_has_no_end_goes_on_to_the_end_of_the_trace() -> None:
    found = shown(a_span(0.0, 8.0, "root"), a_span(2.0, None, "late"))
    assert (found.tracks[1].bar.width, found.tracks[1].bar.open) == (60.0, True)


def test_the_parts_of_many_files_share_a_lane() -> None:
    assert not shown(*(a_file(f"s3://raw/{n}", 0.0, 10.0) for n in range(12))).dense
    many = shown(*(a_file(f"s3://raw/{n}", 0.0, 10.0) for n in range(13)))
    assert many.dense
    assert {part.lane for track in many.tracks for part in track.parts} == {0}


def test_what_was_sampled_is_reported() -> None:
    metadata = {"sampled": {"file": "the first 40 and one in 12 of 2,000"}}
    span = Span(id="0" * 16, name="asyncstream", start=0.0, end=1.0, metadata={"asyncstream": metadata})
    assert shown(span).notes == ["Shown files: the first 40 and one in 12 of 2,000."]


def test_without_any_trace_there_is_nothing() -> None:
    assert waterfalls([]).traces == []
    empty = a_traced_run(1.0, trace=Trace(id="1-5759e988-bd862e3fe1be46a994272793", roots=[]))
    assert waterfalls(a_section(measured("threads", empty)).rows).traces == []
