"""The reply to an event that asks for pages, or the error that reports failed pages. Does no I/O.

`schema.json` in this folder describes event and reply; `make schema` generates it from their types.
"""

import json
import sys
from typing import Any, Literal

from msgspec import Struct

from asyncstream.errors import AsyncstreamError, GatheringFailed
from asyncstream.events.handler_replies import (
    MAX_INLINE_BYTES,
    Invoked,
    Problem,
    as_many_as_fit,
    json_schema,
    problem,
)
from asyncstream.gathering.events import GatherEvent
from asyncstream.gathering.results import GatherReport, PageResult
from asyncstream.locations.urls import shown

# The most failed pages that one error names, so that it fits in a dead-letter queue.
MAX_NAMED = 20


class PageReply(Struct, frozen=True, omit_defaults=True):
    """A page that failed. `url` is as it was given, including its query, so do not log the reply."""

    url: str
    attempts: int = 0
    seconds: float = 0.0
    error: Problem | None = None


class GatherTotals(Struct, frozen=True):
    """Sums over all pages.

    `empty` counts the unchanged pages that had no rows. `rows` counts the rows written, by `batches`
    statements. `replaced` counts the rows not written because a later row of the same batch has the same key.
    `seconds` is wall time, `cpu_seconds` the CPU time of all threads. `slots` is the most pages in progress
    at once, `memory_limit` the bytes that they could take.
    """

    pages: int
    stored: int
    unchanged: int
    empty: int
    failed: int
    pending: int
    rows: int
    replaced: int
    batches: int
    seconds: float
    cpu_seconds: float
    slots: int
    memory_limit: int


class GatherReply(Struct, frozen=True, omit_defaults=True):
    """The reply; under 256 KB.

    Attributes:
        status: "stored" (all pages were stored or unchanged), "pending" (the time was too short: invoke the
            function again with `pending` as `urls`), "partial" (some pages failed), "failed" (all pages
            failed), or "rejected" (nothing was fetched: the event or the configuration is wrong, the list of
            URLs cannot be read, or the table cannot be written to).
        engine: the engine that ran.
        request_id: the ID of the invocation, to find its log; missing if rejected.
        totals: sums over all pages; missing if rejected.
        pending: the URLs that the time was too short for, as many as fit.
        pending_omitted: how many pending URLs did not fit; to gather them, send the same event again.
        failures: the failed pages, as many as fit.
        failures_omitted: how many failed pages did not fit.
        error: why the event was rejected.
    """

    status: Literal["stored", "pending", "partial", "failed", "rejected"]
    engine: str
    request_id: str | None = None
    totals: GatherTotals | None = None
    pending: list[str] = []
    pending_omitted: int = 0
    failures: list[PageReply] = []
    failures_omitted: int = 0
    error: Problem | None = None


def rejected(error: Exception, engine: str) -> GatherReply:
    """Return the reply to a rejected event; nothing was fetched."""
    return GatherReply("rejected", engine, error=problem(error))


def reply_to(report: GatherReport, invoked: Invoked) -> GatherReply:
    """Return the reply that summarizes a gathering."""
    failed, unfetched = report.failed, report.pending
    pending = list(dict.fromkeys(page.url for page in unfetched))
    to_come, left = as_many_as_fit(pending, MAX_INLINE_BYTES)
    inline, _ = as_many_as_fit(list(map(_page_reply, failed)), left)
    status: Literal["stored", "pending", "partial", "failed"] = "stored"
    if pending:
        status = "pending"
    elif failed:
        status = "failed" if len(failed) == len(report.pages) else "partial"
    return GatherReply(
        status,
        report.engine,
        invoked.request_id,
        GatherTotals(
            pages=len(report.pages),
            stored=len(report.of("stored")),
            unchanged=len(report.of("unchanged")),
            empty=len(report.empty),
            failed=len(failed),
            pending=len(unfetched),
            rows=report.rows,
            replaced=report.replaced,
            batches=report.batches,
            seconds=round(report.seconds, 3),
            cpu_seconds=round(invoked.cpu_seconds, 3),
            slots=report.slots,
            memory_limit=report.memory_limit,
        ),
        pending=to_come,
        pending_omitted=len(pending) - len(to_come),
        failures=inline,
        failures_omitted=len(failed) - len(inline),
    )


def raise_unstored(report: GatherReport) -> None:
    """Raise an error if pages were not stored. It names URLs without queries, since logs and queues keep it.

    Raises:
        GatheringFailed: pages failed or are pending.
    """
    failed, pending = report.failed, report.pending
    if not failed and not pending:
        return
    left = f", {len(pending):,} did not finish in time" if pending else ""
    messages = [
        f"{len(failed):,} of {len(report.pages):,} pages failed{left}",
        *map(_describe_failure, failed[:MAX_NAMED]),
    ]
    if len(failed) > MAX_NAMED:
        messages.append(f"and {len(failed) - MAX_NAMED:,} more")
    raise GatheringFailed("; ".join(messages))


def _page_reply(page: PageResult) -> PageReply:
    error = None if page.error is None else problem(page.error)
    return PageReply(page.url, page.attempts, round(page.seconds, 3), error)


def _describe_failure(page: PageResult) -> str:
    error = problem(page.error or AsyncstreamError())
    return f"{shown(page.url)}: {error.type}: {error.message}"


def schema() -> dict[str, Any]:
    """Return the JSON schema (2020-12) of event and reply."""
    return json_schema("asyncstream: pages gathered into a table", [GatherEvent, GatherReply])


if __name__ == "__main__":
    sys.stdout.write(json.dumps(schema(), indent=2) + "\n")
