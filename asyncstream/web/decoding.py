"""Decompress a page's body piece by piece. Does no I/O.

The fetcher asks for gzip or no encoding; it refuses every other encoding and names it in the error. The
standard library's zlib decompresses no more than it is asked for, so a gzip bomb costs no memory.
"""

import zlib
from collections.abc import Iterator, Mapping
from typing import Protocol

from asyncstream.errors import BodyUnreadable, TruncatedBody
from asyncstream.locations.urls import Url
from asyncstream.units import KiB

ACCEPTED = "gzip"
# Bytes decompressed at once.
_PIECE = 64 * KiB
# The most digits of a length; Python refuses to read thousands.
_MOST_DIGITS = 18
# The most gzip members in one body; usually there is one. Each copies the rest of the chunk.
_MAX_MEMBERS = 1000


class Decoder(Protocol):
    """Decodes the bytes of a body."""

    def feed(self, data: bytes | memoryview) -> Iterator[bytes | memoryview]:
        """Yield the decoded bytes in pieces. The caller takes all of them before it feeds again."""

    def finish(self) -> None:
        """Raise TruncatedBody unless the body is complete."""


def check_framing(headers: Mapping[str, str], url: Url) -> None:
    """Raise BodyUnreadable if the headers contradict each other on where the body ends, or if the transfer
    encoding compresses it.

    The fetcher does not ask for a transfer encoding other than chunked. With one, urllib3 would return the
    framing as part of the body, and aiohttp the compressed bytes.
    """
    coding = headers.get("transfer-encoding", "chunked").strip().lower()
    if coding not in {"chunked", "identity"}:
        raise BodyUnreadable(f"{url}: the body is sent as {coding[:40]!r}, which was not asked for")
    length = headers.get("content-length", "0").strip()
    if not (length.isascii() and length.isdigit()) or len(length) > _MOST_DIGITS:
        raise BodyUnreadable(f"{url}: the body's Content-Length is {length[:40]!r}, which is not a length")
    if coding == "chunked" and {"content-length", "transfer-encoding"} <= headers.keys():
        raise BodyUnreadable(f"{url}: the body has a length and is sent in chunks: one of them is wrong")


def decoder_for(content_encoding: str, url: Url) -> Decoder:
    """Return a decoder for a body with this Content-Encoding.

    Raises:
        BodyUnreadable: the encoding is not one that the fetcher asks for.
    """
    encoding = content_encoding.strip().lower()
    if encoding in {"", "identity"}:
        return _AsSent()
    if encoding in {"gzip", "x-gzip"}:
        return _Gunzip(url)
    raise BodyUnreadable(
        f"{url}: the body is encoded as {encoding[:40]!r}, not as {ACCEPTED!r}, and cannot be read"
    )


class _AsSent:
    def feed(self, data: bytes | memoryview) -> Iterator[bytes | memoryview]:
        yield data

    def finish(self) -> None:
        """Do nothing: HTTP says where the body ends."""


class _Gunzip:
    """gzip (RFC 1952) with one or more members."""

    def __init__(self, url: Url) -> None:
        self._url = url
        self._member = _new_member()
        self._members = 1
        self._started = False

    def feed(self, data: bytes | memoryview) -> Iterator[bytes]:
        rest = bytes(data)
        while rest:
            if self._member.eof:
                self._next_member()
            self._started = True
            try:
                piece = self._member.decompress(rest, _PIECE)
            except zlib.error as error:
                raise BodyUnreadable(f"{self._url}: the body is not gzip, or damaged: {error}") from error
            if piece:
                yield piece
            rest = self._member.unused_data if self._member.eof else self._member.unconsumed_tail

    def finish(self) -> None:
        if self._started and not self._member.eof:
            raise TruncatedBody(f"{self._url}: the body ended before the gzip in it did")

    def _next_member(self) -> None:
        self._members += 1
        if self._members > _MAX_MEMBERS:
            raise BodyUnreadable(f"{self._url}: the body has more than {_MAX_MEMBERS} gzip members")
        self._member = _new_member()


def _new_member() -> "zlib._Decompress":
    return zlib.decompressobj(16 + zlib.MAX_WBITS)
