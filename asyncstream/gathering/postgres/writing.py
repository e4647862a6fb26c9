"""The writer: check the table before pages are fetched, then write batches over one connection.

A batch is one statement and so one transaction, written completely or not at all. If Postgres refuses it
because of a row, the writer splits it in halves down to the page with that row: 2 log2(pages) statements per
bad page. Rows are written by key, so retrying a batch never stores a row twice, even if the first attempt
succeeded. If only the reply to that attempt was lost, the rows that it stored are reported as unchanged.
"""

from bisect import bisect_right
from collections.abc import Sequence
from functools import partial
from typing import Any

from msgspec import Struct

from asyncstream.errors import (
    AsyncstreamError,
    DeadlineExceeded,
    RowRefused,
    TableMismatch,
)
from asyncstream.gathering.postgres.connecting import KeptConnection
from asyncstream.gathering.postgres.rows import PageRows
from asyncstream.gathering.postgres.statements import COLUMNS_QUERY, Column, Table, Upsert, build_upsert
from asyncstream.kept_errors import drop_tracebacks
from asyncstream.retry import OnRetry, Retrying

_NO_UNIQUE_INDEX = "42P10"


class PageWritten(Struct, frozen=True):
    """The result of writing one page.

    Attributes:
        page: the ID of the page.
        stored: the number of new or changed rows written.
        unchanged: the number of rows that the table already had with the same values, or that a trigger
            suppressed.
        replaced: the number of rows not written because a later row of the same batch has the same key.
        error: why none of its rows were written; None if they were.
    """

    page: str
    stored: int = 0
    unchanged: int = 0
    replaced: int = 0
    error: AsyncstreamError | None = None


class Writer:
    """Writes over one connection, for one task at a time.

    Args:
        connection: the connection, which the caller may keep longer than the writer.
        retrying: retries statements. After its deadline no statement starts, and a running one is cancelled.
        on_retry: called before each retry.
    """

    def __init__(
        self,
        connection: KeptConnection,
        retrying: Retrying,
        on_retry: OnRetry,
    ) -> None:
        self._connection = connection
        self._retrying = retrying
        self._deadline = retrying.deadline
        self._on_retry = on_retry

    async def check(self, table: Table) -> Upsert:
        """Return the statements for this table, after running one without rows.

        This checks that the table exists with its columns and index, and that the user may write to it.

        Raises:
            AccessDenied, ConfigError, ConnectionFailed, CredentialsExpired, ServerNotTrusted, ServiceBusy:
                connecting failed.
            TableNotFound, TableMismatch, DatabaseError: rows cannot be written to the table.
            DeadlineExceeded: the deadline passed.
        """
        columns = await self._fetch(COLUMNS_QUERY, table.quoted)
        upsert = build_upsert(table, [Column(*column) for column in columns])
        try:
            await self._fetch(upsert.statement(upsert.usual), "[]")
        except TableMismatch as error:
            if error.sqlstate != _NO_UNIQUE_INDEX:
                raise
            key = ", ".join(table.key)
            raise TableMismatch(
                f"the table {table.quoted} has no primary key or unique index over just ({key}): create one,"
                " or give the columns of an existing one as key",
                error.sqlstate,
            ) from error
        return upsert

    async def write(self, upsert: Upsert, batch: Sequence[PageRows]) -> list[PageWritten]:
        """Write the pages of a batch, grouped by their columns and otherwise in the order given."""
        outcomes: list[PageWritten] = []
        alike: dict[frozenset[str], list[PageRows]] = {}
        for page in batch:
            alike.setdefault(page.columns, []).append(page)
        pending = list(reversed(alike.values()))
        while pending:
            pages = pending.pop()
            try:
                outcomes += await self._write(upsert, pages)
            except RowRefused as error:
                if len(pages) == 1:
                    drop_tracebacks(error)  # its frames hold the rows
                    outcomes.append(PageWritten(pages[0].id, error=error))
                    continue
                half = len(pages) // 2
                pending += (pages[half:], pages[:half])
            except AsyncstreamError as error:
                # The error does not concern these rows, so the others would fail in the same way.
                drop_tracebacks(error)
                left = [*pages, *(page for rest in reversed(pending) for page in rest)]
                return outcomes + [PageWritten(page.id, error=error) for page in left]
        return outcomes

    async def can_write(self, upsert: Upsert) -> bool:
        """Return whether rows can be written now, after an error that may concern only one batch.

        Makes one attempt, without rows. Also True if there is no time left for it.
        """
        try:
            await self._connection.fetch(upsert.statement(upsert.usual), ["[]"], self._deadline)
        except DeadlineExceeded:
            return True
        except AsyncstreamError:
            return False
        return True

    async def _write(self, upsert: Upsert, pages: Sequence[PageRows]) -> list[PageWritten]:
        """Write all of the pages or none."""
        if not pages[0].columns:
            return [PageWritten(page.id) for page in pages]
        rows = ",".join(page.json for page in pages)
        [(stored, replaced)] = await self._fetch(upsert.statement(pages[0].columns), f"[{rows}]")
        return _split_by_page(pages, stored, replaced)

    async def _fetch(self, statement: str, parameter: str) -> list[tuple[Any, ...]]:
        once = partial(self._connection.fetch, statement, [parameter], self._deadline)
        return await self._retrying.run(once, self._on_retry)


def _split_by_page(
    pages: Sequence[PageRows], stored: Sequence[int], replaced: Sequence[int]
) -> list[PageWritten]:
    """Return the result of each page from sorted row numbers, which count from 1 over all pages."""
    outcomes = []
    end = 0
    for page in pages:
        begin, end = end, end + page.count
        new, lost = (bisect_right(found, end) - bisect_right(found, begin) for found in (stored, replaced))
        outcomes.append(PageWritten(page.id, new, page.count - new - lost, lost))
    return outcomes
