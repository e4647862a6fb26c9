"""`plan_run`: read a source, and write the batches of a run.

A plan may take several invocations. Between them its progress is an object of the run: the position in the
source, and all that the packer knows. So a step that was killed is done again, with the same batches.
"""

from msgspec.structs import replace

from asyncstream.deadline import NO_DEADLINE
from asyncstream.errors import DeadlineExceeded, InputError, NothingToTransfer
from asyncstream.mapping.calls import map_items
from asyncstream.pipeline import small_objects
from asyncstream.pipeline.context import Ends
from asyncstream.pipeline.continuation import Continuation
from asyncstream.ports import Engine
from asyncstream.runs.batching import Batch, GiantPlan
from asyncstream.runs.counting import PlanCounter, PlanProgress
from asyncstream.runs.descriptions import Description
from asyncstream.runs.giants import abort_uploads, open_uploads
from asyncstream.runs.moving import Worker
from asyncstream.runs.pages import LISTS_AT_ONCE
from asyncstream.runs.plan_requests import PlanRequest
from asyncstream.runs.rows import LINES_TYPE, Row, encode_rows
from asyncstream.runs.run_store import RunStore
from asyncstream.tracing.spans import UNTRACED

# Threads write and list by one pool.
_WRITES_AT_ONCE = LISTS_AT_ONCE


def plan_run(store: RunStore, asked: PlanRequest, worker: Worker) -> PlanProgress:
    """Plan a run, or continue its plan, for as long as there is time; `whole` of the result says if it ended.

    Args:
        store: where to write the plan.
        asked: what to plan.
        worker: reads the source, and creates the uploads of giant files.

    Raises:
        InputError: the request is wrong, or a list is malformed; or another run is at this place.
        NothingToTransfer: there is nothing to copy.
        AsyncstreamError: the source could not be read, or the plan not be written.
    """
    asked.check()
    _check(store, asked, worker)
    progress = _earlier(store, asked) or PlanProgress(asked=asked)
    plan = PlanWriter(store, progress, worker)
    if not progress.whole:
        _abort_unknown(store, progress, worker)
    while not progress.whole and not plan.out_of_time:
        read = plan.read_more()
        plan.pack_giants()
        read = read and not progress.giants
        if read:
            plan.closed += plan.packer.close()
        plan.write_rest()
        if read and not progress.totals.files:
            raise NothingToTransfer(f"nothing is stored under {asked.source}")
        progress.whole = read
        store.write_progress(progress)
    # After the progress: from here on workers may run the batches, and a plan that is repeated would pack its
    # files in another order.
    if progress.whole and not store.is_described():
        _describe(store, progress)
    return progress


def _check(store: RunStore, asked: PlanRequest, worker: Worker) -> None:
    """Check a request before anything is read.

    Raises:
        InputError, ConfigError: it is wrong.
    """
    worker.check([], asked.settings)
    worker.timed().override(asked.settings)
    if asked.kind == "prefix" and store.run.uri.startswith(asked.source):
        raise InputError(f"the run {store.run.uri} would be among the files of {asked.source}: name another")


def _earlier(store: RunStore, asked: PlanRequest) -> PlanProgress | None:
    """Return the progress of an earlier step of this plan.

    Raises:
        InputError: another run is at this place.
    """
    earlier = store.read_progress(PlanProgress)
    if earlier is not None and not earlier.asked.same_as(asked):
        raise InputError(
            f"{store.run.uri} has another run, of another source, destination or options: name a new place"
        )
    return earlier


def _abort_unknown(store: RunStore, progress: PlanProgress, worker: Worker) -> None:
    """Abort the uploads of a step that was killed before it wrote the progress: this step creates others."""
    number = progress.totals.upload_lists
    while (rows := store.find_uploads(number)) is not None:
        abort_uploads(rows, worker)
        number += 1


def _describe(store: RunStore, progress: PlanProgress) -> None:
    """Write what the workers and the last step need, now that all batches are written."""
    asked, totals = progress.asked, progress.totals
    store.write_todo(range(totals.batches))
    description = Description(
        source=asked.source,
        destination=asked.destination,
        kind=asked.kind,
        settings=asked.settings,
        totals=totals,
        join=asked.join,
        header=asked.header,
    )
    store.write_json(store.run.description, description)


class PlanWriter(PlanCounter):
    """Writes the batches, and creates the uploads of giant files.

    Args:
        store: the run.
        progress: see `PlanCounter`.
        worker: see `PlanCounter`.
    """

    def __init__(self, store: RunStore, progress: PlanProgress, worker: Worker) -> None:
        super().__init__(progress, worker)
        self._store = store
        self._written = progress.totals.batches

    def write_rest(self) -> None:
        """Write the closed batches."""
        self.worker.session.work_with(self.worker.timed(), self.write)

    async def write(self, ends: Ends, engine: Engine) -> None:
        """Write the closed batches.

        Raises:
            AsyncstreamError: one could not be written.
        """

        async def write_one(numbered: tuple[int, Batch]) -> str:
            number, batch = numbered
            place = self._store.run.batch(number)
            return await small_objects.write(ends, place, encode_rows(batch.rows), LINES_TYPE)

        outcomes = map_items(
            write_one,
            list(enumerate(self.closed, self._written)),
            engine,
            max_concurrency=_WRITES_AT_ONCE,
            deadline=NO_DEADLINE,
            span=UNTRACED,
            ordered=False,
        )
        async for outcome in outcomes:
            outcome.result()
        self._written += len(self.closed)
        self.closed = []

    def pack_giants(self) -> None:
        """Create the uploads of the giant files that were found, write their list, and pack their ranges.

        A file whose upload cannot be created is packed whole: its batch then tells why. If there was no time
        for it, the next step creates it.
        """
        opened: list[Row] = []
        later: list[tuple[Row, GiantPlan]] = []
        giants = self.progress.giants
        uploads = open_uploads(giants, self.progress.asked, self.worker)
        for (row, giant), upload in zip(giants, uploads, strict=True):
            if isinstance(upload, DeadlineExceeded):
                later.append((row, giant))
                self.out_of_time = True
                continue
            if upload is None:
                self.closed += self.packer.add(row)
                continue
            whole = replace(row, size=upload.size, etag=upload.etag, continuation=upload)
            opened.append(whole)
            self.closed += self.packer.add_ranges(whole, _fitted(giant, upload))
        if opened:
            totals = self.packer.totals
            self._store.write_rows(self._store.run.uploads(totals.upload_lists), opened)
            totals.upload_lists += 1
        self.keep_giants(later)


def _fitted(giant: GiantPlan, upload: Continuation) -> GiantPlan:
    """Return the plan of a giant file as its upload has it: the file may have changed since it was listed."""
    if upload.part_plan == giant.parts:
        return giant
    first, last = giant.ranges[0]
    step, planned = last + 1 - first, upload.part_plan.planned
    ranges = [(number, min(number + step - 1, planned)) for number in range(1, planned + 1, step)]
    return GiantPlan(upload.part_plan, ranges)
