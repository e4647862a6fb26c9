"""Decode the content of ZIP entries, piece by piece, within a limited memory."""

import zlib
from collections.abc import Callable, Iterator
from functools import cache
from importlib import import_module
from typing import Any, NamedTuple, Protocol

from asyncstream.archives.other_methods import Deflate64Decoder, LzmaDecoder, TransformDecoder
from asyncstream.errors import DamagedInput, InputError
from asyncstream.transforms.codecs import Bunzip2, Unxz, Unzstd
from asyncstream.transforms.protocol import PIECE, slices
from asyncstream.transforms.windows import BESIDE
from asyncstream.units import KiB, MiB

STORED, DEFLATED = 0, 8
# Bytes of the largest dictionary that is decoded, as `xz -9` and 7-Zip's "ultra" make.
_LARGEST_WINDOW = 64 * MiB
# Bytes beside the window. One piece more than its decoder takes lets content that is longer than stated be
# noticed before its window is full.
_BESIDE = BESIDE + PIECE
# APPNOTE.TXT 4.4.5, for messages.
_UNSUPPORTED = {
    1: "Shrink",
    2: "Reduce",
    3: "Reduce",
    4: "Reduce",
    5: "Reduce",
    6: "Implode",
    10: "IBM TERSE",
    18: "IBM TERSE",
    19: "IBM LZ77",
    94: "MP3",
    96: "JPEG",
    97: "WavPack",
    98: "PPMd",
    99: "AES encryption",
}


# Bytes of deflated data that are inflated at a time, and the most bytes of a piece of content. *Measured*:
# pieces of 256 KiB take 8 % less CPU, and 3 MiB more in ten threads.
_FED, _MADE = 64 * KiB, 128 * KiB


class Decoder(Protocol):
    """Decodes one entry, in pieces of at most 256 KiB. Stored data stay in the pieces that arrive.

    `light`: whether it is so fast that an event loop runs it, not a thread.
    """

    light: bool

    def decode(self, data: bytes | memoryview) -> Iterator[bytes | memoryview]:
        """Yield the content of the next bytes. `data` must stay valid until the last piece is drawn."""

    def finish(self) -> Iterator[bytes | memoryview]:
        """Yield the rest of the content, after the last data."""


class _Method(NamedTuple):
    """A method of compression.

    Attributes:
        make: makes a decoder, from the bytes of the content and the bytes that it may hold.
        held: the bytes that a decoder holds for content of any size; None: its window, too, which is never
            longer than the content.
    """

    make: Callable[[int, int], Decoder]
    held: int | None


def decoder_for(method: int, size: int, memory: int) -> Decoder:
    """Return a decoder for a method of compression.

    Args:
        method: its number in the archive.
        size: bytes of the content.
        memory: the most bytes that the decoder may hold. The usual methods, stored and deflated, ignore it.

    Raises:
        InputError: the method is not supported.
        ConfigError: its library is not installed.
    """
    found = _METHODS.get(method)
    if found is None:
        known = f" ({_UNSUPPORTED[method]})" if method in _UNSUPPORTED else ""
        raise InputError(f"it is compressed by method {method}{known}, which is not supported")
    return found.make(size, min(memory, _LARGEST_WINDOW + _BESIDE))


def decoder_bytes(method: int, size: int) -> int:
    """Return the most bytes that the decoder of content of this size holds; 0 for stored and deflated."""
    found = _METHODS.get(method)
    if found is None:
        return 0
    return min(size, _LARGEST_WINDOW) + _BESIDE if found.held is None else found.held


class _StoredDecoder:
    light = True

    def decode(self, data: bytes | memoryview) -> Iterator[bytes | memoryview]:
        yield data

    def finish(self) -> Iterator[bytes]:
        return iter(())


class _DeflateDecoder:
    """Deflated data, by Intel's ISA-L if it is installed: twice as fast as zlib."""

    # ISA-L makes 512 KiB in half a millisecond. On a thread they cost a quarter more CPU, and no less
    # time (measured).
    light = True

    def __init__(self) -> None:
        self._inflate = _fastest_zlib().decompressobj(-zlib.MAX_WBITS)

    def decode(self, data: bytes | memoryview) -> Iterator[bytes]:
        try:
            # The rest of the input is copied with each piece, so the input is short.
            for rest in slices(data, _FED):
                yield from self._inflated(rest)
        except _fastest_zlib().error as error:
            raise DamagedInput(f"its deflated data are damaged: {error}") from error

    def _inflated(self, rest: bytes | memoryview) -> Iterator[bytes]:
        while not self._inflate.eof:
            piece = self._inflate.decompress(rest, _MADE)
            if piece:
                yield piece
            rest = self._inflate.unconsumed_tail
            if not rest and len(piece) < _MADE:
                return

    def finish(self) -> Iterator[bytes]:
        return iter(())


@cache
def _fastest_zlib() -> Any:
    """Return ISA-L's module, or zlib, which has the same names."""
    try:
        return import_module("isal.isal_zlib")
    except ImportError:  # an optional dependency
        return zlib


def _zstd(_: int, memory: int) -> Decoder:
    return TransformDecoder(Unzstd(memory))


# Zstandard had the number 20 for two months of 2020.
_METHODS = {
    STORED: _Method(lambda _, __: _StoredDecoder(), 0),
    DEFLATED: _Method(lambda _, __: _DeflateDecoder(), 0),
    9: _Method(lambda _, __: Deflate64Decoder(), Deflate64Decoder.memory),
    12: _Method(lambda _, __: TransformDecoder(Bunzip2()), Bunzip2.memory),
    14: _Method(LzmaDecoder, None),
    20: _Method(_zstd, None),
    93: _Method(_zstd, None),
    95: _Method(lambda _, memory: TransformDecoder(Unxz(memory)), None),
}
