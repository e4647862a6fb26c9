"""`WebFile`: a URL as the source of a file."""

import re
from base64 import b64encode
from typing import Any

from msgspec import Struct

from asyncstream.checksum import Checksum
from asyncstream.errors import InputError
from asyncstream.locations.urls import parse_url

_SHA256 = re.compile("[0-9a-fA-F]{64}")


class WebFile(Struct, frozen=True):
    """A file behind a URL, and the size and hash that it must have.

    The URL may be presigned: messages, reports and traces leave its query out.

    Attributes:
        url: http:// or https://. Addresses that `FetchConfig` does not allow are refused, as for pages.
        size: the bytes that the file must have; None: any number.
        sha256: the SHA-256 that its bytes must have, as 64 hexadecimal digits; None: any. With it, the file
            is read in order, by one connection.

    Raises:
        InputError: the URL, the size or the SHA-256 is malformed.
    """

    url: str
    size: int | None = None
    sha256: str | None = None

    def __post_init__(self) -> None:
        parse_url(self.url)
        if self.size is not None and not (isinstance(self.size, int) and self.size >= 0):
            raise InputError(f"size={self.size!r} of {self.uri} is not a number of bytes")
        if self.sha256 is not None and not _SHA256.fullmatch(self.sha256):
            raise InputError(f"sha256={self.sha256!r:.100} of {self.uri} is not 64 hexadecimal digits")

    @property
    def checksum(self) -> Checksum | None:
        """The expected SHA-256, as S3 writes it."""
        if self.sha256 is None:
            return None
        return Checksum("SHA256", b64encode(bytes.fromhex(self.sha256)).decode())

    @property
    def uri(self) -> str:
        """The URL without its query, which may hold a key."""
        return str(parse_url(self.url))

    def __str__(self) -> str:
        return self.uri

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """Return the attributes that rich shows: msgspec's own method would show the query."""
        return [("url", self.uri), ("size", self.size), ("sha256", self.sha256)]

    def __repr__(self) -> str:
        return f"WebFile({self.uri!r}, size={self.size!r}, sha256={self.sha256!r})"
