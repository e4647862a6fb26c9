"""The S3 clients of a session: a transport for each end, and what was learned with it."""

import time
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager

from asyncstream.deadline import SHIELD_SECONDS, Deadline, Notice
from asyncstream.locations import S3Object, S3Prefix
from asyncstream.pipeline import memory
from asyncstream.pipeline.config import TransferConfig, chunk_size_within
from asyncstream.pipeline.context import Ends
from asyncstream.pipeline.pairs import GivenPair, Pair, check_pairs
from asyncstream.ports import Engine, Transport
from asyncstream.retry import Retrying
from asyncstream.s3 import open_transport
from asyncstream.s3.access import S3Access, one_server
from asyncstream.s3.destination import S3Destination
from asyncstream.s3.regions import Learned
from asyncstream.s3.settings import ClientSettings
from asyncstream.s3.source import S3Source

_Settings = tuple[ClientSettings, ...]
_OF_S3 = (S3Object, S3Prefix)


class Clients:
    """The transports of a session, and what was learned with them.

    With asyncio, several transfers may use them at once, and those with the same settings share transports.
    The transports of the last settings used are kept for the next transfer.

    Args:
        engine: that of the session.
        source: how to reach the sources.
        destination: how to reach the destinations. If it equals `source`, both share one transport.

    Attributes:
        keeps: whether transports are kept for a next transfer.
    """

    def __init__(self, engine: Engine, source: S3Access, destination: S3Access) -> None:
        self.engine = engine
        # Bytes in use after init. Measured once: later, the process also holds connections to be reused.
        self.resident = 0
        self._source, self._destination = source, destination
        self._learned = {access: Learned() for access in (source, destination)}
        self._opened: dict[_Settings, _Transports] = {}
        self.keeps = True
        # The settings whose transports are kept without a user.
        self._last: _Settings | None = None
        self._open_lock = engine.lock()

    def check_pairs(self, pairs: Iterable[GivenPair]) -> list[Pair]:
        """Check pairs, and return them as a list. On two servers, both sides may have one name.

        Raises:
            NothingToTransfer, InputError: see `pairs.check_pairs`.
        """
        return check_pairs(pairs, one_server=one_server(self._source, self._destination))

    async def connect(self, config: TransferConfig) -> None:
        """Open the transports for these settings; unused ones of other settings are closed."""
        async with self._use(config):
            pass

    @asynccontextmanager
    async def open(self, config: TransferConfig, notice: Notice | None = None) -> AsyncIterator[Ends]:
        """Provide both ends over these transports; the deadline counts from now."""
        pauses = config.at_deadline == "pending"
        deadline = Deadline(config.deadline, time.monotonic, pauses=pauses, notice=notice)
        async with self._use(config) as transports:
            verify = config.verify != "off"
            source = S3Source(
                transports.by_access[self._source],
                config.extra_args,
                self._learned[self._source],
                verify=verify,
                deadline=deadline,
            )
            destination = S3Destination(
                transports.by_access[self._destination],
                config.chunk_size,
                config.extra_args,
                self._learned[self._destination],
                verify=verify,
                create_only=config.if_exists == "fail",
                deadline=deadline,
            )
            retrying = Retrying(config.retry_policy, deadline, self.engine.sleep)
            yield Ends(
                dict.fromkeys(_OF_S3, source),
                dict.fromkeys(_OF_S3, destination),
                retrying,
                one_server=one_server(self._source, self._destination),
            )

    async def close(self) -> None:
        """Close the connections; those that a transfer uses are closed when it ends."""
        self._last = None
        await self._close_unused()

    @asynccontextmanager
    async def _use(self, config: TransferConfig) -> AsyncIterator["_Transports"]:
        settings = tuple(self._client_settings(access, config) for access in self._learned)
        if self.keeps:
            self._last = settings
        transports = self._opened.get(settings)
        if transports is None:
            async with self._open_lock:
                transports = self._opened.get(settings) or await self._open(settings)
        transports.users += 1
        try:
            yield transports
        finally:
            transports.users -= 1
            await self.engine.shielded(self._close_unused(), SHIELD_SECONDS)

    async def _open(self, settings: _Settings) -> "_Transports":
        await self._close_unused()
        transports = _Transports()
        try:
            for each in settings:
                transports.by_access[each.access] = await open_transport(self.engine.name, each)
        except BaseException:
            await self.engine.shielded(transports.close(), SHIELD_SECONDS)
            raise
        self._opened[settings] = transports
        self.resident = self.resident or memory.resident()
        return transports

    async def _close_unused(self) -> None:
        """Close what no transfer uses, except for the transports of the last settings."""
        unused = [
            settings
            for settings, transports in self._opened.items()
            if not transports.users and settings != self._last
        ]
        async with AsyncExitStack() as closing:
            for settings in unused:
                closing.push_async_callback(self._opened.pop(settings).close)

    def _client_settings(self, access: S3Access, config: TransferConfig) -> ClientSettings:
        return ClientSettings(
            access,
            config.max_concurrency,
            chunk_size_within(config.chunk_size, memory.lambda_memory()),
            config.stall_timeout,
            config.reply_timeout,
            config.complete_timeout,
        )


class _Transports:
    """The transports of one set of settings, and the number of transfers that use them."""

    def __init__(self) -> None:
        self.by_access: dict[S3Access, Transport] = {}
        self.users = 0

    async def close(self) -> None:
        async with AsyncExitStack() as closing:
            for transport in self.by_access.values():
                closing.push_async_callback(transport.close)
