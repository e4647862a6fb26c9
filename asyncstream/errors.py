"""The errors asyncstream raises or puts into results; raised by every layer, caught by base class.

Each has a builtin as second parent, so that code which knows nothing of asyncstream catches it by
the name it already knows. `retryable` says whether repeating the same request may help: it is all
that `retry.py` asks of an error. An SDK's own error is kept as `__cause__`.
"""

from typing import ClassVar


class AsyncstreamError(Exception):
    """Base of every error of this package."""

    retryable: ClassVar[bool] = False


def told(error: BaseException | None) -> str:
    """What an error says, with its notes: they name uploads that could not be aborted."""
    return "; ".join([str(error or ""), *getattr(error, "__notes__", ())])


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
    """S3 refused a request for want of a permission; the message names it and the object."""


class SourceChanged(AsyncstreamError, RuntimeError):
    """The source was overwritten while it was read; nothing of the mix was kept."""


class DeadlineExceeded(AsyncstreamError, TimeoutError):
    """The deadline passed before the work was done."""


class Cancelled(AsyncstreamError, RuntimeError):
    """The work was stopped, because the transfer was cancelled or another part of the file failed."""


class ConnectionFailed(AsyncstreamError, ConnectionError):
    """A connection could not be made, broke, or stayed silent for too long."""

    retryable = True


class TruncatedBody(ConnectionFailed):
    """A body ended before the length its headers promised."""


class ServiceBusy(AsyncstreamError, RuntimeError):
    """S3 asked to come back later: 500, 502, 503, 504, 429, RequestTimeout."""

    retryable = True


class WrongRegion(AsyncstreamError, RuntimeError):
    """The bucket lives in another region than the one asked; `region` is where.

    Retryable: the store remembers the region, and the next try goes there.
    """

    retryable = True

    def __init__(self, message: str, region: str) -> None:
        super().__init__(message)
        self.region = region


class FilesFailed(AsyncstreamError, RuntimeError):
    """Of an event some files were not copied; raised by handlers to whom nobody listens, so that the event
    is kept. The message names them.
    """


class FilesFailedForNow(FilesFailed):
    """The same, but another invocation may succeed."""

    retryable = True


class S3Error(AsyncstreamError, RuntimeError):
    """S3 answered with an error that has no class of its own; `code` is S3's name for it."""

    def __init__(self, message: str, code: str = "", status: int = 0) -> None:
        super().__init__(message)
        self.code = code
        self.status = status


class RangeNotSatisfiable(S3Error):
    """The object ends before the range begins; an empty object has no range at all."""
