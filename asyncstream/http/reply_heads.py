"""Heads of HTTP replies read to their blank line, where http.client takes an end of the connection for one.

A head that is cut within "Content-Length: 3000000" would otherwise say 3000, and the reply would be whole.
"""

from http.client import HTTPResponse, RemoteDisconnected
from typing import Any


class WholeHead(HTTPResponse):
    """A reply whose head ends with a blank line, and not with the connection."""

    @property
    def status_is_read(self) -> bool:
        """Whether the status line was read before: an end that follows it is a cut, and no missing reply."""
        return False

    def begin(self) -> None:
        """Read the head.

        Raises:
            RemoteDisconnected: the connection ended before the blank line.
        """
        head = _Lines(self.fp, self.status_is_read)
        self.fp: Any = head
        try:
            super().begin()
        finally:
            if self.fp is head:  # http.client has let go of a reply that it could not read
                self.fp = head.file


def check_line(line: bytes) -> bytes:
    """Return a line of a head, which has its end.

    Raises:
        RemoteDisconnected: the connection ended within it, or before it.
    """
    if not line.endswith(b"\n"):
        raise RemoteDisconnected(f"the connection ended within the head of the reply, after {line[-40:]!r}")
    return line


class _Lines:
    """A connection's file while a head is read from it."""

    def __init__(self, file: Any, started: bool) -> None:
        self.file = file
        self._started = started

    def readline(self, limit: int = -1) -> bytes:
        line: bytes = self.file.readline(limit)
        if len(line) == limit or (not line and not self._started):
            return line  # http.client refuses the one as too long, and the other as no reply at all
        self._started = True
        return check_line(line)

    def close(self) -> None:
        self.file.close()
