"""A whole comparison: its rows, and all one needs to judge and repeat them; made by `lab.compare`."""

from msgspec import Struct

from asyncstream.report.rows import Billing, Section


class Environment(Struct, frozen=True):
    """The machine and the software that ran."""

    cores: int
    system: str
    python: str
    packages: dict[str, str]


class Network(Struct, frozen=True):
    """What S3 was: `server` names it, `model` is the lab's network model (None: no lab)."""

    server: str
    model: str | None
    tls: bool


class Comparison(Struct, frozen=True, kw_only=True):
    """What was run, where, and what came out.

    Attributes:
        command: the command line that repeats it.
        created: when it began, UTC, ISO 8601.
        verified: how many runs had every byte of every file compared, and found right.
        ended_early: why rows are missing, if some are.
    """

    command: str
    created: str
    environment: Environment
    network: Network
    concurrency: int
    rounds: int
    billing: Billing
    sections: list[Section]
    verified: int
    ended_early: str | None = None

    @property
    def errors(self) -> list[str]:
        """What failed, as `workload, way: error`."""
        return [
            f"{section.workload.name}, {row.way.label}: {error}"
            for section in self.sections
            for row in section.rows
            for error in row.errors
        ]
