"""A whole comparison: its rows, and everything needed to judge and repeat them."""

from msgspec import Struct

from asyncstream.lab.report.rows import SHORT, Billing, Section
from asyncstream.lab.report.verdict import row_name


class Environment(Struct, frozen=True):
    """The machine and its software. `cores` is None in Lambda, where memory determines the CPU."""

    cores: int | None
    system: str
    python: str
    packages: dict[str, str]


class Network(Struct, frozen=True):
    """The S3 of a comparison.

    Attributes:
        server: the name of the server.
        model: the lab's network model; None: not the lab.
        tls: whether requests used TLS.
        faults: the share of requests that the lab made fail; None: no faults were requested.
    """

    server: str
    model: str | None
    tls: bool
    faults: float | None = None


# JSON documents call `pages_per_host` by its first name.
class Web(Struct, frozen=True, kw_only=True, rename={"pages_per_host": "of_one_host"}):
    """The web and the Postgres of a comparison.

    Attributes:
        server: the name of the web.
        hosts: the number of its hosts.
        pages_per_host: the most pages of one host that asyncstream requests at a time.
        latency: mean seconds until a page starts, over these pages. 0: no delay.
        sigma: standard deviation of the logarithm of these seconds.
        database: a description of the Postgres.
        round_trip: minimum seconds of a round trip to Postgres. 0: no delay. None: a Postgres of the user's.
    """

    server: str
    hosts: int
    pages_per_host: int
    latency: float
    sigma: float
    database: str
    round_trip: float | None


class Comparison(Struct, frozen=True, kw_only=True):
    """A comparison and its results.

    Attributes:
        command: the command line that repeats it.
        network: S3, or the web and Postgres.
        created: its start, UTC, ISO 8601.
        memory: the function sizes tried, in MB; empty: no limits.
        limits: how memory and CPU were limited, such as "cgroup v1", or why they were not.
        verified: number of runs in which every byte of every file, or every row, was right.
        ended_early: the reason if rows are missing.
        untraced: the reason if requested traces are missing.
        transform: the transform of each file; None: copies.
    """

    command: str
    created: str
    environment: Environment
    network: Network | Web
    concurrency: int
    rounds: int
    billing: Billing
    memory: list[int]
    limits: str
    sections: list[Section]
    verified: int
    ended_early: str | None = None
    untraced: str | None = None
    transform: str | None = None

    @property
    def faults(self) -> float | None:
        """The share of requests that failed on purpose; None: no faults were requested."""
        return self.network.faults if isinstance(self.network, Network) else None

    @property
    def errors(self) -> list[str]:
        """The failures, as `workload, way: error`. A function size that is too small is not an error."""
        return [
            f"{section.workload.name}, {row_name(row)}: {error}"
            for section in self.sections
            for row in section.rows
            for error in row.errors
            if row.memory_mb is None or error.partition(":")[0] not in SHORT
        ]
