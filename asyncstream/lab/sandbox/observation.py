"""The sandbox's measurements of an invocation."""

from msgspec import Struct

from asyncstream.lab.report.measurement import MemorySample


class Throttling(Struct, frozen=True):
    """The kernel's throttling of processes to their share of CPU.

    Attributes:
        periods: number of 20 ms periods in which they ran.
        throttled: number of these periods in which they were throttled.
        seconds: total time that they were throttled.
    """

    periods: int
    throttled: int
    seconds: float

    def since(self, before: "Throttling") -> "Throttling":
        """Return the difference from an earlier value."""
        return Throttling(
            self.periods - before.periods, self.throttled - before.throttled, self.seconds - before.seconds
        )


class Observation(Struct, frozen=True, kw_only=True):
    """Measurements of one invocation.

    Attributes:
        cold: whether it was the first in its environment.
        seconds: seconds from the event's delivery to the reply, or to the end of the process.
        init_seconds: seconds from the environment's start until it requested an event.
        cpu_seconds: CPU time of the environment's processes during the invocation.
        init_cpu_seconds: CPU time of the environment's processes during init.
        peak_bytes: VmHWM of the process, its peak resident memory since its start.
        memory: samples of resident memory, every 50 ms.
        throttling: how often the CPU was throttled. None: without limits.
    """

    cold: bool
    seconds: float
    init_seconds: float
    cpu_seconds: float
    init_cpu_seconds: float
    peak_bytes: int
    memory: list[MemorySample]
    throttling: Throttling | None
