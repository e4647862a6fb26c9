"""A trace read from an X-Ray API, as soon as all of it is there; called by `asyncstream.lab.compare`."""

import time
from collections.abc import Callable, Iterable
from typing import Any

from asyncstream.report.spans import Span, Trace
from asyncstream.report.xray import trace_of

POLL_SECONDS = 0.2


def read_trace(
    api: Any,
    trace_id: str,
    *,
    seconds: float = 10.0,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Trace | None:
    """A trace, or None if there is no such trace; X-Ray shows one some seconds after its spans were sent.

    Args:
        api: a boto3 X-Ray client.
        trace_id: which one.
        seconds: how long to wait until no span is in progress and no more appear. Then what there is
            counts.
        clock: seconds, monotonic.
        sleep: waits so many seconds.
    """
    end = clock() + seconds
    seen = 0
    while True:
        trace = _read(api, trace_id)
        spans = [] if trace is None else list(all_spans(trace.roots))
        complete = len(spans) if all(span.end is not None for span in spans) else 0
        if (complete and complete == seen) or clock() >= end:
            return trace
        seen = complete
        sleep(POLL_SECONDS)


def all_spans(spans: Iterable[Span]) -> Iterable[Span]:
    """The spans and all within them."""
    for span in spans:
        yield span
        yield from all_spans(span.children)


def _read(api: Any, trace_id: str) -> Trace | None:
    """The trace as it is now, from as many pages as it takes."""
    segments: list[Any] = []
    limit_exceeded = False
    more: dict[str, str] = {}
    while True:
        reply = api.batch_get_traces(TraceIds=[trace_id], **more)
        for part in reply["Traces"]:
            segments += part["Segments"]
            limit_exceeded = limit_exceeded or part.get("LimitExceeded", False)
        if not reply.get("NextToken"):
            break
        more = {"NextToken": reply["NextToken"]}
    if not segments:
        return None
    return trace_of({"Id": trace_id, "Segments": segments, "LimitExceeded": limit_exceeded})
