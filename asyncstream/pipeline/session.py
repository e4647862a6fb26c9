"""`transfer`, `transfer_async`, and the session that keeps clients, threads and event loop between calls.

The one place that puts an engine, a transport and the pipeline together.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from types import MappingProxyType

from msgspec import Struct

from asyncstream import tracing, transforms
from asyncstream.deadline import NO_DEADLINE, SHIELD_SECONDS, Deadline
from asyncstream.engines import open_engine
from asyncstream.engines.keeping import EngineSession, kept_until_exit
from asyncstream.errors import InputError
from asyncstream.locations import S3Object, S3Prefix
from asyncstream.objects import ByteRange, OpenUpload
from asyncstream.pipeline import jobs, listing, memory, plan, progress, small_objects, stale_uploads
from asyncstream.pipeline.budget import MemoryBudget, slots_within
from asyncstream.pipeline.config import (
    TransferConfig,
    chunk_size_within,
    memory_left,
    memory_limit_or_default,
)
from asyncstream.pipeline.continuation import Continuation
from asyncstream.pipeline.coordinator import Coordinator
from asyncstream.pipeline.jobs import Pair
from asyncstream.pipeline.output import Transforming, transforming_of
from asyncstream.pipeline.parts import PartMover
from asyncstream.pipeline.results import TransferReport
from asyncstream.pipeline.small_objects import Content
from asyncstream.pipeline.tasks import Job
from asyncstream.ports import Engine, Span, Transport
from asyncstream.retry import Retrying
from asyncstream.s3 import open_transport, requests
from asyncstream.s3.regions import Learned
from asyncstream.s3.settings import ClientSettings
from asyncstream.s3.store import S3Store
from asyncstream.transforms import Spec

DEFAULT_ENGINE = "asyncio"
Continuations = Mapping[tuple[S3Object, S3Object], Continuation]
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
        self._clients = _Clients(self._engine, endpoint_url)

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
        asked = _Asked(files, config or TransferConfig(), on_event, continuations, transform, untouched)
        return self._run(partial(_transfer, self._clients, asked))

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
    clients = _Clients(engine, endpoint_url)
    try:
        asked = _Asked(files, config or TransferConfig(), on_event, continuations, transform)
        return await _transfer(clients, asked)
    finally:
        await engine.shielded(clients.close(), SHIELD_SECONDS)


class _Clients:
    """The transport of the last settings used, and what was learned with it."""

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

    async def store(self, config: TransferConfig, deadline: Deadline = NO_DEADLINE) -> S3Store:
        """A store over that transport, for one transfer."""
        return S3Store(
            await self.transport(config),
            config.chunk_size,
            config.extra_args,
            self.learned,
            verify=config.verify != "off",
            create_only=config.if_exists == "fail",
            left=deadline.patience,
            ending=deadline.ending,
        )

    def retrying(self, config: TransferConfig, deadline: Deadline = NO_DEADLINE) -> Retrying:
        """Return what repeats requests as that configuration says."""
        return Retrying(config.retry_policy, deadline, self.engine.sleep)

    async def close(self) -> None:
        """Close the connections."""
        transport, self._transport = self._transport, None
        if transport is not None:
            await transport.close()


class _Asked(Struct, frozen=True):
    """What a transfer is asked for; see `transfer`."""

    files: Iterable[Pair]
    config: TransferConfig
    on_event: progress.OnEvent
    continuations: Continuations
    transform: Spec | None
    untouched: S3Object | None = None


async def _transfer(clients: _Clients, asked: _Asked) -> TransferReport:
    pairs = jobs.checked(asked.files)
    transform = asked.transform if asked.transform is not None else asked.config.transform
    made = None
    if transform is not None:
        # May import a module, and makes one to try.
        factory = await clients.engine.compute(partial(transforms.factory, transform))
        held = await clients.engine.compute(partial(transforms.held_by, factory))
        made = transforms.name_of(transform), factory, held
    if made is not None and asked.continuations:
        raise InputError("what a transform makes of a file cannot be continued: give no continuations")
    with tracing.open_trace(engine=clients.engine.name, multipart=asked.config.multipart) as span:
        report = await _traced_transfer(clients, asked, pairs, made, span)
        span.annotate(
            slots=report.slots, files=len(report.files), failed=report.count("failed"), bytes=report.bytes
        )
    return report


async def _traced_transfer(
    clients: _Clients,
    asked: _Asked,
    pairs: Sequence[Pair],
    made: tuple[str, transforms.Factory, transforms.Held] | None,
    span: Span,
) -> TransferReport:
    config, on_event = asked.config, asked.on_event
    started = time.monotonic()
    deadline = Deadline(config.deadline, time.monotonic, pauses=config.at_deadline == "pending")
    engine = clients.engine
    store = await clients.store(config, deadline)
    limit = memory_limit_or_default(config.memory_limit, memory.lambda_memory(), clients.resident)

    def sized(limit: int) -> tuple[int, Transforming | None]:
        slots = slots_within(limit, store.slot_bytes, min(config.max_concurrency, engine.most_slots))
        return slots, made and transforming_of(*made, config, limit, slots, store.slot_bytes)

    sized(limit)  # raises before a prefix is listed
    with span.child("plan"):
        room = memory_left(memory.lambda_memory(), clients.resident)
        retrying = clients.retrying(config, deadline)
        work = await listing.found(pairs, store, retrying, room - store.slot_bytes)
        work.check_apart(asked.untouched)
        work.add_continuations(asked.continuations)
    if work.held:  # it stays in memory while files are copied
        limit = int(min(limit, room - work.held))
    slots, transforming = sized(limit)
    on_event(progress.Planned(len(work), work.bytes if work.listed == len(work) else None))
    part_size = plan.auto_part_size([work.bytes], slots) if config.part_size == "auto" else config.part_size
    reach = plan.reach(part_size, config.multipart, chained=deadline.pauses)
    if transforming is not None:
        reach = plan.MAX_OBJECT  # one stream, from the first byte to the last

    def later_ranges(size: int, done: int) -> list[ByteRange]:
        # A size that only the first reply told counts from then on.
        grown = plan.auto_part_size([size], slots) if config.part_size == "auto" else part_size
        return plan.rest(size, done, max(reach, grown))

    coordinator = Coordinator(
        work,
        PartMover(store, engine, config, reach, deadline, on_event, transforming),
        engine,
        slots=slots,
        budget=MemoryBudget(limit),
        slot_bytes=store.slot_bytes,
        later_ranges=later_ranges,
        on_event=on_event,
        span=span,
        deadline=deadline,
    )
    results = await coordinator.run()
    return TransferReport(engine.name, results, time.monotonic() - started, slots, limit, store.requests)


async def _read(clients: _Clients, source: S3Object, most_bytes: int, config: TransferConfig) -> bytes:
    deadline = Deadline(config.deadline, time.monotonic)
    store = await clients.store(config, deadline)
    return await small_objects.read(store, source, most_bytes, clients.retrying(config, deadline))


async def _write(
    clients: _Clients, target: S3Object, content: Content, content_type: str, config: TransferConfig
) -> str:
    # A report is of this run: an earlier one under its name gives way.
    own = config.override({"extra_args": requests.report_args(config.extra_args), "if_exists": "overwrite"})
    deadline = Deadline(config.deadline, time.monotonic)
    store = await clients.store(own, deadline)
    return await small_objects.write(store, target, content, content_type, clients.retrying(config, deadline))


async def _stale_uploads(clients: _Clients, prefix: S3Prefix, before: datetime) -> list[OpenUpload]:
    store, retrying = await clients.store(_DEFAULTS), clients.retrying(_DEFAULTS)
    return await stale_uploads.begun_before(before, prefix, store, retrying)


async def _abort(clients: _Clients, uploads: list[OpenUpload]) -> None:
    await stale_uploads.abort(uploads, await clients.store(_DEFAULTS), clients.retrying(_DEFAULTS))


async def _plan(clients: _Clients, files: Iterable[Pair], config: TransferConfig) -> Sequence[Job]:
    pairs = jobs.checked(files)
    deadline = Deadline(config.deadline, time.monotonic)
    store = await clients.store(config, deadline)
    return await listing.found(pairs, store, clients.retrying(config, deadline))
