"""Traces read from an X-Ray API, as soon as all of each is there."""

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from botocore.exceptions import ClientError

from asyncstream.lab.report.spans import Span, Trace
from asyncstream.lab.report.xray import trace_of

POLL_SECONDS = 0.2
A_REQUEST = 5  # BatchGetTraces takes no more


def read_trace(api: Any, trace_id: str, **waiting: Any) -> Trace | None:
    """One trace, or None if there is no such trace; see `read_traces`."""
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
    """Traces by their ids, those that there are; X-Ray shows one some seconds after its spans were sent.

    Args:
        api: a boto3 X-Ray client.
        trace_ids: which ones.
        seconds: how long to wait, for all of them together, until no span is in progress and no more
            appear. Then what there is counts.
        poll_seconds: between two looks.
        awaited: a span without whose name a trace is not complete: spans of one trace come from several
            senders, some of them later.
        clock: seconds, monotonic.
        sleep: waits so many seconds.

    Raises:
        ClientError: nothing at all could be read.
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
            break  # what there is by then is worth more than nothing
        counts = {trace_id: _spans_if_complete(found.get(trace_id), awaited) for trace_id in missing}
        missing = [each for each in missing if counts[each] == 0 or counts[each] != seen.get(each)]
        seen = counts
        if not missing or clock() >= end:
            break
        sleep(poll_seconds)
    return found


def all_spans(spans: Iterable[Span]) -> Iterable[Span]:
    """The spans and all within them."""
    for span in spans:
        yield span
        yield from all_spans(span.children)


def _spans_if_complete(trace: Trace | None, awaited: str | None) -> int:
    """How many spans it has; 0 if some are in progress, or the awaited one is not there yet."""
    spans = [] if trace is None else list(all_spans(trace.roots))
    if any(span.end is None for span in spans):
        return 0
    return len(spans) if awaited is None or any(span.name == awaited for span in spans) else 0


def _read(api: Any, trace_ids: Sequence[str]) -> dict[str, Trace]:
    """The traces as they are now, from as many requests and pages as it takes."""
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
        trace_id: trace_of({"Id": trace_id, "Segments": found, "LimitExceeded": trace_id in exceeded})
        for trace_id, found in segments.items()
        if found
    }
