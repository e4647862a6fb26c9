"""Read small neighbours of an archive by one request: 2,000 entries of 8 KB by some forty GETs."""

from collections.abc import Awaitable, Callable
from typing import Protocol

from asyncstream.archives.zip_entries import WINDOW
from asyncstream.errors import NothingYet, TruncatedBody
from asyncstream.objects import ByteRange
from asyncstream.ports import ByteStream

# Windows kept at once: those of a turn, and some of the next. A window of which files are skipped is not
# opened as often as it has entries.
_MOST_KEPT = 24

Read = Callable[[ByteRange], Awaitable[ByteStream]]


class Sharing(Protocol):
    """An entry that may share a window; see `zip_entries.Entry`."""

    @property
    def range(self) -> ByteRange:
        """Its bytes in the archive."""

    @property
    def window(self) -> ByteRange | None:
        """A range that it shares with neighbours; None if it is read on its own."""

    @property
    def sharing(self) -> int:
        """The number of entries in its window."""


class _Window:
    """The bytes of a window, None while they are read, and how many of its entries were not opened yet."""

    def __init__(self, unread: int) -> None:
        self.content: bytearray | None = None
        self.unread = unread


class Windows:
    """The windows of one archive: ranges of at most 512 KiB, each read once and kept until its last entry.

    Several tasks use it at once without a lock. If another task is reading a window, a task does not wait
    for it, but sends a request for its entry only.
    """

    BYTES = WINDOW

    def __init__(self) -> None:
        self._kept: dict[ByteRange, _Window] = {}

    async def open(self, entry: Sharing, read: Read) -> ByteStream:
        """Open an entry's bytes, from its window if it shares one."""
        place = entry.window
        if place is None:
            return await read(entry.range)
        window = self._kept.get(place)
        if window is None:
            for oldest in list(self._kept)[: max(0, len(self._kept) - _MOST_KEPT + 1)]:
                self._kept.pop(oldest, None)
            window = self._kept[place] = _Window(entry.sharing)
            try:
                window.content = await read_whole(await read(place), place.length)
            except BaseException:
                self._kept.pop(place, None)
                raise
        window.unread -= 1
        if window.unread <= 0:
            # An entry that is tried again reads its window again.
            self._kept.pop(place, None)
        if window.content is None:
            return await read(entry.range)
        start, stop = entry.range
        return _Kept(memoryview(window.content)[start - place.start : stop - place.start])


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
        while len(content) < length:
            try:
                chunk = await stream.read()
            except NothingYet:
                continue
            if not chunk:
                break
            content += chunk
    finally:
        await stream.close()
    if len(content) < length:
        raise TruncatedBody(f"{len(content)} of {length} bytes of the archive arrived")
    return content
