"""A file behind a URL, as web servers serve it: with ranges, an ETag and conditions, or without."""

import re
from collections.abc import Mapping

from asyncstream.lab.web import CLOSE, Answer
from asyncstream.lab.web.server import Asked


class WebPage:
    """Answers requests for one file, and notes them.

    Args:
        body: the bytes.
        etag: the ETag; "": none.
        ranges: whether it serves ranges.
        announces: whether it says so.
        chunked: whether it leaves out the length.
        breaks_after: bytes after which the connection breaks, of the first reply only; None: never.
        headers: more headers of each reply, by name.
    """

    def __init__(
        self,
        body: bytes,
        *,
        etag: str = '"v1"',
        ranges: bool = True,
        announces: bool | None = None,
        chunked: bool = False,
        breaks_after: int | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.body = body
        self.etag = etag
        self.asked: list[Mapping[str, str]] = []
        self._ranges = ranges
        self._announces = ranges if announces is None else announces
        self._chunked = chunked
        self._breaks_after = breaks_after
        self._headers = dict(headers or {})

    def __call__(self, asked: Asked) -> Answer:
        headers = {name.lower(): value for name, value in asked.headers.items()}
        self.asked.append(headers)
        own = self._headers | ({"ETag": self.etag} if self.etag else {})
        if self.etag and headers.get("if-none-match") == self.etag:
            return Answer(304, own, (), 0)
        status, body = 200, self.body
        if self._announces:
            own["Accept-Ranges"] = "bytes"
        if self._ranges and headers.get("if-range", self.etag) == self.etag:
            match = re.fullmatch(r"bytes=(\d+)-(\d+)", headers.get("range", ""))
            if match is not None:
                start, stop = int(match[1]), min(int(match[2]) + 1, len(self.body))
                status, body = 206, self.body[start:stop]
                own["Content-Range"] = f"bytes {start}-{stop - 1}/{len(self.body)}"
        pieces: tuple[bytes | object, ...] = (body,) if body else ()
        if self._breaks_after is not None and len(self.asked) == 1:
            pieces = (body[: self._breaks_after], CLOSE)
        return Answer(status, own, pieces, None if self._chunked else len(body))
