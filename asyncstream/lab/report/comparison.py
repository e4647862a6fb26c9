"""A whole comparison: its rows, and all one needs to judge and repeat them."""

from msgspec import Struct

from asyncstream.lab.report.rows import SHORT, Billing, Section
from asyncstream.lab.report.verdict import name_of


class Environment(Struct, frozen=True):
    """The machine and the software that ran. `cores` is None in Lambda, where memory decides."""

    cores: int | None
    system: str
    python: str
    packages: dict[str, str]


class Network(Struct, frozen=True):
    """What S3 was.

    Attributes:
        server: its name.
        model: the lab's network model; None: no lab.
        tls: whether it was asked over TLS.
        faults: the share of requests that the lab let go wrong; None: faults were no subject.
    """

    server: str
    model: str | None
    tls: bool
    faults: float | None = None


class Web(Struct, frozen=True, kw_only=True):
    """What pages were gathered from, and where their rows went.

    Attributes:
        server: the name of the web.
        hosts: how many it has.
        of_one_host: pages of one host that asyncstream asks for at once, at the most.
        latency: mean seconds until a page begins, over these pages; 0: no model, as fast as it is.
        sigma: of their log-normal spread.
        database: its name and version.
        round_trip: seconds that a round trip to it takes at the least; None: no model, what it gives.
    """

    server: str
    hosts: int
    of_one_host: int
    latency: float
    sigma: float
    database: str
    round_trip: float | None


class Comparison(Struct, frozen=True, kw_only=True):
    """What was run, where, and what came out.

    Attributes:
        command: the command line that repeats it.
        network: S3, or the web and Postgres.
        created: when it began, UTC, ISO 8601.
        memory: the function sizes that were swept, in MB; empty: none, every way had all it wanted.
        limits: how memory and CPU were held to those sizes, such as "cgroup v1", or why they were not.
        verified: how many runs had every byte of every file, or every row, compared and found right.
        ended_early: why rows are missing, if some are.
        untraced: why traces are missing, if they were asked for and are.
        transform: what was made of each file; None: copies.
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
        """The share of requests that were made to go wrong; None where that was no subject."""
        return self.network.faults if isinstance(self.network, Network) else None

    @property
    def errors(self) -> list[str]:
        """What failed, as `workload, way: error`. That a size of a sweep is too small is a finding."""
        return [
            f"{section.workload.name}, {name_of(row)}: {error}"
            for section in self.sections
            for row in section.rows
            for error in row.errors
            if row.memory_mb is None or error.partition(":")[0] not in SHORT
        ]
