"""`move_batch`: move the files of one batch of a run, as every kind of worker does."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from msgspec import Struct, field
from msgspec.structs import replace

from asyncstream.deadline import Notice
from asyncstream.errors import AsyncstreamError, ConfigError, DeadlineExceeded, InputError
from asyncstream.locations import Lines, S3Object, ZipEntries
from asyncstream.pipeline.config import TransferConfig
from asyncstream.pipeline.continuation import Continuation
from asyncstream.pipeline.jobs import Known
from asyncstream.pipeline.pairs import Pair
from asyncstream.pipeline.results import FileResult, TransferReport
from asyncstream.pipeline.run import Step
from asyncstream.pipeline.session import TransferSession
from asyncstream.pipeline.unfinished import Left
from asyncstream.runs.outcomes import MOST_TRIES, BatchOutcome, RowError, RowLeft
from asyncstream.runs.rows import Row
from asyncstream.runs.run_store import RunStore, Timed
from asyncstream.runs.unzipping import Entries

# Raises InputError if a worker may not touch these places, or use these settings.
Check = Callable[[Sequence[Pair], Mapping[str, Any]], None]


def allow_all(pairs: Sequence[Pair], settings: Mapping[str, Any]) -> None:
    """Allow all places and settings."""


class Worker(Struct, frozen=True):
    """What a worker moves batches with.

    Attributes:
        session: moves the files.
        timed: returns the worker's settings, with the time that is left now as their deadline.
        check: what the worker may touch.
        notice: ends a batch early; see `Notice`.
    """

    session: TransferSession
    timed: Timed
    check: Check = allow_all
    notice: Notice | None = None

    def config(self, settings: Mapping[str, Any]) -> TransferConfig:
        """Return the worker's settings with those of a run, which cannot give it more time.

        Raises:
            ConfigError: a setting is wrong.
            DeadlineExceeded: no time is left.
        """
        timed = self.timed()
        config = timed.override({**settings, "at_deadline": "pending"})
        longest = timed.deadline
        if longest is not None and (config.deadline is None or config.deadline > longest):
            return config.override({"deadline": longest})
        return config


def move_batch(store: RunStore, number: int, worker: Worker) -> BatchOutcome:
    """Move the rows of a batch that are left, write its outcome, and return it.

    A batch that is done is not moved again. Repeating a batch whose worker was killed copies its small files
    again; of a giant file only the parts that S3 has not confirmed.

    Raises:
        SourceNotFound: there is no such batch, or the plan of its run is not whole.
        InputError: an object of the run is malformed, or `check` refuses its settings.
        ConfigError: the settings are wrong.
        AsyncstreamError: an object of the run could not be read or written.
    """
    before = store.read_outcome(number)
    if before is not None and not before.left:
        return before
    settings = store.read_description().settings
    worker.check([], settings)
    rows = store.read_rows(number)
    run = _BatchRun(worker, settings, list(left_rows(rows, before)))
    run.move()
    outcome = _add_up(before or BatchOutcome(batch=number, rows=len(rows)), run)
    store.write_outcome(outcome)
    return outcome


def move_to_end(store: RunStore, number: int, worker: Worker) -> BatchOutcome:
    """Move what is left of a batch, again while that may help, and return its outcome.

    Raises:
        AsyncstreamError: see `move_batch`.
    """
    outcome = move_batch(store, number, worker)
    while outcome.again:
        outcome = move_batch(store, number, worker)
    return outcome


def left_rows(rows: Sequence[Row], before: BatchOutcome | None) -> Iterator[tuple[int, Row]]:
    """Yield the rows that are left, with where to continue them, and their numbers.

    Raises:
        InputError: an earlier outcome names a row that the batch does not have.
    """
    if before is None:
        yield from enumerate(rows)
        return
    for left in before.left:
        if before.rows != len(rows) or not 0 <= left.row < len(rows):
            raise InputError(
                f"batch {before.batch} has {len(rows):,} rows, and its outcome names row {left.row} of "
                f"{before.rows:,}: it is of another plan. Delete it, and run the batch again"
            )
        row = rows[left.row]
        lines = row.lines and replace(row.lines, only=left.only or row.lines.only, started=left.started)
        continuation, entries = left.continuation or row.continuation, left.entries or row.entries
        yield left.row, replace(row, continuation=continuation, entries=entries, lines=lines)


class _BatchRun(Struct):
    """One run of a batch.

    Attributes:
        worker: moves it.
        settings: those of the run.
        rows: the rows to move, with their numbers.
        left: those that are left.
        started: whether a file that is left was started or continued, if no more than that.
        files, skipped, bytes, seconds, requests, downgrades: see `BatchOutcome`.
    """

    worker: Worker
    settings: Mapping[str, Any]
    rows: list[tuple[int, Row]]
    left: list[RowLeft] = field(default_factory=list)
    started: bool = False
    files: int = 0
    skipped: int = 0
    bytes: int = 0
    seconds: float = 0.0
    requests: Counter[str] = field(default_factory=Counter)
    downgrades: dict[str, None] = field(default_factory=dict)

    def move(self) -> None:
        """Move the objects in one transfer, then each archive and each text in one of its own."""
        objects: list[tuple[int, Row, Pair]] = []
        others: list[tuple[int, Row, Pair]] = []
        destinations: set[str] = set()
        for number, row in self.rows:
            try:
                pair = check_row(row, self.worker, destinations)
            except ConfigError:
                raise
            except AsyncstreamError as error:
                self._leave(number, row, error)
                continue
            (objects if isinstance(pair[0], S3Object) else others).append((number, row, pair))
        if objects:
            self._move_objects(objects)
        for number, row, pair in others:
            self._move_other(number, row, pair)
        self.left.sort(key=lambda left: left.row)

    def _move_objects(self, objects: Sequence[tuple[int, Row, Pair]]) -> None:
        known = {
            pair[0]: Known(row.size, row.etag)
            for _, row, pair in objects
            if row.size is not None and row.etag and row.continuation is None
        }
        continuations = {pair: row.continuation for _, row, pair in objects if row.continuation is not None}
        try:
            report = self._transfer([pair for _, _, pair in objects], continuations, known)
        except AsyncstreamError as error:
            for number, row, _ in objects:
                self._leave(number, row, error)
            return
        shared = [position for position, (_, row, _) in enumerate(objects) if _is_shared(row)]
        moved = sum(report.files[position].status == "copied" for position in shared)
        self.files += report.count("copied") + report.count("skipped") - moved
        for position in sorted({*report.files.positions("failed"), *report.files.positions("pending")}):
            number, row, _ = objects[position]
            self._leave_file(number, row, report.files[position])

    def _move_other(self, number: int, row: Row, pair: Pair) -> None:
        try:
            report = self._transfer([pair], row.continuations, {})
        except AsyncstreamError as error:
            self._leave(number, row, error)
            return
        self.files += report.count("copied") + report.count("skipped")
        left = next(report.files.left("failed", "pending"), None)
        if left is None:
            return
        failed = next(report.of_status("failed"), None)
        if failed is None or report.count("pending"):
            self._leave(number, row, None, left)
        else:
            self._leave(number, row, failed.error, left)

    def _transfer(
        self, pairs: list[Pair], continuations: Mapping[Any, Continuation], known: Mapping[Any, Known]
    ) -> TransferReport:
        step = Step(known, self.worker.notice)
        config = self.worker.config(self.settings)
        report = self.worker.session.transfer_step(pairs, config, step, continuations)
        self.skipped += report.count("skipped")
        self.bytes += report.bytes
        self.seconds += report.seconds
        self.requests.update(report.requests)
        self.downgrades |= dict.fromkeys(report.downgrades)
        return report

    def _leave_file(self, number: int, row: Row, result: FileResult) -> None:
        error = None if result.error is None else RowError.of(result.error)
        continuation = None if error is not None else result.continuation
        # A file that had no time has the continuation that it came with. One that was continued counts that.
        self.started |= continuation is not None and continuation != row.continuation
        self.left.append(RowLeft(number, row.source, row.destination, error, continuation))

    def _leave(self, number: int, row: Row, error: Exception | None, left: Left | None = None) -> None:
        """Leave a row. A deadline that came before its transfer is no failure."""
        if isinstance(error, ConfigError):
            raise error
        failed = None if error is None or isinstance(error, DeadlineExceeded) else RowError.of(error)
        source = None if left is None else left.source
        entries = (
            Entries.from_selection(source, left.started) if left and isinstance(source, ZipEntries) else None
        )
        only, started = (source.only, left.started) if left and isinstance(source, Lines) else ("", {})
        self.started |= entries is not None and entries != row.entries
        self.started |= row.lines is not None and dict(started) != row.lines.started
        self.left.append(RowLeft(number, row.source, row.destination, failed, None, entries, only, started))


def check_row(row: Row, worker: Worker, destinations: set[str]) -> Pair:
    """Return source and destination of a row, and add the object that it becomes to `destinations`.

    Raises:
        InputError: it is malformed, the worker may not touch it, or another row becomes the same object.
    """
    pair = row.pair
    worker.check([pair], {})
    worker.session.check_pair(pair)
    if isinstance(pair[1], S3Object):
        if pair[1].uri in destinations:
            raise InputError(
                f"{row.destination} is the destination of another file, too: plan one of them by itself"
            )
        destinations.add(pair[1].uri)
    return pair


def _is_shared(row: Row) -> bool:
    return row.continuation is not None and row.continuation.only is not None


def _add_up(before: BatchOutcome, run: _BatchRun) -> BatchOutcome:
    """Add one run of a batch to its earlier ones."""
    # A file that was opened counts its fruitless transfers itself: see `file_ends.fruitless`.
    moved = run.files or run.bytes or run.started
    told = run.worker.notice is not None and run.worker.notice.given
    fruitless = before.fruitless if told else 0 if moved else before.fruitless + 1
    left: Sequence[RowLeft] = run.left
    if fruitless >= MOST_TRIES:
        left = [replace(each, error=each.error or _NO_TIME) for each in left]
    return replace(
        before,
        files=before.files + run.files,
        skipped=before.skipped + run.skipped,
        bytes=before.bytes + run.bytes,
        requests=dict(Counter(before.requests) + run.requests),
        seconds=before.seconds + run.seconds,
        runs=before.runs + 1,
        fruitless=fruitless,
        left=left,
        downgrades=list(dict.fromkeys([*before.downgrades, *run.downgrades])),
    )


_NO_TIME = RowError(
    DeadlineExceeded.__name__,
    f"no file of the batch was started in {MOST_TRIES} runs in a row: give its workers more time",
)
