"""The event of a direct invocation and its reply: types, reading and writing. Pure.

Both are described by `schema.json` beside this file, which is made from these types (`make schema`).
"""

import json
import math
import sys
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from asyncstream.errors import InputError
from asyncstream.events.reading import at, read
from asyncstream.events.replies import (
    MAX_INLINE_BYTES,
    Invoked,
    Problem,
    as_many_as_fit,
    described,
    problem,
)
from asyncstream.locations import S3Object, S3Prefix
from asyncstream.pipeline.config import TransferConfig, explained
from asyncstream.pipeline.continuation import Continuation
from asyncstream.pipeline.jobs import Pair, checked
from asyncstream.pipeline.results import FileResult, Status, TransferReport
from asyncstream.units import MiB

# The pattern is told to the schema only: locations.py checks it with a better message.
Uri = Annotated[
    str, Meta(description="s3://bucket/key, the key verbatim", extra_json_schema={"pattern": "^s3://"})
]


class FileToCopy(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One file of an event; `continuation` as the reply of an earlier invocation has it."""

    source: Uri
    destination: Uri
    version_id: str | None = None
    continuation: Continuation | None = None


class DirectEvent(Struct, frozen=True, forbid_unknown_fields=True):
    """What a direct invocation asks for: `files`, or `source_prefix` and `destination`.

    Attributes:
        files: sources and destinations, one by one.
        source_prefix: copy everything listed under it.
        destination: the prefix that takes the place of `source_prefix` in each key.
        config: settings of TransferConfig that override the function's own.
        report_uri: an object to write the full list of results to.
    """

    files: Annotated[list[FileToCopy], Meta(min_length=1)] | None = None
    source_prefix: Uri | None = None
    destination: Uri | None = None
    config: TransferConfig = TransferConfig()
    report_uri: Uri | None = None


class FileReply(Struct, frozen=True, omit_defaults=True):
    """One file's result, in the report (all files) or inline in the reply (failed files).

    `bytes` are the source's, `made` those of the destination where a transform made it.
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

    `seconds` is wall time, `cpu_seconds` CPU time of all threads, `memory_limit` the bytes that `slots`
    stayed within.
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


class DirectReply(Struct, frozen=True, omit_defaults=True):
    """The reply to a direct invocation; under 256 KB.

    Attributes:
        status: "copied" (all of it), "pending" (the time was up: invoke once more with `files` being what
            `pending` has), "partial" (some files failed), "failed" (all did), or "rejected" (the event or the
            configuration is wrong, or a prefix could not be listed: nothing was copied).
        engine: which engine ran.
        request_id: of the invocation, by which its log is found; unless rejected.
        totals: unless rejected.
        pending: the files that the time was too short for, as the next event is to name them, as many as
            fit; those of which something is done first.
        pending_omitted: how many more there are: repeat the event that named them.
        failures: the failed files, as many as fit.
        failures_omitted: how many more there are; see `report_uri`.
        report_uri: where the full list is, if it was asked for and written.
        error: why the event was rejected, or the report not written.
    """

    status: Literal["copied", "pending", "partial", "failed", "rejected"]
    engine: str
    request_id: str | None = None
    totals: Totals | None = None
    pending: list[FileToCopy] = []
    pending_omitted: int = 0
    failures: list[FileReply] = []
    failures_omitted: int = 0
    report_uri: str | None = None
    error: Problem | None = None


def read_event(event: Any) -> DirectEvent:
    """Check an event's shape.

    Raises:
        InputError: a field is unknown, missing or of the wrong type; the message names its path.
    """
    asked = read(event, DirectEvent, told=lambda error: explained(error)[1])
    prefixes = (asked.source_prefix, asked.destination)
    if asked.files is None and None in prefixes:
        raise InputError("the event must have either `files`, or both `source_prefix` and `destination`")
    if asked.files is not None and prefixes != (None, None):
        raise InputError("the event has `files`: leave out `source_prefix` and `destination`")
    return asked


def pairs_of(event: DirectEvent) -> list[Pair]:
    """What the event asks to copy.

    Raises:
        InputError: a location is malformed, or the list contradicts itself.
    """
    if event.files is None:
        source = at("$.source_prefix", S3Prefix.from_uri, event.source_prefix)
        return checked([(source, at("$.destination", S3Prefix.from_uri, event.destination))])
    return checked(
        (
            at(f"$.files[{position}].source", S3Object.from_uri, file.source, file.version_id),
            at(f"$.files[{position}].destination", S3Object.from_uri, file.destination),
        )
        for position, file in enumerate(event.files)
    )


def continuations_of(event: DirectEvent, pairs: Sequence[Pair]) -> dict[Any, Continuation]:
    """What an earlier invocation has left of the event's files."""
    files = event.files or []
    return {
        pair: file.continuation
        for pair, file in zip(pairs, files, strict=False)
        if file.continuation is not None
    }


def report_location(event: DirectEvent, pairs: Sequence[Pair]) -> S3Object | None:
    """Return where the event wants its report; None: nowhere.

    Raises:
        InputError: `report_uri` is malformed, or names a file of the event. The transfer compares it with
            files that a listing finds.
    """
    if event.report_uri is None:
        return None
    place = at("$.report_uri", S3Object.from_uri, event.report_uri)
    if place.uri in {each.uri for pair in pairs for each in pair}:
        raise InputError(f"the event is malformed at $.report_uri: {place} is one of the files")
    return place


def named_settings(event: Any, asked: DirectEvent) -> dict[str, Any]:
    """The settings that the event itself names: the others are the function's own."""
    return {name: getattr(asked.config, name) for name in event.get("config") or {}}


def file_reply(result: FileResult) -> FileReply:
    """One result as the report and the reply show it."""
    return FileReply(
        result.source.uri,
        result.destination.uri,
        result.status,
        result.bytes,
        result.etag,
        result.parts,
        result.attempts,
        round(result.seconds, 3),
        None if result.error is None else problem(result.error),
        result.read_verified,
        result.write_verified,
        result.restarted,
        result.made,
        result.upload_left,
    )


def rejected(error: Exception, engine: str) -> DirectReply:
    """The reply to an event that nothing was done for."""
    return DirectReply("rejected", engine, error=problem(error))


def reply_to(
    report: TransferReport,
    invoked: Invoked,
    report_uri: str | None = None,
    report_error: Exception | None = None,
) -> DirectReply:
    """The reply to an event that was worked on."""
    failed, pending = report.count("failed"), report.count("pending")
    # One by one, as far as they fit: there may be a hundred thousand. An open upload costs its owner money
    # until its upload ends: it goes first.
    to_come, left = as_many_as_fit(map(_to_copy, report.files.pending()), MAX_INLINE_BYTES)
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
            len(report.files),
            report.count("copied"),
            report.count("skipped"),
            pending,
            failed,
            report.bytes,
            round(report.seconds, 3),
            round(invoked.cpu_seconds, 3),
            dict(report.requests),
            report.slots,
            report.memory_limit,
        ),
        to_come,
        pending - len(to_come),
        inline,
        failed - len(inline),
        report_uri if report_error is None else None,
        None if report_error is None else problem(report_error),
    )


def _to_copy(result: FileResult) -> FileToCopy:
    source, destination = result.source, result.destination
    return FileToCopy(source.uri, destination.uri, source.version_id, result.continuation)


def report_document(report: TransferReport, room: float = math.inf) -> bytearray:
    """Return the full list of results, as the JSON document written to `report_uri`.

    Raises:
        InputError: it has more bytes than memory has `room` for.
    """
    # File by file: as objects the rows would take three times as much.
    document = bytearray(b'{"engine":' + msgspec.json.encode(report.engine) + b',"files":[')
    for position, file in enumerate(report.files):
        document += b"," * (position > 0) + msgspec.json.encode(file_reply(file))
        if len(document) > room:
            raise InputError(
                f"the report of {len(report.files):,} files was not written: it takes more than the "
                f"{max(room, 0) / MiB:.0f} MiB that are left: give the function more memory"
            )
    document += b"]}"
    return document


def schema() -> dict[str, Any]:
    """The JSON schema (2020-12) of event, reply and report."""
    return described("asyncstream: direct invocation", [DirectEvent, DirectReply, FileReply])


if __name__ == "__main__":
    sys.stdout.write(json.dumps(schema(), indent=2) + "\n")
