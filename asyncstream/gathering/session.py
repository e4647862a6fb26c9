"""`gather_pages`, `gather_pages_async`, and the session that keeps engine and connections between calls.

This module combines an engine, a fetcher and a database connection into a gathering.
"""

import logging
import time
from collections.abc import Iterable
from functools import partial

from msgspec import Struct

from asyncstream import tracing
from asyncstream.deadline import Deadline
from asyncstream.engines import EngineName, open_engine
from asyncstream.engines.keeping import EngineSession, Kept
from asyncstream.errors import AsyncstreamError, ConfigError, InputError
from asyncstream.gathering.config import GatherConfig
from asyncstream.gathering.pages import Fetching, Gathering, OnPage, RowsOf, Writing, check_rows
from asyncstream.gathering.postgres import open_connection
from asyncstream.gathering.postgres.connecting import KeptConnection
from asyncstream.gathering.postgres.rows import Batches
from asyncstream.gathering.postgres.statements import Table
from asyncstream.gathering.postgres.writing import Writer
from asyncstream.gathering.results import GatherReport, PageResult
from asyncstream.pipeline import memory
from asyncstream.pipeline.budget import slots_within
from asyncstream.pipeline.config import memory_limit_or_default
from asyncstream.pipeline.session import DEFAULT_ENGINE
from asyncstream.ports import Engine
from asyncstream.retry import Retrying, RetryPolicy
from asyncstream.web.fetching import Fetcher
from asyncstream.web.opening import open_fetcher

logger = logging.getLogger(__name__)

# A Postgres that restarts needs a few seconds, a failover half a minute.
DATABASE_POLICY = RetryPolicy(max_attempts=10, base_delay=0.2, max_delay=5.0, max_wait=40.0)


def _log_retry(error: AsyncstreamError, _: float) -> None:
    logger.info("retrying a statement on Postgres after: %s", error)


def ignore(_: PageResult) -> None:
    """Do nothing with the result; the default of `on_page`."""


class GatherSession(EngineSession):
    """An engine and its connections, one of them to Postgres, kept across gatherings for warm Lambdas.

    Only one thread at a time may use a session.

    Args:
        engine: "sequential", "threads" or "asyncio".

    Raises:
        ConfigError: there is no such engine.
    """

    def __init__(self, engine: EngineName = DEFAULT_ENGINE) -> None:
        super().__init__(engine)
        self._kept = _Kept(self._engine)

    def gather(
        self,
        urls: Iterable[str],
        rows: RowsOf,
        table: Table,
        config: GatherConfig | None = None,
        on_page: OnPage = ignore,
    ) -> GatherReport:
        """Gather pages; see `gather_pages`."""
        arguments = _check_arguments(urls, rows, table, config, on_page)
        return self._run(partial(_gather, self._kept, arguments))

    def open(self, config: GatherConfig | None = None) -> None:
        """Prepare what a gathering with this configuration needs, without opening connections.

        Raises:
            ConfigError: psycopg is not installed, or the DSN cannot be read.
        """
        tracing.prepare()
        self._run(partial(self._kept.open, config or GatherConfig()))

    async def _close_connections(self) -> None:
        await self._kept.close()


_sessions = Kept(GatherSession)
# Provide a session for exclusive use: a kept one for this engine, or else a new one.
borrow_session = _sessions.borrow


def gather_pages(
    urls: Iterable[str],
    rows: RowsOf,
    table: Table,
    *,
    engine: EngineName = DEFAULT_ENGINE,
    config: GatherConfig | None = None,
    on_page: OnPage = ignore,
) -> GatherReport:
    """Fetch pages, many at once, and write their rows to a Postgres table in batches.

        def prices(page):
            for item in json.loads(page.body):
                yield {"sku": item["id"], "price": item["price"]}

        report = gather_pages(urls, prices, Table(name="prices", key=("sku",)))

    The rows of a page are written all or not at all. They are written by key: a row that the table already
    has is updated if it has changed, and left alone otherwise.

    Args:
        urls: http and https URLs. A URL given twice is gathered once. Each takes about 1 KB of memory.
        rows: a plain function that returns the rows of a page, mappings of column to value. If it raises an
            exception, only that page fails.
        table: the table to write to, and the key that identifies a row.
        engine: "sequential", "threads" or "asyncio".
        config: limits and settings; default: `GatherConfig()`.
        on_page: a plain function, called with the result of each page on the calling thread.

    Returns:
        One result per URL, in the order in which the URLs were first given, and totals.

    Raises:
        ConfigError, InputError: an argument is wrong; nothing was fetched.
        AccessDenied, ServerNotTrusted, TableNotFound, TableMismatch, ConnectionFailed, DatabaseError: rows
            cannot be written to the table; nothing was fetched.
    """
    with GatherSession(engine) as session:
        return session.gather(urls, rows, table, config, on_page)


async def gather_pages_async(
    urls: Iterable[str],
    rows: RowsOf,
    table: Table,
    *,
    config: GatherConfig | None = None,
    on_page: OnPage = ignore,
) -> GatherReport:
    """Gather pages on the running event loop; see `gather_pages`. Cancelling the task ends all work."""
    kept = _Kept(open_engine("asyncio"))
    try:
        return await _gather(kept, _check_arguments(urls, rows, table, config, on_page))
    finally:
        await kept.close()


class _Arguments(Struct, frozen=True):
    """The checked arguments of `gather_pages`."""

    urls: list[str]
    rows: RowsOf
    table: Table
    config: GatherConfig
    on_page: OnPage


def _check_arguments(
    urls: Iterable[str], rows: RowsOf, table: Table, config: GatherConfig | None, on_page: OnPage
) -> _Arguments:
    if isinstance(urls, str):
        raise InputError(f"urls is one string, {urls[:80]!r}: give a list of URLs")
    found = list(urls)
    if not found:
        raise InputError("there are no URLs to gather: give at least one")
    for url in found:
        if not isinstance(url, str):
            raise InputError(f"{url!r} among the URLs is not a string: give strings")
    check_rows(rows, repr(rows))
    if not isinstance(table, Table):
        raise ConfigError(f"table={table!r} is a {type(table).__name__}: write Table(name=..., key=(...,))")
    return _Arguments(list(dict.fromkeys(found)), rows, table, config or GatherConfig(), on_page)


class _Kept:
    """The fetcher and the connection of the last settings used."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        # Bytes in use after init. Measured once: later, the process also holds connections to be reused.
        self.resident = 0
        self._config: GatherConfig | None = None
        self._fetcher: Fetcher | None = None
        self._connection: KeptConnection | None = None

    async def open(self, config: GatherConfig) -> tuple[Fetcher, KeptConnection]:
        """Return the fetcher and connection for these settings; close those of other settings."""
        known, self._config = self._config, config
        if known is not None and known.fetch != config.fetch:
            await self._close_fetcher()
        if known is not None and known.database != config.database:
            await self._close_connection()
        self._fetcher = self._fetcher or await open_fetcher(self.engine, config.fetch)
        self._connection = self._connection or open_connection(self.engine, config.database)
        self.resident = self.resident or memory.resident()
        return self._fetcher, self._connection

    async def close(self) -> None:
        """Close the connections."""
        try:
            await self._close_fetcher()
        finally:
            await self._close_connection()

    async def _close_fetcher(self) -> None:
        fetcher, self._fetcher = self._fetcher, None
        if fetcher is not None:
            await fetcher.close()

    async def _close_connection(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()


def _slots(config: GatherConfig, limit: int, engine: Engine) -> int:
    """Return how many pages may be in progress at once.

    Raises:
        ConfigError: the memory limit is too small for one page.
    """
    left = limit - config.waiting_bytes
    if left < config.page_bytes:
        raise ConfigError(
            f"memory_limit of {limit} bytes is too small: rows waiting to be written take up to "
            f"{config.waiting_bytes} bytes (batch_bytes), and a page {config.page_bytes} (max_body). "
            "Raise memory_limit, or lower one of these"
        )
    return slots_within(left, config.page_bytes, min(config.max_concurrency, engine.max_slots))


async def _gather(kept: _Kept, arguments: _Arguments) -> GatherReport:
    config, engine = arguments.config, kept.engine
    started = time.monotonic()
    with tracing.open_trace(engine=engine.name) as span:
        fetcher, connection = await kept.open(config)
        limit = memory_limit_or_default(config.memory_limit, memory.lambda_memory(), kept.resident)
        slots = _slots(config, limit, engine)
        deadline = Deadline(config.deadline, time.monotonic)
        writer = Writer(connection, Retrying(DATABASE_POLICY, deadline, engine.sleep), _log_retry)
        with span.child("table"):
            upsert = await writer.check(arguments.table)
        batches = Batches(config.database.batch_rows, config.database.batch_bytes)
        gathering = Gathering(
            arguments.rows,
            engine=engine,
            fetching=Fetching(fetcher, slots, Deadline(config.fetching_seconds, time.monotonic)),
            writing=Writing(writer, upsert, batches),
            on_page=arguments.on_page,
            span=span,
        )
        pages = await gathering.run(arguments.urls)
        report = GatherReport(engine.name, pages, time.monotonic() - started, slots, limit, gathering.written)
        span.annotate(pages=len(pages), failed=len(report.failed), rows=report.rows, slots=slots)
    return report
