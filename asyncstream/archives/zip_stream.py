"""Stream the content of one ZIP entry: compare its local header with the directory, and decode its data."""

import struct
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from functools import partial

from asyncstream.archives.decoding import Decoder
from asyncstream.archives.zip_entries import LOCAL_HEADER, Entry
from asyncstream.errors import (
    AsyncstreamError,
    CorruptInput,
    DamagedInput,
    MemoryNeeded,
    NothingYet,
    TruncatedBody,
)
from asyncstream.locations.archives import ZipEntry
from asyncstream.ports import ByteStream, Engine
from asyncstream.units import KiB

_LOCAL_SIGNATURE = b"PK\x03\x04"
# The most bytes after an entry's data that `close` reads to keep the connection.
_DRAIN_LIMIT = 64 * KiB


class EntryStream:
    """The content of one entry. See `ports.ByteStream`.

    Args:
        engine: decodes.
        source: the entry, for messages.
        entry: its row in the directory.
        body: the entry's bytes in the archive, from its local header on.
        decoder: decodes its data.
        length: bytes that the decoder makes of them.
        skip: bytes of content to leave out, because they were read before.
    """

    def __init__(
        self,
        engine: Engine,
        source: ZipEntry,
        entry: Entry,
        body: ByteStream,
        decoder: Decoder,
        *,
        length: int,
        skip: int,
    ) -> None:
        self._engine = engine
        self._source = source
        self._entry = entry
        self._body = body
        self._decoder = decoder
        self._length = length
        self._skip = skip
        self._decoded = 0
        self._header = b""
        self._data_left: int | None = None  # None: the local header is not read yet
        self._gap = 0
        self._decoding: Iterator[bytes | memoryview] | None = None
        self._pieces: deque[bytes | memoryview] = deque()
        self._finishing = self._ended = False

    async def read(self) -> bytes | memoryview:
        """Return the next piece of content; empty at its end.

        Raises:
            DamagedInput: the data are damaged, or contradict the directory.
            MemoryNeeded: the decoder would take more memory than the transfer has for it.
            TruncatedBody: the archive ended before.
        """
        while not self._pieces:
            if self._ended:
                return b""
            await self._decode_more()
        piece = self._pieces.popleft()
        unwanted = min(self._skip, len(piece))
        self._skip -= unwanted
        if unwanted == len(piece):
            raise NothingYet("all of it was read before")
        return piece[unwanted:]

    async def close(self) -> None:
        """Read up to the next entry, if that is cheaper than a new connection; then close."""
        self._pieces.clear()
        self._decoding = None
        left = None if self._data_left is None else self._data_left + self._gap
        if left is not None and left <= _DRAIN_LIMIT:
            with suppress(AsyncstreamError):  # the entry is complete; only its connection is lost
                while left > 0 and (chunk := await self._body.read()):
                    left -= len(chunk)
        await self._body.close()

    async def _decode_more(self) -> None:
        """Decode more pieces, from the next bytes of data if the last ones are decoded."""
        if self._decoding is None:
            data = await self._read_data()
            self._finishing = not data
            self._decoding = self._decoder.decode(data) if data else self._decoder.finish()
        draw = partial(self._draw, self._decoding)
        if self._decoder.light:
            draw()
        else:
            await self._engine.decode(draw)
        self._ended = self._finishing and self._decoding is None
        if self._ended and self._decoded < self._length:
            raise DamagedInput(
                f"{self._source}: it ended after {self._decoded} of {self._length} bytes: it is damaged"
            )

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

    def _draw(self, decoding: Iterator[bytes | memoryview]) -> None:
        """Draw pieces from the decoder: few, because a small input may become a thousand times as much.

        Raises:
            DamagedInput: the data are damaged, or become more than the directory says.
            MemoryNeeded: the decoder would take more memory than the transfer has for it.
        """
        drawn = 0
        try:
            # After the last byte, the rest of the data must decode to nothing.
            while drawn < self._engine.computes_at_once or self._decoded >= self._length:
                piece = next(decoding, None)
                if piece is None:
                    self._decoding = None
                    return
                drawn += len(piece)
                self._count(piece)
        except DamagedInput as error:
            raise DamagedInput(f"{self._source}: {error}") from error
        except CorruptInput as error:
            raise CorruptInput(f"{self._source}: {error}") from error
        except MemoryNeeded as error:
            raise MemoryNeeded(
                f"{self._source}: {error}. Raise memory_limit, in Lambda the function's memory; windows over "
                "64 MiB are not supported"
            ) from error

    def _count(self, piece: bytes | memoryview) -> None:
        self._decoded += len(piece)
        if self._decoded > self._length:
            raise DamagedInput(f"it becomes more than the {self._length} bytes that its directory says")
        if piece:
            self._pieces.append(piece)
