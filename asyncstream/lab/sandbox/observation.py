"""What only the sandbox sees of an invocation."""

from msgspec import Struct

from asyncstream.lab.report.measurement import MemorySample


class Throttling(Struct, frozen=True):
    """How the kernel held processes to their share of CPU.

    Attributes:
        periods: how many periods of 20 ms there were in which they ran.
        throttled: in how many of these they used up their share and wanted more.
        seconds: how long they waited then.
    """

    periods: int
    throttled: int
    seconds: float

    def since(self, before: "Throttling") -> "Throttling":
        """Return the difference to an earlier one."""
        return Throttling(
            self.periods - before.periods, self.throttled - before.throttled, self.seconds - before.seconds
        )


class Observation(Struct, frozen=True, kw_only=True):
    """One invocation.

    Attributes:
        cold: it was the first of its environment.
        seconds: from the event's delivery to the reply, or to the end of the process.
        init_seconds: of the environment: from its start until it asked for an event.
        cpu_seconds: CPU time of the environment's processes during the invocation.
        init_cpu_seconds: likewise during its init.
        peak_bytes: VmHWM of the process: the most it had resident since it started.
        memory: what it had resident, every 50 ms.
        throttling: how it was held to its share of CPU; None where nothing is held back.
    """

    cold: bool
    seconds: float
    init_seconds: float
    cpu_seconds: float
    init_cpu_seconds: float
    peak_bytes: int
    memory: list[MemorySample]
    throttling: Throttling | None
