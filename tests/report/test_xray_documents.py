"""X-Ray's documents become spans, whether from the service or the local receiver, and in any order."""

import itertools
import json
import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncstream.lab.report.spans import Span, Trace
from asyncstream.lab.report.xray import parse_trace

from .xray_fixtures import documents_from


def outline(spans: list[Span], depth: int = 0) -> Iterator[str]:
    for span in spans:
        yield f"{'  ' * depth}{span.name}"
        yield from outline(span.children, depth + 1)


def spans_by_id(trace: Trace) -> dict[str, Span]:
    found = {}
    waiting = list(trace.roots)
    while waiting:
        span = waiting.pop()
        found[span.id] = span
        waiting += span.children
    return found


def test_nested_subsegments_are_a_tree() -> None:
    """The spans keep their annotations, metadata and errors."""
    trace = parse_trace(documents_from("nested"))
    assert list(outline(trace.roots)) == ["copier", "  file", "    GET", "    PUT", "  file"]
    (root,) = trace.roots
    assert root.annotations == {"engine": "threads", "files": 2, "multipart": True}
    assert root.metadata["asyncstream"]["summary"]["file"]["count"] == 2
    assert root.kind == "AWS::EC2::Instance"
    assert root.children[1].error == "SourceNotFound: s3://raw/b does not exist"
    assert (trace.problems, trace.limit_exceeded) == ([], False)


def test_what_was_sent_alone_joins_what_the_service_has_merged() -> None:
    trace = parse_trace(documents_from("merged"))
    assert list(outline(trace.roots)) == [
        "copier",
        "  copier",
        "    Initialization",
        "    Invocation",
        "    asyncstream",
        "      file",
        "        part",
        "    Overhead",
    ]
    assert trace.roots[0].kind == "AWS::Lambda"
    assert trace.roots[0].children[0].kind == "AWS::Lambda::Function"


def test_inferred_segments_hang_under_the_call_they_are_of() -> None:
    trace = parse_trace(documents_from("inferred"))
    assert list(outline(trace.roots)) == ["copier", "  S3", "    S3"]
    call = trace.roots[0].children[0]
    assert (call.inferred, call.children[0].inferred) == (False, True)
    assert call.error == "throttle, status 503"


def test_spans_in_progress_have_no_end() -> None:
    """A span whose parent is missing is reported as a problem."""
    trace = parse_trace(documents_from("in_progress"))
    assert list(outline(trace.roots)) == ["copier", "  asyncstream", "    file", "part"]
    assert trace.roots[0].end is None
    assert trace.roots[0].children[0].end is None
    assert trace.problems == ["part 9c5e0d1a2b3c4d61: its parent 9c5e0d1a2b3c4dff is not in the trace"]


def test_a_trace_that_the_service_cut_says_so() -> None:
    assert parse_trace(documents_from("limit_exceeded")).limit_exceeded


def a_trace(*documents: Any) -> dict[str, Any]:
    texts = [document if isinstance(document, str) else json.dumps(document) for document in documents]
    return {"Id": "1-0-0", "Segments": [{"Id": "", "Document": text} for text in texts]}


@pytest.mark.parametrize("order", [0, 1])
def test_a_complete_document_wins_over_one_in_progress(order: int) -> None:
    documents = [
        {"id": "a", "name": "root", "start_time": 1, "in_progress": True},
        {"id": "a", "name": "root", "start_time": 1, "end_time": 3, "annotations": {"files": 2}},
    ]
    trace = parse_trace(a_trace(*(documents if order else reversed(documents))))
    (root,) = trace.roots
    assert (root.end, root.annotations) == (3.0, {"files": 2})


@pytest.mark.parametrize(
    ("document", "expected_message"),
    [
        ("{", "a document is not JSON"),
        ("[1]", "a document has no id"),
        ({"name": "x"}, "a document has no id"),
        ({"id": "b", "name": "x"}, "x b: it has no start_time"),
    ],
)
def test_what_cannot_be_read_is_reported_and_the_rest_is_shown(document: Any, expected_message: str) -> None:
    trace = parse_trace(a_trace(document, {"id": "a", "name": "root", "start_time": 1, "end_time": 2}))
    assert [root.name for root in trace.roots] == ["root"]
    assert trace.problems[0].startswith(expected_message)


@pytest.mark.parametrize(
    ("flaw", "expected_message"),
    [
        ({"fault": True}, "fault"),
        ({"error": True, "http": {"response": {"status": 404}}}, "error, status 404"),
        ({"fault": True, "cause": "2226f8ab14d7d1c5"}, "fault"),
        ({"fault": True, "cause": {"exceptions": [{"id": "x"}]}}, "exception"),
        ({"fault": True, "cause": {"exceptions": [{"message": "no"}]}}, "no"),
        ({"cause": {"exceptions": []}}, None),
    ],
)
def test_errors_are_shown_in_a_line(flaw: dict[str, Any], expected_message: str | None) -> None:
    trace = parse_trace(a_trace({"id": "a", "name": "x", "start_time": 1, "end_time": 2, **flaw}))
    assert trace.roots[0].error == expected_message


def test_spans_that_are_their_own_ancestors_end_nowhere() -> None:
    ring = [
        {"id": one, "parent_id": other, "name": one, "start_time": 1, "end_time": 2}
        for one, other in (("a", "b"), ("b", "a"), ("c", "a"))
    ]
    assert set(spans_by_id(parse_trace(a_trace(*ring)))) == {"a", "b", "c"}


def count_steps(work: Callable[[], object]) -> int:
    """Return how many Python instructions the work takes: unlike seconds, the same on a busy machine."""
    steps = 0

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal steps
        frame.f_trace_opcodes = True
        steps += event == "opcode"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
    return steps


def test_ten_times_the_spans_take_ten_times_the_work() -> None:
    """A trace from Lambda has thousands of spans."""

    def steps(count: int) -> int:
        documents = [{"id": "0", "name": "root", "start_time": 0, "end_time": 1}] + [
            {"id": str(number), "parent_id": str(number // 10), "name": "x", "start_time": 0, "end_time": 1}
            for number in range(1, count)
        ]
        trace = a_trace(*documents)
        assert len(spans_by_id(parse_trace(trace))) == count
        return count_steps(lambda: parse_trace(trace))

    assert 5 < steps(2000) / steps(200) < 15


@st.composite
def trees(draw: st.DrawFn) -> dict[str, str | None]:
    """Draw parents by id; ids are numbers in the order of their starts."""
    count = draw(st.integers(1, 12))
    parents: dict[str, str | None] = {"0": None}
    for number in range(1, count):
        parents[str(number)] = str(draw(st.integers(0, number - 1)))
    return parents


@settings(max_examples=200)
@given(parents=trees(), data=st.data())
def test_any_tree_reads_back_however_it_was_sent(parents: dict[str, str | None], data: st.DataObject) -> None:
    """Spans are sent alone or inside their parent, once or twice, in any order."""
    alone = {one for one in parents if parents[one] is None or data.draw(st.booleans())}
    twice = {one for one in alone if data.draw(st.booleans())}

    def document(one: str, *, done: bool) -> dict[str, Any]:
        within = [
            document(other, done=True) for other in parents if parents[other] == one and other not in alone
        ]
        ending = {"end_time": 100.0} if done else {"in_progress": True}
        found: dict[str, Any] = {"id": one, "name": one, "start_time": float(one), **ending}
        if parents[one] is not None and one in alone:
            found |= {"parent_id": parents[one], "type": "subsegment"}
        return found | ({"subsegments": within} if within and done else {})

    sent = [document(one, done=True) for one in alone] + [document(one, done=False) for one in twice]
    trace = parse_trace(a_trace(*data.draw(st.permutations(sent))))
    assert trace.problems == []
    read = spans_by_id(trace)
    assert set(read) == set(parents)
    for span in read.values():
        children = [one for one in parents if parents[one] == span.id]
        assert [child.id for child in span.children] == sorted(children, key=int)
        assert all(a.start <= b.start for a, b in itertools.pairwise(span.children))
        assert span.end == 100.0
