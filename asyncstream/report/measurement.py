"""What is measured, before anything is computed of it; filled by `asyncstream.lab.compare`."""

from msgspec import Struct

from asyncstream.report.sizes import exact


class Workload(Struct, frozen=True):
    """So many files of one size."""

    files: int
    size: int

    @property
    def name(self) -> str:
        """What people call it: `10 x 100 MB`."""
        return f"{self.files:,} x {exact(self.size)}"

    @property
    def bytes(self) -> int:
        """Bytes of all files."""
        return self.files * self.size


class Way(Struct, frozen=True):
    """One way to copy the files. `reference` ones are for comparison only, not asyncstream's."""

    name: str
    label: str
    reference: bool = False


class Run(Struct, frozen=True, kw_only=True):
    """One measured call of a handler, in a process of its own.

    Attributes:
        seconds: wall time of the call.
        cpu_seconds: CPU time of the process during the call, of all threads.
        peak_bytes: the most memory the process had resident, its imports included.
        import_seconds: wall time of importing the handler, before the call.
        import_cpu_seconds: CPU time of that.
        requests: S3 requests by operation.
    """

    seconds: float
    cpu_seconds: float
    peak_bytes: int
    import_seconds: float
    import_cpu_seconds: float
    requests: dict[str, int]


class Failure(Struct, frozen=True):
    """A run of which no figure counts: the handler failed, or a byte is wrong."""

    error: str


class Measured(Struct, frozen=True):
    """All runs of one way over one workload, in the order of the rounds."""

    way: Way
    runs: list[Run | Failure]
