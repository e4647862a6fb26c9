"""The harness of variants that load pages of the lab's web into a Postgres table (second article)."""

import os
import secrets
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

from asyncstream.engines.closing import Closing
from asyncstream.lab.compare import verification
from asyncstream.lab.compare.harness import ServerCounts, Turn
from asyncstream.lab.compare.rows_table import KEY, RowsTable
from asyncstream.lab.compare.settings import GatherSettings
from asyncstream.lab.distance import Distance
from asyncstream.lab.postgres import PostgresServer
from asyncstream.lab.report.measurement import Pages, Workload
from asyncstream.lab.web import LabWeb, rows_of_page
from asyncstream.web.config import ENV_PREFIX

# Makes the rows of a page, in place of a user's function: `reference/items.py`.
ROWS = "items:rows"
_HOST = "127.0.0.1"


def tuning() -> dict[str, str]:
    """Return the user's settings of gathering, which the functions also get."""
    return {name: value for name, value in os.environ.items() if name.startswith(ENV_PREFIX)}


class GatherPages(Closing):
    """The `Harness` of variants that gather pages; a context manager.

    Args:
        settings: the number and speed of the pages, and the database.
        concurrency: the number of pages that concurrent variants fetch at once.

    Raises:
        AsyncstreamError, LabError: a server did not start, or cannot be reached.
    """

    def __init__(self, settings: GatherSettings, concurrency: int) -> None:
        self._settings = settings
        self._concurrency = concurrency
        self._distance: Distance | None = None
        self._undo = ExitStack()
        try:
            self._web = self._undo.enter_context(LabWeb(settings.web, settings.hosts))
            near, self._dsn = self._database()
            self._table = self._undo.enter_context(RowsTable(near))
        except BaseException:
            self._undo.close()
            raise

    def close(self) -> None:
        """Drop the table and stop the servers."""
        self._undo.close()

    def environment(self) -> Mapping[str, str]:
        """See `Harness`. With `--dsn` it has the user's settings for Postgres, which the DSN may need."""
        login = {}
        if self._settings.dsn is not None:
            login = {n: v for n, v in os.environ.items() if n == "HOME" or n.startswith("PG")}
        own = {
            f"{ENV_PREFIX}ALLOWED_NETWORKS": ",".join(LabWeb.ALLOWED_NETWORKS),
            f"{ENV_PREFIX}EVENT_ROWS": ROWS,
            "POSTGRES_DSN": self._dsn,
        }
        return tuning() | login | own

    def prepare(self, workload: Workload) -> None:
        """See `Harness`. Nothing to prepare."""

    def begin(self, turn: Turn) -> Mapping[str, Any]:
        """See `Harness`."""
        self._table.empty()
        self._web.reset()
        if self._distance is not None:
            self._distance.reset()
        return {
            "urls": self._web.urls(_pages(turn.workload).pages),
            "rows": ROWS,
            "table": {"name": self._table.name, "key": [KEY]},
            "config": {"max_concurrency": self._concurrency},
        }

    def end(self, turn: Turn) -> ServerCounts:
        """See `Harness`. The web and the distance proxy count requests; with `--dsn` there is no proxy."""
        requests = {"web": sum(self._web.counts()["requests"].values())}
        if self._distance is not None:
            requests["postgres"] = self._distance.round_trips()
        return ServerCounts(requests)

    def difference(self, turn: Turn) -> str | None:
        """See `Harness`."""
        expected = {
            row["id"]: (row["page"], row["name"], row["price"])
            for number in range(_pages(turn.workload).pages)
            for row in rows_of_page(number, self._settings.web.rows)
        }
        return verification.wrong_rows(expected, self._table.rows())

    def discard(self, turn: Turn) -> int:
        """See `Harness`."""
        self._table.empty()
        return 0

    def _database(self) -> tuple[str, str]:
        """Return a direct DSN for the comparison, and one for the functions with the model's distance."""
        if self._settings.dsn is not None:
            return self._settings.dsn, self._settings.dsn
        password = secrets.token_hex(16)
        server = self._undo.enter_context(PostgresServer(password))
        self._distance = self._undo.enter_context(Distance(server.port, self._settings.round_trip or 0.0))
        near, far = (
            f"postgresql://postgres:{password}@{_HOST}:{port}/postgres"
            for port in (server.port, self._distance.port)
        )
        return near, far


def _pages(workload: Workload) -> Pages:
    if not isinstance(workload, Pages):
        raise TypeError(f"{workload} is not a workload of pages")
    return workload
