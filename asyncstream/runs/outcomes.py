"""`BatchOutcome`: what became of a batch, and which rows are left. Does no I/O."""

from collections.abc import Mapping, Sequence
from typing import Self

import msgspec
from msgspec import Struct

from asyncstream.error_texts import full_message
from asyncstream.errors import AsyncstreamError, DeadlineExceeded, InputError
from asyncstream.pipeline.continuation import Continuation
from asyncstream.runs.decoding import decode
from asyncstream.runs.unzipping import Entries

OUTCOME_TYPE = "application/json"
# Characters of an error that an outcome keeps.
MAX_MESSAGE = 1_000
# How often a batch is run for rows whose failures are temporary, and after how many runs in a row without
# progress its pending rows fail.
MOST_TRIES = 3


class RowError(Struct, frozen=True):
    """Why a row failed.

    Attributes:
        type: the name of the error's class.
        message: its text, with its notes.
        temporary: whether the row may succeed if it is tried again.
    """

    type: str
    message: str
    temporary: bool = False

    @classmethod
    def of(cls, error: Exception) -> Self:
        """Return what an outcome says of an error."""
        return cls(type(error).__name__, full_message(error)[:MAX_MESSAGE], is_temporary(error))


def is_temporary(error: Exception) -> bool:
    """Whether the same work may succeed at another try."""
    return isinstance(error, DeadlineExceeded) or (isinstance(error, AsyncstreamError) and error.retryable)


class RowLeft(Struct, frozen=True, omit_defaults=True):
    """A row of a batch that is left to do.

    Attributes:
        row: its number in the batch, from 0.
        source: its source, to name it; see `Row`.
        destination: its destination.
        error: why it failed; None: there was no time for it.
        continuation: where to continue it, instead of where the row says.
        entries: the files of an archive that are left, instead of those of the row.
        only: the ranges of a text that are left, instead of those of the row.
        started: where to continue those that were started, by name.
    """

    row: int
    source: str
    destination: str
    error: RowError | None = None
    continuation: Continuation | None = None
    entries: Entries | None = None
    only: str = ""
    started: Mapping[str, Continuation] = {}


class BatchOutcome(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What became of a batch, over all its runs.

    Attributes:
        batch: its number.
        rows: its number of rows.
        files: files that were copied, or skipped because they were there, without giant files.
        skipped: those that were skipped.
        bytes: bytes of all copied files and parts.
        requests: requests that were sent, by operation.
        seconds: wall time of all runs together.
        runs: how often the batch was run.
        fruitless: how many runs in a row, with the last one, moved nothing.
        left: the rows that are left.
        downgrades: see `TransferReport`.
    """

    batch: int
    rows: int
    files: int = 0
    skipped: int = 0
    bytes: int = 0
    requests: Mapping[str, int] = {}
    seconds: float = 0.0
    runs: int = 0
    fruitless: int = 0
    left: Sequence[RowLeft] = ()
    downgrades: Sequence[str] = ()

    @property
    def pending(self) -> int:
        """The number of rows that ran out of time."""
        return sum(each.error is None for each in self.left)

    @property
    def failed(self) -> Sequence[RowLeft]:
        """The rows that failed."""
        return [each for each in self.left if each.error is not None]

    @property
    def again(self) -> bool:
        """Whether to run the batch again now: rows ran out of time, or may succeed at another try."""
        if self.pending:
            return True
        return self.runs < MOST_TRIES and any(each.error and each.error.temporary for each in self.left)


_decoder = msgspec.json.Decoder(BatchOutcome)


def decode_outcome(content: bytes, name: object) -> BatchOutcome:
    """Return an outcome.

    Raises:
        InputError: it is not one.
    """
    try:
        return decode(_decoder.decode, content)
    except msgspec.DecodeError as error:
        raise InputError(f"{name} is not the outcome of a batch: {error}") from None
