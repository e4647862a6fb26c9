"""Create the uploads of giant files, whose parts many workers move."""

from collections.abc import Sequence
from functools import partial

from msgspec.structs import replace

from asyncstream.errors import AsyncstreamError, ConfigError
from asyncstream.pipeline import plan
from asyncstream.pipeline.continuation import Continuation
from asyncstream.pipeline.jobs import Known
from asyncstream.pipeline.run import Step
from asyncstream.pipeline.shared_uploads import OpenTasks
from asyncstream.runs.batching import GiantPlan
from asyncstream.runs.moving import Worker
from asyncstream.runs.plan_requests import PlanRequest
from asyncstream.runs.rows import Row


def open_uploads(
    giants: Sequence[tuple[Row, GiantPlan]], asked: PlanRequest, worker: Worker
) -> list[Continuation | None]:
    """Create the uploads of files, and return their continuations, in order.

    None stands for a file that needs no upload, because its destination is there, or whose upload could not
    be created.

    Args:
        giants: the files, and how they are cut. Files of one size are cut alike.
        asked: what the plan is asked for.
        worker: creates the uploads.

    Raises:
        ConfigError: the settings are wrong.
    """
    if not giants:
        return []
    rows = [row for row, _ in giants]
    pairs = [row.pair for row in rows]
    lengths = {giant.parts.size: giant.parts.first for _, giant in giants}

    def part_length(size: int) -> int:
        return plan.part_length(size, lengths.get(size, plan.CHAINED_PART))

    known = {
        pair[0]: Known(row.size, row.etag)
        for row, pair in zip(rows, pairs, strict=True)
        if row.size is not None and row.etag
    }
    config = worker.timed().override({**asked.settings, "at_deadline": "pending"})
    step = Step(known, worker.notice, partial(OpenTasks, part_length=part_length))
    try:
        worker.check(pairs, {})
        report = worker.session.transfer_step(pairs, config, step)
    except ConfigError:
        raise
    except AsyncstreamError:
        return [None] * len(rows)
    found = [result.continuation for result in report.files]
    return [left and replace(left, copies=asked.copy_parts) for left in found]
