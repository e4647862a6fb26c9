"""A ZIP archive as a source: lists its entries, and opens and decodes each on its own."""

from base64 import b64encode
from collections.abc import Awaitable, Callable
from functools import partial
from itertools import chain, starmap
from typing import Any

from asyncstream.archives.decoding import Decoder, decoder_bytes, decoder_for
from asyncstream.archives.gzip_wrapping import gzip_maker, gzip_size
from asyncstream.archives.zip_directory import SMALLEST_ROW, TAIL, find_directory
from asyncstream.archives.zip_entries import Entry
from asyncstream.archives.zip_listing import Listing, Recent
from asyncstream.archives.zip_scan import Area, Scan, too_large
from asyncstream.archives.zip_stream import EntryStream
from asyncstream.archives.zip_windows import Windows, read_whole
from asyncstream.checksum import Checksum
from asyncstream.errors import (
    ConfigError,
    CorruptInput,
    InputError,
    NotModified,
    OutputTooLarge,
    S3Error,
    SourceChanged,
    TruncatedBody,
)
from asyncstream.locations.archives import ArchiveFile, ZipEntries, ZipEntry
from asyncstream.objects import ByteRange, ListedObject, Stored
from asyncstream.ports import ByteStream, Engine, Opened, Share, Source
from asyncstream.transforms.running import RATIO_COUNTS_FROM
from asyncstream.units import KiB, MiB

# Rows of the directory that are kept and unpacked together.
_BLOCK = 1_000
# Bytes of the directory that are scanned at once, outside of the event loop.
_SCANNED = 1 * MiB
_GZIP = {"ContentType": "application/gzip"}
# Bytes of a decoder of deflated data, and of its pieces that were not read yet.
_DECODER_BYTES = 1408 * KiB
# Bytes that a decoder may hold before `allow` is called: packs read the first lines of their members.
_PLANNING_MEMORY = 16 * MiB
# The least bytes of memory for an entry while it is planned: 16 for the hash of its name, and its compressed
# row. *Measured*: 17 for numbered names of 20 bytes, 40 for random ones of 36.
_BYTES_OF_ENTRY = 24

_Read = Callable[[ByteRange], Awaitable[ByteStream]]


class ZipSource(Source[ZipEntry, ZipEntries]):
    """Reads the entries of ZIP archives. See `ports.Source`.

    Args:
        engine: decodes.
        source_of: returns the source that reads an archive.
        entry_memory: bytes of memory that the directory of an archive may take.
        max_output: the most bytes of an entry's content; None for no limit.
        max_ratio: the most bytes that each byte of an entry's data may become, from 64 MiB on; None for no
            limit.
    """

    def __init__(
        self,
        engine: Engine,
        source_of: Callable[[ArchiveFile], Source[Any, Any]],
        entry_memory: float,
        *,
        max_output: int | None = None,
        max_ratio: float | None = None,
    ) -> None:
        self._engine = engine
        self._max_output, self._max_ratio = max_output, max_ratio
        self._source_of = source_of
        self._entry_memory = entry_memory
        self._recent = Recent[Any]()
        self._listings: dict[ZipEntries, Listing] = {}
        self._by_name: dict[ArchiveFile, Listing] = {}
        self._windows: dict[ArchiveFile, Windows] = {}
        self._links: dict[str, int] = {}
        self._decoder_memory: int = _PLANNING_MEMORY

    @property
    def slot_bytes(self) -> int:
        """Bytes of memory that one part in flight costs, beside those of the archive's own source."""
        return _DECODER_BYTES + Windows.BYTES

    @property
    def downgrades(self) -> list[str]:
        """What was left out of archives, as sentences."""
        return [
            f"{uri} has {count:,} symbolic links or special files, which were left out"
            for uri, count in self._links.items()
        ]

    @property
    def decoder_bytes(self) -> int:
        """See `ports.Archives`."""
        listings = chain(self._listings.values(), self._by_name.values())
        largest = chain.from_iterable(listing.found.largest.items() for listing in listings)
        return max(starmap(decoder_bytes, largest), default=0)

    def allow(self, memory: int) -> None:
        """See `ports.Archives`."""
        self._decoder_memory = memory

    async def prepare(self, source: ZipEntry) -> None:
        """See `ports.Archives`."""
        await self._open_by_name(source.archive)

    async def list_all(self, folder: ZipEntries) -> Listing:
        """Return the files of an archive, in an order that spreads neighbours over slots.

        Raises:
            CorruptInput: it is not a ZIP archive, or damaged. The message names it.
            InputError: two entries have the same name.
            SourceChanged: the archive was overwritten since its slice was made.
        """
        listing = await self._read_directory(folder)
        self._listings[folder] = listing
        if listing.found.links:
            self._links[folder.archive.uri] = listing.found.links
        return listing

    async def list_page(self, prefix: ZipEntries, token: str | None) -> tuple[list[ListedObject], str | None]:
        """Return up to 1,000 files of an archive, which can then be opened by their names; see `list_all`."""
        if token is None:
            self._listings[prefix] = await self._read_directory(prefix, by_name=True)
        listing = self._listings[prefix]
        start = int(token or 0)
        stop = min(start + _BLOCK, len(listing))
        page = await self._engine.compute(lambda: listing[start:stop])
        return page, str(stop) if stop < len(listing) else None

    async def cut(self, folder: ZipEntries, size: int) -> list[Share]:
        """Return slices of the directory, of `size` rows each; see `list_all`."""
        listing = await self._read_directory(folder, size)
        return await self._engine.compute(listing.shares)

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
            OutputTooLarge: the directory promises more content than the limits allow.
        """
        archive_etag, entry = self._listed(source) or await self._find(source)
        # A later transfer finds a gzip file by its version only.
        version = f"{archive_etag}/{entry.crc32:08x}.gz" if source.as_gzip else archive_etag
        if etag and etag not in {archive_etag, version}:
            raise SourceChanged(f"{source.archive} was overwritten")
        if entry.refused is not None:
            raise InputError(f"{source}: {entry.refused}")
        if source.as_gzip and if_none_match == version:
            raise NotModified(f"{source} has not changed")
        try:
            length, decoder = self._decoder(source, entry)
        except (InputError, ConfigError) as error:
            raise InputError(f"{source}: {error}") from error
        windows = self._windows.setdefault(source.archive, Windows())
        body = await windows.open(entry, self._read_range(source.archive, archive_etag))
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

    async def head(self, source: ZipEntry, etag: str | None) -> Stored:
        """Return the size of an entry, and its CRC32; see `open`."""
        archive_etag, entry = self._listed(source) or await self._find(source)
        length, _ = self._decoder(source, entry)
        return Stored(length, archive_etag, None if source.as_gzip else _checksum(entry))

    def _decoder(self, source: ZipEntry, entry: Entry) -> tuple[int, Decoder]:
        """Return the bytes that an entry becomes, and what makes them.

        Raises:
            InputError: the method is not supported.
            ConfigError: its library is not installed.
            OutputTooLarge: the directory promises more content than the limits allow.
        """
        if not source.as_gzip:
            self._check_size(source, entry)
            return entry.size, decoder_for(entry.method, entry.size, self._decoder_memory)
        length = gzip_size(entry.method, entry.compressed_size)
        return length, gzip_maker(entry.method, entry.size, entry.crc32)

    def _check_size(self, source: ZipEntry, entry: Entry) -> None:
        ratio = self._max_ratio
        if self._max_output is not None and entry.size > self._max_output:
            limit = f"the {self._max_output} that max_output allows"
        elif ratio is not None and entry.size > max(RATIO_COUNTS_FROM, ratio * entry.compressed_size):
            limit = f"the {ratio:g} times that max_ratio allows"
        else:
            return
        raise OutputTooLarge(
            f"{source}: its {entry.compressed_size} bytes become {entry.size}, more than {limit}: raise that "
            "setting if you trust the archive"
        )

    def _listed(self, source: ZipEntry) -> tuple[str, Entry] | None:
        """Return the archive's ETag and the entry, if a listing has found it."""
        if source.row is None:
            return None
        for asked, listing in self._listings.items():
            if asked.archive == source.archive:
                entry = listing.entry(source.row)
                if entry is not None and entry.key == source.name:
                    return listing.etag, entry
        return None

    async def _find(self, source: ZipEntry) -> tuple[str, Entry]:
        """Return the archive's ETag and the entry of a name.

        Raises:
            InputError: no entry or several have this name.
        """
        for asked, listing in self._listings.items():
            if asked.archive == source.archive and listing.named(source.name):
                break
        else:
            listing = await self._open_by_name(source.archive)
        found = await self._engine.compute(partial(listing.named, source.name))
        if not found:
            raise InputError(f"{source}: the archive has no such entry")
        if len(found) > 1:
            raise InputError(f"{source}: two entries have this name")
        return listing.etag, found[0]

    async def _open_by_name(self, archive: ArchiveFile) -> Listing:
        listing = self._by_name.get(archive)
        if listing is None:
            listing = await self._read_directory(ZipEntries(archive), by_name=True)
            self._by_name[archive] = listing
        return listing

    def _read_range(self, archive: ArchiveFile, etag: str) -> _Read:
        async def read(range_: ByteRange) -> ByteStream:
            opened = await self._source_of(archive).open(archive, range_, etag)
            stream: ByteStream = opened.stream
            return stream

        return read

    async def _read_directory(self, asked: ZipEntries, block: int = _BLOCK, by_name: bool = False) -> Listing:
        try:
            if asked.slice is not None:
                etag, area, tail = asked.slice.etag, Area.of(asked.slice), b""
            else:
                etag, area, tail = await self._find_directory(asked.archive)
            if (area.stop - area.start) // SMALLEST_ROW < area.count:
                raise CorruptInput(f"its directory cannot have {area.count} entries: it is damaged")
            if area.count * _BYTES_OF_ENTRY > self._entry_memory:
                raise InputError(too_large(area))
            scan = Scan(asked, area, block, self._entry_memory, by_name=by_name)
            if tail:
                await self._engine.compute(partial(scan.feed, tail))
            else:
                await self._scan(scan, area, self._read_range(asked.archive, etag))
            found = await self._engine.compute(scan.finish)
        except (CorruptInput, InputError) as error:
            raise type(error)(f"{asked.archive}: {error}") from error
        return Listing(asked, etag, found, self._recent)

    async def _find_directory(self, archive: ArchiveFile) -> tuple[str, Area, bytes]:
        """Return the archive's ETag, where its directory is, and the directory if it is short."""
        source = self._source_of(archive)
        try:
            first = await source.open(archive, ByteRange(0, 1), None)
        except S3Error as error:
            if error.status != 416:
                raise
            raise CorruptInput("it is not a ZIP archive: it is empty") from error
        await first.stream.close()
        if first.size is None or not first.in_ranges:
            raise InputError("it cannot be read in ranges: copy the archive to S3 or a file first")
        tail_range = ByteRange(max(0, first.size - TAIL), first.size)
        read = self._read_range(archive, first.etag)
        tail = bytes(await read_whole(await read(tail_range), tail_range.length))
        directory = find_directory(tail, first.size)
        start, stop = directory.range
        if start < tail_range.start:
            return first.etag, Area.of(directory), b""
        return first.etag, Area.of(directory), tail[start - tail_range.start : stop - tail_range.start]

    async def _scan(self, scan: Scan, area: Area, read: _Read) -> None:
        """Read a directory and scan it as it arrives."""
        left = area.stop - area.start
        if not left:
            return
        stream = await read(ByteRange(area.start, area.stop))
        gathered = bytearray()
        try:
            while left and (chunk := await stream.read()):
                gathered += chunk
                left -= len(chunk)
                if len(gathered) >= _SCANNED or not left:
                    await self._engine.compute(partial(scan.feed, gathered))
                    gathered = bytearray()
        finally:
            await stream.close()
        if left:
            raise TruncatedBody(f"the archive ended {left} bytes before its directory")


def _checksum(entry: Entry) -> Checksum:
    return Checksum("CRC32", b64encode(entry.crc32.to_bytes(4, "big")).decode())
