"""The items of a trigger's event, and their outcomes. Does no I/O."""

from collections.abc import Mapping, Sequence
from typing import Any, Self

from msgspec import Struct, field

from asyncstream.errors import AsyncstreamError, FilesFailed, FilesFailedForNow
from asyncstream.pipeline.pairs import Pair
from asyncstream.runs.outcomes import is_temporary


class Item(Struct, frozen=True):
    """A part of an event that succeeds or fails as a whole: a message, a task, a row, an object.

    Attributes:
        name: its name in the event.
        pairs: sources and destinations to copy. An item with neither these nor a batch counts as a success.
        config: its own settings of TransferConfig.
        batch: a batch of a run to move, `s3://bucket/RUN/plan/000123.jsonl`, instead of pairs.
        error: why it cannot be copied, if that is known before any work starts.
        group: items of a group run in order; after a failed one, no more of its group run (FIFO).
    """

    name: str
    pairs: tuple[Pair, ...] = ()
    config: Mapping[str, Any] = field(default_factory=dict)
    error: AsyncstreamError | None = None
    group: str | None = None
    batch: str = ""


class ItemOutcome(Struct, frozen=True):
    """The outcome of an item.

    Attributes:
        item: the item that the outcome is of.
        files, bytes: the numbers of copied files and bytes.
        failed: the number of failed files; 1 for a malformed item, or a prefix that could not be listed.
        error: the first error, if any.
    """

    item: Item
    files: int = 0
    bytes: int = 0
    failed: int = 0
    error: Exception | None = None

    @classmethod
    def from_error(cls, item: Item, error: Exception) -> Self:
        """Return the outcome of an item that failed before any of its files was copied."""
        return cls(item, failed=max(1, len(item.pairs)), error=error)


def failure_type(outcomes: Sequence[ItemOutcome]) -> type[FilesFailed]:
    """Return the error class for these outcomes: `FilesFailedForNow` if another invocation may succeed."""
    temporary = any(each.error is not None and is_temporary(each.error) for each in outcomes)
    return FilesFailedForNow if temporary else FilesFailed
