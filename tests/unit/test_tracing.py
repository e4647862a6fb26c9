"""Recorded spans: sampling, summaries, the tree, and whether the environment asks for a trace."""

import importlib
import importlib.util
import itertools
import math
import statistics
import subprocess
import sys
import weakref
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncstream.errors import ServiceBusy
from asyncstream.tracing.opening import may_trace, open_trace
from asyncstream.tracing.sampling import A_DOUBLING, ALL_OF, FIRST, MAX_BYTES, SPREAD, in_sample
from asyncstream.tracing.spans import MAX_CHILDREN, UNTRACED, RecordedSpan, Recording
from asyncstream.tracing.summary import Summary


@given(st.integers(1, 50_000))
def test_a_sample_of_a_known_number_is_spread_evenly(expected: int) -> None:
    """A small number is sent in full."""
    taken = [index for index in range(expected) if in_sample(index, expected)]
    if expected <= ALL_OF:
        assert len(taken) == expected
        return
    assert len(taken) == SPREAD
    gaps = [later - earlier for earlier, later in itertools.pairwise(taken)]
    assert max(gaps) - min(gaps) <= 1
    assert taken[0] == 0


@given(st.integers(1, 50_000))
def test_a_sample_of_an_unknown_number_has_the_first_ones(number: int) -> None:
    """It has some of each doubling after them."""
    taken = [index for index in range(number) if in_sample(index, None)]
    assert taken[:FIRST] == list(range(min(number, FIRST)))
    doublings = max(0, math.ceil(math.log2(number / FIRST))) if number > FIRST else 0
    assert len(taken) <= FIRST + A_DOUBLING * doublings
    if number > 2 * FIRST:
        assert taken[-1] > number / 2


@given(st.lists(st.floats(0, 1000), min_size=1, max_size=300))
def test_a_summary_has_nearest_rank_percentiles(seconds: list[float]) -> None:
    summary = Summary()
    for value in seconds:
        summary.add("part", value)
    row = summary.rows()["part"]
    ordered = sorted(seconds)
    assert row["count"] == len(seconds)
    assert (row["min"], row["max"]) == (round(ordered[0], 6), round(ordered[-1], 6))
    assert row["sum"] == pytest.approx(sum(seconds), abs=1e-5)
    assert row["p50"] == round(statistics.median_low(ordered), 6)
    for rank in ("p50", "p95"):
        share = int(rank[1:]) / 100
        assert sum(value <= row[rank] + 1e-6 for value in ordered) >= share * len(ordered)


def test_a_summary_loses_nothing_that_threads_add() -> None:
    summary = Summary()

    def add(name: str) -> None:
        for _ in range(2000):
            summary.add(name, 1.0)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(add, ["GET", "PUT"] * 4))
    assert {name: row["count"] for name, row in summary.rows().items()} == {"GET": 8000, "PUT": 8000}


class Sent:
    """A sender that keeps the spans, and a manual clock."""

    def __init__(self, size: int = 500) -> None:
        self.now = 100.0
        self.spans: list[tuple[str, float | None]] = []
        self.whole: list[RecordedSpan] = []
        self.size = size

    def send(self, span: RecordedSpan) -> int:
        self.spans.append((span.name, span.ended))
        if span.is_branch:
            self.whole.append(span)
        return self.size

    def record(self, wall: float = 1_000_000.0) -> RecordedSpan:
        return Recording("root", self, {}, clock=lambda: self.now, now=lambda: wall).root

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.spans]


def test_the_root_is_sent_at_its_start_and_at_its_end() -> None:
    sent = Sent()
    with sent.record():
        assert sent.spans == [("root", None)]
        sent.now += 5
    assert sent.spans == [("root", None), ("root", 1_000_005.0)]


def test_branches_are_sent_as_they_end() -> None:
    """Children are sent with their parent."""
    sent = Sent()
    with sent.record() as root:
        file = root.branch("file", source="s3://a/b")
        part = file.branch("part", number=1)
        with part.child("GET"):
            sent.now += 1
        part.end()
        assert sent.names == ["root", "part"]
        assert [child.name for child in part.children] == ["GET"]
        assert part.children[0].seconds == 1.0
        file.end()
    assert sent.names == ["root", "part", "file", "root"]
    assert (part.parent, file.parent) == (file, root)


def test_times_are_monotonic_though_the_clock_is_set_back() -> None:
    sent = Sent()
    root = sent.record(wall=5_000.0)
    sent.now += 2
    span = root.branch("file")
    sent.now += 3
    span.end()
    root.end()
    assert (root.started, span.started, span.ended, root.ended) == (5_000.0, 5_002.0, 5_005.0, 5_005.0)


def test_a_span_keeps_nothing_of_the_frames_in_which_it_failed() -> None:
    class Buffer:
        """A large object."""

    def fail() -> "weakref.ref[Buffer]":
        buffer = Buffer()
        try:
            with root.branch("file"):
                raise ServiceBusy("503")
        except ServiceBusy:
            return weakref.ref(buffer)

    root = Sent().record()
    assert fail()() is None


def test_a_span_ends_once() -> None:
    sent = Sent()
    with sent.record() as root:
        span = root.branch("file")
        span.end()
        sent.now += 1
        span.end(ValueError("late"))
    assert span.seconds == 0
    assert span.error is None
    assert sent.names.count("file") == 1


def test_a_span_lasts_as_long_as_its_work() -> None:
    """It may be ended later."""
    sent = Sent()
    with sent.record() as root:
        span = root.branch("item")
        sent.now += 2
        span.stop()
        sent.now += 3
        assert sent.names == ["root"]
        span.end(ValueError())
    assert span.seconds == 2
    assert span.error is not None
    assert root.seconds == 5


def test_open_spans_end_with_the_root_and_its_reason() -> None:
    """Children end before their parents."""
    sent = Sent()
    root = sent.record()
    file = root.branch("file")
    part = file.branch("part")
    root.end(KeyboardInterrupt())
    assert sent.names == ["root", "part", "file", "root"]
    assert part.error is not None
    assert part.error.kind == "KeyboardInterrupt"
    assert file.error == part.error


def test_what_failed_is_sent_though_it_is_not_in_the_sample() -> None:
    sent = Sent()
    with sent.record() as root:
        root.expect("file", 10_000)
        root.branch("file").end()  # the first span is in every sample
        root.branch("file").end()
        failed = root.branch("file")
        assert not failed.sampled
        failed.end(ServiceBusy("503"))
    assert sent.names == ["root", "file", "file", "root"]


def test_nothing_within_a_branch_left_out_is_sent() -> None:
    sent = Sent()
    with sent.record() as root:
        root.expect("file", 10_000)
        for _ in range(100):
            file = root.branch("file")
            file.branch("part").end()
            file.end()
    assert sent.names.count("part") == sent.names.count("file") <= 1


def test_a_trace_does_not_grow_beyond_what_xray_keeps() -> None:
    sent = Sent(size=10_000)
    with sent.record() as root:
        for _ in range(1000):
            root.branch("file").end(ValueError("all fail"))
    assert sent.names.count("file") == MAX_BYTES / 10_000
    assert root.metadata["sampled"] == {"file": "9 of 1000"}


def test_every_span_sent_has_its_parent_even_in_a_full_trace() -> None:
    sent = Sent(size=2_000)
    with sent.record() as root:
        root.expect("file", 1000)
        for number in range(1000):
            file = root.branch("file", number=number)
            for _ in range(50):
                file.branch("part", of=number).end(ServiceBusy("503") if number % 7 == 1 else None)
            file.end()
    shown = {str(span.annotations["number"]) for span in sent.whole if span.name == "file"}
    assert {str(span.annotations["of"]) for span in sent.whole if span.name == "part"} <= shown
    assert len(sent.whole) * sent.size <= MAX_BYTES + 2_000 * len(shown)


def test_a_branch_in_a_full_trace_leaves_its_children_out() -> None:
    sent = Sent(size=MAX_BYTES)
    with sent.record() as root:
        last, first = root.branch("file"), root.branch("file")
        last.child("create").end()
        first.end()
        last.end()
    assert last.children == []
    assert sent.names.count("file") == 2


def test_a_span_has_so_many_children_and_no_more() -> None:
    with Sent().record() as root:
        part = root.branch("part")
        for _ in range(MAX_CHILDREN + 5):
            part.child("GET").end()
        part.end()
    assert len(part.children) == MAX_CHILDREN
    assert root.metadata["summary"]["GET"]["count"] == MAX_CHILDREN + 5


def test_a_root_counts_only_the_spans_left_out() -> None:
    with Sent().record() as root:
        root.expect("file", 1000)
        for _ in range(1000):
            root.branch("file").end()
        root.branch("other").end()
    assert root.metadata["sampled"] == {"file": f"{SPREAD} of 1000"}
    assert root.metadata["summary"]["file"]["count"] == 1000


def test_what_is_not_traced_takes_every_call_and_does_nothing() -> None:
    span = UNTRACED.branch("file", source="x").child("GET", number=1)
    span.annotate(bytes=1)
    span.expect("file", 5)
    span.stop()
    span.end(ValueError())
    with pytest.raises(ValueError, match="through"), span:
        raise ValueError("through")
    assert span is UNTRACED


LAMBDA = {"AWS_LAMBDA_FUNCTION_NAME": "f", "AWS_XRAY_DAEMON_ADDRESS": "127.0.0.1:2000"}
SAMPLED = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1"


@pytest.fixture
def sdk_not_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "aws_xray_sdk"]:
        monkeypatch.delitem(sys.modules, name)


@pytest.mark.usefixtures("sdk_not_loaded")
@pytest.mark.parametrize(
    ("environ", "traced"),
    [
        ({}, False),
        ({"AWS_XRAY_DAEMON_ADDRESS": "127.0.0.1:2000"}, True),
        ({"AWS_XRAY_DAEMON_ADDRESS": "127.0.0.1:2000", "AWS_XRAY_SDK_ENABLED": "False"}, False),
        (LAMBDA, False),
        (LAMBDA | {"_X_AMZN_TRACE_ID": SAMPLED}, True),
        (LAMBDA | {"_X_AMZN_TRACE_ID": SAMPLED.replace("Sampled=1", "Sampled=0")}, False),
        (LAMBDA | {"_X_AMZN_TRACE_ID": SAMPLED, "AWS_XRAY_SDK_ENABLED": "false"}, False),
    ],
)
def test_the_environment_says_whether_to_trace(environ: dict[str, str], traced: bool) -> None:
    assert may_trace(environ) is traced
    if not traced:
        assert open_trace(environ) is UNTRACED


@pytest.mark.parametrize(
    "environ",
    [{}, LAMBDA, LAMBDA | {"_X_AMZN_TRACE_ID": SAMPLED.replace("Sampled=1", "Sampled=0")}],
)
def test_that_others_have_loaded_the_sdk_asks_for_no_trace(environ: dict[str, str]) -> None:
    assert importlib.import_module("aws_xray_sdk.core")
    assert open_trace(environ) is UNTRACED


@pytest.mark.parametrize(
    ("environ", "loaded"),
    [
        ({}, False),
        ({"AWS_LAMBDA_FUNCTION_NAME": "f"}, False),
        (LAMBDA, True),
        (LAMBDA | {"AWS_XRAY_SDK_ENABLED": "false"}, False),
    ],
)
def test_the_sdk_is_loaded_ahead_where_a_trace_may_come(environ: dict[str, str], loaded: bool) -> None:
    # In its own process: an SDK loaded twice leaves a socket behind.
    code = "import sys, asyncstream.tracing as t; t.prepare(); print('aws_xray_sdk.core' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=True
    )
    assert done.stdout == f"{loaded}\n"


@pytest.mark.usefixtures("sdk_not_loaded")
def test_without_the_sdk_nothing_is_traced(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str, *_: Any) -> None:
        return None

    monkeypatch.setattr(importlib.util, "find_spec", absent)
    assert not may_trace({"AWS_XRAY_DAEMON_ADDRESS": "127.0.0.1:2000"})
    assert not may_trace(LAMBDA | {"_X_AMZN_TRACE_ID": SAMPLED})
