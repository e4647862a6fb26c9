"""Files of this machine as a source: open, read in ranges, list."""

import os
from collections.abc import Iterator
from contextlib import suppress
from io import FileIO
from itertools import islice
from mimetypes import guess_type
from pathlib import Path

from asyncstream.errors import InputError, NotModified, OtherVersion, SourceChanged
from asyncstream.files.failures import check_regular, explain
from asyncstream.files.temporary import is_temporary
from asyncstream.files.walking import walk
from asyncstream.locations import LocalFile, LocalFolder
from asyncstream.objects import ByteRange, ListedObject, Stored
from asyncstream.ports import Engine, Opened, Source

# Files per page of a listing: as many as S3 returns.
_PAGE_SIZE = 1_000
# Opening a FIFO must not block; `check_regular` then refuses it. In text mode, Windows changes line ends.
_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


class FileSource(Source[LocalFile, LocalFolder]):
    """Reads and lists files. See `ports.Source`.

    Args:
        engine: runs the calls that may wait for a disk or for a network file system.
        chunk_size: bytes read at a time.
    """

    def __init__(self, engine: Engine, chunk_size: int) -> None:
        self._engine = engine
        self._buffer_bytes = max(chunk_size, engine.computes_at_once)
        self._walks: dict[str, Iterator[ListedObject]] = {}

    @property
    def slot_bytes(self) -> int:
        """Bytes of memory that one part in flight costs."""
        return 2 * self._buffer_bytes

    async def open(
        self, source: LocalFile, range_: ByteRange | None, etag: str | None, if_none_match: str | None = None
    ) -> Opened:
        """Open a range of a file (None: the whole). With `etag`, only that version is read.

        Raises:
            NotModified: the file's ETag is `if_none_match`.
            SourceNotFound, AccessDenied, SourceChanged, FileError: it cannot be read.
            InputError: it is not a regular file.
        """
        stream = _FileStream(self._engine, source, self._buffer_bytes)
        try:
            found = await self._engine.compute(stream.open)
            if found.etag == if_none_match:
                raise NotModified(f"{source} has not changed")
            if etag is not None and found.etag != etag:
                raise OtherVersion(f"{source} was changed or replaced during the transfer")
            range_ = ByteRange(0, found.size) if range_ is None else range_
            range_ = ByteRange(range_.start, min(range_.stop, found.size))
            stream.restrict(range_)
        except BaseException:
            await stream.close()
            raise
        kind, encoding = guess_type(source.path)
        attributes = {"ContentType": kind} if kind is not None and encoding is None else {}
        return Opened(found.size, found.etag, range_, attributes, stream)

    async def head(self, source: LocalFile, etag: str | None) -> Stored:
        """Return the size, the ETag and the time of a file.

        Raises:
            SourceNotFound, AccessDenied, FileError: it cannot be found.
            InputError: it is not a regular file.
        """
        return await self._engine.compute(lambda: _find(source))

    async def list_page(
        self, prefix: LocalFolder, token: str | None
    ) -> tuple[list[ListedObject], str | None]:
        """Return up to 1,000 files of a folder, and the token of the next page (None: no more pages)."""
        return await self._engine.compute(lambda: self._list(prefix, token))

    def _list(self, folder: LocalFolder, token: str | None) -> tuple[list[ListedObject], str | None]:
        walking = self._walks.pop(token) if token is not None else _list_files(folder)
        try:
            page = list(islice(walking, _PAGE_SIZE))
        except OSError as error:
            raise explain(error, f"listing {error.filename or folder}") from error
        if len(page) < _PAGE_SIZE:
            return page, None
        following = page[-1].key
        self._walks[following] = walking
        return page, following


class _FileStream:
    """The body of one range. See `ports.ByteStream`."""

    def __init__(self, engine: Engine, source: LocalFile, buffer_bytes: int) -> None:
        self._engine = engine
        self._source = source
        self._buffer = memoryview(bytearray(buffer_bytes))
        self._file: FileIO | None = None
        self._etag = ""
        self._left = 0

    def open(self) -> Stored:
        """Open the file, and return its size and ETag."""
        try:
            # Given a number, FileIO would not close that of a folder, which it refuses.
            self._file = FileIO(self._source.path, opener=lambda path, _: os.open(path, _FLAGS))
            facts = os.fstat(self._file.fileno())
            check_regular(facts, self._source, "send its bytes to standard input, and copy `-`")
            stored = Stored(facts.st_size, _etag(facts), None)
            hides_bytes = not stored.size and bool(self._file.read(1))
        except OSError as error:
            raise explain(error, f"reading {self._source}") from error
        if hides_bytes:
            raise InputError(
                f"{self._source} has bytes, but a size of 0: send them to standard input, and copy `-`"
            )
        self._etag = stored.etag
        return stored

    def restrict(self, range_: ByteRange) -> None:
        """Read this range only."""
        assert self._file is not None  # noqa: S101 - it is open
        self._file.seek(range_.start)
        self._left = range_.length

    async def read(self) -> memoryview:
        if not self._left:
            return self._buffer[:0]
        return await self._engine.compute(self._read)

    def _read(self) -> memoryview:
        assert self._file is not None  # noqa: S101 - not closed before its last byte
        try:
            size = self._file.readinto(self._buffer[: self._left]) or 0
            self._left -= size
            if not (self._left and size) and _etag(os.fstat(self._file.fileno())) != self._etag:
                raise SourceChanged(f"{self._source} was written to while it was read")
        except OSError as error:
            raise explain(error, f"reading {self._source}") from error
        return self._buffer[:size]

    async def close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            with suppress(OSError):  # nothing was written
                file.close()


def _find(source: LocalFile) -> Stored:
    try:
        facts = Path(source.path).stat()
    except OSError as error:
        raise explain(error, f"reading {source}") from error
    check_regular(facts, source, "send its bytes to standard input, and copy `-`")
    return Stored(facts.st_size, _etag(facts), None, modified=int(facts.st_mtime))


def _etag(facts: os.stat_result) -> str:
    """Return a text that changes with the file's content, as an ETag does."""
    return f'"{facts.st_mtime_ns:x}-{facts.st_size:x}-{facts.st_ino:x}"'


def _list_files(folder: LocalFolder) -> Iterator[ListedObject]:
    for name, facts in walk(folder.path):
        if not is_temporary(name):
            yield ListedObject(name, facts.st_size, _etag(facts), int(facts.st_mtime))
