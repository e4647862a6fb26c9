"""Resume uploads of earlier transfers: find the parts that S3 already has."""

from collections.abc import Awaitable, Callable, Iterator, Mapping
from functools import partial
from typing import Any

from asyncstream.checksum import Checksum, checkable_in_parts
from asyncstream.errors import AsyncstreamError, UploadGone
from asyncstream.locations import TargetFile
from asyncstream.objects import MAX_PARTS, CompletedPart, MultipartUpload, Written
from asyncstream.pipeline import verification
from asyncstream.pipeline.continuation import Continuation, PartRun
from asyncstream.pipeline.source import SourceReader
from asyncstream.pipeline.tasks import FileFacts, Resume
from asyncstream.ports import Destination


def prepare(file: FileFacts, continuation: Continuation) -> None:
    """Set a file's fields from its continuation."""
    file.size, file.etag, file.checksum = continuation.size, continuation.etag, continuation.checksum
    file.composite, file.digests = continuation.composite, frozenset(continuation.digests)
    file.kind = continuation.kind
    file.upload = MultipartUpload(
        file.job.destination, continuation.upload_id, continuation.verified, continuation.kind
    )
    file.part_plan, file.runs = continuation.part_plan, continuation.runs
    file.replaces = continuation.replaces


# S3's pages have so many parts.
_PAGE = 1_000
# Returns the lost reply if the object has this checksum; otherwise raises the error.
FindWritten = Callable[[TargetFile, Checksum, AsyncstreamError], Awaitable[Written]]


async def resume(
    task: Resume, destination: Destination[Any, Any], reader: SourceReader, find_written: FindWritten
) -> str | None:
    """List the parts of the upload, and set `completed` to those that need not be sent again.

    If the upload is shared, that is each part that S3 has, whichever transfer sent it: the last step compares
    the whole.

    Returns:
        The ETag of the object if an earlier transfer completed the upload and its reply was lost; else None.

    Raises:
        UploadGone: the upload was aborted.
        AccessDenied: the role lacks s3:ListMultipartUploadParts.
    """
    file = task.file
    upload = file.upload
    assert upload is not None  # noqa: S101 - set by `prepare`
    try:
        with file.span.child("list"):
            there = await list_parts(task, upload, destination, reader)
    except UploadGone as gone:
        if file.only is not None:  # the last step completes it as soon as all parts are there
            return await find_shared(task, destination, reader, gone)
        return await _find_completed(file, upload, gone, find_written)
    if file.only is not None:
        file.completed = [part for part in there.values() if has_planned_length(file, part)]
        file.listed = len(file.completed)
        return None
    file.runs = [kept for run in file.runs for kept in _still_there(file, run, there)]
    file.completed = [there[number] for run in file.runs for number in range(run.first, run.last + 1)]
    file.listed = len(file.completed)
    return None


async def list_parts(
    task: Resume, upload: MultipartUpload, destination: Destination[Any, Any], reader: SourceReader
) -> dict[int, CompletedPart]:
    """Return the parts that S3 has, of those that this transfer moves, by number."""
    first, last = task.file.only or (1, MAX_PARTS)
    there: dict[int, CompletedPart] = {}
    # rclone's server breaks the connection if no part has the number that a page starts at.
    after = None if first <= _PAGE else first - 1
    while True:
        page, after = await reader.repeat(task, partial(destination.list_parts, upload, after))
        there |= {part.number: part for part in page if first <= part.number <= last}
        if after is None or after >= last:
            return there


def has_planned_length(file: FileFacts, part: CompletedPart) -> bool:
    """Whether a part has the bytes that it should have."""
    return part.length == file.part_plan.range(part.number).length


async def find_shared(
    task: Resume, destination: Destination[Any, Any], reader: SourceReader, gone: UploadGone
) -> str:
    """Return the ETag of the object that an upload became which several transfers share.

    Without a checksum, its ETag shows how many parts it was made of, and that it is not the object that was
    there before.

    Raises:
        UploadGone: it is another object, or there is none.
    """
    file = task.file
    target, wanted = file.job.destination, file.checksum
    stored = await reader.ask(task, lambda: destination.find(target))
    if stored is None or stored.size != file.size or (stored.etag, stored.modified) == file.replaces:
        raise gone
    if wanted is not None and stored.checksum is not None and stored.checksum.kind == wanted.kind:
        same = stored.checksum == wanted
    else:
        same = stored.etag.strip('"').endswith(f"-{file.part_plan.planned}")
    if not same:
        raise gone
    file.read_verified = file.write_verified = None if wanted is None else wanted.kind
    return stored.etag


async def _find_completed(
    file: FileFacts, upload: MultipartUpload, gone: UploadGone, find_written: FindWritten
) -> str:
    """Return the ETag of the object that the upload became, if all its parts were confirmed."""
    runs = verification.confirmed(file)
    declared = verification.declared(upload, runs[0]) if runs else None
    if declared is None or runs[0].length != file.size:
        raise gone
    read_verified = verification.compare_read(file, runs[0])
    written = await find_written(upload.target, declared, gone)
    file.read_verified = read_verified
    file.write_verified = verification.compare_made(written, declared, upload.target)
    return written.etag


def _still_there(file: FileFacts, run: PartRun, there: Mapping[int, CompletedPart]) -> Iterator[PartRun]:
    """Yield a run if S3 has all its parts as planned; otherwise each part that S3 has, if its CRCs are known.

    A part that is in no run is not used: S3 may have received it, but its reply was lost, so its bytes were
    never compared.
    """
    numbers = range(run.first, run.last + 1)
    as_planned = [
        there[number] for number in numbers if number in there and has_planned_length(file, there[number])
    ]
    if len(as_planned) == len(numbers):
        yield run
    elif file.composite is None:
        needed = {kind for kind in file.digests if checkable_in_parts(kind)}
        yield from (PartRun.of(part) for part in as_planned if needed <= part.checksums.keys())
