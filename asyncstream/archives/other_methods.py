"""Decoders of the less usual methods of ZIP archives: Deflate64, LZMA, and those that transforms decode."""

from collections.abc import Iterator
from importlib import import_module
from typing import Any

from asyncstream.errors import ConfigError, DamagedInput, MemoryNeeded
from asyncstream.transforms.gzip import library
from asyncstream.transforms.protocol import PIECE, Transform, pieces, slices
from asyncstream.transforms.windows import BESIDE
from asyncstream.units import KiB, MiB

# Bytes of the smallest dictionary of liblzma.
_SMALLEST_DICTIONARY = 4 * KiB
# Bytes before LZMA data: the version, the length of the properties, and five bytes of them.
_LZMA_HEADER = 9
# Bytes that inflate64 gets at a time. It cannot be told how much to return, and 18 bits may become 65,538
# bytes: so 128 become at most 3.8 MB. *Measured*: 7 s of CPU for a GB, 4 s in pieces of 64 KiB.
_DEFLATE64_FEED = 128


class TransformDecoder:
    """Decodes what a transform decompresses.

    Args:
        transform: the decompressor.
    """

    light = False

    def __init__(self, transform: Transform) -> None:
        self._transform = transform

    def decode(self, data: bytes | memoryview) -> Iterator[bytes | memoryview]:
        """See `decoding.Decoder`."""
        for piece in pieces(self._transform.feed(data)):
            if piece:
                yield piece

    def finish(self) -> Iterator[bytes]:
        """Yield nothing: the directory's size and CRC32 say whether the content is complete."""
        return iter(())


class LzmaDecoder:
    """LZMA data after the header that ZIP gives them (APPNOTE.TXT 5.8), maybe without an end mark.

    Args:
        size: bytes of the content.
        memory: the most bytes that it may hold.
    """

    light = False

    def __init__(self, size: int, memory: int) -> None:
        self._lzma = library("lzma")
        self._size = size
        self._memory = memory
        self._head = b""
        self._decoder: Any = None

    def decode(self, data: bytes | memoryview) -> Iterator[bytes]:
        """See `decoding.Decoder`.

        Raises:
            DamagedInput: the data are damaged.
            MemoryNeeded: their dictionary is larger than the memory allowed.
        """
        if self._decoder is None:
            self._head += data
            if len(self._head) < _LZMA_HEADER:
                return
            self._decoder = self._new_decoder(self._head[2:_LZMA_HEADER])
            data = self._head[_LZMA_HEADER:]
        try:
            while not self._decoder.eof:
                piece = self._decoder.decompress(data, PIECE)
                if piece:
                    yield piece
                data = b""
                if self._decoder.needs_input:
                    return
        except (self._lzma.LZMAError, MemoryError) as error:
            raise DamagedInput(f"its LZMA data are damaged: {error}") from error

    def finish(self) -> Iterator[bytes]:
        """See `TransformDecoder.finish`."""
        return iter(())

    def _new_decoder(self, properties: bytes) -> Any:
        """Return a decoder of these properties, with a dictionary no longer than the content."""
        length, packed = int.from_bytes(properties[:2], "little"), properties[2]
        if length != _LZMA_HEADER - 4:
            raise DamagedInput(f"its LZMA properties have {length} bytes, not 5")
        dictionary = min(int.from_bytes(properties[3:], "little"), self._size)
        if dictionary + BESIDE > self._memory:
            raise MemoryNeeded(
                f"the LZMA data take {dictionary + BESIDE} bytes of memory to decompress, but {self._memory} "
                "are allowed"
            )
        lzma = self._lzma
        filter_ = {
            "id": lzma.FILTER_LZMA1,
            "dict_size": max(dictionary, _SMALLEST_DICTIONARY),
            "lc": packed % 9,
            "lp": packed // 9 % 5,
            "pb": packed // 45,
        }
        try:
            return lzma.LZMADecompressor(format=lzma.FORMAT_RAW, filters=[filter_])
        except (lzma.LZMAError, ValueError) as error:
            raise DamagedInput(f"its LZMA properties are damaged: {error}") from error


class Deflate64Decoder:
    """Deflate64 data, as Windows' Explorer makes of files over 2 GiB.

    Raises:
        ConfigError: inflate64 is not installed.
    """

    light = False
    memory = 8 * MiB  # the longest output of one feed, twice while it is joined

    def __init__(self) -> None:
        try:
            self._inflate = import_module("inflate64").Inflater().inflate
        except ImportError as error:
            raise ConfigError(
                f"it is compressed by Deflate64, and inflate64 cannot be imported ({error}): "
                "run pip install 'asyncstream[archives]'"
            ) from error
        # inflate64 1.0.4 never releases the objects that it gets. So it gets this one, again and again.
        self._feed = bytearray(_DEFLATE64_FEED)
        self._rest = b""

    def decode(self, data: bytes | memoryview) -> Iterator[bytes | memoryview]:
        """See `decoding.Decoder`.

        Raises:
            DamagedInput: the data are damaged.
        """
        made: list[bytes] = []
        total = 0
        for feed in slices(self._rest + data, _DEFLATE64_FEED):
            if len(feed) < _DEFLATE64_FEED:
                self._rest = bytes(feed)
                break
            self._feed[:] = feed
            made.append(self._inflated(self._feed))
            total += len(made[-1])
            if total >= PIECE // 2:
                yield from slices(b"".join(made), PIECE)
                made, total = [], 0
        else:
            self._rest = b""
        if total:
            yield from slices(b"".join(made), PIECE)

    def finish(self) -> Iterator[bytes | memoryview]:
        """Yield the content of the last bytes."""
        if self._rest:
            yield from slices(self._inflated(self._rest), PIECE)

    def _inflated(self, feed: bytes | bytearray) -> bytes:
        try:
            made: bytes = self._inflate(feed)
        except ValueError as error:
            raise DamagedInput(f"its Deflate64 data are damaged: {error}") from error
        return made
