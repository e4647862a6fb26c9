"""Reads complete traces from an X-Ray API."""

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from botocore.exceptions import ClientError

from asyncstream.lab.report.spans import Span, Trace
from asyncstream.lab.report.xray import parse_trace

POLL_SECONDS = 0.2
A_REQUEST = 5  # the maximum of BatchGetTraces


def read_trace(api: Any, trace_id: str, **waiting: Any) -> Trace | None:
    """Return one trace, or None if it does not exist. See `read_traces`."""
    return read_traces(api, [trace_id], **waiting).get(trace_id)


def read_traces(
    api: Any,
    trace_ids: Sequence[str],
    *,
    seconds: float = 10.0,
    poll_seconds: float = POLL_SECONDS,
    awaited: str | None = None,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> dict[str, Trace]:
    """Wait for traces, which X-Ray shows some seconds after their spans were sent, and return them by ID.

    Args:
        api: a boto3 X-Ray client.
        trace_ids: the traces' IDs.
        seconds: maximum wait for all traces together until no span is in progress and no more spans appear.
            After that, traces are returned as they are.
        poll_seconds: time between two requests.
        awaited: the name of a span that a complete trace must have. Several senders send the spans of a
            trace, some of them later.
        clock: returns monotonic seconds.
        sleep: waits a number of seconds.

    Raises:
        ClientError: no trace could be read.
    """
    end = clock() + seconds
    found: dict[str, Trace] = {}
    seen: dict[str, int] = {}
    missing = list(trace_ids)
    while missing:
        try:
            found |= _read(api, missing)
        except ClientError:
            if not found:
                raise
            break  # return the traces read so far
        counts = {trace_id: _spans_if_complete(found.get(trace_id), awaited) for trace_id in missing}
        missing = [each for each in missing if counts[each] == 0 or counts[each] != seen.get(each)]
        seen = counts
        if not missing or clock() >= end:
            break
        sleep(poll_seconds)
    return found


def all_spans(spans: Iterable[Span]) -> Iterable[Span]:
    """Yield the spans and all spans within them."""
    for span in spans:
        yield span
        yield from all_spans(span.children)


def _spans_if_complete(trace: Trace | None, awaited: str | None) -> int:
    """Return the number of spans, or 0 if a span is in progress or the awaited one is missing."""
    spans = [] if trace is None else list(all_spans(trace.roots))
    if any(span.end is None for span in spans):
        return 0
    return len(spans) if awaited is None or any(span.name == awaited for span in spans) else 0


def _read(api: Any, trace_ids: Sequence[str]) -> dict[str, Trace]:
    """Return the current traces, read in several requests and pages if needed."""
    segments: dict[str, list[Any]] = {}
    exceeded: set[str] = set()
    for start in range(0, len(trace_ids), A_REQUEST):
        more: dict[str, str] | None = {}
        while more is not None:
            reply = api.batch_get_traces(TraceIds=trace_ids[start : start + A_REQUEST], **more)
            for part in reply["Traces"]:
                segments.setdefault(part["Id"], []).extend(part["Segments"])
                if part.get("LimitExceeded"):
                    exceeded.add(part["Id"])
            more = {"NextToken": reply["NextToken"]} if reply.get("NextToken") else None
    return {
        trace_id: parse_trace({"Id": trace_id, "Segments": found, "LimitExceeded": trace_id in exceeded})
        for trace_id, found in segments.items()
        if found
    }
