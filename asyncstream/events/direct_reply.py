"""The reply to a direct invocation, and its report. Does no I/O.

`schema.json` beside this file describes both, and the event. `make schema` generates it from their types.
"""

import json
import math
import sys
from collections.abc import Iterator
from typing import Any, Literal

import msgspec
from msgspec import Struct

from asyncstream.errors import InputError
from asyncstream.events.direct import DirectEvent, FileToCopy
from asyncstream.events.handler_replies import (
    MAX_INLINE_BYTES,
    Invoked,
    Problem,
    as_many_as_fit,
    json_schema,
    problem,
)
from asyncstream.locations import Pack, S3Object, TarEntry, ZipEntries
from asyncstream.pipeline.continuation import Continuation
from asyncstream.pipeline.results import FileResult, Status, TransferReport
from asyncstream.pipeline.unfinished import Left
from asyncstream.runs.unzipping import Entries
from asyncstream.units import MiB


class FileReply(Struct, frozen=True, omit_defaults=True):
    """One file's result, in the report (all files) or in the reply (failed files).

    `bytes` is the size of the source, `made` that of the destination if a transform made it.
    """

    source: str
    destination: str
    status: Status
    bytes: int = 0
    etag: str | None = None
    parts: int = 0
    attempts: int = 0
    seconds: float = 0.0
    error: Problem | None = None
    read_verified: str | None = None
    write_verified: str | None = None
    restarted: str | None = None
    made: int | None = None
    upload_left: str | None = None


class Totals(Struct, frozen=True):
    """Sums over all files.

    `seconds` is wall time, `cpu_seconds` is CPU time of all threads, and `memory_limit` is the limit in bytes
    for all `slots` together. `folder_markers`, left out if 0, counts objects that were not copied because
    they only mark a folder; they are not among `files`. `downgrades`, left out if empty, has a sentence for
    each thing that a server lacks and the transfer did without.
    """

    files: int
    copied: int
    skipped: int
    pending: int
    failed: int
    bytes: int
    seconds: float
    cpu_seconds: float
    requests: dict[str, int]
    slots: int
    memory_limit: int
    folder_markers: int | msgspec.UnsetType = msgspec.UNSET
    downgrades: list[str] | msgspec.UnsetType = msgspec.UNSET


class DirectReply(Struct, frozen=True, omit_defaults=True):
    """The reply to a direct invocation; under 256 KB.

    Attributes:
        status: "copied" (every file was copied or skipped), "pending" (the time ran out: invoke the function
            again with `pending` as `files`), "partial" (some files failed), "failed" (all files failed), or
            "rejected" (the event or the configuration is wrong, or a prefix could not be listed; nothing was
            copied).
        engine: the engine that ran.
        request_id: the invocation's id, to find its log by. Not set if rejected.
        totals: not set if rejected.
        pending: the files that the time was too short for, in the form that the next event needs. Lists as
            many as fit, partly copied files first. The files of an archive are one row.
        pending_omitted: the number of pending files not listed. Repeat the event that named them. A pack and
            the files of a tar archive are never listed.
        continuation: where to continue a pack that the time was too short for: repeat the event with it.
        failures: the failed files, as many as fit.
        failures_omitted: the number of failed files not listed; see `report_uri`.
        report_uri: where the full list is, if it was requested and written.
        error: why the event was rejected or the report was not written.
    """

    status: Literal["copied", "pending", "partial", "failed", "rejected"]
    engine: str
    request_id: str | None = None
    totals: Totals | None = None
    pending: list[FileToCopy] = []
    pending_omitted: int = 0
    continuation: Continuation | None = None
    failures: list[FileReply] = []
    failures_omitted: int = 0
    report_uri: str | None = None
    error: Problem | None = None


def file_reply(result: FileResult) -> FileReply:
    """Return one result as the report and the reply show it."""
    return FileReply(
        source=result.source.uri,
        destination=result.destination.uri,
        status=result.status,
        bytes=result.bytes,
        etag=result.etag,
        parts=result.parts,
        attempts=result.attempts,
        seconds=round(result.seconds, 3),
        error=None if result.error is None else problem(result.error),
        read_verified=result.read_verified,
        write_verified=result.write_verified,
        restarted=result.restarted,
        made=result.made,
        upload_left=result.upload_left,
    )


def rejected(error: Exception, engine: str) -> DirectReply:
    """Return the reply to a rejected event."""
    return DirectReply("rejected", engine, error=problem(error))


def reply_to(
    report: TransferReport,
    invoked: Invoked,
    report_uri: str | None = None,
    report_error: Exception | None = None,
) -> DirectReply:
    """Return the reply to an event whose transfer has ended."""
    failed, pending = report.count("failed"), report.count("pending")
    # Rows are built one by one until they no longer fit: there may be a hundred thousand. Files with an open
    # upload come first, because S3 charges for its parts until it ends.
    numbers: list[int] = []
    to_come, left = as_many_as_fit(_rows_of_pending(report, numbers), MAX_INLINE_BYTES)
    inline, _ = as_many_as_fit(map(file_reply, report.of_status("failed")), left)
    status: Literal["copied", "pending", "partial", "failed"] = "copied"
    if pending:
        status = "pending"
    elif failed:
        status = "failed" if failed == len(report.files) else "partial"
    return DirectReply(
        status,
        report.engine,
        invoked.request_id,
        Totals(
            files=len(report.files),
            copied=report.count("copied"),
            skipped=report.count("skipped"),
            pending=pending,
            failed=failed,
            bytes=report.bytes,
            seconds=round(report.seconds, 3),
            cpu_seconds=round(invoked.cpu_seconds, 3),
            requests=dict(report.requests),
            slots=report.slots,
            memory_limit=report.memory_limit,
            folder_markers=report.folder_markers or msgspec.UNSET,
            downgrades=list(report.downgrades) or msgspec.UNSET,
        ),
        pending=to_come,
        pending_omitted=pending - sum(numbers[: len(to_come)]),
        continuation=_pack_continuation(report),
        failures=inline,
        failures_omitted=failed - len(inline),
        report_uri=report_uri if report_error is None else None,
        error=None if report_error is None else problem(report_error),
    )


def _rows_of_pending(report: TransferReport, numbers: list[int]) -> Iterator[FileToCopy]:
    """Yield rows that name the pending files, and append the number of files of each to `numbers`."""
    for left in report.files.left("pending"):
        if isinstance(left.source, Pack | TarEntry):
            return
        numbers.append(left.files)
        yield _to_copy(left)


def _pack_continuation(report: TransferReport) -> Continuation | None:
    """Return where to continue, if the only file of the report is an unfinished pack."""
    only = report.files[0] if len(report.files) == 1 else None
    return only.continuation if only is not None and isinstance(only.source, Pack) else None


def _to_copy(left: Left) -> FileToCopy:
    source: Any = left.source
    entries = None
    if isinstance(source, ZipEntries):
        entries, source = Entries.from_selection(source, left.started), source.archive
    version_id = source.version_id if isinstance(source, S3Object) else None
    return FileToCopy(source.uri, left.destination.uri, version_id, left.continuation, entries)


def report_document(report: TransferReport, room: float = math.inf) -> bytearray:
    """Return the full list of results, as the JSON document for `report_uri`.

    Raises:
        InputError: the document has more than `room` bytes.
    """
    # Written file by file: a list of row objects would take three times as much memory.
    document = bytearray(b'{"engine":' + msgspec.json.encode(report.engine) + b',"files":[')
    for position, file in enumerate(report.files):
        document += b"," * (position > 0) + msgspec.json.encode(file_reply(file))
        if len(document) > room:
            raise InputError(
                f"the report of {len(report.files):,} files was not written: it takes more than the "
                f"{max(room, 0) / MiB:.0f} MiB that are left. Give the function more memory"
            )
    document += b"]}"
    return document


def schema() -> dict[str, Any]:
    """Return the JSON schema (2020-12) of event, reply and report."""
    return json_schema("asyncstream: direct invocation", [DirectEvent, DirectReply, FileReply])


if __name__ == "__main__":
    sys.stdout.write(json.dumps(schema(), indent=2) + "\n")
