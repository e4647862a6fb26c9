"""A URL as the source of a file: requested in ranges if its server supports them, else in order."""

from collections.abc import Mapping
from contextlib import AsyncExitStack

from asyncstream.deadline import Deadline
from asyncstream.errors import (
    AccessDenied,
    AsyncstreamError,
    NothingYet,
    NotModified,
    NotResumable,
    OtherVersion,
    PageFailed,
    PageNotFound,
    SourceChanged,
    SourceNotFound,
)
from asyncstream.locations import LocalFolder, WebFile
from asyncstream.locations.urls import parse_url
from asyncstream.objects import ByteRange
from asyncstream.ports import Opened, Source
from asyncstream.web import file_replies
from asyncstream.web.fetching import Fetcher
from asyncstream.web.ports import Reply

# One connection, with the buffers of its HTTP library.
_SLOT_BYTES = 512 * 1024


class WebSource(Source[WebFile, LocalFolder]):
    """Reads files behind URLs. See `ports.Source`.

    Args:
        fetcher: requests URLs; closed with this source.
        deadline: no bytes are read after it.
        verify: whether to return the checksums that servers send.
    """

    def __init__(self, fetcher: Fetcher, deadline: Deadline, *, verify: bool) -> None:
        self._fetcher = fetcher
        self._left = deadline.left_for_replies
        self._verify = verify
        # Several threads send. Appending to a list is atomic, a counter's += is not.
        self._sent: list[None] = []
        # Files whose servers announce ranges and ignore them. Each part would read the file from its start.
        self._in_order: set[WebFile] = set()

    @property
    def slot_bytes(self) -> int:
        """Bytes of memory that one part in flight costs."""
        return _SLOT_BYTES

    @property
    def requests(self) -> Mapping[str, int]:
        """Requests sent so far: of files, not of redirects."""
        return {"WebGet": len(self._sent)} if self._sent else {}

    async def open(
        self, source: WebFile, range_: ByteRange | None, etag: str | None, if_none_match: str | None = None
    ) -> Opened:
        """Request a range of a file (None: the whole). With `etag`, only that version is read.

        Raises:
            NotModified: the file's ETag is `if_none_match`.
            SourceNotFound, AccessDenied: the server refused the request.
            SourceChanged: the file has another version, or not the expected size.
            NotResumable: the file has no version to compare, or its server ignores the ranges it announces.
            AddressRefused, RedirectRefused, ServerNotTrusted: the URL must not be read.
            PageFailed, BodyUnreadable: the reply is not the file, or its headers contradict each other.
        """
        if range_ is not None and range_.start and not etag:
            raise NotResumable(f"{source} has neither an ETag nor a date: whether it changed is unknown")
        self._sent.append(None)
        headers = file_replies.request_headers(range_, etag, if_none_match)
        async with AsyncExitStack() as closing:
            try:
                reply, url = await closing.enter_async_context(
                    self._fetcher.reach(parse_url(source.url), self._left, headers)
                )
                found = file_replies.parse(reply, url, source, range_)
            except AsyncstreamError as error:
                raised = _source_error(error, source, etag, if_none_match)
                # An error that is its own cause makes an endless chain, which SDKs' handlers walk.
                raise raised from (error.__cause__ if raised is error else error)
            skipped = _check_reply(found, range_, etag, source)
            if skipped and found.in_ranges and source not in self._in_order:
                self._in_order.add(source)
                raise NotResumable(f"{source}: its server announces ranges, and sends the whole file instead")
            whole = range_ is None or skipped is not None
            wanted = found.range if range_ is None else range_
            checksum = source.checksum or (found.checksum if self._verify else None)
            stream = _Stream(reply, closing.pop_all(), source, skip=skipped or 0)
        return Opened(
            found.size,
            found.version,
            wanted,
            found.attributes,
            stream,
            checksum=checksum if whole else None,
            demanded=source.checksum is not None,
            # A hash needs all bytes in order. A CRC can be combined from those of parts.
            in_ranges=found.in_ranges
            and source not in self._in_order
            and not file_replies.needs_order(checksum),
        )

    async def close(self) -> None:
        """Close all connections."""
        await self._fetcher.close()


class _Stream:
    """The body of one reply. See `ports.ByteStream`.

    Args:
        reply: the reply.
        closing: returns its connection to the pool.
        source: the file, whose expected size is checked at the end.
        skip: bytes to leave out at the start.
    """

    def __init__(self, reply: Reply, closing: AsyncExitStack, source: WebFile, skip: int) -> None:
        self._reply = reply
        self._closing = closing
        self._source = source
        self._skip = skip
        self._read = 0

    async def read(self) -> bytes | memoryview:
        chunk = await self._reply.stream.read()
        self._read += len(chunk)
        self._check_size(ended=not chunk)
        if not chunk:
            return chunk
        unwanted = min(self._skip, len(chunk))
        self._skip -= unwanted
        if unwanted == len(chunk):
            raise NothingYet("all of it was read before")
        return chunk[unwanted:]

    def _check_size(self, *, ended: bool) -> None:
        expected = self._source.size
        if expected is None or self._reply.status == 206:
            return
        if self._read > expected or (ended and self._read < expected):
            raise SourceChanged(f"{self._source} has {self._read} bytes, and should have {expected}")

    async def close(self) -> None:
        await self._closing.aclose()


def _check_reply(
    found: file_replies.FoundFile, range_: ByteRange | None, etag: str | None, source: WebFile
) -> int | None:
    """Check that a reply has the version and the bytes asked for.

    Returns:
        The bytes to skip, if the server has sent the whole file instead of a range; else None.

    Raises:
        SourceChanged: it has another version, or other bytes.
    """
    if etag is not None and found.version != etag:
        raise OtherVersion(f"{source} was changed during the transfer: it was {etag}, now {found.version}")
    if range_ is None or found.range == range_:
        return None
    if found.range.start or (found.size is not None and found.range.stop != found.size):
        raise SourceChanged(f"{source}: asked for {range_.header}, the server sent {found.range.header}")
    return range_.start


def _source_error(
    error: AsyncstreamError, source: WebFile, etag: str | None, if_none_match: str | None
) -> AsyncstreamError:
    """Return the error of a source for that of a page; other errors stay."""
    match error:
        case PageNotFound():
            return SourceNotFound(f"{source} does not exist: {error}")
        case PageFailed(status=304) if if_none_match:
            return NotModified(f"{source} has not changed")
        case PageFailed(status=401 | 403):
            return AccessDenied(f"{error}. If it needs a key, give it in `headers` of `FetchConfig`")
        case PageFailed(status=412 | 416) if etag is not None:
            return SourceChanged(f"{source} was changed during the transfer: {error}")
        case _:
            return error
