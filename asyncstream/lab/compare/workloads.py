"""The files to copy: how many of which size, as the command line names them, and where they lie."""

import re
from collections.abc import Mapping
from typing import Any

from asyncstream.errors import InputError
from asyncstream.lab.report.measurement import Files
from asyncstream.units import parse_size

# Large files show what a connection's rate costs, small ones what a request does.
DEFAULT = ("10x100MB", "500x16KiB")
MOST_FILES = 20_000


def parse(text: str) -> Files:
    """Read `10x100MB`.

    Raises:
        InputError: it is no such thing, or too many files for one event.
    """
    match = re.fullmatch(r"\s*([\d,_]+)\s*x\s*(.+)", text)
    if match is None:
        raise InputError(f"{text!r} is no workload: write COUNTxSIZE, such as 10x100MB or 2000x16KiB")
    files = int(re.sub(r"\D", "", match[1]) or "0")
    size = parse_size(match[2])
    if not 1 <= files <= MOST_FILES:
        raise InputError(f"{text!r}: from 1 to {MOST_FILES:,} files")
    if size < 1:
        raise InputError(f"{text!r}: empty files have no rate to measure")
    return Files(files, size)


def names(workload: Files) -> list[str]:
    """The last part of each file's key."""
    return [f"{number:06d}" for number in range(workload.files)]


def event(workload: Files, source: str, destination: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """The event that asks to copy them all, given two URIs that end with a slash."""
    files = [{"source": source + name, "destination": destination + name} for name in names(workload)]
    return {"files": files, "config": dict(config)}
