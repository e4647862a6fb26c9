"""Writes rows with one engine over one connection: encoded and in batches, as gathering does."""

from collections.abc import Iterable, Mapping
from typing import Any

from asyncstream.deadline import Deadline
from asyncstream.engines import EngineName, open_engine
from asyncstream.gathering.postgres import open_driver
from asyncstream.gathering.postgres.aws import AwsPasswords
from asyncstream.gathering.postgres.config import DatabaseConfig
from asyncstream.gathering.postgres.connecting import Connector, KeptConnection
from asyncstream.gathering.postgres.rows import Batches, encode_page
from asyncstream.gathering.postgres.statements import Table, Upsert
from asyncstream.gathering.postgres.writing import PageWritten, Writer
from asyncstream.retry import Retrying, RetryPolicy

NO_DEADLINE = Deadline(None, lambda: 0.0)

Rows = Iterable[Mapping[str, Any]]


class Counted:
    """A driver that counts connections and the statements sent over them."""

    def __init__(self, driver: Any) -> None:
        self._driver = driver
        self.connections = 0
        self.statements = 0

    async def connect(self, parameters: Mapping[str, str], seconds: float) -> Any:
        self.connections += 1
        connection = await self._driver.connect(parameters, seconds)
        fetch = connection.fetch

        async def counted(*asked: Any) -> Any:
            self.statements += 1
            return await fetch(*asked)

        connection.fetch = counted
        return connection


class Writing:
    """The objects that a warm function keeps; `told` has the errors that caused a retry."""

    def __init__(self, engine: EngineName, config: DatabaseConfig) -> None:
        self.engine = open_engine(engine)
        self.driver = Counted(open_driver(engine))
        self.config = config
        self.told: list[Exception] = []
        self.policy = RetryPolicy(base_delay=0.001, max_delay=0.01)
        connector = Connector(self.driver, config, AwsPasswords(self.engine.compute))
        self.connection = KeptConnection(connector)

    def check(self, table: Table, deadline: Deadline = NO_DEADLINE) -> Upsert:
        return self.engine.run(lambda: self._writer(deadline).check(table))

    def write(
        self, upsert: Upsert, pages: Mapping[Any, Rows], deadline: Deadline = NO_DEADLINE
    ) -> dict[Any, PageWritten]:
        """Write in batches of the configured size, and return the outcome of each page by its id."""
        outcomes = self.engine.run(lambda: self._write(upsert, pages, deadline))
        assert len(outcomes) == len(pages)
        return {outcome.page: outcome for outcome in outcomes}

    def close(self) -> None:
        self.engine.run(self.connection.close)
        self.engine.close()

    async def _write(
        self, upsert: Upsert, pages: Mapping[Any, Rows], deadline: Deadline
    ) -> list[PageWritten]:
        writer = self._writer(deadline)
        batches = Batches(self.config.batch_rows, self.config.batch_bytes)
        outcomes = []
        for page_id, rows in pages.items():
            outcomes += await writer.write(upsert, batches.add(encode_page(page_id, rows, upsert)))
        return outcomes + await writer.write(upsert, batches.rest())

    def _writer(self, deadline: Deadline) -> Writer:
        retrying = Retrying(self.policy, deadline, self.engine.sleep)
        return Writer(self.connection, retrying, lambda error, _: self.told.append(error))
