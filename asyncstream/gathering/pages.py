"""From URLs to rows, the same for every engine: fetch pages concurrently, write their rows in batches.

The thread or task that fetches a page also makes its rows. The thread or task that runs the mapping collects
the rows and writes them over one connection. So sixty pages at once do not need sixty connections, and a page
does not need its own transaction. Fetching continues while a batch is written.
"""

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import aclosing, suppress
from functools import partial
from typing import Any

from msgspec import Struct

from asyncstream.deadline import Deadline
from asyncstream.errors import (
    AsyncstreamError,
    ConfigError,
    DeadlineExceeded,
    RowRefused,
    TransactionConflict,
)
from asyncstream.gathering.postgres.rows import Batches, PageRows, encode_page
from asyncstream.gathering.postgres.statements import Upsert
from asyncstream.gathering.postgres.writing import Writer
from asyncstream.gathering.results import PageResult, PageStatus
from asyncstream.kept_errors import drop_tracebacks
from asyncstream.locations.urls import interleaved
from asyncstream.mapping.calls import Outcome, map_items
from asyncstream.ports import Engine, Span
from asyncstream.tracing import current_span
from asyncstream.transforms.failures import failed
from asyncstream.web.fetching import Fetcher
from asyncstream.web.pages import Page

# A function that returns the rows of a page; each row is a mapping of column to value.
RowsOf = Callable[[Page], Iterable[Mapping[str, Any]]]
OnPage = Callable[[PageResult], None]
# Errors that concern one batch only. After any other error, `Writer.can_write` tests whether to go on.
_BATCH_ERRORS = (RowRefused, TransactionConflict, DeadlineExceeded)


def check_rows(rows: Any, name: str) -> None:
    """Raise ConfigError unless `rows` can be called with a page; the message calls it `name`."""
    if not callable(rows):
        raise ConfigError(f"rows {name} is a {type(rows).__name__}: name a function")
    if inspect.iscoroutinefunction(rows) or inspect.isasyncgenfunction(rows):
        raise ConfigError(f"rows {name} is asynchronous: give a plain function that does no I/O")
    try:
        inspect.signature(rows).bind(None)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"rows {name} cannot be called with a page alone: {error}") from error


class _Fetched(Struct, frozen=True):
    rows: PageRows
    attempts: int


class Fetching(Struct, frozen=True):
    """The fetcher of a gathering, and its limits.

    Attributes:
        fetcher: fetches the pages.
        slots: the most pages in progress at once.
        deadline: the time after which no page is fetched.
    """

    fetcher: Fetcher
    slots: int
    deadline: Deadline


class Writing(Struct, frozen=True):
    """The writer of a gathering, and the table.

    Attributes:
        writer: writes the rows.
        upsert: the statements for the table.
        batches: collects rows until there are enough for a statement.
    """

    writer: Writer
    upsert: Upsert
    batches: Batches


class Gathering:
    """One gathering, from the URLs to the last row.

    Args:
        rows: returns the rows of a page.
        engine: fetches the pages, and runs `rows` outside the event loop.
        fetching: the fetcher and its limits.
        writing: the writer and the table.
        on_page: called with the result of each page.
        span: the trace span of the gathering.

    Attributes:
        written: the number of batches written so far.
    """

    def __init__(
        self,
        rows: RowsOf,
        *,
        engine: Engine,
        fetching: Fetching,
        writing: Writing,
        on_page: OnPage,
        span: Span,
    ) -> None:
        self.written = 0
        self._rows = rows
        self._engine = engine
        self._fetching = fetching
        self._writing = writing
        self._on_page = on_page
        self._span = span
        self._stopped = False
        # The error that prevents all further writing. Once it is set, no more pages are fetched.
        self._lost: AsyncstreamError | None = None
        self._fetched: dict[str, Outcome[str, _Fetched]] = {}
        self._results: dict[str, PageResult] = {}

    async def run(self, urls: Sequence[str]) -> list[PageResult]:
        """Gather the pages and return one result per URL, in the order given; no URL may occur twice.

        The failure of a page is never raised: its result has the error.
        """
        pages = map_items(
            self._fetch,
            interleaved(urls),
            self._engine,
            max_concurrency=self._fetching.slots,
            deadline=self._fetching.deadline,
            span=self._span,
            ordered=False,
        )
        with suppress(DeadlineExceeded):  # each page's result says so
            async with aclosing(pages) as outcomes:
                try:
                    async for outcome in outcomes:
                        await self._take(outcome)
                        if self._lost is not None:
                            self._stopped = True
                            break
                except BaseException:
                    # Leaving the block joins the tasks. Those in threads end after their current wait.
                    self._stopped = True
                    raise
        if self._lost is None:
            await self._write(self._writing.batches.rest())
        else:
            self._end_unwritten(url for url in urls if url not in self._results)
        return [self._results.get(url) or PageResult(url, "pending") for url in urls]

    async def _fetch(self, url: str) -> _Fetched:
        """Fetch a page and make its rows; runs as one task."""
        span = current_span()
        page = await self._fetching.fetcher.fetch(url, left=self._left, span=span)
        attempts = page.attempts
        with span.child("rows"):
            rows = await self._engine.compute(partial(self._make_rows, page))
            del page
            if isinstance(rows, AsyncstreamError):
                rows.attempts = attempts
                try:
                    raise rows
                finally:
                    del rows  # otherwise the error and its traceback form a reference cycle
        return _Fetched(rows, attempts)

    def _left(self) -> float:
        return 0.0 if self._stopped else self._fetching.deadline.left()

    def _make_rows(self, page: Page) -> PageRows | AsyncstreamError:
        """Return the rows of a page, or the error that explains why it has none.

        The error has no traceback, since results keep errors and the frames would keep the page. It does not
        have the user's own exception as its cause either: an exception of `json.loads` holds the whole body.
        The message names that exception and the line of the user's function.
        """
        try:
            return encode_page(page.asked, self._rows(page), self._writing.upsert)
        except AsyncstreamError as error:
            drop_tracebacks(error)
            return error
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001 - a user's code, which may call sys.exit
            return failed("the rows of the page", error)

    async def _take(self, outcome: Outcome[str, _Fetched]) -> None:
        fetched = outcome.value
        if fetched is None:
            self._end_unfetched(outcome)
            return
        self._fetched[outcome.item] = outcome
        await self._write(self._writing.batches.add(fetched.rows))

    def _end_unfetched(self, outcome: Outcome[str, _Fetched]) -> None:
        if outcome.error is not None:
            drop_tracebacks(outcome.error)  # its frames hold the libraries' buffers
        late = isinstance(outcome.error, DeadlineExceeded)
        self._end(
            PageResult(
                outcome.item,
                "pending" if late else "failed",
                attempts=getattr(outcome.error, "attempts", 0),
                seconds=outcome.seconds,
                error=None if late else outcome.error,
            )
        )

    def _end_unwritten(self, urls: Iterable[str]) -> None:
        """Fail the pages whose rows cannot be written after `self._lost`, fetched or not."""
        for url in urls:
            fetched = self._fetched.get(url)
            attempts, seconds = (0, 0.0) if fetched is None else (fetched.result().attempts, fetched.seconds)
            self._end(PageResult(url, "failed", attempts=attempts, seconds=seconds, error=self._lost))

    async def _write(self, batch: Sequence[PageRows]) -> None:
        if not batch:
            return
        writer, upsert = self._writing.writer, self._writing.upsert
        self.written += 1
        with self._span.branch("batch", pages=len(batch), rows=sum(page.count for page in batch)):
            ends = await writer.write(upsert, batch)
        doubtful = next((e.error for e in ends if e.error and not isinstance(e.error, _BATCH_ERRORS)), None)
        if doubtful is not None and not await writer.can_write(upsert):
            self._lost = doubtful
        for end in ends:
            fetched = self._fetched.pop(end.page)
            self._end(
                PageResult(
                    end.page,
                    _status(end.stored, end.error),
                    stored=end.stored,
                    unchanged=end.unchanged,
                    replaced=end.replaced,
                    attempts=fetched.result().attempts,
                    seconds=fetched.seconds,
                    error=end.error,
                )
            )

    def _end(self, result: PageResult) -> None:
        self._results[result.url] = result
        self._on_page(result)


def _status(stored: int, error: AsyncstreamError | None) -> PageStatus:
    if isinstance(error, DeadlineExceeded):
        return "pending"
    if error is not None:
        return "failed"
    return "stored" if stored else "unchanged"
