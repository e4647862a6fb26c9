"""The Lambda memory that a run needs. Pure."""

import math

SMALLEST_MB = 128
LARGEST_MB = 10_240
MB_PER_VCPU = 1_769  # Lambda developer guide, "Configure Lambda function memory"
SPARE = 1.1  # Lambda kills a function at its limit


def needed_memory(peak_bytes: int, cpu_seconds: float, seconds: float) -> int:
    """Return the smallest Lambda memory, in MB, with enough memory for the peak and enough CPU.

    Lambda gives CPU in proportion to memory, so a run that used half a vCPU needs the memory of half a vCPU,
    even if it holds few bytes.

    Args:
        peak_bytes: peak resident memory of the process.
        cpu_seconds: CPU time of the run, of all threads.
        seconds: wall time of the run.
    """
    for_memory = math.ceil(peak_bytes / 2**20 * SPARE)
    for_cpu = math.ceil(cpu_seconds / seconds * MB_PER_VCPU) if seconds else 0
    return min(LARGEST_MB, max(SMALLEST_MB, for_memory, for_cpu))
