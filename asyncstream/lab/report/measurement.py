"""What is measured, before anything is computed of it."""

from msgspec import Struct

from asyncstream.lab.report.spans import Trace
from asyncstream.units import exact


class Files(Struct, frozen=True):
    """So many files of one size, to be copied."""

    files: int
    size: int

    @property
    def name(self) -> str:
        """What people call it: `10 x 100 MB`."""
        return f"{self.files:,} x {exact(self.size)}"

    @property
    def amount(self) -> float:
        """All of it, in the unit in which rates are told: millions of bytes."""
        return self.files * self.size / 1e6


class Pages(Struct, frozen=True):
    """So many pages of the web, to be gathered into a table.

    Attributes:
        pages: how many.
        rows: of each page.
        seconds: how long all of them take to begin, one after the other.
        slowest: how long one of them takes.
        floor: how long they take at the least with so many at once as were asked for; see `lab.web`.
    """

    pages: int
    rows: int
    seconds: float
    slowest: float
    floor: float

    @property
    def name(self) -> str:
        """What people call it: `80 pages`."""
        return f"{self.pages:,} pages"

    @property
    def amount(self) -> float:
        """All of it, in the unit in which rates are told: pages."""
        return float(self.pages)


# What every way of a comparison is given to do.
Workload = Files | Pages


class Way(Struct, frozen=True):
    """One way to do the work. `reference` ones are for comparison only, not asyncstream's."""

    name: str
    label: str
    reference: bool = False


class MemorySample(Struct, frozen=True, array_like=True):
    """Bytes a function had resident, so many seconds after its invocation began."""

    seconds: float
    bytes: int


class Run(Struct, frozen=True, kw_only=True):
    """One measured invocation of a function, in an environment of its own.

    Attributes:
        seconds: the invocation's duration as Lambda reports it, its init left out.
        cpu_seconds: CPU time of the environment meanwhile, of all threads.
        peak_bytes: the most memory it used, its imports included.
        init_seconds: of the environment, until it asked for work: interpreter, imports, clients. None
            where nobody tells.
        init_cpu_seconds: CPU time of that; Lambda does not tell it.
        requests: to S3, by operation; or to the web ("web") and, where they could be counted, round trips to
            Postgres ("postgres").
        faults: by kind, how many of those were made to go wrong; None where faults were no subject.
        left_open: uploads that it has neither completed nor aborted.
        memory: samples over the invocation, in order.
        trace_id: X-Ray's, where the trace is to be read later.
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
    """A run of which no figure counts: the function failed or was ended by Lambda, or a byte is wrong.

    `memory` are samples as those of `Run`, where the function had been invoked at all.
    """

    error: str
    memory: list[MemorySample] = []


class Measured(Struct, frozen=True):
    """All runs of one way over one workload, in the order of the rounds.

    `memory_mb` is the size of the function; None: as much as Lambda has, and nothing was held back.
    `repeat` tells the same runs made a second time, only to see how far apart the same thing comes out.
    """

    way: Way
    memory_mb: int | None
    runs: list[Run | Failure]
    repeat: bool = False
