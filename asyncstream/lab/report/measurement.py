"""The measurements of a comparison, before reports compute figures from them."""

from msgspec import Struct

from asyncstream.lab.report.spans import Trace
from asyncstream.units import exact


class Files(Struct, frozen=True):
    """A number of files of one size to copy."""

    files: int
    size: int

    @property
    def name(self) -> str:
        """The workload's name, such as `10 x 100 MB`."""
        return f"{self.files:,} x {exact(self.size)}"

    @property
    def amount(self) -> float:
        """The amount of work in the unit of rates, millions of bytes."""
        return self.files * self.size / 1e6


class Pages(Struct, frozen=True):
    """A number of web pages to gather into a table.

    Attributes:
        pages: number of pages.
        rows: rows per page.
        seconds: wait for all pages, one by one.
        slowest: seconds of wait for the slowest page.
        floor: minimum seconds of wait at the given concurrency; see `lab.web`.
    """

    pages: int
    rows: int
    seconds: float
    slowest: float
    floor: float

    @property
    def name(self) -> str:
        """The workload's name, such as `80 pages`."""
        return f"{self.pages:,} pages"

    @property
    def amount(self) -> float:
        """The amount of work in the unit of rates, pages."""
        return float(self.pages)


# The work that every variant does.
Workload = Files | Pages


class Way(Struct, frozen=True):
    """A variant's name and label. `reference`: not asyncstream's code, for comparison only."""

    name: str
    label: str
    reference: bool = False


class MemorySample(Struct, frozen=True, array_like=True):
    """Resident bytes of a function, `seconds` after the start of its invocation."""

    seconds: float
    bytes: int


class Run(Struct, frozen=True, kw_only=True):
    """One measured invocation of a function, in its own environment.

    Attributes:
        seconds: the invocation's duration as Lambda reports it, without init.
        cpu_seconds: CPU time of the environment during the invocation, of all threads.
        peak_bytes: peak memory, including imports.
        init_seconds: seconds from the start of the environment until it is ready, with interpreter, imports
            and clients. None: unknown.
        init_cpu_seconds: CPU time of this start. None: unknown, as on Lambda.
        requests: requests to S3, by operation. For pages: requests to the web ("web") and round trips to
            Postgres ("postgres"), if they could be counted.
        faults: injected faults by kind; None: no faults were requested.
        left_open: uploads that the run has neither completed nor aborted.
        memory: samples over the invocation, in order.
        trace_id: X-Ray's ID, if the trace must be read later.
        trace: the invocation's spans, if it was traced and they have been read.
    """

    seconds: float
    cpu_seconds: float
    peak_bytes: int
    init_seconds: float | None
    init_cpu_seconds: float | None
    requests: dict[str, int]
    faults: dict[str, int] | None = None
    left_open: int = 0
    memory: list[MemorySample] = []
    trace_id: str | None = None
    trace: Trace | None = None


class Failure(Struct, frozen=True):
    """A run without figures: the function failed, Lambda ended it, or a byte or a row is wrong.

    `memory` has samples as in `Run`, if the function was invoked.
    """

    error: str
    memory: list[MemorySample] = []


class Measured(Struct, frozen=True):
    """All runs of one variant with one workload, in the order of the rounds.

    `memory_mb` is the function size; None: no limits. `repeat`: a second measurement of the same
    variant, only to show the noise.
    """

    way: Way
    memory_mb: int | None
    runs: list[Run | Failure]
    repeat: bool = False
