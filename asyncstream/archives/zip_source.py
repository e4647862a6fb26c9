"""A ZIP archive as a source: lists its entries, and opens and decodes each on its own."""

import struct
from base64 import b64encode
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from asyncstream.archives.decoding import Decoder, decoder_for
from asyncstream.archives.zip_directory import (
    SMALLEST_ROW,
    TAIL,
    Directory,
    find_directory,
    read_rows,
)
from asyncstream.archives.zip_entries import LOCAL_HEADER, Entry, Index
from asyncstream.archives.zip_windows import Windows, read_whole
from asyncstream.checksum import Checksum
from asyncstream.errors import (
    AsyncstreamError,
    CorruptInput,
    DamagedInput,
    InputError,
    NothingYet,
    S3Error,
    TruncatedBody,
)
from asyncstream.locations.archives import ArchiveFile, ZipEntries, ZipEntry
from asyncstream.objects import ByteRange, ListedObject
from asyncstream.ports import ByteStream, Engine, Opened, Source
from asyncstream.units import KiB

_LOCAL_SIGNATURE = b"PK\x03\x04"
# The most bytes after an entry's data that `close` reads to keep the connection.
_DRAIN_LIMIT = 64 * KiB
# Entries per page of a listing: as many as S3 returns.
_PAGE_SIZE = 1_000
# Bytes of a decoder, and of its pieces that were not read yet.
_DECODER_BYTES = 640 * KiB
# *Measured*: 0.73 KB for names of 17 bytes.
_BYTES_OF_ENTRY = 1_000


class _Archive:
    """An archive that was opened: its version, and its entries."""

    def __init__(self, etag: str, index: Index) -> None:
        self.etag = etag
        self.index = index
        self.windows = Windows(index.entries.values())


class ZipSource(Source[ZipEntry, ZipEntries]):
    """Reads the entries of ZIP archives. See `ports.Source`.

    Args:
        engine: decodes.
        source_of: returns the source that reads an archive.
        entry_memory: bytes of memory that the directory of an archive may take.
    """

    def __init__(
        self, engine: Engine, source_of: Callable[[ArchiveFile], Source[Any, Any]], entry_memory: float
    ) -> None:
        self._engine = engine
        self._source_of = source_of
        self._most_entries = entry_memory / _BYTES_OF_ENTRY
        self._opened: dict[ArchiveFile, _Archive] = {}
        self._unlisted: dict[ZipEntries, deque[str]] = {}
        self._links: dict[str, int] = {}

    @property
    def slot_bytes(self) -> int:
        """Bytes of memory that one part in flight costs, beside those of the archive's own source."""
        return 2 * _DECODER_BYTES + Windows.BYTES

    @property
    def downgrades(self) -> list[str]:
        """What was left out of archives, as sentences."""
        return [
            f"{uri} has {count:,} symbolic links, which were left out" for uri, count in self._links.items()
        ]

    async def list_page(self, prefix: ZipEntries, token: str | None) -> tuple[list[ListedObject], str | None]:
        """Return up to 1,000 entries of an archive, in an order that spreads neighbours over slots.

        Raises:
            CorruptInput: it is not a ZIP archive, or damaged. The message names it.
            InputError: two entries have the same name.
        """
        if token is None:
            archive = await self._read_directory(prefix)
            self._opened[prefix.archive] = archive
            entries = archive.index.entries
            self._unlisted[prefix] = deque(await self._engine.compute(lambda: archive.windows.order(entries)))
        archive, unlisted = self._opened[prefix.archive], self._unlisted[prefix]
        entries = archive.index.entries
        names = [unlisted.popleft() for _ in range(min(_PAGE_SIZE, len(unlisted)))]
        page = [ListedObject(name, entries[name].size, archive.etag) for name in names]
        return page, f"{len(unlisted)} left" if unlisted else None

    def is_in_order(self, source: ZipEntry) -> bool:
        """Return that it is: a range of an entry is decoded from the entry's start."""
        return True

    async def open(
        self, source: ZipEntry, range_: ByteRange | None, etag: str | None, if_none_match: str | None = None
    ) -> Opened:
        """Open an entry, whose content is read in order.

        Raises:
            CorruptInput: the archive is not a ZIP archive, or damaged.
            InputError: there is no such entry, or it cannot be read.
            SourceChanged: the archive was overwritten.
        """
        archive = self._opened.get(source.archive)
        if archive is None:
            archive = await self._read_directory(ZipEntries(source.archive))
            self._opened[source.archive] = archive
        entry = archive.index.entries.get(source.name)
        if entry is None:
            raise InputError(f"{source}: the archive has no such entry")
        if entry.refused is not None:
            raise InputError(f"{source}: {entry.refused}")
        try:
            decoder = decoder_for(entry.method)
        except InputError as error:
            raise InputError(f"{source}: {error}") from None
        body = await archive.windows.open(entry, self._read_range(source.archive, archive.etag))
        stream = _EntryStream(self._engine, source, entry, body, decoder, skip=range_.start if range_ else 0)
        checksum = Checksum("CRC32", b64encode(entry.crc32.to_bytes(4, "big")).decode())
        return Opened(
            entry.size,
            archive.etag,
            ByteRange(0, entry.size) if range_ is None else range_,
            {},
            stream,
            checksum=checksum,
            in_ranges=False,
        )

    def _read_range(self, archive: ArchiveFile, etag: str) -> Callable[[ByteRange], Any]:
        async def read(range_: ByteRange) -> ByteStream:
            opened = await self._source_of(archive).open(archive, range_, etag)
            stream: ByteStream = opened.stream
            return stream

        return read

    async def _read_directory(self, asked: ZipEntries) -> _Archive:
        source = self._source_of(asked.archive)
        try:
            first = await source.open(asked.archive, ByteRange(0, 1), None)
        except S3Error as error:
            if error.status != 416:
                raise
            raise CorruptInput(f"{asked.archive}: it is not a ZIP archive: it is empty") from error
        await first.stream.close()
        if first.size is None or not first.in_ranges:
            raise InputError(
                f"{asked.archive} cannot be read in ranges: copy the archive to S3 or a file first"
            )
        read = self._read_range(asked.archive, first.etag)
        tail_range = ByteRange(max(0, first.size - TAIL), first.size)
        try:
            tail = bytes(await read_whole(await read(tail_range), tail_range.length))
            directory = find_directory(tail, first.size)
            self._check_room(directory)
            where = directory.range
            if where.start >= tail_range.start:
                data = tail[where.start - tail_range.start : where.stop - tail_range.start]
            else:
                data = bytes(await read_whole(await read(where), where.length))
            # A million rows take seconds, which an event loop does not have.
            index = await self._engine.compute(lambda: Index(asked, directory, read_rows(data)))
        except (CorruptInput, InputError) as error:
            raise type(error)(f"{asked.archive}: {error}") from error
        if index.links:
            self._links[asked.archive.uri] = index.links
        return await self._engine.compute(lambda: _Archive(first.etag, index))

    def _check_room(self, directory: Directory) -> None:
        """Raise InputError if the directory may have more entries than there is memory for."""
        most = directory.range.length // SMALLEST_ROW
        if min(most, directory.entries if directory.exact else most) > self._most_entries:
            raise InputError(
                f"its directory of {directory.range.length:,} bytes needs more memory than there is. "
                "Give the function more memory"
            )


class _EntryStream:
    """The content of one entry. See `ports.ByteStream`.

    Args:
        engine: decodes.
        source: the entry, for messages.
        entry: its row in the directory.
        body: the entry's bytes in the archive, from its local header on.
        decoder: decodes its data.
        skip: bytes of content to leave out, because they were read before.
    """

    def __init__(
        self, engine: Engine, source: ZipEntry, entry: Entry, body: ByteStream, decoder: Decoder, skip: int
    ) -> None:
        self._engine = engine
        self._source = source
        self._entry = entry
        self._body = body
        self._decoder = decoder
        self._skip = skip
        self._decoded = 0
        self._header = b""
        self._data_left: int | None = None  # None: the local header is not read yet
        self._gap = 0
        self._pieces: deque[bytes | memoryview] = deque()

    async def read(self) -> bytes | memoryview:
        while not self._pieces:
            data = await self._read_data()
            if not data:
                return b""
            self._pieces.extend(await self._engine.compute(lambda data=data: self._decode(data)))  # type: ignore[misc]
        piece = self._pieces.popleft()
        unwanted = min(self._skip, len(piece))
        self._skip -= unwanted
        if unwanted == len(piece):
            raise NothingYet("all of it was read before")
        return piece[unwanted:]

    async def close(self) -> None:
        """Read up to the next entry, if that is cheaper than a new connection; then close."""
        self._pieces.clear()
        if self._data_left == 0 and self._gap <= _DRAIN_LIMIT:
            with suppress(AsyncstreamError):  # the entry is complete; only its connection is lost
                while self._gap > 0 and (chunk := await self._body.read()):
                    self._gap -= len(chunk)
        await self._body.close()

    async def _read_data(self) -> bytes | memoryview:
        """Return the next bytes of data; empty at their end.

        Raises:
            TruncatedBody: the archive ended before.
        """
        if self._data_left == 0:
            return b""
        chunk = await self._body.read()
        if not chunk:
            raise TruncatedBody(f"{self._source}: the archive ended within the entry")
        if self._data_left is None:
            self._header += bytes(chunk)
            start = self._header_length()
            if start is None:
                return await self._read_data()
            chunk, self._header = memoryview(self._header)[start:], b""
            self._data_left = self._entry.compressed_size
            self._gap = self._entry.range.length - start - self._entry.compressed_size
        data = chunk[: self._data_left]
        self._gap -= len(chunk) - len(data)
        self._data_left -= len(data)
        return data if data or not self._data_left else await self._read_data()

    def _header_length(self) -> int | None:
        """Return the bytes of the local header; None until all of it is there.

        Raises:
            DamagedInput: it contradicts the directory.
        """
        header, entry = self._header, self._entry
        if len(header) < LOCAL_HEADER:
            return None
        flags, method, name, extra = struct.unpack_from("<2xHH16x2H", header, 4)
        length = int(LOCAL_HEADER + name + extra)
        if len(header) < length:
            return None
        same = header[:4] == _LOCAL_SIGNATURE and method == entry.method and not flags & 1
        if not same or header[LOCAL_HEADER : LOCAL_HEADER + name] != entry.name:
            raise DamagedInput(f"{self._source}: its local header and the directory contradict each other")
        if length + entry.compressed_size > entry.range.length:
            raise DamagedInput(f"{self._source}: it overlaps the next entry")
        return length

    def _decode(self, data: bytes | memoryview) -> Sequence[bytes | memoryview]:
        """Return the content of these data.

        Raises:
            DamagedInput: they are damaged, or the content is not as long as the directory says.
        """
        made: list[bytes | memoryview] = []
        try:
            for piece in self._decoder.decode(data):
                self._decoded += len(piece)
                if self._decoded > self._entry.size:
                    raise DamagedInput(
                        f"it becomes more than the {self._entry.size} bytes that its directory says"
                    )
                made.append(piece)
        except DamagedInput as error:
            raise DamagedInput(f"{self._source}: {error}") from error
        if not self._data_left and self._decoded < self._entry.size:
            raise DamagedInput(
                f"{self._source}: it ended after {self._decoded} of {self._entry.size} bytes: it is damaged"
            )
        return made
