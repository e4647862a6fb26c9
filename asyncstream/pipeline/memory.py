"""Read memory sizes from Lambda's environment and from Linux's /proc."""

import os
import re
from collections.abc import Mapping
from pathlib import Path

from asyncstream.units import KiB, MiB


def lambda_memory(environ: Mapping[str, str] = os.environ) -> int | None:
    """Return the memory of the Lambda function in bytes; None outside Lambda."""
    megabytes = environ.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "")
    return int(megabytes) * MiB if megabytes.isdecimal() else None


def resident() -> int:
    """Return the resident bytes of this process now (VmRSS); 0 without /proc."""
    return _status("VmRSS")


def peak_resident() -> int:
    """Return the peak of this process's resident bytes (VmHWM); 0 without /proc.

    Not `ru_maxrss`: after fork and exec that is the parent's.
    """
    return _status("VmHWM")


def _status(field: str) -> int:
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:  # macOS and Windows have no /proc
        return 0
    match = re.search(rf"^{field}:\s+(\d+) kB", status, re.MULTILINE)
    return int(match[1]) * KiB if match else 0
