"""The files that a transfer left unfinished, as pairs for the next transfer."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol, runtime_checkable

from asyncstream.locations import LineRange, Lines, SourceFile, TargetFile, ZipEntries, ZipEntry
from asyncstream.pipeline.continuation import Continuation


class Named(Protocol):
    """A file to copy: source and destination."""

    @property
    def source(self) -> SourceFile:
        """The object, file or URL to read."""

    @property
    def destination(self) -> TargetFile:
        """The object or file to write."""

    @property
    def continuation(self) -> Continuation | None:
        """Where an earlier transfer stopped; None if there was none."""


@runtime_checkable
class PlannedFiles(Protocol):
    """Files that were planned from pairs of places."""

    def pairs_of(self, left: bytes) -> Iterator[tuple[Any, Any, range]]:
        """Yield pairs of places that have the files that are left, and no others; `left` is 1 for each.

        And the positions that a pair stands for: one, or those of the files of an archive.
        """

    @property
    def continued(self) -> Collection[int]:
        """The positions of the files that an earlier transfer has continuations of."""


class Left(NamedTuple):
    """A file that is left to do, or files in an archive or a text.

    Attributes:
        source: the file, or the entries of an archive, or the lines of a text.
        destination: the file, or their folder.
        continuation: where to continue, if the file was started.
        files: the number of files.
        started: where to continue those that were started, by name.
    """

    source: Any
    destination: Any
    continuation: Continuation | None = None
    files: int = 1
    started: Mapping[str, Continuation] = MappingProxyType({})


def pairs_left(
    files: Sequence[Named], left: bytearray, continuations: Mapping[int, Continuation | None]
) -> Iterator[Left]:
    """Yield pairs that have the files that are left, and no others. First those of files that were started.

    The entries of an archive, or the lines of a text, are one pair, however many. Each pair is created when
    the caller asks for it, because little time is left when files are pending.

    Args:
        files: the files of the transfer.
        left: 1 for each file that is left, 0 for each other. It is changed.
        continuations: where to continue, by position; for other files, what they say themselves.
    """
    earlier = files.continued if isinstance(files, PlannedFiles) else ()
    started: dict[int, tuple[str, Continuation]] = {}
    for position in sorted({*continuations, *earlier}):
        if not left[position]:
            continue
        file = files[position]
        continuation = continuations.get(position, file.continuation)
        if continuation is None:
            continue
        if isinstance(file.source, ZipEntry | LineRange):  # all files of its archive or text have one pair
            started[position] = file.source.name, continuation
        else:
            left[position] = 0
            yield Left(file.source, file.destination, continuation)
    for source, destination, positions in _pairs(files, bytes(left)):
        own = [started[each] for each in started if each in positions]
        if isinstance(source, ZipEntries | Lines):
            number = left.count(1, positions.start, positions.stop)
            yield Left(source, destination, None, number, dict(own))
        else:
            yield Left(source, destination, own[0][1] if own else None)


def _pairs(files: Sequence[Named], left: bytes) -> Iterator[tuple[Any, Any, range]]:
    if isinstance(files, PlannedFiles):
        yield from files.pairs_of(left)
        return
    position = left.find(1)
    while position >= 0:
        file = files[position]
        yield file.source, file.destination, range(position, position + 1)
        position = left.find(1, position + 1)
