"""The reply to an event that asks for pages, or the error that tells of it. Pure.

Event and reply are described by `schema.json` beside this file, made from their types (`make schema`).
"""

import json
import sys
from typing import Any, Literal

from msgspec import Struct

from asyncstream.errors import AsyncstreamError, GatheringFailed
from asyncstream.events.replies import (
    MAX_INLINE_BYTES,
    Invoked,
    Problem,
    as_many_as_fit,
    described,
    problem,
)
from asyncstream.gathering.events import GatherEvent
from asyncstream.gathering.results import GatherReport, PageResult
from asyncstream.gathering.web.urls import shown

# Failures that one error names, so that a dead-letter queue takes it.
MOST_NAMED = 20


class PageReply(Struct, frozen=True, omit_defaults=True):
    """A page that failed. `url` is as it was given, its query included: the reply is not for logs."""

    url: str
    attempts: int = 0
    seconds: float = 0.0
    error: Problem | None = None


class GatherTotals(Struct, frozen=True):
    """Sums over all pages.

    Of pages that are unchanged `empty` were made no rows. `rows` are those written, by `batches` statements;
    `replaced` those that were not, as a later one of their batch has their key. `seconds` is wall time,
    `cpu_seconds` CPU time of all threads, `memory_limit` the bytes that `slots` stayed within.
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
        status: "stored" (all pages, or they were there unchanged), "pending" (the time was up: invoke once
            more with `urls` being what `pending` has), "partial" (some pages failed), "failed" (all did), or
            "rejected" (the event or the configuration is wrong, the list of URLs could not be read, or the
            table not be written to: nothing was fetched).
        engine: which engine ran.
        request_id: of the invocation, by which its log is found; unless rejected.
        totals: unless rejected.
        pending: the URLs that the time was too short for, as many as fit.
        pending_omitted: how many more there are: repeat the event that named them.
        failures: the failed pages, as many as fit.
        failures_omitted: how many more there are.
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
    """The reply to an event that nothing was fetched for."""
    return GatherReply("rejected", engine, error=problem(error))


def reply_to(report: GatherReport, invoked: Invoked) -> GatherReply:
    """The reply to an event that was worked on."""
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
            len(report.pages),
            len(report.of("stored")),
            len(report.of("unchanged")),
            len(report.empty),
            len(failed),
            len(unfetched),
            report.rows,
            report.replaced,
            report.batches,
            round(report.seconds, 3),
            round(invoked.cpu_seconds, 3),
            report.slots,
            report.memory_limit,
        ),
        to_come,
        len(pending) - len(to_come),
        inline,
        len(failed) - len(inline),
    )


def raise_unstored(report: GatherReport) -> None:
    """Tell of what was not stored by an error, which is for logs and queues: so without queries of URLs.

    Raises:
        GatheringFailed: pages failed, or are left.
    """
    failed, pending = report.failed, report.pending
    if not failed and not pending:
        return
    left = f", {len(pending):,} were left as the time was up" if pending else ""
    told = [f"{len(failed):,} of {len(report.pages):,} pages failed{left}", *map(_told, failed[:MOST_NAMED])]
    if len(failed) > MOST_NAMED:
        told.append(f"and {len(failed) - MOST_NAMED:,} more")
    raise GatheringFailed("; ".join(told))


def _page_reply(page: PageResult) -> PageReply:
    error = None if page.error is None else problem(page.error)
    return PageReply(page.url, page.attempts, round(page.seconds, 3), error)


def _told(page: PageResult) -> str:
    error = problem(page.error or AsyncstreamError())
    return f"{shown(page.url)}: {error.type}: {error.message}"


def schema() -> dict[str, Any]:
    """The JSON schema (2020-12) of event and reply."""
    return described("asyncstream: pages gathered into a table", [GatherEvent, GatherReply])


if __name__ == "__main__":
    sys.stdout.write(json.dumps(schema(), indent=2) + "\n")
