"""Progress events, which a callback given as `on_event` receives. They are the same for every engine.

Callbacks are plain functions. The thread or event loop that copies the file calls them with `FileStarted`,
`BytesMoved` and `PartRetried`; the coordinator calls them with the other events. A callback must be quick and
must not raise. An error it raises fails the file of the event, or ends the transfer if the coordinator called
it.
"""

from collections.abc import Callable

from msgspec import Struct

from asyncstream.locations import SourceFile, TargetFile
from asyncstream.pipeline.results import FileResult


class Planned(Struct, frozen=True):
    """All prefixes are listed. `bytes` is the sum of all sizes; None if a size is not yet known."""

    files: int
    bytes: int | None


class FileStarted(Struct, frozen=True):
    """Copying a file's bytes starts. `bytes` are all of them; None if only its end will show how many."""

    source: SourceFile
    destination: TargetFile
    bytes: int | None


class BytesMoved(Struct, frozen=True):
    """A chunk of the file was passed to the connection to the destination."""

    source: SourceFile
    destination: TargetFile
    bytes: int


class PartRetried(Struct, frozen=True):
    """A part starts again. `bytes` were reported by `BytesMoved` and no longer count."""

    source: SourceFile
    destination: TargetFile
    bytes: int
    attempt: int
    error: Exception


class FileFinished(Struct, frozen=True):
    """The file has ended, with any status."""

    result: FileResult


Event = Planned | FileStarted | BytesMoved | PartRetried | FileFinished
OnEvent = Callable[[Event], None]


def ignore(event: Event) -> None:
    """Do nothing, for a transfer without a callback."""
