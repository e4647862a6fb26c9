"""A ZIP archive as a source: lists its entries, and opens and decodes each on its own."""

from base64 import b64encode
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from asyncstream.archives.decoding import Decoder, decoder_bytes, decoder_for
from asyncstream.archives.gzip_wrapping import gzip_maker, gzip_size
from asyncstream.archives.zip_directory import (
    SMALLEST_ROW,
    TAIL,
    Directory,
    find_directory,
    read_rows,
)
from asyncstream.archives.zip_entries import Entry, Index
from asyncstream.archives.zip_stream import EntryStream
from asyncstream.archives.zip_windows import Windows, read_whole
from asyncstream.checksum import Checksum
from asyncstream.errors import ConfigError, CorruptInput, InputError, NotModified, S3Error
from asyncstream.locations.archives import ArchiveFile, ZipEntries, ZipEntry
from asyncstream.objects import ByteRange, ListedObject
from asyncstream.ports import ByteStream, Engine, Opened, Source
from asyncstream.units import KiB, MiB

# Entries per page of a listing: as many as S3 returns.
_PAGE_SIZE = 1_000
_GZIP = {"ContentType": "application/gzip"}
# Bytes of a decoder of deflated data, and of its pieces that were not read yet.
_DECODER_BYTES = 1408 * KiB
# Bytes that a decoder may hold before `allow` is called: packs read the first lines of their members.
_PLANNING_MEMORY = 16 * MiB
# *Measured*: 0.73 KB for names of 17 bytes.
_BYTES_OF_ENTRY = 1_000


class _Archive:
    """An archive that was opened: its version, and its entries."""

    def __init__(self, etag: str, index: Index) -> None:
        self.etag = etag
        self.index = index
        self.windows = Windows(index.entries.values())
        self.decoder_bytes = max(
            (decoder_bytes(entry.method, entry.size) for entry in index.entries.values()), default=0
        )


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
        self._decoder_memory: int = _PLANNING_MEMORY

    @property
    def slot_bytes(self) -> int:
        """Bytes of memory that one part in flight costs, beside those of the archive's own source."""
        return _DECODER_BYTES + Windows.BYTES

    @property
    def decoder_bytes(self) -> int:
        """See `ports.Archives`."""
        return max((archive.decoder_bytes for archive in self._opened.values()), default=0)

    def allow(self, memory: int) -> None:
        """See `ports.Archives`."""
        self._decoder_memory = memory

    async def prepare(self, source: ZipEntry) -> None:
        """See `ports.Archives`."""
        await self._open_archive(source.archive)

    @property
    def downgrades(self) -> list[str]:
        """What was left out of archives, as sentences."""
        return [
            f"{uri} has {count:,} symbolic links or special files, which were left out"
            for uri, count in self._links.items()
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
        page = [_listed(prefix, name, entries[name], archive.etag) for name in names]
        return page, f"{len(unlisted)} left" if unlisted else None

    async def open(
        self, source: ZipEntry, range_: ByteRange | None, etag: str | None, if_none_match: str | None = None
    ) -> Opened:
        """Open an entry, whose content is read in order.

        Raises:
            CorruptInput: the archive is not a ZIP archive, or damaged.
            InputError: there is no such entry, or it cannot be read.
            SourceChanged: the archive was overwritten.
        """
        archive = await self._open_archive(source.archive)
        entry = archive.index.entries.get(source.name)
        if entry is None:
            raise InputError(f"{source}: the archive has no such entry")
        if entry.refused is not None:
            raise InputError(f"{source}: {entry.refused}")
        version = _version(source, entry, archive.etag)
        if source.as_gzip and if_none_match == version:
            raise NotModified(f"{source} has not changed")
        try:
            length, decoder = self._decoder(source, entry)
        except (InputError, ConfigError) as error:
            raise InputError(f"{source}: {error}") from error
        body = await archive.windows.open(entry, self._read_range(source.archive, archive.etag))
        skip = range_.start if range_ else 0
        stream = EntryStream(self._engine, source, entry, body, decoder, length=length, skip=skip)
        return Opened(
            length,
            version,
            ByteRange(0, length) if range_ is None else range_,
            _GZIP if source.as_gzip else {},
            stream,
            checksum=None if source.as_gzip else _checksum(entry),
            in_ranges=False,
        )

    def _decoder(self, source: ZipEntry, entry: Entry) -> tuple[int, Decoder]:
        """Return the bytes that an entry becomes, and what makes them.

        Raises:
            InputError: the method is not supported.
            ConfigError: its library is not installed.
        """
        if not source.as_gzip:
            return entry.size, decoder_for(entry.method, entry.size, self._decoder_memory)
        length = gzip_size(entry.method, entry.compressed_size)
        return length, gzip_maker(entry.method, entry.size, entry.crc32)

    async def _open_archive(self, place: ArchiveFile) -> _Archive:
        archive = self._opened.get(place)
        if archive is None:
            archive = await self._read_directory(ZipEntries(place))
            self._opened[place] = archive
        return archive

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


def _listed(prefix: ZipEntries, name: str, entry: Entry, etag: str) -> ListedObject:
    """Return an entry with the bytes that it becomes; those of its content if no gzip file can be made."""
    size = entry.size
    if prefix.as_gzip:
        with suppress(InputError):
            size = gzip_size(entry.method, entry.compressed_size)
    return ListedObject(name, size, _version(prefix, entry, etag))


def _version(source: ZipEntry | ZipEntries, entry: Entry, etag: str) -> str:
    """Return the version of what an entry becomes. A later transfer finds a gzip file by nothing else."""
    return f"{etag}/{entry.crc32:08x}.gz" if source.as_gzip else etag


def _checksum(entry: Entry) -> Checksum:
    return Checksum("CRC32", b64encode(entry.crc32.to_bytes(4, "big")).decode())
