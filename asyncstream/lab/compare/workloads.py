"""The files of a workload: parses COUNTxSIZE, names the files and makes their event."""

import re
from collections.abc import Mapping
from typing import Any

from asyncstream.errors import InputError
from asyncstream.lab.report.measurement import Files
from asyncstream.units import parse_size

# Large files show the cost of a connection's rate, small files the cost of a request.
DEFAULT = ("10x100MB", "500x16KiB")
MAX_FILES = 20_000


def parse(text: str) -> Files:
    """Parse `10x100MB`.

    Raises:
        InputError: the text is malformed, or has too many files for one event.
    """
    match = re.fullmatch(r"\s*([\d,_]+)\s*x\s*(.+)", text)
    if match is None:
        raise InputError(f"{text!r} is not a workload: write COUNTxSIZE, such as 10x100MB or 2000x16KiB")
    files = int(re.sub(r"\D", "", match[1]) or "0")
    size = parse_size(match[2])
    if not 1 <= files <= MAX_FILES:
        raise InputError(f"{text!r} has an invalid count: use 1 to {MAX_FILES:,} files")
    if size < 1:
        raise InputError(f"{text!r} has empty files, whose rate cannot be measured: use at least 1 byte")
    return Files(files, size)


def names(workload: Files) -> list[str]:
    """Return the last part of each file's key."""
    return [f"{number:06d}" for number in range(workload.files)]


def event(workload: Files, source: str, destination: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the event that copies all files between two URIs that end with a slash."""
    files = [{"source": source + name, "destination": destination + name} for name in names(workload)]
    return {"files": files, "config": dict(config)}
