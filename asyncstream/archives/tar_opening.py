"""Open tar archives: tell the format by the first bytes, and find the files by their headers."""

from collections.abc import Callable
from typing import Any, NamedTuple

from asyncstream.archives.tar_index import TarFile, TarIndex
from asyncstream.archives.tar_streams import ArchiveReader, DecodedStream, Read, find_decoder
from asyncstream.archives.zip_windows import Windows, read_whole
from asyncstream.errors import (
    AsyncstreamError,
    CorruptInput,
    InputError,
    MemoryNeeded,
    S3Error,
    TransformError,
)
from asyncstream.locations import ArchiveFile, TarEntries
from asyncstream.objects import ByteRange
from asyncstream.ports import ByteStream, Engine, Source
from asyncstream.retry import Retrying
from asyncstream.transforms.protocol import Factory
from asyncstream.transforms.running import Running, held_by
from asyncstream.units import KiB, MiB

# An uncompressed archive is read for its headers by ranges. If the next header is near the end of one, the
# next range is twice as long, within these bounds; after a jump over a large file, it has the least.
_LEAST_READ, _MOST_READ = 16 * KiB, 16 * MiB
# Bytes between two headers that are read through, because another request takes longer.
_NEAR = MiB


class TarLimits(NamedTuple):
    """What reading archives may take.

    Attributes:
        entry_memory: bytes of memory that the list of an archive's files may take.
        memory: bytes of memory for all parts in flight. A decoder may have what is left of them.
        max_output: the most bytes that a compressed archive may become; None for no limit.
        max_ratio: the most bytes that each of its bytes may become; None for no limit.
    """

    entry_memory: float
    memory: int
    max_output: int | None
    max_ratio: float | None


class TarArchive:
    """An archive that was opened.

    Attributes:
        etag: the version read.
        size: its bytes.
        index: its files.
        decoder: decodes it; None if it is not compressed.
        memory: bytes that the decoder may hold.
        windows: reads small neighbours at once; None for a compressed archive.
    """

    def __init__(self, etag: str, size: int, index: TarIndex, decoder: Factory | None, memory: int) -> None:
        self.etag = etag
        self.size = size
        self.index = index
        self.decoder = decoder
        self.memory = memory
        self.windows = Windows() if decoder is None else None

    def etag_of(self, file: TarFile) -> str:
        """Return the version of one file: that of the archive, and the file's place in it."""
        return f"{self.etag}@{file.range.start}"


class TarOpener:
    """Opens archives, and reads and decodes their bytes.

    Args:
        engine: decodes.
        source_of: returns the source that reads an archive.
        retrying: limits tries and waits.
        limits: of memory, and of what archives become.
    """

    def __init__(
        self,
        engine: Engine,
        source_of: Callable[[ArchiveFile], Source[Any, Any]],
        retrying: Retrying,
        limits: TarLimits,
    ) -> None:
        self._engine = engine
        self._source_of = source_of
        self._retrying = retrying
        self._limits = limits

    async def open(self, entries: TarEntries, reserved: int) -> TarArchive:
        """Find the files of an archive.

        Args:
            entries: the archive, and which files.
            reserved: bytes of memory of a part in flight, without a decoder's.

        Raises:
            CorruptInput: it is not a tar archive, or damaged.
            InputError: it cannot be read in ranges, or has more files than there is memory for.
            OutputTooLarge, MemoryNeeded: it takes more than the limits allow.
        """
        place = entries.archive
        try:
            opened = await self._source_of(place).open(place, ByteRange(0, _LEAST_READ), None)
        except S3Error as error:
            if error.status != 416:
                raise
            raise CorruptInput(f"{place}: it is not a tar archive: it is empty") from error
        etag, size = opened.etag, opened.size
        if size is None or not opened.in_ranges:
            await opened.stream.close()
            raise InputError(f"{place} cannot be read in ranges: copy the archive to S3 or a file first")
        try:
            head = bytes(await read_whole(opened.stream, min(size, _LEAST_READ)))
            decoder = find_decoder(head)
            if decoder is None:
                index = await self._walk(entries, etag, size, head)
                await self._engine.compute(index.share_windows)
                return TarArchive(etag, size, index, None, 0)
            return await self._decode_headers(entries, etag, size, decoder, reserved)
        except (TransformError, InputError) as error:
            raise of_archive(error, place) from error

    def decode(self, place: ArchiveFile, archive: TarArchive) -> DecodedStream:
        """Return what a compressed archive becomes, from its first byte on."""
        limits, decoder = self._limits, archive.decoder
        assert decoder is not None  # noqa: S101 - asked only of compressed archives
        reader = ArchiveReader(
            self.read_range(place, archive.etag), ByteRange(0, archive.size), self._retrying
        )
        running = Running(
            decoder,
            max_output=limits.max_output,
            max_ratio=limits.max_ratio,
            between=self._retrying.deadline.check,
            memory=archive.memory,
        )
        return DecodedStream(self._engine, reader, running)

    def read_range(self, place: ArchiveFile, etag: str) -> Read:
        """Return a function that opens a range of this version of an archive."""

        async def read(range_: ByteRange) -> ByteStream:
            opened = await self._source_of(place).open(place, range_, etag)
            stream: ByteStream = opened.stream
            return stream

        return read

    async def _walk(self, entries: TarEntries, etag: str, size: int, head: bytes) -> TarIndex:
        """Read the headers of an uncompressed archive, and jump over the content of large files."""
        index = TarIndex(entries.select, self._limits.entry_memory)
        index.feed(0, head)
        read = self.read_range(entries.archive, etag)
        position, length = len(head), _LEAST_READ
        while not index.headers.ended and index.headers.wanted < size:
            start = index.headers.wanted
            length = min(2 * length, _MOST_READ) if start <= position + _NEAR else _LEAST_READ
            reader = ArchiveReader(read, ByteRange(start, min(start + length, size)), self._retrying)
            try:
                position = await self._walk_range(index, reader)
            finally:
                await reader.close()
        index.headers.finish(size)
        return index

    async def _walk_range(self, index: TarIndex, reader: ArchiveReader) -> int:
        """Read the headers in a range, or until the next one is far, and return the position reached."""
        headers = index.headers
        while not headers.ended and headers.wanted <= reader.position + _NEAR:
            at = reader.position
            chunk = await reader.read()
            if not chunk:
                break
            if headers.wanted < reader.position:
                await self._engine.compute(lambda at=at, chunk=chunk: index.feed(at, chunk))  # type: ignore[misc]
        return reader.position

    async def _decode_headers(
        self, entries: TarEntries, etag: str, size: int, decoder: Factory, reserved: int
    ) -> TarArchive:
        """Decode an archive for its headers.

        It starts again if its decoder needs more memory, and once if it is damaged: the network may have done
        that.
        """
        usual = await self._engine.compute(lambda: held_by(decoder).usual)
        memory, most = usual, max(usual, self._limits.memory - reserved)
        damaged = False
        while True:
            index = TarIndex(entries.select, self._limits.entry_memory, digest=True)
            archive = TarArchive(etag, size, index, decoder, memory)
            decoded = self.decode(entries.archive, archive)
            try:
                made = await decoded.walk(index.feed)
                index.headers.finish(made)
            except MemoryNeeded as error:
                if memory >= most:
                    raise
                # At least twice as much: an archive of many frames may need more with each of them.
                memory = min(max(error.needs, 2 * memory), most)
            except CorruptInput:
                if damaged:
                    raise
                damaged = True
            else:
                return archive
            finally:
                await decoded.close()


def of_archive(error: AsyncstreamError, place: ArchiveFile) -> AsyncstreamError:
    """Return an error whose message names the archive."""
    return type(error)(f"{place}: {error}")
