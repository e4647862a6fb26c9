"""`transfer`, `transfer_async`, and the session that keeps clients, threads and event loop between calls."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from types import MappingProxyType

from asyncstream import tracing
from asyncstream.deadline import SHIELD_SECONDS
from asyncstream.engines import open_engine
from asyncstream.engines.keeping import EngineSession, kept_until_exit
from asyncstream.locations import S3Object, S3Prefix
from asyncstream.objects import OpenUpload
from asyncstream.pipeline import jobs, listing, progress, small_objects, stale_uploads
from asyncstream.pipeline.clients import Clients
from asyncstream.pipeline.config import TransferConfig
from asyncstream.pipeline.jobs import Job, Pair
from asyncstream.pipeline.results import TransferReport
from asyncstream.pipeline.run import Continuations, Request, run_transfer
from asyncstream.pipeline.small_objects import Content
from asyncstream.s3 import requests
from asyncstream.transforms import Spec

DEFAULT_ENGINE = "asyncio"
NO_CONTINUATIONS: Continuations = MappingProxyType({})
_DEFAULTS = TransferConfig()


class TransferSession(EngineSession):
    """An engine and its S3 clients, kept across transfers: for warm Lambdas and long-lived programs.

    `transfer()` keeps one per engine and endpoint by itself. For one thread at a time.

    Args:
        engine: "sequential", "threads" or "asyncio".
        endpoint_url: another S3 than AWS's; None leaves it to `AWS_ENDPOINT_URL_S3` and AWS.

    Raises:
        ConfigError: there is no such engine.
    """

    def __init__(self, engine: str = DEFAULT_ENGINE, *, endpoint_url: str | None = None) -> None:
        super().__init__(engine)
        self._clients = Clients(self._engine, endpoint_url)

    def transfer(
        self,
        files: Iterable[Pair],
        config: TransferConfig | None = None,
        on_event: progress.OnEvent = progress.ignore,
        continuations: Continuations = NO_CONTINUATIONS,
        transform: Spec | None = None,
        untouched: S3Object | None = None,
    ) -> TransferReport:
        """Copy files; see `transfer`. If one of them reads or writes `untouched`, it raises InputError."""
        asked = Request(files, config or TransferConfig(), on_event, continuations, transform, untouched)
        return self._run(partial(run_transfer, self._clients, asked))

    def open(self, config: TransferConfig | None = None) -> None:
        """Make ahead what a transfer with this configuration needs: clients, and the X-Ray SDK if it may."""
        tracing.prepare()
        self._run(partial(self._clients.transport, config or TransferConfig()))

    def plan(self, files: Iterable[Pair], config: TransferConfig | None = None) -> Sequence[Job]:
        """What `transfer` would copy: prefixes are listed (which tells sizes), nothing is read or written."""
        return self._run(partial(_plan, self._clients, files, config or TransferConfig()))

    def read(self, source: S3Object, most_bytes: int, config: TransferConfig) -> bytes:
        """Read a small object (a list) as one GET, within the deadline of that configuration.

        Raises:
            InputError: it has more bytes than that.
            SourceNotFound, BucketNotFound, AccessDenied, ConnectionFailed: it could not be read.
            DeadlineExceeded: not in time.
        """
        return self._run(partial(_read, self._clients, source, most_bytes, config))

    def write(self, target: S3Object, content: Content, content_type: str, config: TransferConfig) -> str:
        """Write a small object (a report) as one PUT; its ETag.

        With the clients of that configuration, and within its deadline, counted from now.

        Raises:
            BucketNotFound, AccessDenied, ConnectionFailed: it could not be written.
            DeadlineExceeded: not in time.
        """
        return self._run(partial(_write, self._clients, target, content, content_type, config))

    def stale_uploads(self, prefix: S3Prefix, older_than: timedelta) -> list[OpenUpload]:
        """Multipart uploads begun so long ago and neither completed nor aborted, of whomever they are.

        Their parts are not visible, and cost as much as objects do.

        Raises:
            BucketNotFound, AccessDenied: they could not be listed.
        """
        return self._run(partial(_stale_uploads, self._clients, prefix, datetime.now(UTC) - older_than))

    def abort(self, uploads: Iterable[OpenUpload]) -> None:
        """Drop these uploads and their parts; one that is gone by now is no error.

        Raises:
            AsyncstreamError: of the first that could not be dropped; those before it are.
        """
        self._run(partial(_abort, self._clients, list(uploads)))

    async def _close_connections(self) -> None:
        await self._clients.close()


_kept: dict[tuple[str, str | None], TransferSession] = kept_until_exit()


def kept_session(engine: str, endpoint_url: str | None = None) -> TransferSession:
    """The session that `transfer` uses for this engine and endpoint, made at its first use."""
    session = _kept.get((engine, endpoint_url))
    if session is None:
        session = _kept[engine, endpoint_url] = TransferSession(engine, endpoint_url=endpoint_url)
    return session


def transfer(
    files: Iterable[Pair],
    *,
    engine: str = DEFAULT_ENGINE,
    config: TransferConfig | None = None,
    on_event: progress.OnEvent = progress.ignore,
    endpoint_url: str | None = None,
    continuations: Continuations = NO_CONTINUATIONS,
    transform: Spec | None = None,
) -> TransferReport:
    """Copy S3 objects, their bytes streamed through this process within a memory cap.

    For one thread at a time; threads of your own each want a `TransferSession` of their own.

    Args:
        files: pairs of source and destination: two `S3Object`s, or two `S3Prefix`es to copy all that is
            listed under the first. A listed file takes 0.3 KB of memory, a failed one 1 to 2 KB.
        engine: "sequential", "threads" or "asyncio".
        config: limits and settings; default: `TransferConfig()`.
        on_event: progress callback, see `asyncstream.pipeline.progress`.
        endpoint_url: another S3 than AWS's.
        continuations: what an earlier transfer left pending of these files (`TransferReport.continuations`),
            of whatever engine: they go on where it stopped.
        transform: what is made of each file, instead of a copy: anything that `transforms.factory` takes,
            such as a function of chunks, or `map_lines(function)`. Wins over `config.transform`.

    Returns:
        One result a file, in the order given, and totals. A file that fails does not raise and does not
        keep the others from being copied: see `TransferReport.failed`.

    Raises:
        ConfigError, InputError: before anything was read or written; also for a listing larger than a Lambda
            function's memory.
        BucketNotFound, AccessDenied: a prefix could not be listed.
    """
    return kept_session(engine, endpoint_url).transfer(files, config, on_event, continuations, transform)


async def transfer_async(
    files: Iterable[Pair],
    *,
    config: TransferConfig | None = None,
    on_event: progress.OnEvent = progress.ignore,
    endpoint_url: str | None = None,
    continuations: Continuations = NO_CONTINUATIONS,
    transform: Spec | None = None,
) -> TransferReport:
    """`transfer` on the event loop that is running, with clients of its own for this call.

    Cancelling the task cancels all work and aborts the uploads before it returns.
    """
    engine = open_engine("asyncio")
    clients = Clients(engine, endpoint_url)
    try:
        asked = Request(files, config or TransferConfig(), on_event, continuations, transform)
        return await run_transfer(clients, asked)
    finally:
        await engine.shielded(clients.close(), SHIELD_SECONDS)


async def _read(clients: Clients, source: S3Object, most_bytes: int, config: TransferConfig) -> bytes:
    store, retrying = await clients.open(config)
    return await small_objects.read(store, source, most_bytes, retrying)


async def _write(
    clients: Clients, target: S3Object, content: Content, content_type: str, config: TransferConfig
) -> str:
    # A report is of this run: an earlier one under its name gives way.
    own = config.override({"extra_args": requests.report_args(config.extra_args), "if_exists": "overwrite"})
    store, retrying = await clients.open(own)
    return await small_objects.write(store, target, content, content_type, retrying)


async def _stale_uploads(clients: Clients, prefix: S3Prefix, before: datetime) -> list[OpenUpload]:
    store, retrying = await clients.open(_DEFAULTS)
    return await stale_uploads.begun_before(before, prefix, store, retrying)


async def _abort(clients: Clients, uploads: list[OpenUpload]) -> None:
    store, retrying = await clients.open(_DEFAULTS)
    await stale_uploads.abort(uploads, store, retrying)


async def _plan(clients: Clients, files: Iterable[Pair], config: TransferConfig) -> Sequence[Job]:
    pairs = jobs.checked(files)
    store, retrying = await clients.open(config)
    return await listing.found(pairs, store, retrying)
