"""Units of bytes, and functions to parse and format sizes."""

import re

from asyncstream.errors import InputError

KiB = 1024
MiB = 1024 * KiB
GiB = 1024 * MiB
MB = 1000 * 1000

_UNITS = {
    "": 1,
    "B": 1,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "KIB": 2**10,
    "MIB": 2**20,
    "GIB": 2**30,
    "TIB": 2**40,
}
_NAMES = {"KIB": "KiB", "MIB": "MiB", "GIB": "GiB", "TIB": "TiB"}


def parse_size(text: str) -> int:
    """Return the bytes of a size such as `64MiB`, `100 MB`, `1.5GiB` or plain `4096`.

    Raises:
        InputError: the text is not a size, or not a whole number of bytes.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([A-Za-z]*)", text.strip())
    unit = _UNITS.get(match[2].upper()) if match else None
    if match is None or unit is None:
        raise InputError(f"{text!r} is not a size: write 64MiB, 100MB or a number of bytes")
    size = float(match[1]) * unit
    if not size.is_integer():
        raise InputError(f"{text!r} is not a whole number of bytes")
    return int(size)


def exact(size: int) -> str:
    """Format a size in the largest unit that shows it exactly: `100 MB`, `16 KiB`, `1,234 B`."""
    for name, unit in sorted(_UNITS.items(), key=lambda pair: -pair[1]):
        if len(name) > 1 and size >= unit and size % unit == 0:
            return f"{size // unit:,} {_NAMES.get(name, name)}"
    return f"{size:,} B"


def rounded(size: float) -> str:
    """Format a size in three digits, in powers of ten as for network rates: `1.05 GB`."""
    for name in ("TB", "GB", "MB", "KB"):
        value = size / _UNITS[name]
        if value >= 0.9995:
            return f"{value:.3g} {name}"
    return f"{size:.0f} B"
