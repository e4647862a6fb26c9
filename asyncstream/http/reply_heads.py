"""Read the heads of HTTP replies up to their blank line.

http.client also accepts the end of the connection as the end of the head. If it cuts "Content-Length:
3000000", the length could be read as 3000, and the reply would seem complete.
"""

from http.client import CONTINUE, OK, SWITCHING_PROTOCOLS, HTTPResponse, RemoteDisconnected, parse_headers
from typing import Any

# Bytes of header lines that http.client gets as one, if there may be any number of them. It accepts 64 KiB.
_JOINED = 8 * 1024
_BLANK = frozenset({b"\r\n", b"\n", b""})


class WholeHead(HTTPResponse):
    """A reply whose head must end with a blank line, not with the connection.

    Interim replies are skipped, such as 102 Processing: http.client only knows 100 Continue.
    """

    # http.client accepts 100 header lines, and has no option for more. An object in S3 may have 1,000.
    many_headers = False

    @property
    def status_is_read(self) -> bool:
        """Whether the status line was already read. If so, a connection that ends has cut off a reply."""
        return False

    def begin(self) -> None:
        """Read the head.

        Raises:
            RemoteDisconnected: the connection ended before the blank line.
        """
        head = _Lines(self.fp, self.status_is_read, joined=self.many_headers)
        self.fp: Any = head
        try:
            super().begin()
        finally:
            if self.fp is head:  # not if http.client could not read the reply and has dropped it
                self.fp = head.file

    def _read_status(self) -> tuple[str, int, str]:
        # https://github.com/python/cpython/blob/v3.11.7/Lib/http/client.py#L285
        while True:
            version, status, reason = super()._read_status()  # type: ignore[misc]
            if not CONTINUE < status < OK or status == SWITCHING_PROTOCOLS:
                return version, status, reason
            parse_headers(self.fp)


def check_line(line: bytes) -> bytes:
    """Return a line of a head if it is complete.

    Raises:
        RemoteDisconnected: the connection ended within or before the line.
    """
    if not line.endswith(b"\n"):
        raise RemoteDisconnected(f"the connection ended within the head of the reply, after {line[-40:]!r}")
    return line


class _Lines:
    """The file of a connection while a head is read from it."""

    def __init__(self, file: Any, started: bool, *, joined: bool) -> None:
        self.file = file
        self._started = started
        self._joined = joined
        self._in_headers = started
        self._next: bytes | None = None

    def readline(self, limit: int = -1) -> bytes:
        """Return the next line of the head, or several header lines, if they may be joined."""
        line = self._read(limit) if self._next is None else self._next
        self._next = None
        if not self._joined:
            return line
        if not self._in_headers:
            self._in_headers = True
            return line
        if line in _BLANK:
            self._in_headers = False  # after 100 Continue, another status line follows
            return line
        block = bytearray(line)
        while len(block) < _JOINED:
            line = self._read(limit)
            if line in _BLANK:
                self._next = line
                break
            block += line
        return bytes(block)

    def _read(self, limit: int) -> bytes:
        line: bytes = self.file.readline(limit)
        if len(line) == limit or (not line and not self._started):
            return line  # http.client reports the line as too long, or the reply as missing
        self._started = True
        return check_line(line)

    def close(self) -> None:
        self.file.close()
