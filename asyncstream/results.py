"""What became of each file and of the whole transfer; filled by the coordinator, read by everyone."""

from collections.abc import Mapping, Sequence
from typing import Literal

from msgspec import Struct

from asyncstream.continuation import Continuation
from asyncstream.locations import S3Object

Status = Literal["copied", "skipped", "pending", "failed"]


class FileResult(Struct, frozen=True):
    """One file's end.

    Attributes:
        source: what was read.
        destination: where it was written.
        status: "copied", "failed", "skipped" (there was a copy already) or "pending" (the deadline came
            first, see `TransferConfig.at_deadline`).
        bytes: the source's size if copied, else 0.
        made: bytes of the destination, where a transform made it of the source; else None.
        etag: the destination's ETag, with its quotes, if copied.
        parts: uploads it took: 1 for a single PUT.
        attempts: tries of all its requests that moved bytes, so `parts` when nothing was repeated.
        seconds: from its first request to its last reply.
        error: what failed, if it failed.
        read_verified: the kind of S3's own checksum of the source that the bytes read agreed with, such as
            "CRC64NVME": of all its bytes, or of the checksums of the parts that it was uploaded in. None
            where S3 has none, where it is a hash and the file was read in parts or by several transfers,
            where it is of parts of several sizes, and with `verify="off"`.
        write_verified: the kind of checksum by which S3 confirmed the bytes written; None where the
            destination's server knows none: then nothing but the connection vouches for them.
        restarted: why the file was begun once more, if it was.
        upload_left: a sentence on an upload that may be left at the destination, because the reply to its
            creation was lost; it names the uploads that S3 has. `asyncstream clean` aborts old ones.
        continuation: what is done of a pending file, for the next transfer; None if its upload was not begun.
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
    read_verified: str | None = None
    write_verified: str | None = None
    restarted: str | None = None
    continuation: Continuation | None = None
    made: int | None = None
    upload_left: str | None = None


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

    @property
    def copied(self) -> list[FileResult]:
        """The files that were copied."""
        return [file for file in self.files if file.status == "copied"]

    @property
    def skipped(self) -> list[FileResult]:
        """The files that had been copied already."""
        return [file for file in self.files if file.status == "skipped"]

    @property
    def pending(self) -> list[FileResult]:
        """The files that the deadline left to a next transfer: see `continuations`."""
        return [file for file in self.files if file.status == "pending"]

    @property
    def continuations(self) -> Mapping[tuple[S3Object, S3Object], Continuation]:
        """What is done of the pending files, for the next transfer."""
        return {
            (file.source, file.destination): file.continuation
            for file in self.files
            if file.continuation is not None
        }

    @property
    def unverified(self) -> list[FileResult]:
        """The files that were copied without the destination confirming what it received."""
        return [file for file in self.copied if file.write_verified is None]

    def raise_for_failures(self) -> None:
        """Raise an ExceptionGroup of the failed files' errors, if there are any."""
        errors = [file.error for file in self.failed if file.error is not None]
        if errors:
            raise ExceptionGroup(f"{len(errors)} of {len(self.files)} files failed", errors)
