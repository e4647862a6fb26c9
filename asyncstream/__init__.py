"""Stream large S3 files through a fixed memory cap: sequential, threads or asyncio, one pipeline.

The names here, in `asyncstream.transforms` and in `asyncstream.gathering` are public. Everything else may
change between minor versions.
"""

from asyncstream.engines import EngineName
from asyncstream.errors import (
    AccessDenied,
    AsyncstreamError,
    BucketNotFound,
    Cancelled,
    ChecksumMismatch,
    ConfigError,
    ConnectionFailed,
    CorruptInput,
    CredentialsExpired,
    CutInQuotes,
    DeadlineExceeded,
    DestinationExists,
    FileError,
    InputError,
    LineTooLong,
    MemoryNeeded,
    NothingToTransfer,
    OutputTooLarge,
    S3Error,
    ServiceBusy,
    SlowDown,
    SourceChanged,
    SourceNotFound,
    TransformError,
)
from asyncstream.events.invoke import lambda_handler
from asyncstream.locations import (
    Concat,
    Lines,
    LocalFile,
    LocalFolder,
    S3Object,
    S3Prefix,
    Tar,
    TarEntries,
    TarEntry,
    WebFile,
    Zip,
    ZipEntries,
    ZipEntry,
    ZipSlice,
)
from asyncstream.mapping.calls import Outcome
from asyncstream.mapping.concurrent import map_concurrent, map_concurrent_async
from asyncstream.pipeline.async_session import AsyncTransferSession, transfer_async
from asyncstream.pipeline.config import TransferConfig
from asyncstream.pipeline.continuation import Continuation
from asyncstream.pipeline.progress import BytesMoved, Event, FileFinished, FileStarted, PartRetried, Planned
from asyncstream.pipeline.results import FileResult, TransferReport
from asyncstream.pipeline.session import TransferSession, transfer
from asyncstream.s3.access import S3Access
from asyncstream.tracing import current_span
from asyncstream.units import GiB, KiB, MiB
from asyncstream.version import __version__
from asyncstream.web import FetchConfig

__all__ = [
    "AccessDenied",
    "AsyncTransferSession",
    "AsyncstreamError",
    "BucketNotFound",
    "BytesMoved",
    "Cancelled",
    "ChecksumMismatch",
    "Concat",
    "ConfigError",
    "ConnectionFailed",
    "Continuation",
    "CorruptInput",
    "CredentialsExpired",
    "CutInQuotes",
    "DeadlineExceeded",
    "DestinationExists",
    "EngineName",
    "Event",
    "FetchConfig",
    "FileError",
    "FileFinished",
    "FileResult",
    "FileStarted",
    "GiB",
    "InputError",
    "KiB",
    "LineTooLong",
    "Lines",
    "LocalFile",
    "LocalFolder",
    "MemoryNeeded",
    "MiB",
    "NothingToTransfer",
    "Outcome",
    "OutputTooLarge",
    "PartRetried",
    "Planned",
    "S3Access",
    "S3Error",
    "S3Object",
    "S3Prefix",
    "ServiceBusy",
    "SlowDown",
    "SourceChanged",
    "SourceNotFound",
    "Tar",
    "TarEntries",
    "TarEntry",
    "TransferConfig",
    "TransferReport",
    "TransferSession",
    "TransformError",
    "WebFile",
    "Zip",
    "ZipEntries",
    "ZipEntry",
    "ZipSlice",
    "__version__",
    "current_span",
    "lambda_handler",
    "map_concurrent",
    "map_concurrent_async",
    "transfer",
    "transfer_async",
]
