"""Read an archive, or what a compressed one becomes, in order, also over connections that break."""

from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from itertools import chain

from asyncstream.archives.tar_reading import is_header
from asyncstream.errors import AsyncstreamError, NothingYet, TruncatedBody
from asyncstream.objects import ByteRange
from asyncstream.ports import ByteStream, Engine
from asyncstream.retry import Retrying, Tries
from asyncstream.transforms.codecs import Bunzip2, Gunzip, Unxz, Unzstd
from asyncstream.transforms.protocol import PIECE, Factory, slices
from asyncstream.transforms.running import Running

Read = Callable[[ByteRange], Awaitable[ByteStream]]
# The first bytes of compressed archives. Zstandard's second ones start skippable frames, which pzstd writes.
_DECODERS: tuple[tuple[bytes, Factory], ...] = (
    (b"\x1f\x8b", Gunzip),
    (b"BZh", Bunzip2),
    (b"\xfd7zXZ\0", Unxz),
    (b"\x28\xb5\x2f\xfd", Unzstd),
    *((bytes([first]) + b"\x2a\x4d\x18", Unzstd) for first in range(0x50, 0x60)),
)


def find_decoder(start: bytes) -> Factory | None:
    """Return what decodes an archive, by its first bytes; None if it is not compressed.

    The name of a file may start as compressed data do, so a header counts first.
    """
    if is_header(start[:512]):
        return None
    return next((decoder for magic, decoder in _DECODERS if start.startswith(magic)), None)


class ArchiveReader:
    """The bytes of an archive from one position to another. If a connection breaks, it opens the next one.

    An entry of a compressed archive cannot resume by itself: it would decode the archive from its first byte.

    Args:
        read_range: opens a range of the archive.
        range_: the bytes to read.
        retrying: limits tries and waits. Bytes that arrive reset the count.
    """

    def __init__(self, read_range: Read, range_: ByteRange, retrying: Retrying) -> None:
        self._read_range = read_range
        self._left = range_
        self._retrying = retrying
        self._stream: ByteStream | None = None
        self._tries = Tries()

    @property
    def position(self) -> int:
        """The position of the next byte."""
        return self._left.start

    async def read(self) -> bytes | memoryview:
        """Return the next bytes; empty at the end. They are valid until the next call.

        Raises:
            SourceChanged: the archive was overwritten.
            AsyncstreamError: it cannot be read, or not in time.
        """
        while self._left.length:
            self._retrying.deadline.check()
            try:
                chunk = await self._read_once()
            except NothingYet:
                continue
            except AsyncstreamError as error:
                await self.close()
                wait = self._retrying.wait_after(error, self._tries)
                if wait is None:
                    raise
                await self._retrying.sleep(wait)
                continue
            self._tries = Tries()
            self._left = ByteRange(self.position + len(chunk), self._left.stop)
            return chunk
        return b""

    async def close(self) -> None:
        """Close the connection."""
        stream, self._stream = self._stream, None
        if stream is not None:
            await stream.close()

    async def _read_once(self) -> bytes | memoryview:
        if self._stream is None:
            self._stream = await self._read_range(self._left)
        chunk = await self._stream.read()
        if not chunk:
            raise TruncatedBody(f"the archive ended {self._left.length} bytes before its end")
        return chunk[: self._left.length]


class DecodedStream:
    """What a compressed archive becomes, from its first byte on.

    Args:
        engine: decodes.
        reader: the bytes of the archive.
        running: the decoder.
    """

    def __init__(self, engine: Engine, reader: ArchiveReader, running: Running) -> None:
        self._engine = engine
        self._reader = reader
        self._running: Running | None = running
        self._decoding: Iterator[bytes | memoryview] | None = None
        self._ended = False
        self._pieces: deque[bytes | memoryview] = deque()
        self._made = 0  # bytes decoded, those of `_pieces` included

    @property
    def position(self) -> int:
        """The position of the next byte."""
        return self._made - sum(map(len, self._pieces))

    async def read(self, most: int) -> bytes | memoryview:
        """Return the next bytes, at most so many; empty at the end.

        Raises:
            TransformError: the archive is damaged, or becomes more than its limits allow.
            AsyncstreamError: see `ArchiveReader.read`.
        """
        while not self._pieces:
            if not await self._decode(self._draw):
                return b""
        piece = self._pieces.popleft()
        if len(piece) > most:
            whole = memoryview(piece)
            piece, rest = whole[:most], whole[most:]
            self._pieces.appendleft(rest)
        return piece

    async def take(self, length: int) -> bytes:
        """Return the next bytes, exactly so many.

        Raises:
            TruncatedBody: there are fewer.
        """
        content = bytearray()
        while len(content) < length:
            piece = await self.read(length - len(content))
            if not piece:
                raise TruncatedBody(f"the archive ended after {len(content)} of {length} bytes of the file")
            content += piece
        return bytes(content)

    async def skip_to(self, position: int) -> None:
        """Read up to a position, and drop the bytes."""
        while self._pieces and self.position < position:
            await self.read(position - self.position)

        def drop() -> None:
            for piece in self._drawing():
                if self._made > position:
                    self._pieces.append(memoryview(piece)[len(piece) - (self._made - position) :])
                    return

        while self._made < position and await self._decode(drop):
            pass

    async def walk(self, on_piece: Callable[[int, bytes | memoryview], None]) -> int:
        """Call a function with all bytes, by their positions, and return their number."""

        def walk() -> None:
            for piece in self._drawing():
                on_piece(self._made - len(piece), piece)

        while await self._decode(walk):
            pass
        return self._made

    async def close(self) -> None:
        """Close the connection, and drop the decoder, which may hold many megabytes."""
        self._running = self._decoding = None
        self._pieces.clear()
        await self._reader.close()

    async def _decode(self, work: Callable[[], None]) -> bool:
        """Read what is needed next, and run `work`, which draws from it; False at the end."""
        running = self._running
        if running is None or (self._ended and self._decoding is None):
            return False
        if self._decoding is None:
            chunks = await self._read_chunks()
            self._ended = not chunks
            fed = chain.from_iterable(map(running.feed, chunks))
            self._decoding = fed if chunks else running.finish()
        await self._engine.decode(work)
        return True

    async def _read_chunks(self) -> list[bytes | memoryview]:
        """Return bytes of the archive: enough to be worth a hop to the thread that computes."""
        chunks: list[bytes | memoryview] = []
        size = 0
        while size < self._engine.computes_at_once:
            chunk = await self._reader.read()
            if not chunk:
                break
            # The next read overwrites a view. Short slices keep a decoder's pieces short.
            chunks += slices(chunk if self._engine.computes_at_once == 1 else bytes(chunk), PIECE)
            size += len(chunk)
        return chunks

    def _drawing(self) -> Iterator[bytes | memoryview]:
        """Yield what the bytes read become, as far as it is drawn."""
        assert self._decoding is not None  # noqa: S101 - set by `_decode`
        for piece in self._decoding:
            self._made += len(piece)
            yield piece
        self._decoding = None

    def _draw(self) -> None:
        """Decode pieces: enough to be worth a hop to the thread that computes."""
        size = 0
        for piece in self._drawing():
            self._pieces.append(piece)
            size += len(piece)
            if size >= self._engine.computes_at_once:
                return
