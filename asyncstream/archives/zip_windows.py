"""Read small neighbours of an archive by one request: 2,000 entries of 8 KB by some thirty GETs."""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Protocol

from asyncstream.errors import TruncatedBody
from asyncstream.objects import ByteRange
from asyncstream.ports import ByteStream
from asyncstream.units import KiB

# Bytes of the largest entry that shares a window.
_LARGEST_SHARED = 128 * KiB
# Windows whose entries are listed in turn. If neighbours followed each other, slots would open them while the
# first of them still reads their window, and each would send a request of its own.
_WINDOWS_IN_TURN = 16

Read = Callable[[ByteRange], Awaitable[ByteStream]]


class Placed(Protocol):
    """An entry of an archive: its place, and why it cannot be read, if so."""

    @property
    def range(self) -> ByteRange:
        """Its bytes in the archive."""

    @property
    def refused(self) -> str | None:
        """The reason why it cannot be read; None if it can."""


class Windows:
    """The windows of one archive: ranges of at most 512 KiB, each read once and kept until its last entry.

    Several tasks use it at once without a lock. If another task is reading a window, a task does not wait
    for it, but sends a request for its entry only.

    Args:
        entries: all entries, in the order of their places.
    """

    BYTES = 512 * KiB

    def __init__(self, entries: Iterable[Placed]) -> None:
        self._window_of: dict[int, int] = {}  # by the start of an entry: the start of its window
        self._stops: dict[int, int] = {}
        self._unread: dict[int, int] = {}  # how many entries of a window were not opened yet
        self._kept: dict[int, bytearray | None] = {}  # None: being read
        window = -1
        for entry in entries:
            start, stop = entry.range
            if entry.refused is not None or stop - start > _LARGEST_SHARED:
                continue
            if window < 0 or stop - window > self.BYTES:
                window = start
            self._window_of[start] = window
            self._stops[window] = stop
            self._unread[window] = self._unread.get(window, 0) + 1

    def order(self, entries: Mapping[str, Placed]) -> list[str]:
        """Return the names so that neighbours are apart: the first of each of 16 windows, then the second."""
        groups: dict[int, list[str]] = {}
        for name, entry in entries.items():
            groups.setdefault(self._window_of.get(entry.range.start, entry.range.start), []).append(name)
        order: list[str] = []
        windows = list(groups.values())
        for first in range(0, len(windows), _WINDOWS_IN_TURN):
            turn = windows[first : first + _WINDOWS_IN_TURN]
            for position in range(max(map(len, turn))):
                order += [names[position] for names in turn if position < len(names)]
        return order

    async def open(self, entry: Placed, read: Read) -> ByteStream:
        """Open an entry's bytes, from its window if it shares one."""
        start = entry.range.start
        window = self._window_of.get(start)
        if window is None or self._stops[window] - window == entry.range.length:
            return await read(entry.range)
        if window not in self._kept:
            self._kept[window] = None
            try:
                whole = ByteRange(window, self._stops[window])
                content = await read_whole(await read(whole), whole.length)
            except BaseException:
                del self._kept[window]
                raise
            self._kept[window] = content
        kept = self._kept[window]
        if kept is None:
            return await read(entry.range)
        stream = _Kept(memoryview(kept)[start - window : entry.range.stop - window])
        self._unread[window] -= 1
        if self._unread[window] <= 0:
            # An entry that is tried again reads its window again.
            self._kept.pop(window, None)
        return stream


class _Kept:
    """Bytes of a window. See `ports.ByteStream`."""

    def __init__(self, content: memoryview) -> None:
        self._content = content

    async def read(self) -> memoryview:
        content, self._content = self._content, self._content[:0]
        return content

    async def close(self) -> None:
        self._content = self._content[:0]


async def read_whole(stream: ByteStream, length: int) -> bytearray:
    """Read all bytes of a short range, and close its stream.

    Raises:
        TruncatedBody: fewer bytes arrived.
    """
    content = bytearray()
    try:
        while len(content) < length and (chunk := await stream.read()):
            content += chunk
    finally:
        await stream.close()
    if len(content) < length:
        raise TruncatedBody(f"{len(content)} of {length} bytes of the archive arrived")
    return content
