"""The S3 clients of a session: a transport for each end, and what was learned with it."""

import time
from contextlib import AsyncExitStack

from asyncstream.deadline import Deadline
from asyncstream.pipeline import memory
from asyncstream.pipeline.config import TransferConfig, chunk_size_within
from asyncstream.pipeline.context import Ends
from asyncstream.ports import Engine, Transport
from asyncstream.retry import Retrying
from asyncstream.s3 import open_transport
from asyncstream.s3.access import S3Access
from asyncstream.s3.destination import S3Destination
from asyncstream.s3.regions import Learned
from asyncstream.s3.settings import ClientSettings
from asyncstream.s3.source import S3Source


class Clients:
    """The transports of the last settings used, and what was learned with them.

    Args:
        engine: that of the session.
        source: how to reach the sources.
        destination: how to reach the destinations. If it equals `source`, both share one transport.
    """

    def __init__(self, engine: Engine, source: S3Access, destination: S3Access) -> None:
        self.engine = engine
        # Bytes in use after init. Measured once: later, the process also holds connections to be reused.
        self.resident = 0
        self._source, self._destination = source, destination
        self._learned = {access: Learned() for access in (source, destination)}
        self._settings: list[ClientSettings] = []
        self._transports: dict[S3Access, Transport] = {}

    async def connect(self, config: TransferConfig) -> None:
        """Open the transports for these settings; those of other settings are closed."""
        settings = [self._client_settings(access, config) for access in self._learned]
        if self._transports and settings == self._settings:
            return
        await self.close()
        for each in settings:
            self._transports[each.access] = await open_transport(self.engine.name, each)
        self._settings = settings
        self.resident = self.resident or memory.resident()

    async def open(self, config: TransferConfig) -> Ends:
        """Return both ends over these transports; the deadline counts from now."""
        deadline = Deadline(config.deadline, time.monotonic, pauses=config.at_deadline == "pending")
        await self.connect(config)
        verify = config.verify != "off"
        source = S3Source(
            self._transports[self._source],
            config.extra_args,
            self._learned[self._source],
            verify=verify,
            deadline=deadline,
        )
        destination = S3Destination(
            self._transports[self._destination],
            config.chunk_size,
            config.extra_args,
            self._learned[self._destination],
            verify=verify,
            create_only=config.if_exists == "fail",
            deadline=deadline,
        )
        return Ends(source, destination, Retrying(config.retry_policy, deadline, self.engine.sleep))

    async def close(self) -> None:
        """Close the connections."""
        self._settings = []
        async with AsyncExitStack() as closing:
            while self._transports:
                _, transport = self._transports.popitem()
                closing.push_async_callback(transport.close)

    def _client_settings(self, access: S3Access, config: TransferConfig) -> ClientSettings:
        return ClientSettings(
            access,
            config.max_concurrency,
            chunk_size_within(config.chunk_size, memory.lambda_memory()),
            config.stall_timeout,
            config.reply_timeout,
            config.complete_timeout,
        )
