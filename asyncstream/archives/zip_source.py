"""A ZIP archive as a source: lists its entries, and opens and decodes each on its own."""

from base64 import b64encode
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from asyncstream.archives.decoding import decoder_for
from asyncstream.archives.zip_directory import SMALLEST_ROW, TAIL, find_directory
from asyncstream.archives.zip_entries import Entry
from asyncstream.archives.zip_listing import Listing, Recent
from asyncstream.archives.zip_scan import Area, Scan, too_large
from asyncstream.archives.zip_stream import EntryStream
from asyncstream.archives.zip_windows import Windows, read_whole
from asyncstream.checksum import Checksum
from asyncstream.errors import CorruptInput, InputError, OutputTooLarge, S3Error, SourceChanged, TruncatedBody
from asyncstream.locations.archives import ArchiveFile, ZipEntries, ZipEntry
from asyncstream.objects import ByteRange
from asyncstream.ports import ByteStream, Engine, Opened, Source
from asyncstream.transforms.running import RATIO_COUNTS_FROM
from asyncstream.units import KiB, MiB

# Rows of the directory that are kept and unpacked together.
_BLOCK = 1_000
# Bytes of the directory that are scanned at once, outside of the event loop.
_SCANNED = 1 * MiB
# Bytes of a decoder, and of its pieces that were not read yet.
_DECODER_BYTES = 640 * KiB
# The least bytes of memory for an entry: its row, compressed, and the hash of its name. *Measured*: 34 for
# names of 20 bytes.
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

    async def cut(self, folder: ZipEntries, size: int) -> list[ZipEntries]:
        """Return slices of the directory, of `size` rows each; see `list_all`."""
        listing = await self._read_directory(folder, size)
        return await self._engine.compute(listing.slices)

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
        if etag and etag != archive_etag:
            raise SourceChanged(f"{source.archive} was overwritten")
        if entry.refused is not None:
            raise InputError(f"{source}: {entry.refused}")
        self._check_size(source, entry)
        try:
            decoder = decoder_for(entry.method)
        except InputError as error:
            raise InputError(f"{source}: {error}") from None
        windows = self._windows.setdefault(source.archive, Windows())
        body = await windows.open(entry, self._read_range(source.archive, archive_etag))
        stream = EntryStream(self._engine, source, entry, body, decoder, skip=range_.start if range_ else 0)
        checksum = Checksum("CRC32", b64encode(entry.crc32.to_bytes(4, "big")).decode())
        return Opened(
            entry.size,
            archive_etag,
            ByteRange(0, entry.size) if range_ is None else range_,
            {},
            stream,
            checksum=checksum,
            in_ranges=False,
        )

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
        listing = self._by_name.get(source.archive)
        if listing is None:
            listing = await self._read_directory(ZipEntries(source.archive), by_name=True)
            self._by_name[source.archive] = listing
        found = await self._engine.compute(partial(listing.named, source.name))
        if not found:
            raise InputError(f"{source}: the archive has no such entry")
        if len(found) > 1:
            raise InputError(f"{source}: two entries have this name")
        return listing.etag, found[0]

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
