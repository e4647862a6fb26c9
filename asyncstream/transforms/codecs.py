"""Transforms of compressed data: Gunzip, Zstd, Unzstd, Bunzip2, Unxz.

Files of several members, frames or streams, as pigz, bgzip, pzstd and pbzip2 write them, are decompressed
completely. Other data after the last member is an error. gzip and bzip2 ignore it, but then it would be lost
silently. Only zeros are ignored, if the format or its program allows them as padding. Empty input is an
error, as it is for all four programs.
"""

import sys
from collections.abc import Callable, Iterator
from enum import Enum

from msgspec import Struct

from asyncstream.errors import ConfigError, CorruptInput, DamagedInput
from asyncstream.transforms.gzip import MAGIC, BadHeader, GzipMember, Inflate, library
from asyncstream.transforms.protocol import PIECE
from asyncstream.transforms.windows import BESIDE, WindowedMember, WindowFormat, xz_window, zstd_window
from asyncstream.units import KiB, MiB

# Bytes that a decompressor may hold without a transfer that reserves them: enough for `xz -9`.
DECODER_MEMORY = 72 * MiB
# The windows of common files: `xz` without a level, and `zstd` up to level 8.
_XZ_WINDOW, _ZSTD_WINDOW = 8 * MiB, 2 * MiB
# MiB that a compressor takes at levels 1 to 19: *measured*, Zstandard 1.5.7, 32 MB of input.
_ZSTD_MIB = (2, 2, 4, 5, 6, 6, 8, 8, 15, 25, 25, 45, 37, 53, 69, 37, 57, 58, 90)
# Python 3.14 added Zstandard; backports.zstd is the same module for older versions.
ZSTD = "compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd"
# Bytes of input per step. The bytes after the end of a member are copied for the next member, and members may
# be tiny. From more input, a compressor may also make more than one piece.
_SLICE = 64 * 1024


class _Padding(Enum):
    NONE = "none"
    LAST = "zeros up to the end"
    FOURS = "zeros, a multiple of four, after any stream"


class _Format(Struct, frozen=True):
    name: str
    member: str
    magics: tuple[bytes, ...]
    padding: _Padding
    new: Callable[[], Inflate]
    errors: tuple[type[Exception], ...]


class _Decompression:
    """Decompress one member after another, in pieces of at most 256 KiB."""

    def __init__(self, format_: _Format) -> None:
        self._format = format_
        self._decoder: Inflate | None = None
        self._head = b""  # the first bytes of a possible member
        self._zeros = 0
        self._members = 0
        self._at = 0  # the offset of the next byte in the input

    def feed(self, chunk: bytes | memoryview) -> Iterator[bytes]:
        """Yield the decompressed bytes.

        Raises:
            CorruptInput: the input is damaged, or other data follow a member.
        """
        view = memoryview(chunk)
        for at in range(0, len(view), _SLICE):
            data: bytes | memoryview = view[at : at + _SLICE]
            while data:
                if self._decoder is None:
                    data = self._begin(bytes(data))
                else:
                    yield from self._decoded(data)
                    data = self._take_rest(len(data))

    def finish(self) -> bytes:
        """Check that the input is complete, and return no bytes.

        Raises:
            CorruptInput: the input is empty, or ended within a member.
        """
        form = self._format
        if self._decoder is not None or self._head:
            raise CorruptInput(
                f"the {form.name} data end at byte {self._at}, within a {form.member}: store the file again"
            )
        if not self._members:
            raise CorruptInput(f"the input is empty: no {form.name} data. Leave out empty files")
        self._check_padding(last=True)
        return b""

    def _decoded(self, data: bytes | memoryview) -> Iterator[bytes]:
        assert self._decoder is not None  # noqa: S101 - set by `_begin`
        try:
            piece = self._decoder.decompress(data, PIECE)
            while True:
                yield piece
                if self._decoder.eof or self._decoder.needs_input:
                    return
                piece = self._decoder.decompress(b"", PIECE)
        except self._format.errors as error:
            # The error outlives the file, and its traceback keeps this object: release the decoder's
            # megabytes.
            self._decoder = None
            raise DamagedInput(
                f"the {self._format.name} data cannot be decompressed, at or before bytes "
                f"{self._at} to {self._at + len(data)}: {error}. `{self._format.name} -t` tests the file"
            ) from error

    def _take_rest(self, given: int) -> bytes:
        """Return the bytes after the end of the member; empty while it has not ended.

        Args:
            given: the number of bytes that the decoder was last given.
        """
        decoder = self._decoder
        assert decoder is not None  # noqa: S101 - it was given bytes
        rest = decoder.unused_data if decoder.eof else b""
        self._at += given - len(rest)
        if decoder.eof:
            self._decoder = None
            self._members += 1
        return rest

    def _begin(self, data: bytes) -> bytes:
        """Start a member if the data has its first bytes; return the data that is left to read."""
        if not self._head:
            data = self._past_padding(data)
        magics = self._format.magics
        taken = data[: len(magics[0]) - len(self._head)]
        self._head += taken
        self._at += len(taken)
        if not any(magic.startswith(self._head) for magic in magics):
            raise self._not_a_member()
        if len(self._head) == len(magics[0]):
            self._check_padding(last=False)
            self._decoder = self._format.new()
            self._decoder.decompress(self._head, PIECE)
            self._head = b""
        return data[len(taken) :]

    def _past_padding(self, data: bytes) -> bytes:
        if not self._members or self._format.padding is _Padding.NONE:
            return data
        rest = data.lstrip(b"\0")
        self._zeros += len(data) - len(rest)
        self._at += len(data) - len(rest)
        return rest

    def _check_padding(self, *, last: bool) -> None:
        padding = self._format.padding
        if padding is _Padding.LAST and self._zeros and not last:
            raise self._not_a_member()
        if padding is _Padding.FOURS and self._zeros % 4:
            raise CorruptInput(
                f"{self._zeros} zeros within the {self._format.name} data, up to byte {self._at}: "
                "not a multiple of four, so the file is damaged: store it again"
            )

    def _not_a_member(self) -> CorruptInput:
        name, member = self._format.name, self._format.member
        if not self._members:
            return CorruptInput(
                f"the input is not {name} data: it starts with other bytes. Leave out such files"
            )
        at = self._at - len(self._head)
        return CorruptInput(
            f"trailing garbage at byte {at}: neither {name} padding nor another {member}. "
            "Remove it from the file"
        )


class Gunzip(_Decompression):
    """Decompress gzip members. Zeros after the last member are ignored, as gzip does.

    Raises:
        ConfigError: isal is not installed.
    """

    memory = 256 * KiB  # *measured*: 80 KiB, and a header may have 128 KiB

    def __init__(self) -> None:
        error = library("isal.igzip_lib").error
        super().__init__(_Format("gzip", "member", (MAGIC,), _Padding.LAST, GzipMember, (error, BadHeader)))


class Bunzip2(_Decompression):
    """Decompress bzip2 streams. Zeros after the last stream are ignored; bzip2 ignores any bytes there."""

    memory = 4 * MiB  # *measured* at level 9: 3.0 MiB; the manual says 3.7

    def __init__(self) -> None:
        bz2 = library("bz2")
        super().__init__(
            _Format("bzip2", "stream", (b"BZh",), _Padding.LAST, bz2.BZ2Decompressor, (OSError, ValueError))
        )


class _WindowDecompression(_Decompression):
    """Decompress a format whose decoders keep a window, within the allowed memory.

    Args:
        form: the format of the data.
        member: the format's word for a member, for messages.
        magics: the possible first bytes of a member.
        padding: the zeros that may follow a member.
        memory_limit: the most bytes that the decompressor may hold, even if a transfer allows more; None: the
            bytes that the transfer allows, or 72 MiB without a transfer.
    """

    def __init__(
        self,
        form: WindowFormat,
        member: str,
        magics: tuple[bytes, ...],
        padding: _Padding,
        memory_limit: int | None,
    ) -> None:
        self._memory_limit = memory_limit
        self._allowed = memory_limit or DECODER_MEMORY
        self._window_format = form
        super().__init__(_Format(form.name, member, magics, padding, self._new_member, form.errors))

    def allow(self, memory: int) -> None:
        """Hold at most `memory` bytes; see `protocol.Transform`."""
        self._allowed = min(memory, self._memory_limit or memory)

    def _new_member(self) -> WindowedMember:
        return WindowedMember(self._window_format, self._allowed)


class Unxz(_WindowDecompression):
    """Decompress xz streams, which the format's padding may follow: zeros, a multiple of four.

    Args:
        memory_limit: the most bytes that the decompressor may hold. Default: the bytes that the transfer
            allows, or 72 MiB without a transfer.
    """

    memory = _XZ_WINDOW + BESIDE

    def __init__(self, memory_limit: int | None = None) -> None:
        lzma = library("lzma")

        def decoder(_: int, memory: int) -> Inflate:
            decompressor: Inflate = lzma.LZMADecompressor(format=lzma.FORMAT_XZ, memlimit=memory)
            return decompressor

        form = WindowFormat("xz", xz_window, decoder, (lzma.LZMAError,))
        super().__init__(form, "stream", (b"\xfd7zXZ\0",), _Padding.FOURS, memory_limit)


class Unzstd(_WindowDecompression):
    """Decompress Zstandard frames and skip skippable frames.

    Args:
        memory_limit: the most bytes that the decompressor may hold. Default: the bytes that the transfer
            allows, or 72 MiB without a transfer.

    Raises:
        ConfigError: Zstandard's module is not installed.
    """

    memory = _ZSTD_WINDOW + BESIDE

    def __init__(self, memory_limit: int | None = None) -> None:
        zstd = library(ZSTD)
        parameter = zstd.DecompressionParameter.window_log_max
        least, most = parameter.bounds()

        def decoder(window: int, _: int) -> Inflate:
            log = (window - 1).bit_length() if window else 0
            decompressor: Inflate = zstd.ZstdDecompressor(options={parameter: min(max(log, least), most)})
            return decompressor

        magics = (b"\x28\xb5\x2f\xfd", *(bytes([n]) + b"\x2a\x4d\x18" for n in range(0x50, 0x60)))
        form = WindowFormat("zstd", zstd_window, decoder, (zstd.ZstdError,))
        super().__init__(form, "frame", magics, _Padding.NONE, memory_limit)


class Zstd:
    """Compress to one Zstandard frame with a checksum. The output does not depend on the input's chunks.

    Args:
        level: 1 to 19. Default: 3, as in the program zstd.

    Raises:
        ConfigError: Zstandard's module is not installed, or there is no such level.
    """

    def __init__(self, level: int = 3) -> None:
        zstd = library(ZSTD)
        if level not in range(1, 20):
            raise ConfigError(f"zstd level {level!r} must be 1 to 19")
        options = {
            zstd.CompressionParameter.compression_level: level,
            zstd.CompressionParameter.checksum_flag: 1,
        }
        self.memory = _ZSTD_MIB[level - 1] * MiB
        self._compressor = zstd.ZstdCompressor(options=options)

    def feed(self, chunk: bytes | memoryview) -> Iterator[bytes]:
        """Yield compressed bytes as far as they are ready."""
        view = memoryview(chunk)
        for at in range(0, len(view), _SLICE):
            yield self._compressor.compress(view[at : at + _SLICE])

    def finish(self) -> bytes:
        """Return the remaining compressed bytes and the checksum."""
        last: bytes = self._compressor.flush()
        return last
