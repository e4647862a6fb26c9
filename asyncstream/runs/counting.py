"""`count_run`: read a source, pack its files into batches, and count them, for an estimate."""

from contextlib import aclosing
from functools import partial

from msgspec import Struct, field
from msgspec.structs import replace

from asyncstream.errors import DeadlineExceeded
from asyncstream.locations import S3Object
from asyncstream.pipeline.context import Ends
from asyncstream.pipeline.continuation import Continuation
from asyncstream.ports import Engine
from asyncstream.runs.batching import Batch, GiantPlan, Packer, PackerState
from asyncstream.runs.descriptions import Totals
from asyncstream.runs.moving import Worker
from asyncstream.runs.pages import LISTS_AT_ONCE, Found, Page, Position
from asyncstream.runs.plan_requests import PlanRequest, RowMaker, rows_of_lines
from asyncstream.runs.rows import Row
from asyncstream.runs.sources import read_pages

# Rows of closed batches, at about 0.6 KB, that wait to be written together.
_ROWS_WRITTEN_TOGETHER = 10_000
# Giant files whose uploads are created together, and are in one list for the last step.
_OPENED_TOGETHER = 500
# Seconds before the deadline at which a step stops to read, to write what it has; at most this share of all.
SECONDS_TO_WRITE = 20.0
SHARE_TO_WRITE = 0.5


class PlanProgress(Struct, kw_only=True):
    """How far a plan is.

    Attributes:
        asked: what it is asked for.
        packer: all that the packer knows.
        position: where to continue to read the source; None at its start.
        giants: giant files whose uploads could not be created before the time was up.
        whole: whether the plan is whole.
    """

    asked: PlanRequest
    packer: PackerState = field(default_factory=PackerState)
    position: Position | None = None
    giants: list[tuple[Row, GiantPlan]] = field(default_factory=list)
    whole: bool = False

    @property
    def totals(self) -> Totals:
        """What was counted so far."""
        return self.packer.totals


def count_run(asked: PlanRequest, worker: Worker) -> PlanProgress:
    """Count what a run would copy, and write nothing; `whole` of the result says if all was counted.

    Raises:
        InputError: the request is wrong, or a list is malformed.
        AsyncstreamError: the source could not be read.
    """
    asked.check()
    progress = PlanProgress(asked=asked)
    plan = PlanCounter(progress, worker)
    while not progress.whole and not plan.out_of_time:
        progress.whole = plan.read_more()
        plan.pack_giants()
    plan.packer.close()
    return progress


class PlanCounter:
    """Reads a source, and packs its files into batches, which it counts and forgets.

    Args:
        progress: where to start. It is changed.
        worker: reads the source.

    Attributes:
        packer: packs the files.
        closed: the batches that are closed and not written.
        out_of_time: whether reading has stopped because of the deadline.
    """

    def __init__(self, progress: PlanProgress, worker: Worker) -> None:
        self.progress = progress
        self._asked = progress.asked
        self.worker = worker
        self.packer = Packer(self._asked.speeds, self._asked.functions, progress.packer)
        self.closed: list[Batch] = []
        self.out_of_time = False
        self._cuts = {giant.parts.size: giant for _, giant in progress.giants}

    def read_more(self) -> bool:
        """Read until the source ends, too many giant files are found, or the time is up.

        Returns:
            Whether the source was read to its end.
        """
        config = self.worker.timed().override({"transform": None})
        try:
            return self.worker.session.work_with(config, self._read, [self._asked.place])
        except DeadlineExceeded:
            self.out_of_time = True
            return False

    def pack_giants(self) -> None:
        """Pack the ranges of the giant files that were found, as if they had uploads."""
        for row, giant in self.progress.giants:
            parts = giant.parts
            counted = Continuation(
                upload_id="-", etag="-", size=parts.size, first=parts.first, step=parts.step
            )
            self.closed += self.packer.add_ranges(replace(row, continuation=counted), giant)
        self.keep_giants([])

    def keep_giants(self, later: list[tuple[Row, GiantPlan]]) -> None:
        """Forget the giant files that are packed, and keep those that wait for their uploads."""
        self.progress.giants = later
        self._cuts = {giant.parts.size: giant for _, giant in later}

    async def write(self, ends: Ends, engine: Engine) -> None:
        """Forget the closed batches, which were counted."""
        self.closed = []

    async def _read(self, ends: Ends, engine: Engine) -> bool:
        if self._asked.kind == "lines":
            await self._read_text(ends)
            return True
        deadline, maker = ends.retrying.deadline, RowMaker(self._asked)
        reserve = min(SECONDS_TO_WRITE, deadline.left() * SHARE_TO_WRITE)
        before = dict(ends.requests)
        place, position = self._asked.place, self.progress.position
        pages = read_pages(ends, engine, self._asked.kind, place, position, LISTS_AT_ONCE)
        async with aclosing(pages):
            async for page in pages:
                self._take(page, maker)
                self._count_requests(ends, before)
                if sum(len(batch.rows) for batch in self.closed) >= _ROWS_WRITTEN_TOGETHER:
                    await self.write(ends, engine)
                self.out_of_time = deadline.left() < reserve
                if self.out_of_time or len(self.progress.giants) >= _OPENED_TOGETHER:
                    return False
        return True

    def _take(self, page: Page, maker: RowMaker) -> None:
        """Pack the files of a page."""
        totals = self.packer.totals
        if page.share is not None:
            self.packer.note_share(page.share)
        for reason, number in page.left_out.items():
            totals.left_out[reason] = totals.left_out.get(reason, 0) + number
        for found in page.found:
            self._add(maker.make(found), found)
        self.progress.position = page.position

    def _add(self, row: Row, found: Found) -> None:
        if row.entries is not None:
            size = found.size or 0
            stored = found.packed if found.entries is not None else None
            self.packer.count_entries(found.files, size, 0, gets=1)
            self.closed += self.packer.add(row, self._asked.speeds.archive_cost(found.files, size, stored))
            return
        giant = self._cut(found.size) if self._asked.cuts and found.size else None
        if giant is None:
            self.closed += self.packer.add(row)
        else:
            self.progress.giants.append((row, giant))

    def _cut(self, size: int | None) -> GiantPlan | None:
        """Return how to cut a file. Files of one size that are opened together are cut alike."""
        known = self._cuts.get(size or 0)
        giant = self.packer.cut(size) if known is None else known
        if giant is not None and size is not None:
            self._cuts[size] = giant
        return giant

    async def _read_text(self, ends: Ends) -> None:
        place = self._asked.place
        assert isinstance(place, S3Object)  # noqa: S101 - the kind has an object
        found = await ends.retrying.run(partial(ends.source_of(place).head, place, None))
        for row, cost, ranges in rows_of_lines(self._asked, found.size, found.etag):
            share = -(-found.size // _ranges_of(row))
            self.packer.count_entries(ranges, found.size * ranges // _ranges_of(row), share, gets=2 * ranges)
            self.closed += self.packer.add(row, cost)

    def _count_requests(self, ends: Ends, before: dict[str, int]) -> None:
        totals, now = self.packer.totals, ends.requests
        for name, number in now.items():
            more = number - before.get(name, 0)
            if name.startswith("List"):
                totals.source_lists += more
            elif name.startswith(("Get", "Head")):
                totals.source_gets += more
        before.update(now)


def _ranges_of(row: Row) -> int:
    """Return the number of ranges that the text of a row is cut into."""
    assert row.lines is not None  # noqa: S101 - a row of a text
    return row.lines.ranges
