"""What became of each page and of the whole gathering."""

from collections.abc import Sequence
from typing import Literal

from msgspec import Struct

PageStatus = Literal["stored", "unchanged", "failed", "pending"]


class PageResult(Struct, frozen=True):
    """One page's end.

    Attributes:
        url: as it was given.
        status: "stored" (a row of it was new, or other than before), "unchanged" (none had to be written),
            "failed" (none of its rows was written by this gathering, unless a reply of Postgres's was lost),
            or "pending" (the deadline came first).
        stored: rows written.
        unchanged: rows that were there already, just so, or that a trigger kept from being written.
        replaced: rows that were not written, as a later one of the batch has their key: a key of too few
            columns, maybe.
        attempts: tries that the page took; 0 if nobody was asked for it, or it was given up while it was
            fetched.
        seconds: from its first request to its rows; 0 if it was not begun.
        error: why it failed; of pending ones, what the time was lost by, if rows were to be written.
    """

    url: str
    status: PageStatus
    stored: int = 0
    unchanged: int = 0
    replaced: int = 0
    attempts: int = 0
    seconds: float = 0.0
    error: Exception | None = None

    @property
    def is_empty(self) -> bool:
        """Whether it was made no rows."""
        return self.status == "unchanged" and not self.unchanged and not self.replaced


class GatherReport(Struct, frozen=True):
    """All pages' ends, in the order in which their URLs were first named, and the totals.

    Attributes:
        engine: "sequential", "threads" or "asyncio".
        pages: one result a URL.
        seconds: wall time of the whole gathering.
        slots: pages that could be in hand at once.
        memory_limit: bytes those slots and the waiting rows stayed within.
        batches: in which rows were written: a statement each, where all rows have the same columns and none
            is refused.
    """

    engine: str
    pages: Sequence[PageResult]
    seconds: float
    slots: int
    memory_limit: int
    batches: int

    @property
    def rows(self) -> int:
        """Rows written: new ones, and changed ones."""
        return sum(page.stored for page in self.pages)

    @property
    def replaced(self) -> int:
        """Rows that were not written, as a later one of their batch has their key."""
        return sum(page.replaced for page in self.pages)

    @property
    def empty(self) -> list[PageResult]:
        """The pages that were made no rows: where each should have some, the site has changed, maybe."""
        return [page for page in self.pages if page.is_empty]

    @property
    def failed(self) -> list[PageResult]:
        """The pages of which no row was written."""
        return self.of("failed")

    @property
    def pending(self) -> list[PageResult]:
        """The pages that the deadline left to a next gathering."""
        return self.of("pending")

    def of(self, status: PageStatus) -> list[PageResult]:
        """The pages that ended so."""
        return [page for page in self.pages if page.status == status]

    def raise_for_failures(self) -> None:
        """Raise an ExceptionGroup of the failed pages' errors, if there are any."""
        errors = [page.error for page in self.failed if page.error is not None]
        if errors:
            raise ExceptionGroup(f"{len(errors)} of {len(self.pages)} pages failed", errors)
