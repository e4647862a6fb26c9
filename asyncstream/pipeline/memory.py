"""What memory there is, by Lambda's environment and /proc."""

import os
import re
from collections.abc import Mapping
from pathlib import Path

from asyncstream.units import KiB, MiB


def lambda_memory(environ: Mapping[str, str] = os.environ) -> int | None:
    """Bytes of the Lambda function this runs in, None elsewhere."""
    megabytes = environ.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "")
    return int(megabytes) * MiB if megabytes.isdecimal() else None


def resident() -> int:
    """Bytes of memory this process has resident now (VmRSS); 0 where there is no /proc."""
    return _status("VmRSS")


def peak_resident() -> int:
    """The most bytes this process ever had resident (VmHWM); 0 where there is no /proc.

    Not `ru_maxrss`: across fork and exec that is the parent's.
    """
    return _status("VmHWM")


def _status(field: str) -> int:
    status = Path("/proc/self/status")
    if not status.exists():
        return 0
    match = re.search(rf"^{field}:\s+(\d+) kB", status.read_text(), re.MULTILINE)
    return int(match[1]) * KiB if match else 0
