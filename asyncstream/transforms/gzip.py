"""gzip (RFC 1952) with Intel's ISA-L: `Gzip`, and the decoder of one member.

Measured on access logs, 24 MB in chunks of 256 KiB, one core, all in one interleaved run:

              gunzip    gzip: MB/s, output / input at level
zlib        375 MB/s    1: 142, 0.248   3: 116, 0.237   6:  53, 0.210
zlib-ng     651 MB/s    1: 315, 0.318   2: 202, 0.225   6:  98, 0.202
isal        987 MB/s    1: 633, 0.225   2: 591, 0.224   3: 335, 0.222

Because of these figures, isal does both. Its decompressor misreads a header with a checksum if the header
comes in several pieces, and ignores reserved flags, so this module reads headers itself. The output of its
compressor depends on how the input is cut into chunks, so this module always cuts it at the same places.
"""

import sys
import zlib
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from typing import Any, Protocol

from asyncstream.errors import ConfigError
from asyncstream.units import KiB

MAGIC = b"\x1f\x8b"
# Bytes given to the compressor at once.
_BLOCK = 64 * 1024
# Bytes. The largest possible extra field has 64 KiB; names are paths in practice, and comments a line.
_LONGEST_HEADER = 128 * 1024
_FHCRC, _FEXTRA, _FNAME, _FCOMMENT = 2, 4, 8, 16


class BadHeader(ValueError):
    """A gzip header is malformed."""


@cache
def library(name: str) -> Any:
    """Import the module of a codec, from the extra `transforms` or from Python itself.

    Raises:
        ConfigError: the module is not installed.
    """
    try:
        return import_module(name)
    except ImportError as error:
        if name.partition(".")[0] in sys.stdlib_module_names:
            advice = "this Python was built without it; use another build"
        else:
            advice = "run pip install 'asyncstream[transforms]'"
        raise ConfigError(f"{name} cannot be imported ({error}): {advice}") from error


class Gzip:
    """Compress to one gzip member without time and name.

    The output does not depend on how the input is cut into chunks. It may differ on a machine of another
    processor family, since ISA-L has different code for each.

    Args:
        level: 0 to 3. Default: 1. Level 3 makes logs a hundredth and source code a fifteenth smaller, and
            takes up to twice as long.

    Raises:
        ConfigError: isal is not installed, or there is no such level.
    """

    memory = 512 * KiB  # *measured*: 420 KiB at level 3, and a block of input

    def __init__(self, level: int = 1) -> None:
        if level not in range(4):
            raise ConfigError(f"gzip level {level!r} must be 0 to 3, the levels of isal")
        self._compressor = library("isal.isal_zlib").compressobj(level, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
        self._waiting = bytearray()

    def feed(self, chunk: bytes | memoryview) -> Iterator[bytes]:
        """Yield compressed bytes as far as they are ready."""
        view = memoryview(chunk)
        start = 0
        if self._waiting:
            start = _BLOCK - len(self._waiting)
            self._waiting += view[:start]
            if len(self._waiting) < _BLOCK:
                return
            yield self._compressor.compress(self._waiting)
            self._waiting.clear()
        end = start + (len(view) - start) // _BLOCK * _BLOCK
        for at in range(start, end, _BLOCK):
            yield self._compressor.compress(view[at : at + _BLOCK])
        self._waiting += view[end:]

    def finish(self) -> Iterator[bytes]:
        """Yield the remaining compressed bytes and the trailer."""
        yield self._compressor.compress(self._waiting)
        yield self._compressor.flush()


class Inflate(Protocol):
    """The interface of the standard library's decompressors, which isal, bz2, lzma and zstd share."""

    @property
    def eof(self) -> bool:
        """Whether the end of the member was reached."""

    @property
    def needs_input(self) -> bool:
        """Whether the input so far yields no more output."""

    @property
    def unused_data(self) -> bytes:
        """The bytes after the end of the member."""

    def decompress(self, data: bytes | memoryview, max_length: int = -1, /) -> bytes:
        """Return the next bytes of output. Calls with empty data return further output of earlier data."""


class GzipMember:
    """The decompressor of one member. It verifies the header, the deflate data, the CRC32 and the size.

    Raises:
        ConfigError: isal is not installed.
    """

    def __init__(self) -> None:
        igzip = library("isal.igzip_lib")
        self._body: Inflate = igzip.IgzipDecompressor(flag=igzip.DECOMP_GZIP_NO_HDR_VER)
        self._header: bytes | None = b""

    @property
    def eof(self) -> bool:
        """Whether the trailer was read."""
        return self._body.eof

    @property
    def needs_input(self) -> bool:
        """Whether the input so far yields no more output."""
        return self._header is not None or self._body.needs_input

    @property
    def unused_data(self) -> bytes:
        """The bytes after the trailer."""
        return self._body.unused_data

    def decompress(self, data: bytes | memoryview, max_length: int = -1, /) -> bytes:
        """Return the next bytes of output.

        Raises:
            BadHeader, isal.igzip_lib.error: the member is damaged.
        """
        if self._header is not None:
            self._header += data
            end = header_length(self._header)
            if end is None:
                return b""
            data, self._header = self._header[end:], None
        return self._body.decompress(data, max_length)


def header_length(start: bytes) -> int | None:
    """Return the length of a member's header in bytes; None if `start` does not have all of it.

    Raises:
        BadHeader: the header is malformed, longer than 128 KiB, or does not match its checksum.
    """
    end = 10
    if len(start) < end:
        return None
    flags = start[3]
    if start[:2] != MAGIC or start[2] != zlib.DEFLATED or flags >= 32:
        raise BadHeader("its header has a method other than deflate, or reserved flags")
    if flags & _FEXTRA:
        end += 2 + int.from_bytes(start[end : end + 2], "little")
    for flag in (_FNAME, _FCOMMENT):
        if flags & flag and end <= len(start):
            end = start.find(b"\0", end) + 1 or len(start) + 1
    checked = end
    if flags & _FHCRC:
        end += 2
    if end > len(start):
        if len(start) > _LONGEST_HEADER:
            raise BadHeader(f"its header is longer than {_LONGEST_HEADER} bytes")
        return None
    if (
        flags & _FHCRC
        and int.from_bytes(start[checked:end], "little") != zlib.crc32(start[:checked]) & 0xFFFF
    ):
        raise BadHeader("its header does not match its checksum")
    return end
