"""The last step of a run: complete its giant files, and say what is left; or drop its uploads."""

from collections.abc import Sequence
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from asyncstream.errors import AsyncstreamError, DeadlineExceeded
from asyncstream.locations import Concat, S3Object, S3Prefix
from asyncstream.locations.lines import range_name
from asyncstream.pipeline.run import Step
from asyncstream.pipeline.session import TransferSession
from asyncstream.pipeline.shared_uploads import FinishTasks
from asyncstream.runs.counting import PlanProgress
from asyncstream.runs.descriptions import Description
from asyncstream.runs.giants import abort_uploads
from asyncstream.runs.moving import Worker, left_rows
from asyncstream.runs.outcomes import RowError, RowLeft
from asyncstream.runs.rows import Row
from asyncstream.runs.run_store import RunStore

# Failures that a report names.
MOST_NAMED = 100
# Outcomes of batches that are not done that are read for these. The others are counted as batches only.
MOST_READ = 200


class FinishReport(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the last step of a run has found and done.

    Attributes:
        batches: number of batches of the plan.
        batches_left: number of batches that are not done.
        completed: giant files that are complete.
        failed: number of giant files that could not be completed, and of rows that failed in the first 200
            batches that are not done.
        failures: the first of them, with their errors.
        next_list: the list of uploads to continue with, if the time was up; None at the end.
        joined: the object that the ranges of a text were put together into.
    """

    batches: int
    batches_left: int = 0
    completed: int = 0
    failed: int = 0
    failures: Sequence[RowLeft] = ()
    next_list: int | None = None
    joined: str = ""

    @property
    def whole(self) -> bool:
        """Whether all files of the run are at their destinations."""
        return self.next_list is None and not self.batches_left and not self.failed


def finish_run(store: RunStore, worker: Worker, first_list: int = 0) -> FinishReport:
    """Complete the giant files of a run whose parts are all there, and report what is left.

    It can be called at any time and repeated: parts that are missing stay missing, and nothing that workers
    do is disturbed. An upload whose source was overwritten or deleted is aborted.

    Args:
        store: the run.
        worker: completes the uploads.
        first_list: the list of uploads to start with: `next_list` of an earlier report.

    Raises:
        SourceNotFound: the plan of the run is not whole.
        AsyncstreamError: an object of the run could not be read.
    """
    description = store.read_description()
    worker.check([], description.settings)
    left = left_batches(store, description)
    found = _Failures()
    for number in left[:MOST_READ]:
        found.add_batch(store, number)
    completed = 0
    for number in range(first_list, description.totals.upload_lists):
        ended = _finish_list(store.read_uploads(number), worker, description, found)
        if ended is None:
            return found.report(description, left, completed, next_list=number)
        completed += ended
    joined = ""
    if description.join and not left:
        joined = _join(description, worker, store.session, found)
    return found.report(description, left, completed, joined=joined)


def left_batches(store: RunStore, description: Description) -> list[int]:
    """Return the numbers of the batches that are not done."""
    done = store.list_done()
    return [number for number in range(description.totals.batches) if number not in done]


def abort_run(store: RunStore, worker: Worker, first_list: int = 0) -> int | None:
    """Abort the uploads of a run, and delete their parts: those of giant files, and of files left pending.

    Args:
        store: the run.
        worker: aborts the uploads.
        first_list: the list of uploads to start with. The batches of which rows are left follow the lists.

    Returns:
        The list of uploads to continue with, if the time was up; None at the end.

    Raises:
        SourceNotFound: no plan of the run was started.
    """
    progress = store.read_progress(PlanProgress)
    totals = store.read_description().totals if progress is None else progress.totals
    lists = totals.upload_lists
    while store.find_uploads(lists) is not None:  # of a step of the plan that was killed
        lists += 1
    pending = sorted(number for number in store.list_left() - store.list_done() if number < totals.batches)
    positions: list[int] = [*range(lists), *(lists + number for number in pending)]
    for position in positions:
        if position < first_list:
            continue
        try:
            worker.timed()
        except DeadlineExceeded:
            return position
        rows = store.read_uploads(position) if position < lists else _pending_rows(store, position - lists)
        abort_uploads(rows, worker)
    return None


def _pending_rows(store: RunStore, number: int) -> list[Row]:
    """Return the rows of a batch that are left, but not ranges: the lists have their uploads."""
    outcome = store.read_outcome(number)
    if outcome is None or not outcome.left:
        return []
    rows = (row for _, row in left_rows(store.read_rows(number), outcome))
    return [row for row in rows if row.continuation is None or row.continuation.only is None]


class _Failures:
    """The failures of a run: those named, and the number of all.

    Attributes:
        named: the first failures.
        number: the number of those that were found.
    """

    def __init__(self) -> None:
        self.named: list[RowLeft] = []
        self.number = 0

    def add_batch(self, store: RunStore, number: int) -> None:
        """Add the failed rows of a batch that is not done."""
        outcome = store.read_outcome(number)
        for each in outcome.failed if outcome is not None else ():
            self.add(each)

    def add(self, failed: RowLeft) -> None:
        """Add one failure."""
        self.number += 1
        if len(self.named) < MOST_NAMED:
            # A continuation has up to a few KB, and a report only names files.
            self.named.append(replace(failed, continuation=None, entries=None))

    def report(
        self,
        description: Description,
        left: Sequence[int],
        completed: int,
        *,
        next_list: int | None = None,
        joined: str = "",
    ) -> FinishReport:
        """Return the report of the run."""
        return FinishReport(
            batches=description.totals.batches,
            batches_left=len(left),
            completed=completed,
            failed=self.number,
            failures=self.named,
            next_list=next_list,
            joined=joined,
        )


def _finish_list(
    rows: Sequence[Row], worker: Worker, description: Description, found: _Failures
) -> int | None:
    """Complete the uploads of a list, and return their number; None: the time was up before the end."""
    pairs = [row.pair for row in rows]
    worker.check(pairs, {})
    continuations = {
        pair: row.continuation for pair, row in zip(pairs, rows, strict=True) if row.continuation
    }
    try:
        config = worker.config(description.settings)
        step = Step(notice=worker.notice, tasks=FinishTasks)
        report = worker.session.transfer_step(pairs, config, step, continuations)
    except DeadlineExceeded:
        return None
    for position in report.files.positions("failed"):
        error = report.files[position].error
        if error is not None:
            row = rows[position]
            found.add(RowLeft(position, row.source, row.destination, RowError.of(error)))
    if report.count("pending"):
        return None
    return report.count("copied") + report.count("skipped")


def _join(description: Description, worker: Worker, session: TransferSession, found: _Failures) -> str:
    """Put the ranges of a text together, and return the object's URI; empty if that failed.

    Both ends of the session are that of the destination, where the ranges are.
    """
    folder = S3Prefix.from_uri(description.destination)
    ranges = S3Prefix(folder.bucket, folder.prefix + range_name(0).rstrip("0"))
    # The folder may hold other objects, and ranges of an earlier run that had more of them.
    own = {folder.prefix + range_name(number) for number in range(description.totals.files)}
    header: Literal["all", "first"] = "first" if description.header else "all"
    target = Concat(S3Object.from_uri(description.join), header=header, copy_parts=True)
    # The ranges were transformed, and an object of an earlier last step is overwritten.
    settings = {**description.settings, "transform": None, "if_exists": "overwrite"}
    config = worker.config(settings).override({"at_deadline": "fail"})
    try:
        listed = session.list_objects(ranges, config)
        members = sorted((each for each in listed if each.key in own), key=lambda each: each.key)
        report = session.transfer([(members, target)], config)
    except AsyncstreamError as error:
        found.add(RowLeft(0, ranges.uri, description.join, RowError.of(error)))
        return ""
    for failed in report.failed:
        if failed.error is not None:
            found.add(RowLeft(0, ranges.uri, description.join, RowError.of(failed.error)))
    return "" if report.failed else description.join
