"""A tar archive as a source: a file is a range of it; those of a compressed one are read in their order."""

from collections import deque
from collections.abc import Callable
from typing import Any

from asyncstream.archives.tar_index import TarFile
from asyncstream.archives.tar_opening import TarArchive, TarOpener, of_archive
from asyncstream.archives.tar_streams import DecodedStream
from asyncstream.archives.zip_windows import Windows
from asyncstream.errors import InputError, NotModified, SourceChanged, TransformError, TruncatedBody
from asyncstream.locations import ArchiveFile, TarEntries, TarEntry
from asyncstream.objects import ByteRange, ListedObject
from asyncstream.ports import ByteStream, Engine, Opened, Source
from asyncstream.transforms.protocol import PIECE
from asyncstream.units import MiB

# Files per page of a listing: as many as S3 returns.
_PAGE_SIZE = 1_000
# Bytes of the largest file of a compressed archive that is kept while it is sent, so that a second try does
# not decode the archive from its first byte.
_LARGEST_KEPT = MiB


class TarSource(Source[TarEntry, TarEntries]):
    """Reads the files of tar archives. See `ports.Source`.

    A compressed archive is decoded twice: for the headers, so that a damaged or hostile one is refused before
    anything is written, and for the files, in their order.

    Args:
        engine: decodes.
        source_of: returns the source that reads an archive.
        opener: finds the files of archives.
    """

    def __init__(
        self, engine: Engine, source_of: Callable[[ArchiveFile], Source[Any, Any]], opener: TarOpener
    ) -> None:
        self._engine = engine
        self._source_of = source_of
        self._opener = opener
        self._opened: dict[ArchiveFile, dict[str, TarArchive]] = {}  # by place and selection
        self._unlisted: dict[TarEntries, deque[str]] = {}
        # The decoder that continues where the last file ended, and that file's content if it is small.
        self._waiting: tuple[TarArchive, DecodedStream] | None = None
        self._kept: tuple[TarFile, bytes] | None = None

    @property
    def slot_bytes(self) -> int:
        """Bytes of memory that one part in flight costs."""
        decoders = (archive.memory for opened in self._opened.values() for archive in opened.values())
        return max(map(self._bytes_beside, self._opened), default=0) + max(decoders, default=0)

    @property
    def downgrades(self) -> list[str]:
        """What was left out of archives, as sentences."""
        return [
            f"{place.uri} {what}"
            for place, opened in self._opened.items()
            for archive in opened.values()
            for what in archive.index.left_out()
        ]

    async def list_page(self, prefix: TarEntries, token: str | None) -> tuple[list[ListedObject], str | None]:
        """Return up to 1,000 files of an archive, in the order in which they are best read.

        Raises:
            CorruptInput: it is not a tar archive, or damaged. The message names it.
            OutputTooLarge: it becomes more than `max_output` or `max_ratio` allow.
        """
        archive = await self._open_archive(prefix)
        files = archive.index.files
        if token is None:
            self._unlisted[prefix] = deque(files)
        unlisted = self._unlisted[prefix]
        page: list[ListedObject] = []
        while unlisted and len(page) < _PAGE_SIZE:
            name = unlisted.popleft()
            page.append(ListedObject(name, files[name].size, archive.etag_of(files[name])))
        return page, f"{len(unlisted)} left" if unlisted else None

    async def needs_order(self, place: TarEntry | TarEntries) -> bool:
        """Whether the archive is compressed: then its files are read one after the other."""
        select = place.select if isinstance(place, TarEntries) else "*"
        return (await self._open_archive(TarEntries(place.archive, select))).decoder is not None

    async def open(
        self, source: TarEntry, range_: ByteRange | None, etag: str | None, if_none_match: str | None = None
    ) -> Opened:
        """Open a file: a range of it, or, in a compressed archive, from the range's start to the file's end.

        Raises:
            CorruptInput: the archive is not a tar archive, or damaged.
            InputError: there is no such file, or it cannot be read.
            NotModified: the file's ETag is `if_none_match`.
            SourceChanged: the archive was overwritten.
        """
        opened = self._opened.get(source.archive, {}).values()
        archive = next((each for each in opened if source.name in each.index.files), None)
        if archive is None:
            archive = await self._open_archive(TarEntries(source.archive))
        file = archive.index.files.get(source.name)
        if file is None:
            raise InputError(f"{source}: the archive has no such file")
        if file.refused is not None:
            raise InputError(f"{source}: {file.refused}")
        own = archive.etag_of(file)
        if own == if_none_match:
            raise NotModified(f"{source} has not changed")
        if etag is not None and etag != own:
            raise SourceChanged(f"{source.archive} was overwritten: {source.name!r} was {etag}, now {own}")
        wanted = ByteRange(0, file.size) if range_ is None else range_
        if archive.decoder is not None:
            wanted = ByteRange(wanted.start, file.size)
            try:
                stream = await self._open_in_order(source, archive, file, wanted.start)
            except TransformError as error:
                raise of_archive(error, source.archive) from error
        else:
            stream = await self._open_range(source.archive, archive, file, wanted)
        in_ranges = archive.decoder is None
        return Opened(file.size, own, wanted, {}, stream, checksum=file.checksum, in_ranges=in_ranges)

    async def _open_archive(self, entries: TarEntries) -> TarArchive:
        opened = self._opened.get(entries.archive, {}).get(entries.select)
        if opened is None:
            opened = await self._opener.open(entries, self._bytes_beside(entries.archive))
            self._opened.setdefault(entries.archive, {})[entries.select] = opened
        return opened

    def _bytes_beside(self, place: ArchiveFile) -> int:
        """Return the bytes of a part in flight beside a decoder: a window or a file, pieces, a reader's."""
        own = max(Windows.BYTES, _LARGEST_KEPT) + PIECE + self._engine.computes_at_once
        return own + self._source_of(place).slot_bytes

    async def close(self) -> None:
        """Close the decoder that waits for the next file."""
        self._kept = None
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            await waiting[1].close()

    async def _open_range(
        self, place: ArchiveFile, archive: TarArchive, file: TarFile, wanted: ByteRange
    ) -> ByteStream:
        if not wanted.length:
            return _Content(b"")
        read = self._opener.read_range(place, archive.etag)
        if wanted.length == file.size and archive.windows is not None:
            return await archive.windows.open(file, read)
        return await read(ByteRange(file.range.start + wanted.start, file.range.start + wanted.stop))

    async def _open_in_order(
        self, source: TarEntry, archive: TarArchive, file: TarFile, skip: int
    ) -> ByteStream:
        if self._kept is not None and self._kept[0] is file:
            return _Content(self._kept[1][skip:])
        self._kept = None
        decoded = await self._continue(source.archive, archive, file.range.start + skip)
        try:
            await decoded.skip_to(file.range.start + skip)
            if skip or file.size > _LARGEST_KEPT:
                return _Passing(self, source, archive, decoded, file.range.stop)
            content = await decoded.take(file.size)
        except BaseException:
            await decoded.close()
            raise
        await self.give_back(archive, decoded)
        self._kept = file, content
        return _Content(content)

    async def _continue(self, place: ArchiveFile, archive: TarArchive, position: int) -> DecodedStream:
        """Return the decoder that waits, if the position is not behind it, else one from the first byte."""
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            if waiting[0] is archive and waiting[1].position <= position:
                return waiting[1]
            await waiting[1].close()
        return self._opener.decode(place, archive)

    async def give_back(self, archive: TarArchive, decoded: DecodedStream) -> None:
        """Keep a decoder for the next file, in the place of another one."""
        waiting, self._waiting = self._waiting, (archive, decoded)
        if waiting is not None:
            await waiting[1].close()


class _Content:
    """Bytes in memory. See `ports.ByteStream`."""

    def __init__(self, content: bytes) -> None:
        self._content = memoryview(content)

    async def read(self) -> memoryview:
        piece, self._content = self._content[:PIECE], self._content[PIECE:]
        return piece

    async def close(self) -> None:
        self._content = self._content[:0]


class _Passing:
    """One file of a compressed archive on its way. See `ports.ByteStream`.

    Args:
        owner: gets the decoder back.
        source: the file, for messages.
        archive: its archive.
        decoded: what the archive becomes, from the file's first byte on.
        stop: the position of its end.
    """

    def __init__(
        self, owner: TarSource, source: TarEntry, archive: TarArchive, decoded: DecodedStream, stop: int
    ) -> None:
        self._owner = owner
        self._source = source
        self._archive = archive
        self._decoded: DecodedStream | None = decoded
        self._stop = stop

    async def read(self) -> bytes | memoryview:
        decoded = self._decoded
        if decoded is None or decoded.position == self._stop:
            return b""
        try:
            piece = await decoded.read(self._stop - decoded.position)
            if not piece:
                raise TruncatedBody(f"{self._source}: the archive ended within the file")
        except BaseException as error:
            # No other file can continue with a decoder that failed.
            self._decoded = None
            await decoded.close()
            if isinstance(error, TransformError):
                raise of_archive(error, self._source.archive) from error
            raise
        return piece

    async def close(self) -> None:
        decoded, self._decoded = self._decoded, None
        if decoded is not None:
            await self._owner.give_back(self._archive, decoded)
