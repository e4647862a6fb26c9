"""The results of each file and of the whole transfer."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, Self, get_args, overload

from msgspec import Struct, msgpack

from asyncstream.locations import SourceFile, TargetFile
from asyncstream.pipeline.continuation import Continuation
from asyncstream.pipeline.unfinished import Left, Named, PlannedFiles, pairs_left

Status = Literal["copied", "skipped", "pending", "failed"]


class FileResult(Struct, frozen=True):
    """The result of one file.

    Attributes:
        source: the object, file or URL that was read.
        destination: the object or file that was written.
        status: "copied", "failed", "skipped" (a copy already existed) or "pending" (the deadline passed
            before the file was done, see `TransferConfig.at_deadline`).
        bytes: the source's size if copied, else 0.
        made: bytes of the destination if a transform made it, else None.
        etag: the destination's ETag, with its quotes, if copied.
        parts: number of uploads: 1 for a single PUT.
        attempts: number of tries of all requests that moved bytes. Equals `parts` if nothing was retried.
        seconds: from its first request to its last reply.
        error: the error, if it failed.
        read_verified: the kind of S3's own checksum of the source that matched the bytes read, such as
            "CRC64NVME". The checksum covers all bytes, or the checksums of the parts that the source was
            uploaded in. None if S3 has no checksum, if it is a hash and the file was read in parts or by
            several transfers, if the source's parts have different sizes, and with `verify="off"`.
        write_verified: the kind of checksum by which S3 confirmed the bytes written. None if the
            destination's server supports none: then only the connection protects the bytes.
        restarted: why the file was started again, if it was.
        upload_left: a sentence about an upload that may be left at the destination, because the reply to its
            creation was lost. It names the open uploads that S3 has. `asyncstream clean` aborts old ones.
        continuation: where the next transfer continues a pending file; None if it has no upload yet.
    """

    source: SourceFile
    destination: TargetFile
    status: Status
    bytes: int = 0
    etag: str | None = None
    parts: int = 0
    attempts: int = 0
    seconds: float = 0.0
    error: Exception | None = None
    read_verified: str | None = None
    write_verified: str | None = None
    restarted: str | None = None
    continuation: Continuation | None = None
    made: int | None = None
    upload_left: str | None = None


# A row of `FileResults`: the fields of a result that do not follow from its file, status and error.
_Row = tuple[int, str | None, int, int, float, str | None, str | None, str | None, int | None, str | None]
_read_row = msgpack.Decoder(_Row).decode
_STATUSES: tuple[Status, ...] = get_args(Status)
_NO_END = len(_STATUSES)
_UNTOUCHED = msgpack.encode((0, None, 0, 0, 0.0, None, None, None, None, None))
# The number of failed files whose errors keep the SDK's error. It takes 1 KB, three times as much as the rest
# of a failed file.
MOST_CAUSES = 1_000


class FileResults(Sequence[FileResult]):
    """The results of all files, packed in about 130 bytes per file (350 as objects), unpacked on access.

    Args:
        files: the files of the results, in the same order.
    """

    def __init__(self, files: Sequence[Named]) -> None:
        self._files = files
        self._statuses = bytearray([_NO_END]) * len(files)
        self._rows: list[bytes] = [_UNTOUCHED] * len(files)
        self._errors: dict[int, Exception] = {}
        self._continuations: dict[int, Continuation | None] = {}
        self._error_of_rest: Exception | None = None
        self._counts: Counter[Status] = Counter()
        self.bytes = 0

    @classmethod
    def of(cls, results: Sequence[FileResult]) -> Self:
        """Return these results, packed."""
        packed = cls(results)
        for position, result in enumerate(results):
            packed.put(position, result)
        return packed

    def put(self, position: int, result: FileResult) -> None:
        """Store the result of one file. Each file gets one result."""
        self._statuses[position] = _STATUSES.index(result.status)
        row = (
            result.bytes,
            result.etag,
            result.parts,
            result.attempts,
            result.seconds,
            result.read_verified,
            result.write_verified,
            result.restarted,
            result.made,
            result.upload_left,
        )
        # A copy, because the encoder's own bytes occupy up to a quarter more than they need.
        self._rows[position] = bytes(memoryview(msgpack.encode(row)))
        error = result.error
        if error is not None:
            if len(self._errors) >= MOST_CAUSES:
                error.__cause__ = error.__context__ = None
            self._errors[position] = error
        if result.status == "pending":
            self._continuations[position] = result.continuation
        self._counts[result.status] += 1
        self.bytes += result.bytes

    def end_from(self, position: int, error: Exception | None = None) -> None:
        """End this file and all later, unstarted ones: failed with the error, or pending without one.

        Takes the same time for any number of files. They keep their continuations, and share the error.
        """
        status: Status = "pending" if error is None else "failed"
        left = len(self) - position
        self._statuses[position:] = bytes([_STATUSES.index(status)]) * left
        self._counts[status] += left
        self._error_of_rest = error

    @property
    def complete(self) -> bool:
        """Whether every file has a result."""
        return _NO_END not in self._statuses

    def number_of(self, status: Status) -> int:
        """Return the number of files with this status."""
        return self._counts[status]

    def of_status(self, status: Status) -> Iterator[FileResult]:
        """Yield the results of the files with this status."""
        return (self[position] for position in self.positions(status))

    def left(self, *statuses: Status) -> Iterator[Left]:
        """Yield what the next transfer needs to do the files with these statuses, and no others.

        See `unfinished.pairs_left`. The files whose uploads this transfer did not start or continue are as
        the caller gave them.
        """
        codes = {_STATUSES.index(status) for status in statuses}
        left = bytearray(self._statuses.translate(bytes(code in codes for code in range(256))))
        return pairs_left(self._files, left, self._continuations)

    def unfinished(self) -> list[tuple[Any, Any]]:
        """Return pairs of source and destination that have the pending files only."""
        return [(each.source, each.destination) for each in self.left("pending")]

    def continuations(self) -> dict[tuple[Any, Any], Continuation]:
        """Return the continuations of the pending files, by source and destination."""
        positions: Iterable[int] = self.positions("pending")
        if isinstance(self._files, PlannedFiles):  # of a million pending files, few have started
            positions = sorted({*self._continuations, *self._files.continued})
        files = (self[position] for position in positions)
        return {
            (file.source, file.destination): file.continuation
            for file in files
            if file.continuation is not None
        }

    def positions(self, status: Status) -> Iterator[int]:
        """Yield the positions of the files with this status, in order."""
        code = _STATUSES.index(status)
        position = self._statuses.find(code)
        while position >= 0:
            yield position
            position = self._statuses.find(code, position + 1)

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, position: int) -> FileResult: ...
    @overload
    def __getitem__(self, position: slice) -> list[FileResult]: ...
    def __getitem__(self, position: int | slice) -> FileResult | list[FileResult]:
        if isinstance(position, slice):
            return [self[each] for each in range(*position.indices(len(self)))]
        file, status = self._files[position], _STATUSES[self._statuses[position]]
        position %= len(self)
        row = _read_row(self._rows[position])
        size, etag, parts, attempts, seconds, read, written, restarted, made, upload_left = row
        continuation = None
        if status == "pending":
            continuation = self._continuations.get(position, file.continuation)
        return FileResult(
            file.source,
            file.destination,
            status,
            size,
            etag,
            parts,
            attempts,
            seconds,
            self._errors.get(position, self._error_of_rest) if status == "failed" else None,
            read,
            written,
            restarted,
            continuation,
            made,
            upload_left,
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment] # not hashable, as a list

    def __repr__(self) -> str:
        return repr(list(self))


class TransferReport(Struct, frozen=True):
    """The results of all files, in the order the files were given, and totals.

    Attributes:
        engine: "sequential", "threads" or "asyncio".
        files: one result per file; the sequence creates each result on access.
        seconds: wall time of the whole transfer.
        slots: number of parts that could be in flight at once.
        memory_limit: the limit in bytes for all slots together.
        requests: number of requests sent, by operation ("GetObject": 10).
        folder_markers: number of objects under the prefixes that were not copied, because they only mark a
            folder: 0 bytes, with a key that ends with a slash.
        downgrades: a sentence for each thing that a server lacks, or may lack, and the transfer did without;
            and for what an archive has and no object can be.
    """

    engine: str
    files: FileResults
    seconds: float
    slots: int
    memory_limit: int
    requests: Mapping[str, int]
    folder_markers: int = 0
    downgrades: Sequence[str] = ()

    @property
    def bytes(self) -> int:
        """The number of bytes of all copied files."""
        return self.files.bytes

    def count(self, status: Status) -> int:
        """Return the number of files with this status, without creating their results."""
        return self.files.number_of(status)

    def of_status(self, status: Status) -> Iterator[FileResult]:
        """Yield the results of the files with this status, one at a time."""
        return self.files.of_status(status)

    @property
    def failed(self) -> list[FileResult]:
        """The files that failed."""
        return list(self.of_status("failed"))

    @property
    def copied(self) -> list[FileResult]:
        """The files that were copied."""
        return list(self.of_status("copied"))

    @property
    def skipped(self) -> list[FileResult]:
        """The files whose destination was already a copy."""
        return list(self.of_status("skipped"))

    @property
    def pending(self) -> list[FileResult]:
        """The files that were unfinished at the deadline, for a next transfer: see `continuations`."""
        return list(self.of_status("pending"))

    @property
    def unfinished(self) -> list[tuple[Any, Any]]:
        """The pairs to give to the next transfer, with `continuations`, to do what this one left pending.

        The pending entries of an archive are one `ZipEntries` with a slice, however many they are.
        """
        return self.files.unfinished()

    @property
    def continuations(self) -> Mapping[tuple[Any, Any], Continuation]:
        """Where the next transfer continues the pending files, by source and destination."""
        return self.files.continuations()

    @property
    def unverified(self) -> list[FileResult]:
        """The copied files for which the destination did not confirm the bytes it received."""
        return [file for file in self.of_status("copied") if file.write_verified is None]

    def raise_for_failures(self) -> None:
        """Raise an ExceptionGroup of the failed files' errors, if there are any."""
        errors = [file.error for file in self.of_status("failed") if file.error is not None]
        if errors:
            raise ExceptionGroup(f"{len(errors)} of {len(self.files)} files failed", errors)
