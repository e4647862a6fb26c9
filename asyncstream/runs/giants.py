"""Create the uploads of giant files, whose parts many workers move."""

from collections.abc import Iterator, Sequence
from functools import partial

from msgspec.structs import replace

from asyncstream.errors import AsyncstreamError, ConfigError, DeadlineExceeded, InputError
from asyncstream.objects import MultipartUpload
from asyncstream.pipeline import plan
from asyncstream.pipeline.continuation import Continuation
from asyncstream.pipeline.jobs import Known
from asyncstream.pipeline.pairs import Pair
from asyncstream.pipeline.results import FileResult
from asyncstream.pipeline.run import Step
from asyncstream.pipeline.shared_uploads import OpenTasks
from asyncstream.runs.batching import GiantPlan
from asyncstream.runs.moving import Worker, check_row
from asyncstream.runs.plan_requests import PlanRequest
from asyncstream.runs.rows import Row


def open_uploads(
    giants: Sequence[tuple[Row, GiantPlan]], asked: PlanRequest, worker: Worker
) -> list[Continuation | DeadlineExceeded | None]:
    """Create the uploads of files, and return their continuations, in order.

    An error stands for a file for which there was no time; None for a file that needs no upload, because its
    destination is there, or whose upload could not be created.

    Args:
        giants: the files, and how they are cut. Files of one size are cut alike.
        asked: what the plan is asked for.
        worker: creates the uploads.

    Raises:
        ConfigError: the settings are wrong.
    """
    if not giants:
        return []
    pairs = dict(_to_open([row for row, _ in giants], worker))
    if not pairs:
        return [None] * len(giants)
    lengths = {giant.parts.size: giant.parts.first for _, giant in giants}

    def part_length(size: int) -> int:
        return plan.part_length(size, lengths.get(size, plan.CHAINED_PART))

    known = {
        pair[0]: Known(giants[position][1].parts.size, giants[position][0].etag)
        for position, pair in pairs.items()
        if giants[position][0].etag
    }
    config = worker.config(asked.settings)
    step = Step(known, worker.notice, partial(OpenTasks, part_length=part_length))
    try:
        report = worker.session.transfer_step(list(pairs.values()), config, step)
    except ConfigError:
        raise
    except DeadlineExceeded as late:
        return [late] * len(giants)
    except AsyncstreamError:
        return [None] * len(giants)
    found = dict(zip(pairs, (_opened(result, asked) for result in report.files), strict=True))
    return [found.get(position) for position in range(len(giants))]


def _opened(result: FileResult, asked: PlanRequest) -> Continuation | DeadlineExceeded | None:
    if result.continuation is not None:
        return replace(result.continuation, copies=asked.copy_parts)
    if result.status == "pending":
        return DeadlineExceeded(f"{result.source}: there was no time to create its upload")
    return None


def abort_uploads(rows: Sequence[Row], worker: Worker) -> None:
    """Abort the uploads that rows continue, and delete their parts.

    Raises:
        InputError: the worker may not touch a place.
        AsyncstreamError: an upload could not be aborted.
    """
    uploads = []
    for row in rows:
        for pair, continuation in row.continuations.items():
            worker.check([pair], {})
            uploads.append(MultipartUpload(pair[1], continuation.upload_id))
    worker.session.abort(uploads)


def _to_open(rows: Sequence[Row], worker: Worker) -> Iterator[tuple[int, Pair]]:
    """Yield the pairs that can be opened, with their positions: the batch of another one tells why."""
    destinations: set[str] = set()
    for position, row in enumerate(rows):
        try:
            yield position, check_row(row, worker, destinations)
        except InputError:
            continue
