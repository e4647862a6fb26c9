"""Which Lambda memory a run would have needed. Pure."""

import math

SMALLEST_MB = 128
LARGEST_MB = 10_240
MB_PER_VCPU = 1_769  # Lambda developer guide, "Configure Lambda function memory"
SPARE = 1.1  # a function at its very limit is killed


def needed_memory(peak_bytes: int, cpu_seconds: float, seconds: float) -> int:
    """The smallest Lambda memory, in MB, with room for the peak and with the CPU that was used.

    Lambda hands out CPU in proportion to memory, so a run that kept half a vCPU busy needs half a vCPU's
    memory, however few bytes it holds.

    Args:
        peak_bytes: the most memory the process had resident.
        cpu_seconds: CPU time of the run, of all threads.
        seconds: wall time of the run.
    """
    for_memory = math.ceil(peak_bytes / 2**20 * SPARE)
    for_cpu = math.ceil(cpu_seconds / seconds * MB_PER_VCPU) if seconds else 0
    return min(LARGEST_MB, max(SMALLEST_MB, for_memory, for_cpu))
