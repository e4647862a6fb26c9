"""The errors that asyncstream raises or puts into results.

Each has a builtin as second parent, so that code which knows nothing of asyncstream catches it by
the name it already knows. `retryable` says whether repeating the same request may help, by the rules of
`retry.py`; `starts_over` that only a file begun anew may. An SDK's own error is kept as `__cause__`.
"""

import re
from collections.abc import Iterator
from typing import ClassVar

# JSON's "\ud800" becomes half of a surrogate pair, which UTF-8 cannot write: no log takes it, and no reply.
_HALF_A_PAIR = re.compile("[\ud800-\udfff]")


def encodable(text: str) -> str:
    """Return the text with U+FFFD in place of each half of a surrogate pair."""
    return text if text.isascii() else _HALF_A_PAIR.sub("\ufffd", text)


class AsyncstreamError(Exception):
    """Base of every error of this package. `attempts`: tries made of a page; 0 where that is not told."""

    attempts = 0
    retryable: ClassVar[bool] = False
    starts_over: ClassVar[bool] = False

    def __str__(self) -> str:
        """Its message, which may quote an event, as logs and replies can write it."""
        return encodable(super().__str__())


def told(error: BaseException | None) -> str:
    """What an error says, with its notes: they name uploads that could not be aborted."""
    return encodable("; ".join([str(error or ""), *getattr(error, "__notes__", ())]))


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and what it was raised from, outermost first."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


class ConfigError(AsyncstreamError, ValueError):
    """A setting is outside its limits, or settings contradict each other. Raised before any I/O."""


class InputError(AsyncstreamError, ValueError):
    """What to transfer is malformed: a URI, a list of files, an event. Raised before any I/O."""


class NothingToTransfer(InputError):
    """The list of files is empty, or nothing is stored under the source prefix."""


class SourceNotFound(AsyncstreamError, FileNotFoundError):
    """The source object, or the version named, does not exist."""


class BucketNotFound(AsyncstreamError, FileNotFoundError):
    """A bucket does not exist."""


class AccessDenied(AsyncstreamError, PermissionError):
    """S3 refused a request for want of a permission, which the message names with the object; or Postgres
    refused a user or its password.
    """


class NotModified(AsyncstreamError, RuntimeError):
    """The source is still the version that was asked about; of use within the pipeline only."""


class SourceChanged(AsyncstreamError, RuntimeError):
    """The source was overwritten while it was read; nothing of the mix was kept."""


class DestinationExists(AsyncstreamError, FileExistsError):
    """`if_exists="fail"`, and there is an object already; it was left as it is."""


class DeadlineExceeded(AsyncstreamError, TimeoutError):
    """The deadline passed before the work was done."""


class Cancelled(AsyncstreamError, RuntimeError):
    """The work was stopped, because the transfer was cancelled or another part of the file failed."""


class ConnectionFailed(AsyncstreamError, ConnectionError):
    """A connection could not be made, broke, or stayed silent for too long."""

    retryable = True


class ConnectionClosed(ConnectionFailed):
    """The peer closed a connection before the first byte of a reply: often one that it had forgotten while
    nothing was sent over it, as happens to a Lambda environment between invocations.
    """


class ReplyTimeout(ConnectionFailed):
    """A request was sent, and its reply did not come in time: whether S3 acted on it is not known."""


class TruncatedBody(ConnectionFailed):
    """A body ended before the length its headers promised."""


class ChecksumMismatch(AsyncstreamError, RuntimeError):
    """Bytes arrived other than they were sent: the checksums of the two sides differ. Nothing of them was
    kept, except with `verify="after"`, which the message then says.
    """

    retryable = True
    starts_over = True


class ServiceBusy(AsyncstreamError, RuntimeError):
    """S3, a web server or Postgres asked to come back later: 408, 425, 5xx, RequestTimeout, no connection;
    `retry_after`: in so many seconds.
    """

    retryable = True

    def __init__(self, message: str, retry_after: float = 0.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class SlowDown(ServiceBusy):
    """S3 or a web server asked for fewer requests a second: 503, 429."""


class TransformError(AsyncstreamError, ValueError):
    """A transform failed, by itself or in a user's function; the message says where in the file."""


class CorruptInput(TransformError):
    """What was to be decompressed is damaged, cut short, of another format, or followed by others."""


class DamagedInput(CorruptInput):
    """It is damaged in its midst: on its way, perhaps, so that it is read once more."""

    starts_over = True


class LineTooLong(TransformError):
    """A line or record has more bytes than may be held in memory."""


class OutputTooLarge(TransformError):
    """A transform made more bytes than its input may become; see `transforms/running.py`."""


class MemoryNeeded(TransformError):
    """A file takes more memory to decompress than is reserved for it; `needs`: bytes. The coordinator begins
    the file again with as much, so that a result has this error only if there is not so much memory.
    """

    def __init__(self, message: str, needs: int = 0) -> None:
        super().__init__(message)
        self.needs = needs


class CredentialsExpired(AsyncstreamError, PermissionError):
    """The credentials are no longer valid. Retryable: they are looked up anew for the next try."""

    retryable = True


class WrongRegion(AsyncstreamError, RuntimeError):
    """The bucket is in another region than the one asked; `region` is its name, "" if S3 did not say.

    Retryable: the store remembers the region, and the next try goes there.
    """

    retryable = True

    def __init__(self, message: str, region: str) -> None:
        super().__init__(message)
        self.region = region


class AddressRefused(AsyncstreamError, PermissionError):
    """A host of the web has an address that must not be connected to: a private one, the instance's own
    credentials, ... See `gathering/web/addresses.py`. No connection was made.
    """


class HostNotFound(AsyncstreamError, ConnectionError):
    """There is no address of that name."""


class ServerNotTrusted(AsyncstreamError, ConnectionError):
    """A server's certificate is for another host, has expired, or no trusted authority signed it; or Postgres
    offers no TLS. The server was sent nothing: no request, no credentials, no password.
    """


class RedirectRefused(AsyncstreamError, PermissionError):
    """A redirect that is not followed: one too many, from https to http, to another scheme, or to no URL."""


class BodyTooLarge(AsyncstreamError, ValueError):
    """A page has more bytes than `max_body`, as sent or unpacked. Nothing of it was kept."""


class BodyUnreadable(AsyncstreamError, ValueError):
    """A page's body is packed in a way that was not asked for, or damaged."""


class PageFailed(AsyncstreamError, RuntimeError):
    """A web server answered with a status that is no page, and that asking again does not help; `status`."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class PageNotFound(PageFailed, FileNotFoundError):
    """There is no such page: 404 or 410."""


class DatabaseError(AsyncstreamError, RuntimeError):
    """Postgres answered with an error that has no class of its own; `sqlstate` is its code, "" if none."""

    def __init__(self, message: str, sqlstate: str = "") -> None:
        super().__init__(message)
        self.sqlstate = sqlstate


class TableNotFound(DatabaseError, LookupError):
    """The table does not exist, or its schema."""


class TableMismatch(DatabaseError, LookupError):
    """The table lacks a column, or a unique index over the key. Raised before any row is written."""


class RowRefused(DatabaseError, ValueError):
    """A row is not what its table takes; of the page that it came from no row was written."""


class TransactionConflict(DatabaseError):
    """Another session was in the way: a deadlock, a serialization failure, a lock not had in time."""

    retryable = True


class FilesFailed(AsyncstreamError, RuntimeError):
    """Of an event some files were not copied; raised by handlers to whom nobody listens, so that the event
    is kept. The message names them.
    """


class FilesFailedForNow(FilesFailed):
    """The same, but another invocation may succeed."""

    retryable = True


class GatheringFailed(AsyncstreamError, RuntimeError):
    """Of an event some pages were not stored; raised by handlers to whom nobody listens, so that it is seen.
    The message names them.
    """


class S3Error(AsyncstreamError, RuntimeError):
    """S3 answered with an error that has no class of its own; `code` is S3's name for it."""

    def __init__(self, message: str, code: str = "", status: int = 0) -> None:
        super().__init__(message)
        self.code = code
        self.status = status


class ReplyIncomplete(S3Error):
    """S3's reply leaves out something that it must have; whether a write was done is unknown."""


class UploadGone(S3Error):
    """The multipart upload exists no more: somebody aborted it, or a lifecycle rule did."""

    starts_over = True


class WriteConflict(S3Error):
    """Another write of the same object came between (409): S3 wants the upload begun anew."""

    starts_over = True
