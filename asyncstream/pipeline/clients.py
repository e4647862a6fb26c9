"""The S3 clients of a session: the transport of the last settings used, and what was learned with it."""

import time

from asyncstream.deadline import Deadline
from asyncstream.pipeline import memory
from asyncstream.pipeline.config import TransferConfig, chunk_size_within
from asyncstream.ports import Engine, Transport
from asyncstream.retry import Retrying
from asyncstream.s3 import open_transport
from asyncstream.s3.regions import Learned
from asyncstream.s3.settings import ClientSettings
from asyncstream.s3.store import S3Store


class Clients:
    """The transport of the last settings used, and what was learned with it.

    Args:
        engine: that of the session.
        endpoint_url: another S3 than AWS's.
    """

    def __init__(self, engine: Engine, endpoint_url: str | None) -> None:
        self.engine = engine
        self.learned = Learned()
        # Bytes in use after init. Measured once: later, the process also holds connections to be reused.
        self.resident = 0
        self._endpoint_url = endpoint_url
        self._settings: ClientSettings | None = None
        self._transport: Transport | None = None

    async def transport(self, config: TransferConfig) -> Transport:
        """The transport for these settings; the one of other settings is closed."""
        chunk_size = chunk_size_within(config.chunk_size, memory.lambda_memory())
        settings = ClientSettings(
            self._endpoint_url,
            config.max_concurrency,
            chunk_size,
            config.stall_timeout,
            config.reply_timeout,
            config.complete_timeout,
        )
        if self._transport is not None and settings == self._settings:
            return self._transport
        await self.close()
        self._transport = await open_transport(self.engine.name, settings)
        self._settings = settings
        self.resident = self.resident or memory.resident()
        return self._transport

    async def open(self, config: TransferConfig) -> tuple[S3Store, Retrying]:
        """Return a store over that transport and what repeats its requests; the deadline counts from now."""
        deadline = Deadline(config.deadline, time.monotonic, pauses=config.at_deadline == "pending")
        store = S3Store(
            await self.transport(config),
            config.chunk_size,
            config.extra_args,
            self.learned,
            verify=config.verify != "off",
            create_only=config.if_exists == "fail",
            deadline=deadline,
        )
        return store, Retrying(config.retry_policy, deadline, self.engine.sleep)

    async def close(self) -> None:
        """Close the connections."""
        transport, self._transport = self._transport, None
        if transport is not None:
            await transport.close()
