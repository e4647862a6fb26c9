"""What only the sandbox sees of an invocation; filled by `environment.py`, asked of `Sandbox.observed`."""

from msgspec import Struct

from asyncstream.report.measurement import MemorySample


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
        throttled_seconds: how long its threads waited for CPU time they were not entitled to; None where
            nothing is held back.
    """

    cold: bool
    seconds: float
    init_seconds: float
    cpu_seconds: float
    init_cpu_seconds: float
    peak_bytes: int
    memory: list[MemorySample]
    throttled_seconds: float | None
