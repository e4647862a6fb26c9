"""What became of each file and of the whole transfer."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, Protocol, Self, get_args, overload

from msgspec import Struct, msgpack

from asyncstream.locations import S3Object
from asyncstream.pipeline.continuation import Continuation

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


class Named(Protocol):
    """A file by its two ends."""

    @property
    def source(self) -> S3Object:
        """What is read."""

    @property
    def destination(self) -> S3Object:
        """Where it is written."""

    @property
    def continuation(self) -> Continuation | None:
        """What an earlier transfer has done of it."""


# A row of `FileResults`: the fields of a result that its file, status and error do not tell.
_Row = tuple[int, str | None, int, int, float, str | None, str | None, str | None, int | None, str | None]
_read_row = msgpack.Decoder(_Row).decode
_STATUSES: tuple[Status, ...] = get_args(Status)
_NO_END = len(_STATUSES)
_UNTOUCHED = msgpack.encode((0, None, 0, 0, 0.0, None, None, None, None, None))
# Failed files whose errors keep the SDK's error: 1 KB each, three times as much as all else of a failed file.
MOST_CAUSES = 1_000


class FileResults(Sequence[FileResult]):
    """The results of all files, in about 130 bytes a file (350 as objects), made when they are looked at.

    Args:
        files: what the results are of, in the same order.
    """

    def __init__(self, files: Sequence[Named]) -> None:
        self._files = files
        self._statuses = bytearray([_NO_END]) * len(files)
        self._rows: list[bytes] = [_UNTOUCHED] * len(files)
        self._errors: dict[int, Exception] = {}
        self._continuations: dict[int, Continuation | None] = {}
        self._of_the_rest: Exception | None = None
        self._counts: Counter[Status] = Counter()
        self.bytes = 0

    @classmethod
    def of(cls, results: Sequence[FileResult]) -> Self:
        """Pack results."""
        packed = cls(results)
        for position, result in enumerate(results):
            packed.put(position, result)
        return packed

    def put(self, position: int, result: FileResult) -> None:
        """Keep the result of one file; each has one."""
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
        # A copy, as the encoder's own bytes keep up to a quarter more than they need.
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
        """End this file and all later ones, which have not started: as failed; without an error as pending.

        At once, for any number of files: they keep what an earlier transfer has done, and share the error.
        """
        status: Status = "pending" if error is None else "failed"
        left = len(self) - position
        self._statuses[position:] = bytes([_STATUSES.index(status)]) * left
        self._counts[status] += left
        self._of_the_rest = error

    @property
    def complete(self) -> bool:
        """Whether every file has a result."""
        return _NO_END not in self._statuses

    def number_of(self, status: Status) -> int:
        """Return the number of files that ended so."""
        return self._counts[status]

    def of_status(self, status: Status) -> Iterator[FileResult]:
        """Yield the results of the files that ended so."""
        return (self[position] for position in self._positions(status))

    def pending(self) -> Iterator[FileResult]:
        """Yield the pending files, first those whose uploads this transfer went on with.

        The others are as the caller gave them. None is made before it is asked for: when files are pending,
        the time is up.
        """
        continued = sorted(position for position, left in self._continuations.items() if left is not None)
        yield from (self[position] for position in continued)
        first = set(continued)
        yield from (self[position] for position in self._positions("pending") if position not in first)

    def _positions(self, status: Status) -> Iterator[int]:
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
            self._errors.get(position, self._of_the_rest) if status == "failed" else None,
            read,
            written,
            restarted,
            continuation,
            made,
            upload_left,
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment] # as a list has none

    def __repr__(self) -> str:
        return repr(list(self))


class TransferReport(Struct, frozen=True):
    """All files' ends, in the order the files were given, and the totals.

    Attributes:
        engine: "sequential", "threads" or "asyncio".
        files: one result a file, a sequence that makes each result when it is asked for.
        seconds: wall time of the whole transfer.
        slots: parts that could be in flight at once.
        memory_limit: bytes those slots stayed within.
        requests: S3 requests sent, by operation ("GetObject": 10).
    """

    engine: str
    files: FileResults
    seconds: float
    slots: int
    memory_limit: int
    requests: Mapping[str, int]

    @property
    def bytes(self) -> int:
        """Bytes of all files that were copied."""
        return self.files.bytes

    def count(self, status: Status) -> int:
        """Return the number of files that ended so, without making their results."""
        return self.files.number_of(status)

    def of_status(self, status: Status) -> Iterator[FileResult]:
        """Yield the results of the files that ended so, one at a time."""
        return self.files.of_status(status)

    @property
    def failed(self) -> list[FileResult]:
        """The files that were not copied."""
        return list(self.of_status("failed"))

    @property
    def copied(self) -> list[FileResult]:
        """The files that were copied."""
        return list(self.of_status("copied"))

    @property
    def skipped(self) -> list[FileResult]:
        """The files that had been copied already."""
        return list(self.of_status("skipped"))

    @property
    def pending(self) -> list[FileResult]:
        """The files that the deadline left to a next transfer: see `continuations`."""
        return list(self.of_status("pending"))

    @property
    def continuations(self) -> Mapping[tuple[S3Object, S3Object], Continuation]:
        """What is done of the pending files, for the next transfer."""
        return {
            (file.source, file.destination): file.continuation
            for file in self.of_status("pending")
            if file.continuation is not None
        }

    @property
    def unverified(self) -> list[FileResult]:
        """The files that were copied without the destination confirming what it received."""
        return [file for file in self.of_status("copied") if file.write_verified is None]

    def raise_for_failures(self) -> None:
        """Raise an ExceptionGroup of the failed files' errors, if there are any."""
        errors = [file.error for file in self.of_status("failed") if file.error is not None]
        if errors:
            raise ExceptionGroup(f"{len(errors)} of {len(self.files)} files failed", errors)
