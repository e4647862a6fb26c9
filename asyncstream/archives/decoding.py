"""Decode the content of ZIP entries, piece by piece."""

import zlib
from collections.abc import Callable, Iterator
from functools import cache
from importlib import import_module
from typing import Any, Protocol

from asyncstream.errors import DamagedInput, InputError
from asyncstream.transforms.protocol import PIECE

STORED, DEFLATED = 0, 8
# APPNOTE.TXT 4.4.5, for messages.
_METHODS = {
    1: "Shrink",
    6: "Implode",
    9: "Deflate64",
    12: "bzip2",
    14: "LZMA",
    93: "Zstandard",
    95: "XZ",
    96: "JPEG",
    97: "WavPack",
    98: "PPMd",
    99: "AES encryption",
}


class Decoder(Protocol):
    """Decodes one entry, in pieces of at most 256 KiB. Stored data stay in the pieces that arrive."""

    def decode(self, data: bytes | memoryview) -> Iterator[bytes | memoryview]:
        """Yield the content of the next bytes. `data` must stay valid until the last piece is drawn."""

    @property
    def ended(self) -> bool:
        """Whether the data have marked their end. Stored data have no such mark."""


def decoder_for(method: int) -> Decoder:
    """Return a decoder for a method of compression.

    Raises:
        InputError: the method is not supported.
    """
    make = _DECODERS.get(method)
    if make is None:
        known = f" ({_METHODS[method]})" if method in _METHODS else ""
        raise InputError(f"it is compressed by method {method}{known}, which is not supported")
    return make()


class _StoredDecoder:
    ended = False

    def decode(self, data: bytes | memoryview) -> Iterator[bytes | memoryview]:
        yield data


class _DeflateDecoder:
    """Deflated data, by Intel's ISA-L if it is installed: twice as fast as zlib."""

    def __init__(self) -> None:
        self._inflate = _fastest_zlib().decompressobj(-zlib.MAX_WBITS)

    @property
    def ended(self) -> bool:
        return bool(self._inflate.eof)

    def decode(self, data: bytes | memoryview) -> Iterator[bytes]:
        rest: bytes | memoryview = data
        try:
            while not self._inflate.eof:
                piece = self._inflate.decompress(rest, PIECE)
                if piece:
                    yield piece
                rest = self._inflate.unconsumed_tail
                if not rest and len(piece) < PIECE:
                    return
        except _fastest_zlib().error as error:
            raise DamagedInput(f"its deflated data are damaged: {error}") from error


@cache
def _fastest_zlib() -> Any:
    """Return ISA-L's module, or zlib, which has the same names."""
    try:
        return import_module("isal.isal_zlib")
    except ImportError:  # an optional dependency
        return zlib


_DECODERS: dict[int, Callable[[], Decoder]] = {STORED: _StoredDecoder, DEFLATED: _DeflateDecoder}
