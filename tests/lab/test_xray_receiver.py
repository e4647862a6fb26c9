"""The X-Ray receiver as a process: documents are sent over UDP and read back from the API."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from asyncstream.lab.report.spans import Trace
from asyncstream.lab.xray import XRayReceiver, read_trace, read_traces
from tests.servers.base import until

ROOT = Path(__file__).parents[2]
HEADER = b'{"format": "json", "version": 1}\n'


@pytest.fixture(scope="module")
def receiver() -> Iterator[XRayReceiver]:
    with XRayReceiver() as receiver:
        yield receiver


@pytest.fixture(scope="module")
def api(receiver: XRayReceiver) -> Iterator[Any]:
    api = receiver.client()
    yield api
    api.close()


def send(receiver: XRayReceiver, *datagrams: bytes) -> None:
    host, _, port = receiver.daemon_address.rpartition(":")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sending:
        for number, datagram in enumerate(datagrams):
            sending.sendto(datagram, (host, int(port)))
            if number % 500 == 499:
                receiver.counts()  # waits about as long as the reader needs to catch up


def a_document(trace_id: str, number: int = 0, **fields: Any) -> bytes:
    document = {
        "id": f"{number:016x}",
        "trace_id": trace_id,
        "name": "span",
        "start_time": 1.0,
        "end_time": 2.0,
        **fields,
    }
    return HEADER + json.dumps(document).encode()


def a_trace_id() -> str:
    return f"1-{int(time.time()):08x}-{os.urandom(12).hex()}"


def test_ten_thousand_documents_arrive(receiver: XRayReceiver) -> None:
    before = receiver.counts()
    trace_id = a_trace_id()
    send(receiver, *(a_document(trace_id, number) for number in range(10_000)))
    after = receiver.settle()
    assert after.received - before.received == 10_000
    assert after.forwarded - before.forwarded == 10_000
    assert after.dropped == 0


def test_a_trace_is_read_back_as_it_was_sent(receiver: XRayReceiver, api: Any) -> None:
    trace_id = a_trace_id()
    send(
        receiver,
        a_document(trace_id, 1, name="root", annotations={"käse": "ä"}),
        a_document(trace_id, 2, parent_id=f"{1:016x}", type="subsegment", name="child"),
    )
    receiver.settle()
    trace = read_trace(api, trace_id)
    assert trace is not None
    assert [root.name for root in trace.roots] == ["root"]
    assert trace.roots[0].annotations == {"käse": "ä"}
    assert [child.name for child in trace.roots[0].children] == ["child"]


def test_a_trace_that_does_not_exist_is_none(api: Any) -> None:
    assert read_trace(api, a_trace_id(), seconds=0.0) is None


@pytest.mark.parametrize(
    "datagram",
    [
        b"",
        b"{}",
        b"no json\n{}",
        HEADER,
        HEADER + b"[]",
        HEADER + b"{",
        b'{"format": "xml", "version": 1}\n{}',
    ],
)
def test_a_malformed_datagram_is_counted_and_does_no_harm(receiver: XRayReceiver, datagram: bytes) -> None:
    before = receiver.settle()
    send(receiver, datagram, a_document(a_trace_id()))
    after = receiver.settle()
    assert after.rejected - before.rejected == 1
    assert after.received - before.received == 1


def test_a_document_that_the_api_does_not_take_is_counted(receiver: XRayReceiver) -> None:
    before = receiver.settle()
    send(receiver, HEADER + b'{"id": "0000000000000001", "name": "without a trace"}')
    after = receiver.settle()
    assert after.unprocessed - before.unprocessed == 1


def test_a_document_as_large_as_a_datagram_passes(receiver: XRayReceiver, api: Any) -> None:
    trace_id = a_trace_id()
    room = 65_507 - len(a_document(trace_id, 1, metadata={"x": ""}))
    send(receiver, a_document(trace_id, 1, metadata={"x": "y" * room}))
    receiver.settle()
    trace = read_trace(api, trace_id)
    assert trace is not None
    assert len(trace.roots[0].metadata["x"]) == room


def test_nothing_is_left_when_it_is_closed() -> None:
    with XRayReceiver() as receiver:
        pid = receiver._process.pid
        assert Path(f"/proc/{pid}").exists()
    assert not Path(f"/proc/{pid}").exists()


OWNER = """
import sys
from asyncstream.lab.xray import XRayReceiver
print(XRayReceiver()._process.pid, flush=True)
sys.stdin.read()
"""


def test_it_ends_with_an_owner_that_was_killed() -> None:
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert owner.stdout is not None
    pid = int(owner.stdout.readline())
    owner.send_signal(signal.SIGKILL)
    owner.communicate()
    until(lambda: not Path(f"/proc/{pid}").exists())


class LateApi:
    """An X-Ray API that returns one state after another, and the last state from then on."""

    def __init__(self, *states: list[dict[str, Any]]) -> None:
        self._states = list(states)
        self._current: list[dict[str, Any]] = []

    def batch_get_traces(self, TraceIds: list[str], NextToken: str = "") -> dict[str, Any]:  # noqa: N803
        if NextToken:
            return {"Traces": [{"Id": TraceIds[0], "Segments": self._page(self._current[1:])}]}
        self._current = self._states.pop(0) if len(self._states) > 1 else self._states[0]
        more = {"NextToken": "more"} if len(self._current) > 1 else {}
        first = {"Id": TraceIds[0], "Segments": self._page(self._current[:1])}
        return {"Traces": [first] if self._current else [], **more}

    def _page(self, documents: list[dict[str, Any]]) -> list[dict[str, str]]:
        return [{"Document": json.dumps(document)} for document in documents]


ROOT_OPEN = {"id": "a", "name": "root", "start_time": 1, "in_progress": True}
ROOT_DONE = {"id": "a", "name": "root", "start_time": 1, "end_time": 2}
CHILD = {"id": "b", "parent_id": "a", "name": "child", "start_time": 1, "end_time": 2}


def read_with_clock(api: LateApi, seconds: float, awaited: str | None = None) -> tuple[Trace | None, float]:
    now = 0.0

    def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds

    waiting: dict[str, Any] = {"seconds": seconds, "awaited": awaited, "clock": lambda: now, "sleep": sleep}
    return read_trace(api, "1-0-0", **waiting), now


def test_a_trace_that_is_late_is_waited_for_until_it_is_whole() -> None:
    trace, waited = read_with_clock(LateApi([], [ROOT_OPEN], [ROOT_DONE], [ROOT_DONE, CHILD]), 60)
    assert trace is not None
    assert [child.name for child in trace.roots[0].children] == ["child"]
    assert waited < 5


def test_a_trace_that_never_gets_whole_is_shown_as_it_is() -> None:
    trace, waited = read_with_clock(LateApi([ROOT_OPEN, CHILD]), 3)
    assert trace is not None
    assert trace.roots[0].end is None
    assert 3 <= waited < 4


def test_a_trace_is_not_whole_before_the_awaited_span_is_there() -> None:
    states = ([ROOT_DONE], [ROOT_DONE], [ROOT_DONE], [ROOT_DONE, CHILD])
    trace, _ = read_with_clock(LateApi(*states), 60, awaited="child")
    assert trace is not None
    assert [child.name for child in trace.roots[0].children] == ["child"]


def test_traces_are_read_five_at_a_time() -> None:
    """Missing traces are left out."""
    asked: list[list[str]] = []

    class Api:
        def batch_get_traces(self, TraceIds: list[str]) -> dict[str, Any]:  # noqa: N803
            asked.append(TraceIds)
            document = {"Document": json.dumps(ROOT_DONE)}
            there = [{"Id": each, "Segments": [document]} for each in TraceIds if each != "1-0-3"]
            return {"Traces": there, "UnprocessedTraceIds": ["1-0-3"]}

    ids = [f"1-0-{number}" for number in range(7)]
    found = read_traces(Api(), ids, seconds=0.01, poll_seconds=0.0)
    assert sorted(found) == [each for each in ids if each != "1-0-3"]
    assert [found[each].id for each in found] == list(found)
    assert asked[:2] == [ids[:5], ids[5:]]


def test_what_was_read_before_x_ray_refused_counts() -> None:
    replies: list[Any] = [{"Traces": [{"Id": "1-0-0", "Segments": [{"Document": json.dumps(ROOT_OPEN)}]}]}]

    class Api:
        def batch_get_traces(self, TraceIds: list[str]) -> Any:  # noqa: N803
            if replies:
                return replies.pop()
            raise ClientError({"Error": {"Code": "ThrottledException"}}, "BatchGetTraces")

    assert list(read_traces(Api(), ["1-0-0"], poll_seconds=0.0)) == ["1-0-0"]
    with pytest.raises(ClientError):
        read_traces(Api(), ["1-0-0"])
