"""The units of a trigger's event, and how each ended. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any, Self

from msgspec import Struct, field

from asyncstream.errors import AsyncstreamError, DeadlineExceeded, FilesFailed, FilesFailedForNow
from asyncstream.pipeline.continuation import Continuation
from asyncstream.pipeline.jobs import Pair


class Item(Struct, frozen=True):
    """What succeeds or fails as one: a message, a task, a row, an object.

    Attributes:
        name: how the event names it.
        pairs: what it asks to copy; none: it is ignored, which is a success.
        config: settings of TransferConfig of its own.
        continuation: of its one file, which an earlier invocation has begun.
        error: why it cannot be done, found before anything was begun.
        group: items of one group run in their order, and none after one that failed (FIFO).
    """

    name: str
    pairs: tuple[Pair, ...] = ()
    config: Mapping[str, Any] = field(default_factory=dict)
    error: AsyncstreamError | None = None
    group: str | None = None
    continuation: Continuation | None = None


class Outcome(Struct, frozen=True):
    """An item's end.

    Attributes:
        item: which one.
        files, bytes: copied.
        failed: files that were not; of what could not be listed or read, one.
        error: what failed first, if something did.
        pending: whether it is to be continued, and with what.
    """

    item: Item
    files: int = 0
    bytes: int = 0
    failed: int = 0
    error: Exception | None = None
    pending: bool = False
    continuation: Continuation | None = None

    @classmethod
    def of_failure(cls, item: Item, error: Exception) -> Self:
        """That of an item none of which was copied."""
        return cls(item, failed=max(1, len(item.pairs)), error=error)


def is_temporary(error: Exception) -> bool:
    """Whether the same work may succeed in an invocation to come."""
    return isinstance(error, DeadlineExceeded) or (isinstance(error, AsyncstreamError) and error.retryable)


def failure_of(outcomes: Sequence[Outcome]) -> type[FilesFailed]:
    """The error that tells of them: whether another invocation may do better."""
    temporary = any(each.error is not None and is_temporary(each.error) for each in outcomes)
    return FilesFailedForNow if temporary else FilesFailed
