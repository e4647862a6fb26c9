"""The errors that asyncstream raises or puts into results.

Each also derives from a builtin exception, so that code that does not know asyncstream can catch it.
`retryable` says whether repeating the same request may help, by the rules of `retry.py`. `starts_over` says
that only copying the file again from its start may help. An SDK's own error is kept as `__cause__`.

A constructor takes a message, and has a default for everything else: pickle and `copy` call it with the
message only, and set the attributes afterwards. If that call failed, a `multiprocessing.Pool` would hang.
"""

from typing import ClassVar

from asyncstream.error_texts import encodable


class AsyncstreamError(Exception):
    """Base of every error of this package.

    `attempts` is the number of times that a page was requested; 0 if it was not counted.
    """

    attempts = 0
    retryable: ClassVar[bool] = False
    starts_over: ClassVar[bool] = False

    def __str__(self) -> str:
        """Return the message in valid Unicode: it may quote an event, and logs and replies must hold it."""
        return encodable(super().__str__())


class ConfigError(AsyncstreamError, ValueError):
    """A setting is outside its limits, or settings contradict each other. Raised before any I/O."""


class InputError(AsyncstreamError, ValueError):
    """A URI, a list of files or an event is malformed. Raised before any I/O."""


class NothingToTransfer(InputError):
    """The list of files is empty, or no object exists under the source prefix."""


class SourceNotFound(AsyncstreamError, FileNotFoundError):
    """The source object, or the requested version of it, does not exist."""


class BucketNotFound(AsyncstreamError, FileNotFoundError):
    """A bucket does not exist."""


class AccessDenied(AsyncstreamError, PermissionError):
    """S3 denied a request, or Postgres refused a user or its password. For S3, the message names the missing
    permission and the object.
    """


class NotModified(AsyncstreamError, RuntimeError):
    """The source still has the ETag that the request named. Raised only within the pipeline."""


class SourceChanged(AsyncstreamError, RuntimeError):
    """The source was overwritten while it was read. The mixed bytes were discarded."""


class OtherVersion(SourceChanged):
    """The source has another ETag than the one asked for."""


class DestinationExists(AsyncstreamError, FileExistsError):
    """The destination exists and `if_exists="fail"` is set. The existing object was not changed."""


class DeadlineExceeded(AsyncstreamError, TimeoutError):
    """The deadline passed before the work was done."""


class Cancelled(AsyncstreamError, RuntimeError):
    """The work was stopped, because the transfer was cancelled or another part of the file failed."""


class ConnectionFailed(AsyncstreamError, ConnectionError):
    """A connection could not be made, broke, or stayed silent for too long."""

    retryable = True


class ConnectionClosed(ConnectionFailed):
    """The peer closed a connection before the first byte of a reply.

    Often it closes a connection that was idle, as happens to a Lambda environment between invocations.

    Attributes:
        reused: whether the connection to a web server had served another request before.
    """

    reused = False


class ReplyTimeout(ConnectionFailed):
    """A request was sent, and its reply did not arrive in time. S3 may or may not have acted on it."""


class NothingYet(AsyncstreamError, BlockingIOError):
    """A source has nothing to read at this moment. Raised only within the pipeline."""


class BuffersNeeded(AsyncstreamError, RuntimeError):
    """The size of a source is unknown, so its parts are made in memory. Raised only within the pipeline."""


class NotResumable(AsyncstreamError, ConnectionError):
    """A connection broke, and its source can only be read from the start: it has no ranges, or nothing that
    shows whether it has changed.
    """

    starts_over = True


class FileError(AsyncstreamError, OSError):
    """A file of this machine could not be read or written, such as on a full disk."""


class TruncatedBody(ConnectionFailed):
    """A body ended before the length its headers promised."""


class ChecksumMismatch(AsyncstreamError, RuntimeError):
    """The checksums of the bytes sent and received differ. The bytes were discarded, except with
    `verify="after"`; the message then says so.
    """

    retryable = True
    starts_over = True


class ServiceBusy(AsyncstreamError, RuntimeError):
    """S3, a web server or Postgres cannot serve a request now: 408, 425, 5xx, RequestTimeout, no connection.

    `retry_after` is the number of seconds to wait that the server asked for.
    """

    retryable = True

    def __init__(self, message: str, retry_after: float = 0.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class SlowDown(ServiceBusy):
    """S3 or a web server asked for fewer requests per second: 503, 429."""


class TransformError(AsyncstreamError, ValueError):
    """A built-in transform or a user's function failed. The message says where in the file."""


class CorruptInput(TransformError):
    """Compressed input is damaged, cut short, in another format, or followed by other data."""


class DamagedInput(CorruptInput):
    """Compressed input is damaged in the middle. The network may have done it, so the file is read again."""

    starts_over = True


class LineTooLong(TransformError):
    """A line or record is longer than the memory reserved for one."""


class CutInQuotes(AsyncstreamError, ValueError):
    """A range of the lines of a CSV starts or ends within quotes. Nothing of it was made visible."""


class OutputTooLarge(TransformError):
    """A transform produced more bytes than its limit allows; see `transforms/running.py`."""


class MemoryNeeded(TransformError):
    """Decompressing a file takes more memory than is reserved for it; `needs` is the number of bytes.

    The coordinator restarts the file with that much memory. A result has this error only if the transfer does
    not have that much. If `needs` is 0, more cannot be reserved, as for the decoders of archives.
    """

    def __init__(self, message: str, needs: int = 0) -> None:
        super().__init__(message)
        self.needs = needs


class CredentialsExpired(AsyncstreamError, PermissionError):
    """The credentials are no longer valid. Retryable: the next try looks them up again."""

    retryable = True


class WrongRegion(AsyncstreamError, RuntimeError):
    """The bucket is in another region. `region` is its name, "" if S3 did not name it.

    Retryable: the store remembers the region and sends the next try there.
    """

    retryable = True

    def __init__(self, message: str, region: str = "") -> None:
        super().__init__(message)
        self.region = region


class ChecksumRefused(AsyncstreamError, RuntimeError):
    """A server does not know the checksum of a body, or demands one. Retryable: the next try goes without or
    with it.
    """

    retryable = True


class AddressRefused(AsyncstreamError, PermissionError):
    """A web host has a forbidden address, such as a private one or that of the instance's credentials. No
    connection was made. See `web/addresses.py`.
    """


class HostNotFound(AsyncstreamError, ConnectionError):
    """The host name has no address."""


class ServerNotTrusted(AsyncstreamError, ConnectionError):
    """A server's certificate is for another host, has expired, or is not signed by a trusted authority; or
    Postgres offers no TLS. Nothing was sent to the server: no request, no credentials, no password.
    """


class RedirectRefused(AsyncstreamError, PermissionError):
    """A redirect was not followed: one too many, from https to http, to another scheme, or to a bad URL."""


class BodyTooLarge(AsyncstreamError, ValueError):
    """A page, as sent or decompressed, has more bytes than `max_body`. It was discarded."""


class BodyUnreadable(AsyncstreamError, ValueError):
    """A page's body is damaged, or in an encoding that the request did not accept."""


class PageFailed(AsyncstreamError, RuntimeError):
    """A web server answered with a `status` that is not a page, and that a retry does not change."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


class PageNotFound(PageFailed, FileNotFoundError):
    """The page does not exist: 404 or 410."""


class DatabaseError(AsyncstreamError, RuntimeError):
    """Postgres answered with an error that has no class of its own; `sqlstate` is its code, "" if none."""

    def __init__(self, message: str, sqlstate: str = "") -> None:
        super().__init__(message)
        self.sqlstate = sqlstate


class TableNotFound(DatabaseError, LookupError):
    """The table or its schema does not exist."""


class TableMismatch(DatabaseError, LookupError):
    """The table lacks a column, or a unique index over the key. Raised before any row is written."""


class RowRefused(DatabaseError, ValueError):
    """The table refused a row. No row of its page was written."""


class TransactionConflict(DatabaseError):
    """Another session interfered: a deadlock, a serialization failure, or a lock not granted in time."""

    retryable = True


class FilesFailed(AsyncstreamError, RuntimeError):
    """Some files of an event were not copied; the message names them. Handlers raise it if no caller reads
    their reply, so that Lambda keeps the event.
    """


class FilesFailedForNow(FilesFailed):
    """Some files of an event were not copied, and another invocation may copy them."""

    retryable = True


class GatheringFailed(AsyncstreamError, RuntimeError):
    """Some pages of an event were not stored; the message names them. Handlers raise it if no caller reads
    their reply, so that the failure is visible.
    """


class S3Error(AsyncstreamError, RuntimeError):
    """S3 answered with an error that has no class of its own; `code` is S3's name for it. It is "" if a proxy
    or another server answered, or if the SDK failed.
    """

    def __init__(self, message: str, code: str = "", status: int = 0) -> None:
        super().__init__(message)
        self.code = code
        self.status = status


class ReplyIncomplete(S3Error):
    """S3's reply lacks a required field. S3 may or may not have done a write."""


class UploadGone(S3Error):
    """The multipart upload no longer exists: another client or a lifecycle rule aborted it."""

    starts_over = True


class CopyRefused(S3Error):
    """The server does not copy parts, or the role may not read the source: the file starts over."""

    starts_over = True


class PartsMissing(AsyncstreamError):
    """Parts of an upload that several transfers fill are missing. The upload is still there."""


class PartsNotListed(S3Error):
    """The server does not list the parts of an upload. An upload that an earlier transfer left is aborted."""

    starts_over = True


class WriteConflict(S3Error):
    """Another write of the same object interfered (409). S3 requires a new upload."""

    starts_over = True
