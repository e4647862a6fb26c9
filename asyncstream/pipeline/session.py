"""`transfer`, and the session that keeps clients, threads and event loop between calls."""

from collections.abc import Awaitable, Callable, Hashable, Iterable
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import chain
from typing import TypeVar, TypeVarTuple

from asyncstream import tracing
from asyncstream.engines import EngineName
from asyncstream.engines.keeping import EngineSession, Kept
from asyncstream.locations import Folder, S3Object, S3Prefix, TarEntries, ZipEntries
from asyncstream.objects import ListedObject, MultipartUpload, OpenUpload
from asyncstream.pipeline import listing, progress, small_objects, stale_uploads
from asyncstream.pipeline.clients import Clients
from asyncstream.pipeline.config import TransferConfig
from asyncstream.pipeline.context import Ends
from asyncstream.pipeline.jobs import Jobs
from asyncstream.pipeline.other_ends import Place, add_other_ends
from asyncstream.pipeline.pairs import GivenPair
from asyncstream.pipeline.results import TransferReport
from asyncstream.pipeline.run import (
    NO_CONTINUATIONS,
    Continuations,
    Request,
    Step,
    run_transfer,
)
from asyncstream.pipeline.small_objects import Content
from asyncstream.ports import Engine
from asyncstream.s3 import requests
from asyncstream.s3.access import DEFAULT_ACCESS, S3Access
from asyncstream.s3.environment import client_environment
from asyncstream.transforms import Spec
from asyncstream.web import FetchConfig

Ts = TypeVarTuple("Ts")
R = TypeVar("R")

DEFAULT_ENGINE: EngineName = "asyncio"
_DEFAULTS = TransferConfig()


class TransferSession(EngineSession):
    """An engine and its S3 clients, kept across transfers for warm Lambdas and long-lived programs.

    Only one thread may use a session at a time. A session that a process has used is not usable in its forked
    children. `transfer()` itself keeps sessions: as many as there are threads that call it at once.

    Args:
        engine: "sequential", "threads" or "asyncio".
        endpoint_url: the URL of another S3 than AWS's, for an end that names none. Default:
            AWS_ENDPOINT_URL_S3, or else AWS.
        source: how to reach the sources, and with which credentials.
        destination: the same for the destinations.

    Raises:
        ConfigError: the engine does not exist. Each method raises it, too, if another thread or a callback
            uses the session at this moment, or if the process that used it was forked.
    """

    def __init__(
        self,
        engine: EngineName = DEFAULT_ENGINE,
        *,
        endpoint_url: str | None = None,
        source: S3Access = DEFAULT_ACCESS,
        destination: S3Access = DEFAULT_ACCESS,
    ) -> None:
        super().__init__(engine)
        self._clients = Clients(self._engine, source.at(endpoint_url), destination.at(endpoint_url))

    def transfer(
        self,
        files: Iterable[GivenPair],
        config: TransferConfig | None = None,
        on_event: progress.OnEvent = progress.ignore,
        continuations: Continuations = NO_CONTINUATIONS,
        transform: Spec | None = None,
        untouched: S3Object | None = None,
        web: FetchConfig | None = None,
    ) -> TransferReport:
        """Copy files; see `transfer`. Raises InputError if a file reads or writes `untouched`."""
        given = config or TransferConfig()
        asked = Request(files, given, on_event, continuations, transform, untouched, web or FetchConfig())
        return self._run(partial(run_transfer, self._clients, asked))

    def transfer_step(
        self,
        files: Iterable[GivenPair],
        config: TransferConfig,
        step: Step,
        continuations: Continuations = NO_CONTINUATIONS,
    ) -> TransferReport:
        """Do one step of a longer run; see `transfer` and `Step`."""
        asked = Request(files, config, progress.ignore, continuations, None, step=step)
        return self._run(partial(run_transfer, self._clients, asked))

    def open(self, config: TransferConfig | None = None) -> None:
        """Create clients for this configuration in advance, and load the X-Ray SDK if tracing is on."""
        tracing.prepare()
        self._run(partial(self._clients.connect, config or TransferConfig()))

    def check_pair(self, pair: GivenPair) -> None:
        """Check a pair as a transfer does, before any request.

        Raises:
            InputError: it cannot be copied.
        """
        self._clients.check_pairs([pair])

    def plan(self, files: Iterable[GivenPair], config: TransferConfig | None = None) -> Jobs:
        """Return the files that `transfer` would copy, and the number of folder markers that it would not.

        Lists prefixes; copies nothing.
        """
        pairs = self._clients.check_pairs(files)
        places = chain.from_iterable(pairs)
        return self._request(config or TransferConfig(), listing.list_files, pairs, places=places)

    def list_entries(
        self, entries: ZipEntries | TarEntries, web: FetchConfig | None = None
    ) -> list[ListedObject]:
        """Return the names and sizes of the files in an archive, in the order in which they are unpacked.

        Raises:
            CorruptInput: it is not such an archive, or damaged.
            SourceNotFound, BucketNotFound, AccessDenied, ConnectionFailed: it could not be read.
        """
        return self._request(_DEFAULTS, listing.list_entries, entries, places=[entries], web=web)

    def slice_archive(
        self, entries: ZipEntries, size: int = 1_000, web: FetchConfig | None = None
    ) -> list[ZipEntries]:
        """Return the entries of an archive in slices, for transfers that run at once on several machines.

        A transfer of a slice reads the slice's rows of the directory and its entries, and nothing else. So
        the checks of the archive as a whole happen here. See `ZipSlice` for the JSON.

        Args:
            entries: the archive, and which of its entries.
            size: rows of the directory in a slice. Slices without a selected entry are left out.
            web: how URLs are requested.

        Raises:
            InputError: `size` is not positive, or two entries have the same name.
            CorruptInput: it is not a ZIP archive, or damaged.
            SourceNotFound, BucketNotFound, AccessDenied, ConnectionFailed: it could not be read.
        """
        return self._request(_DEFAULTS, listing.slice_archive, entries, size, places=[entries], web=web)

    def list_objects(self, prefix: S3Prefix, config: TransferConfig) -> list[S3Object]:
        """Return the objects under a prefix, each once; none is no error.

        Raises:
            BucketNotFound, AccessDenied, ConnectionFailed, DeadlineExceeded: they could not be listed.
        """
        return self._request(config, listing.list_objects, prefix)

    def read(self, source: S3Object, max_bytes: int, config: TransferConfig) -> bytes:
        """Read a small object, such as a list, with one GET, within the configuration's deadline.

        Raises:
            InputError: it has more than `max_bytes` bytes.
            SourceNotFound, BucketNotFound, AccessDenied, ConnectionFailed: it could not be read.
            DeadlineExceeded: it was not read in time.
        """
        return self._request(config, small_objects.read, source, max_bytes)

    def write(self, target: S3Object, content: Content, content_type: str, config: TransferConfig) -> str:
        """Write a small object, such as a report, with one PUT, and return its ETag.

        Uses the configuration's clients and its deadline, counted from now.

        Raises:
            BucketNotFound, AccessDenied, ConnectionFailed: it could not be written.
            DeadlineExceeded: it was not written in time.
        """
        # A report belongs to this run, so it overwrites an earlier one of the same name.
        own = config.override(
            {"extra_args": requests.report_args(config.extra_args), "if_exists": "overwrite"}
        )
        return self._request(own, small_objects.write, target, content, content_type)

    def stale_uploads(self, prefix: Folder, older_than: timedelta) -> list[OpenUpload]:
        """Return open uploads older than `older_than`, including those of other programs.

        Their parts are not visible, but cost as much as objects do.

        Raises:
            BucketNotFound, AccessDenied: they could not be listed.
        """
        before = datetime.now(UTC) - older_than
        return self._request(_DEFAULTS, stale_uploads.list_created_before, before, prefix, places=[prefix])

    def abort(self, uploads: Iterable[OpenUpload | MultipartUpload]) -> None:
        """Abort these uploads and delete their parts. It is not an error if an upload no longer exists.

        Raises:
            AsyncstreamError: the error of the first upload that could not be aborted. Those before it are
                aborted.
        """
        uploads = list(uploads)
        places = [each.target for each in uploads]
        self._request(_DEFAULTS, stale_uploads.abort, uploads, places=places)

    def work_with(
        self,
        config: TransferConfig,
        work: Callable[[Ends, Engine], Awaitable[R]],
        places: Iterable[Place] = (),
    ) -> R:
        """Open both ends, also for these places, and return what `work` makes with them and the engine.

        Raises:
            ConfigError: another thread or a callback uses the session.
        """
        return self._request(config, partial(_with_engine, work, self._engine), places=places)

    def _request(
        self,
        config: TransferConfig,
        send: Callable[[Ends, *Ts], Awaitable[R]],
        *args: *Ts,
        places: Iterable[Place] = (),
        web: FetchConfig | None = None,
    ) -> R:
        """Open both ends, also for these places, and send requests to them."""

        async def run() -> R:
            async with (
                self._clients.open(config) as of_s3,
                add_other_ends(of_s3, places, self._engine, config, web or FetchConfig()) as ends,
            ):
                return await send(ends, *args)

        return self._run(run)

    async def _close_connections(self) -> None:
        await self._clients.close()


async def _with_engine(work: Callable[[Ends, Engine], Awaitable[R]], engine: Engine, ends: Ends) -> R:
    return await work(ends, engine)


def _open_session(key: tuple[EngineName, S3Access, S3Access, Hashable]) -> TransferSession:
    engine, source, destination, _ = key
    return TransferSession(engine, source=source, destination=destination)


_kept = Kept(_open_session)


def borrow_session(
    engine: EngineName, source: S3Access = DEFAULT_ACCESS, destination: S3Access = DEFAULT_ACCESS
) -> AbstractContextManager[TransferSession]:
    """Provide a session for exclusive use: a kept one of this engine, ends and environment, or a new one.

    Raises:
        ConfigError: the engine does not exist.
    """
    return _kept.borrow((engine, source, destination, client_environment()))


def transfer(  # noqa: PLR0913 - the public call, by keywords
    files: Iterable[GivenPair],
    *,
    engine: EngineName = DEFAULT_ENGINE,
    config: TransferConfig | None = None,
    on_event: progress.OnEvent = progress.ignore,
    endpoint_url: str | None = None,
    source: S3Access = DEFAULT_ACCESS,
    destination: S3Access = DEFAULT_ACCESS,
    continuations: Continuations = NO_CONTINUATIONS,
    transform: Spec | None = None,
    web: FetchConfig | None = None,
) -> TransferReport:
    """Copy S3 objects, files and URLs by streaming their bytes through this process within a memory limit.

    Any number of threads may call this at once. Each call has a session of its own, with its own connections,
    and its own memory limit: ten calls at once use ten times `config.memory_limit`. Up to eight sessions that
    are not in use are kept for the next calls with the same engine, ends, and AWS and proxy variables.

    Args:
        files: pairs of source and destination: two `S3Object`s, or two `S3Prefix`es to copy all objects under
            the first, except those that only mark a folder (0 bytes, a key that ends with a slash). A
            `LocalFile` can take the place of an object, a `LocalFolder` that of a prefix, and a source can be
            a `WebFile`. A listed file takes 0.3 KB of memory, one in an
            archive 0.15 KB, a failed one 1 to 2 KB.
        engine: "sequential", "threads" or "asyncio".
        config: limits and settings; default: `TransferConfig()`.
        on_event: progress callback, see `asyncstream.pipeline.progress`.
        endpoint_url: the URL of another S3 than AWS's, for an end that names none.
        source: how to reach the sources, and with which credentials; such as `S3Access(role_arn=...)`.
        destination: the same for the destinations.
        continuations: the `TransferReport.continuations` of an earlier transfer of these files, with any
            engine. The files continue where it stopped.
        transform: a transform of each file, instead of a copy: anything that `transforms.factory` takes, such
            as a function of chunks, or `map_lines(function)`. Overrides `config.transform`.
        web: how URLs are requested: headers such as keys, allowed networks, time-outs. Its limits for pages
            and its retries do not apply to files. Default: `FetchConfig()`.

    Returns:
        One result per file, in the order given, and totals. A file that fails does not raise, and the other
        files are still copied: see `TransferReport.failed`.

    Raises:
        ConfigError, InputError: the settings or files are wrong, or a listing is larger than a Lambda
            function's memory. Nothing was copied.
        BucketNotFound, AccessDenied: a prefix could not be listed.
    """
    with borrow_session(engine, source.at(endpoint_url), destination.at(endpoint_url)) as session:
        return session.transfer(files, config, on_event, continuations, transform, web=web)
