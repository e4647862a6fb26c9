"""Progress as events: what a callback given as `on_event` receives, the same from every engine.

Callbacks are plain functions. `FileStarted`, `BytesMoved` and `PartRetried` come from whatever moves the
file, a pool thread or the event loop; the others from the coordinator. A callback must be quick and must
not raise: what it raises fails the file whose bytes it was told of, or, out of the coordinator, ends the
transfer.
"""

from collections.abc import Callable

from msgspec import Struct

from asyncstream.locations import S3Object
from asyncstream.pipeline.results import FileResult


class Planned(Struct, frozen=True):
    """What there is to do, once prefixes are listed; `bytes` is None if a size is not known yet."""

    files: int
    bytes: int | None


class FileStarted(Struct, frozen=True):
    """The file's size is known and its bytes begin to move."""

    source: S3Object
    destination: S3Object
    bytes: int


class BytesMoved(Struct, frozen=True):
    """A chunk of the file was handed to the destination's connection."""

    source: S3Object
    destination: S3Object
    bytes: int


class PartRetried(Struct, frozen=True):
    """A part begins again; `bytes` of it had been told by BytesMoved and count no more."""

    source: S3Object
    destination: S3Object
    bytes: int
    attempt: int
    error: Exception


class FileFinished(Struct, frozen=True):
    """The file is done, or failed."""

    result: FileResult


Event = Planned | FileStarted | BytesMoved | PartRetried | FileFinished
OnEvent = Callable[[Event], None]


def ignore(event: Event) -> None:
    """The callback of a transfer that nobody watches."""
