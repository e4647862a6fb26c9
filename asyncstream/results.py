"""What became of each file and of the whole transfer; filled by the coordinator, read by everyone."""

from collections.abc import Mapping, Sequence
from typing import Literal

from msgspec import Struct

from asyncstream.locations import S3Object

Status = Literal["copied", "failed"]


class FileResult(Struct, frozen=True):
    """One file's end.

    Attributes:
        source: what was read.
        destination: where it was written.
        status: "copied" or "failed".
        bytes: the object's size if copied, else 0.
        etag: the destination's ETag, with its quotes, if copied.
        parts: uploads it took: 1 for a single PUT.
        attempts: tries of all its requests that moved bytes, so `parts` when nothing was repeated.
        seconds: from its first request to its last reply.
        error: what failed, if it failed.
    """

    source: S3Object
    destination: S3Object
    status: Status
    bytes: int
    etag: str | None
    parts: int
    attempts: int
    seconds: float
    error: Exception | None = None


class TransferReport(Struct, frozen=True):
    """All files' ends, in the order the files were given, and the totals.

    Attributes:
        engine: "sequential", "threads" or "asyncio".
        files: one result a file.
        seconds: wall time of the whole transfer.
        slots: parts that could be in flight at once.
        memory_limit: bytes those slots stayed within.
        requests: S3 requests sent, by operation ("GetObject": 10).
    """

    engine: str
    files: Sequence[FileResult]
    seconds: float
    slots: int
    memory_limit: int
    requests: Mapping[str, int]

    @property
    def bytes(self) -> int:
        """Bytes of all files that were copied."""
        return sum(file.bytes for file in self.files)

    @property
    def failed(self) -> list[FileResult]:
        """The files that were not copied."""
        return [file for file in self.files if file.status == "failed"]

    def raise_for_failures(self) -> None:
        """Raise an ExceptionGroup of the failed files' errors, if there are any."""
        errors = [file.error for file in self.failed if file.error is not None]
        if errors:
            raise ExceptionGroup(f"{len(errors)} of {len(self.files)} files failed", errors)
