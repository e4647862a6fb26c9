"""A page's body unpacked, a little at a time. Pure.

Pages are asked for as gzip or as they are, so nothing else is read: every other packing is refused by name.
The standard library's zlib unpacks no more than it is asked for, so a bomb costs no memory.
"""

import zlib
from collections.abc import Iterator, Mapping
from typing import Protocol

from asyncstream.errors import BodyUnreadable, TruncatedBody
from asyncstream.gathering.web.urls import Url
from asyncstream.units import KiB

ACCEPTED = "gzip"
# Bytes unpacked at once.
_PIECE = 64 * KiB
# Of one body; a server that packs by file has one. Each costs a look at what is left of a chunk.
_MOST_MEMBERS = 1000


class Decoder(Protocol):
    """What becomes of a body's bytes."""

    def feed(self, data: bytes | memoryview) -> Iterator[bytes | memoryview]:
        """What is unpacked by now, in pieces; used up before the next feed."""

    def finish(self) -> None:
        """Raise TruncatedBody unless the end has been reached."""


def check_framing(headers: Mapping[str, str], url: Url) -> None:
    """Raise BodyUnreadable where it is not clear where a body ends, or it is packed for its way, too.

    Nobody has asked for that: urllib3 would hand out the framing as if it were the body, and aiohttp what is
    packed.
    """
    coding = headers.get("transfer-encoding", "chunked").strip().lower()
    if coding not in {"chunked", "identity"}:
        raise BodyUnreadable(f"{url}: the body is sent as {coding[:40]!r}, which was not asked for")
    length = headers.get("content-length", "0").strip()
    if not (length.isascii() and length.isdigit()):
        raise BodyUnreadable(f"{url}: the body's Content-Length is {length[:40]!r}, which is none")
    if coding == "chunked" and {"content-length", "transfer-encoding"} <= headers.keys():
        raise BodyUnreadable(f"{url}: the body has a length and is sent in chunks: one of them is wrong")


def decoder_for(content_encoding: str, url: Url) -> Decoder:
    """How to unpack a body.

    Raises:
        BodyUnreadable: it is packed in a way that was not asked for.
    """
    encoding = content_encoding.strip().lower()
    if encoding in {"", "identity"}:
        return _AsSent()
    if encoding in {"gzip", "x-gzip"}:
        return _Gunzip(url)
    raise BodyUnreadable(
        f"{url}: the body is packed as {encoding[:40]!r}, not as {ACCEPTED!r}, and is not read"
    )


class _AsSent:
    def feed(self, data: bytes | memoryview) -> Iterator[bytes | memoryview]:
        yield data

    def finish(self) -> None:
        """Its end is HTTP's."""


class _Gunzip:
    """gzip (RFC 1952), of one member or several."""

    def __init__(self, url: Url) -> None:
        self._url = url
        self._member = _new_member()
        self._members = 1
        self._begun = False

    def feed(self, data: bytes | memoryview) -> Iterator[bytes]:
        rest = bytes(data)
        while rest:
            if self._member.eof:
                self._next_member()
            self._begun = True
            try:
                piece = self._member.decompress(rest, _PIECE)
            except zlib.error as error:
                raise BodyUnreadable(f"{self._url}: the body is no gzip, or damaged: {error}") from error
            if piece:
                yield piece
            rest = self._member.unused_data if self._member.eof else self._member.unconsumed_tail

    def finish(self) -> None:
        if self._begun and not self._member.eof:
            raise TruncatedBody(f"{self._url}: the body ended before the gzip in it did")

    def _next_member(self) -> None:
        self._members += 1
        if self._members > _MOST_MEMBERS:
            raise BodyUnreadable(f"{self._url}: the body is of more than {_MOST_MEMBERS} gzip members")
        self._member = _new_member()


def _new_member() -> "zlib._Decompress":
    return zlib.decompressobj(16 + zlib.MAX_WBITS)
