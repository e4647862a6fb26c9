"""The result of each page, and the report of the whole gathering."""

from collections.abc import Sequence
from typing import Literal

from msgspec import Struct

PageStatus = Literal["stored", "unchanged", "failed", "pending"]


class PageResult(Struct, frozen=True):
    """The result of one page.

    Attributes:
        url: the URL as it was given to the gathering.
        status: "stored" (at least one row was new or changed), "unchanged" (no row had to be written),
            "failed" (this gathering wrote none of its rows, unless a reply from Postgres was lost), or
            "pending" (the deadline passed first).
        stored: the number of rows written.
        unchanged: the number of rows that the table already had with the same values, or that a trigger
            suppressed.
        replaced: the number of rows not written because a later row of the same batch has the same key. The
            key may have too few columns.
        attempts: attempts made to fetch the page; 0 if no request was sent, or if the fetch was abandoned.
        seconds: seconds from the first request until the rows were made; 0 if the page was not started.
        error: why the page failed. For a pending page whose rows were ready to be written: the error that
            used up the time.
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
        """Whether the page had no rows."""
        return self.status == "unchanged" and not self.unchanged and not self.replaced


class GatherReport(Struct, frozen=True):
    """The results of all pages, in the order in which their URLs were first given, and the totals.

    Attributes:
        engine: "sequential", "threads" or "asyncio".
        pages: one result per URL.
        seconds: wall time of the whole gathering.
        slots: the most pages that could be in progress at once.
        memory_limit: bytes that those pages and the rows waiting to be written could take.
        batches: batches of rows written. A batch is one statement if all its rows have the same columns and
            Postgres refuses none of them.
    """

    engine: str
    pages: Sequence[PageResult]
    seconds: float
    slots: int
    memory_limit: int
    batches: int

    @property
    def rows(self) -> int:
        """The number of rows written, new and changed."""
        return sum(page.stored for page in self.pages)

    @property
    def replaced(self) -> int:
        """The number of rows not written because a later row of the same batch has the same key."""
        return sum(page.replaced for page in self.pages)

    @property
    def empty(self) -> list[PageResult]:
        """The pages without rows. If every page should have rows, the site may have changed."""
        return [page for page in self.pages if page.is_empty]

    @property
    def failed(self) -> list[PageResult]:
        """The pages with the status "failed"."""
        return self.of("failed")

    @property
    def pending(self) -> list[PageResult]:
        """The pages that were not finished before the deadline."""
        return self.of("pending")

    def of(self, status: PageStatus) -> list[PageResult]:
        """Return the pages with this status."""
        return [page for page in self.pages if page.status == status]

    def raise_for_failures(self) -> None:
        """Raise an ExceptionGroup of the errors of the failed pages, if there are any."""
        errors = [page.error for page in self.failed if page.error is not None]
        if errors:
            raise ExceptionGroup(f"{len(errors)} of {len(self.pages)} pages failed", errors)
