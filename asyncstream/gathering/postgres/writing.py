"""The writer: looks at the table before anything is fetched, then writes batches; one over each connection.

A batch is one statement and so one transaction: all of it, or nothing. Where Postgres refuses it for the sake
of a row, its halves are written one by one, down to the page with that row: 2 log2(pages) statements a bad
page. A batch that is tried again is written by key, so whatever came of the try before, no row is there
twice. If only that one's reply was lost, its rows are told as unchanged, though the lost try stored them.
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
from asyncstream.gathering.postgres.statements import COLUMNS_OF, Column, Table, Upsert, upsert_of
from asyncstream.kept_errors import drop_tracebacks
from asyncstream.retry import OnRetry, Retrying

_NO_UNIQUE_INDEX = "42P10"


class Written(Struct, frozen=True):
    """What became of a page.

    Attributes:
        page: its id.
        stored: rows that are in the table as the page has them, and were not before.
        unchanged: rows that were there already, just so, or that a trigger kept from being written.
        replaced: rows that were not written, as a later one of the batch has their key.
        error: why none of its rows were written; None if all were.
    """

    page: str
    stored: int = 0
    unchanged: int = 0
    replaced: int = 0
    error: AsyncstreamError | None = None


class Writer:
    """Writes over one connection, for one task at a time.

    Args:
        connection: may be kept longer than the writer.
        retrying: repeats statements; after its deadline none starts, and one that runs is cancelled.
        on_retry: reports the tries that are followed by another one.
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
        """How to write to this table, tried without rows: so it is there, with its columns and index, and may
        be written to.

        Raises:
            AccessDenied, ConfigError, ConnectionFailed, CredentialsExpired, ServerNotTrusted, ServiceBusy:
                there is no connection.
            TableNotFound, TableMismatch, DatabaseError: rows could not be written to the table.
            DeadlineExceeded: the time is up.
        """
        columns = await self._fetch(COLUMNS_OF, table.quoted)
        upsert = upsert_of(table, [Column(*column) for column in columns])
        try:
            await self._fetch(upsert.statement(upsert.usual), "[]")
        except TableMismatch as error:
            if error.sqlstate != _NO_UNIQUE_INDEX:
                raise
            key = ", ".join(table.key)
            raise TableMismatch(
                f"the table {table.quoted} has no primary key or unique index over just ({key}): create one,"
                " or name the columns of the one that it has as key",
                error.sqlstate,
            ) from error
        return upsert

    async def write(self, upsert: Upsert, batch: Sequence[PageRows]) -> list[Written]:
        """Write the pages of a batch, in this order but those of the same columns together."""
        outcomes: list[Written] = []
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
                    drop_tracebacks(error)  # its frames have the rows
                    outcomes.append(Written(pages[0].id, error=error))
                    continue
                half = len(pages) // 2
                pending += (pages[half:], pages[:half])
            except AsyncstreamError as error:
                # No matter of these rows: the others would only wait for the same.
                drop_tracebacks(error)
                left = [*pages, *(page for rest in reversed(pending) for page in rest)]
                return outcomes + [Written(page.id, error=error) for page in left]
        return outcomes

    async def can_write(self, upsert: Upsert) -> bool:
        """Whether rows could be written now, by one try without any: after an error maybe of a batch only.

        Also true where there is no time left to find out.
        """
        try:
            await self._connection.fetch(upsert.statement(upsert.usual), ["[]"], self._deadline)
        except DeadlineExceeded:
            return True
        except AsyncstreamError:
            return False
        return True

    async def _write(self, upsert: Upsert, pages: Sequence[PageRows]) -> list[Written]:
        """All of the pages, or none."""
        if not pages[0].columns:
            return [Written(page.id) for page in pages]
        rows = ",".join(page.json for page in pages)
        [(stored, replaced)] = await self._fetch(upsert.statement(pages[0].columns), f"[{rows}]")
        return _shared_out(pages, stored, replaced)

    async def _fetch(self, statement: str, parameter: str) -> list[tuple[Any, ...]]:
        once = partial(self._connection.fetch, statement, [parameter], self._deadline)
        return await self._retrying.run(once, self._on_retry)


def _shared_out(pages: Sequence[PageRows], stored: Sequence[int], replaced: Sequence[int]) -> list[Written]:
    """What became of pages that were written. Of rows over all pages, from 1, the numbers, sorted."""
    outcomes = []
    end = 0
    for page in pages:
        begin, end = end, end + page.count
        new, lost = (bisect_right(found, end) - bisect_right(found, begin) for found in (stored, replaced))
        outcomes.append(Written(page.id, new, page.count - new - lost, lost))
    return outcomes
