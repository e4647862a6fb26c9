"""How a file ends: its result, its continuation, what its error and its spans say."""

import heapq
from typing import Any, NamedTuple

from msgspec.structs import replace

from asyncstream.errors import (
    AsyncstreamError,
    BuffersNeeded,
    DeadlineExceeded,
    MemoryNeeded,
    OtherVersion,
    SourceChanged,
)
from asyncstream.kept_errors import lighten
from asyncstream.pipeline import verification
from asyncstream.pipeline.budget import more_memory
from asyncstream.pipeline.continuation import MOST_RUNS, Continuation
from asyncstream.pipeline.file_tasks import FileTasks
from asyncstream.pipeline.tasks import Begin, FileFacts, Needs, SendPart, Task
from asyncstream.transforms.failures import user_place

# A file that never has time for a single part would otherwise be continued for ever.
MOST_FRUITLESS = 3


class Ending(NamedTuple):
    """How a file that has stopped ends.

    Attributes:
        error: the error of its result.
        pending: whether the next transfer continues it.
        needs: what to reserve to open it once more; None if that would not help.
    """

    error: Exception
    pending: bool = False
    needs: Needs | None = None


def choose_ending(file: FileFacts, error: Exception, work: FileTasks, may_continue: bool) -> Ending:
    """Choose how a file ends.

    Args:
        file: what is known of it.
        error: the first error.
        work: knows what a file needs.
        may_continue: whether the next transfer may continue a file that ran out of time.
    """
    if isinstance(error, BuffersNeeded) and work.buffered is not None:
        return Ending(error, needs=work.buffered.needs)
    if may_continue and isinstance(error, DeadlineExceeded):
        return Ending(error, pending=True) if fruitless(file) < MOST_FRUITLESS else Ending(no_progress(file))
    if isinstance(error, MemoryNeeded) and error.needs:
        more = more_memory(error.needs, file.transform_bytes, work.needs.transform_bytes, work.max_memory)
        if more is None:
            return Ending(too_little_memory(file, error, work.max_memory))
        return Ending(error, needs=work.needs._replace(transform_bytes=more))
    # Continuations and listings may describe an earlier version. Some servers list other ETags than they
    # send.
    stale = file.job.continuation is not None and isinstance(error, SourceChanged)
    stale |= file.job.etag is not None and file.upload is None and isinstance(error, OtherVersion)
    shared = file.only is not None or not work.reopens
    if not shared and (stale or (isinstance(error, AsyncstreamError) and error.starts_over)):
        return Ending(error, needs=work.needs._replace(transform_bytes=file.transform_bytes))
    return Ending(error)


def lighten_error(error: Exception) -> None:
    """Drop the frames of an error that a report keeps.

    An exception of the user's own code, such as a progress callback, gets a note of the line that raised it.
    """
    place = "" if isinstance(error, AsyncstreamError) else user_place(error.__traceback__)
    if place and not hasattr(error, "__notes__"):
        error.add_note(f"raised at {place}")
    lighten(error)


def continuation(file: FileFacts) -> Continuation:
    """Return what the next transfer of a file needs to know."""
    upload, size, etag, before = file.upload, file.size, file.etag, file.job.continuation
    if before is not None and before.only is not None:
        return replace(before, fruitless=fruitless(file))  # S3 is asked for the parts that it has
    assert upload is not None and size is not None and etag is not None  # noqa: S101, PT018
    return Continuation(
        upload_id=upload.upload_id,
        etag=etag,
        size=size,
        first=file.part_plan.first,
        step=file.part_plan.step,
        verified=upload.verified,
        kind=upload.kind,
        checksum=file.checksum,
        composite=file.composite,
        digests=sorted(file.digests),
        runs=heapq.nlargest(MOST_RUNS, verification.confirmed(file), key=lambda run: run.length),
        fruitless=fruitless(file),
        completing=file.completing or (before is not None and before.completing),
        replaces=file.replaces,
    )


def fruitless(file: FileFacts) -> int:
    """Return how many transfers in a row, with this one, continued the file and confirmed no part."""
    before = file.job.continuation
    return before.fruitless + 1 if before is not None and len(file.completed) == file.listed else 0


def no_progress(file: FileFacts) -> DeadlineExceeded:
    """Return the error of a file that no transfer should continue again."""
    return DeadlineExceeded(
        f"{file.job.source}: no part was confirmed in {MOST_FRUITLESS} transfers in a row, each stopped by "
        f"its deadline: give them more time, or lower part_size ({file.part_plan.step} bytes) or "
        "max_concurrency"
    )


def too_little_memory(file: FileFacts, needed: MemoryNeeded, most: int) -> MemoryNeeded:
    """Return the error of a file whose transform needs more memory than there is."""
    return MemoryNeeded(
        f"{file.job.source}: {needed}. The transfer has {most} bytes for that, beside a part of the output. "
        "Raise memory_limit, in Lambda the function's memory",
        needed.needs,
    )


def end_span(task: Task[Any], error: BaseException | None) -> None:
    """Annotate a task's span with its retries, and end it if it is a part's; a file's ends with the file."""
    if task.retries:
        task.span.annotate(retries=task.retries, waited=round(task.waited, 3))
    unread = task.file.open_range
    if error is not None and unread is not None and _has_the_first_range(task):
        # Abort closes the range only after the span that contains that of its body was sent.
        unread.span.end()
    if task.span is not task.file.span:
        task.span.end(error)


def _has_the_first_range(task: Task[Any]) -> bool:
    return isinstance(task, Begin) or (isinstance(task, SendPart) and task.number == 1)


def not_aborted(file: FileFacts, failure: BaseException) -> str:
    """Return a note on an upload that was left."""
    upload_id = file.upload.upload_id if file.upload else ""
    return f"upload {upload_id} of {file.job.destination} could not be aborted: {failure}"
