"""`transfer_async`, and the session that keeps clients between calls on the running event loop."""

from collections.abc import Iterable
from types import TracebackType
from typing import Self

from asyncstream import tracing
from asyncstream.deadline import SHIELD_SECONDS
from asyncstream.engines import open_engine
from asyncstream.errors import ConfigError
from asyncstream.pipeline import progress
from asyncstream.pipeline.clients import Clients
from asyncstream.pipeline.config import TransferConfig
from asyncstream.pipeline.pairs import GivenPair
from asyncstream.pipeline.results import TransferReport
from asyncstream.pipeline.run import NO_CONTINUATIONS, Continuations, Request, run_transfer
from asyncstream.s3.access import DEFAULT_ACCESS, S3Access
from asyncstream.transforms import Spec
from asyncstream.web import FetchConfig


class AsyncTransferSession:
    """S3 clients kept across transfers on the running event loop, for servers and other long-lived programs.

        async with AsyncTransferSession() as session:
            report = await session.transfer(files)

    It belongs to the event loop that runs when it is entered. Tasks of that loop may transfer at the same
    time. They share clients if they have the same `max_concurrency`, `chunk_size` and timeouts. The clients
    of the settings used last are kept.

    Each transfer has its own slots and its own `memory_limit`, so ten at once use ten times the limit.
    Nothing limits them together: a part in flight has a slot of memory and two connections, and a transfer
    has up to `max_concurrency` parts in flight. So 200 transfers of one part each have up to 400 connections,
    and 200 of many files up to 4,000, where many systems let a process open 1,024 files. A server should
    bound the transfers that run at once, by a semaphore, or lower their `max_concurrency`.

    Args:
        endpoint_url: the URL of another S3 than AWS's, for an end that names none. Default:
            AWS_ENDPOINT_URL_S3, or else AWS.
        source: how to reach the sources, and with which credentials.
        destination: the same for the destinations.
    """

    def __init__(
        self,
        *,
        endpoint_url: str | None = None,
        source: S3Access = DEFAULT_ACCESS,
        destination: S3Access = DEFAULT_ACCESS,
    ) -> None:
        self._ends = source.at(endpoint_url), destination.at(endpoint_url)
        self._engine = open_engine("asyncio")
        self._clients: Clients | None = None

    async def __aenter__(self) -> Self:
        """Open the session. Clients are created by the first transfer, or by `open`.

        Raises:
            ConfigError: no event loop of asyncio runs this task.
        """
        from asyncstream.engines import aio  # noqa: PLC0415 - loaded with the engine

        if not aio.loop_is_running():
            raise ConfigError(f"no event loop of asyncio runs this task: {aio.IN_A_THREAD}")
        self._clients = Clients(self._engine, *self._ends)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connections. Those of a transfer that still runs are closed when it ends."""
        clients, self._clients = self._clients, None
        if clients is not None:
            clients.keeps = False  # a transfer that has started may open its clients later
            await self._engine.shielded(clients.close(), SHIELD_SECONDS)

    async def open(self, config: TransferConfig | None = None) -> None:
        """Create clients for this configuration in advance, and load the X-Ray SDK if tracing is on.

        Raises:
            ConfigError: the settings do not allow a client to be created; or the session is not open.
        """
        tracing.prepare()
        await self._entered().connect(config or TransferConfig())

    async def transfer(
        self,
        files: Iterable[GivenPair],
        config: TransferConfig | None = None,
        on_event: progress.OnEvent = progress.ignore,
        continuations: Continuations = NO_CONTINUATIONS,
        transform: Spec | None = None,
        web: FetchConfig | None = None,
    ) -> TransferReport:
        """Copy files on the running event loop; see `transfer`.

        Cancelling the task cancels all work of this transfer, and aborts its uploads before it returns.

        Raises:
            ConfigError: the session is not open. Else see `transfer`.
        """
        given = config or TransferConfig()
        asked = Request(files, given, on_event, continuations, transform, web=web or FetchConfig())
        return await run_transfer(self._entered(), asked)

    def _entered(self) -> Clients:
        if self._clients is None:
            raise ConfigError(
                "this session is not open: call it within `async with AsyncTransferSession() as session`"
            )
        return self._clients


async def transfer_async(  # noqa: PLR0913 - the public call, by keywords
    files: Iterable[GivenPair],
    *,
    config: TransferConfig | None = None,
    on_event: progress.OnEvent = progress.ignore,
    endpoint_url: str | None = None,
    source: S3Access = DEFAULT_ACCESS,
    destination: S3Access = DEFAULT_ACCESS,
    continuations: Continuations = NO_CONTINUATIONS,
    transform: Spec | None = None,
    web: FetchConfig | None = None,
) -> TransferReport:
    """Copy S3 objects on the running event loop, with clients for this call only; see `transfer`.

    Creating clients takes a tenth of a second or more of CPU, during which the event loop stands still. If
    you call this often, keep them with an `AsyncTransferSession`.

    Cancelling the task cancels all work, and aborts the uploads before it returns.
    """
    once = AsyncTransferSession(endpoint_url=endpoint_url, source=source, destination=destination)
    async with once as session:
        return await session.transfer(files, config, on_event, continuations, transform, web)
