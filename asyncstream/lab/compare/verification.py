"""Checks that the results are the expected ones. Pure."""

from collections.abc import Callable, Hashable, Mapping
from typing import NamedTuple, TypeVar

MAX_NAMED = 3

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")
# The columns of a row except its key.
Row = tuple[object, ...]


class Checksum(NamedTuple):
    """Size and checksum, which are equal for objects with the same bytes."""

    size: int
    crc64nvme: str  # base64, as in S3's headers


def wrong_bytes(expected: Mapping[str, Checksum], found: Mapping[str, Checksum]) -> str | None:
    """Return the errors in the copies in one line, or None.

    Args:
        expected: the sources, by the last part of their keys.
        found: the copies, by the last part of their keys.
    """
    return _difference("WrongBytes", expected, found, _bytes_fault)


def wrong_rows(expected: Mapping[int, Row], found: Mapping[int, Row]) -> str | None:
    """Return the errors in the rows of a table in one line, or None.

    Args:
        expected: the rows of the pages, by key.
        found: the rows of the table, by key.
    """
    return _difference("WrongRows", expected, found, lambda row, other: f"has {other} instead of {row}")


def _difference(
    kind: str,
    expected: Mapping[Key, Value],
    found: Mapping[Key, Value],
    describe: Callable[[Value, Value], str],
) -> str | None:
    wrong = [
        f"{key} {describe(value, found[key]) if key in found else 'is missing'}"
        for key, value in expected.items()
        if key not in found or found[key] != value
    ]
    wrong += [f"{key} is unexpected" for key in found if key not in expected]
    if not wrong:
        return None
    more = f" and {len(wrong) - MAX_NAMED:,} more" if len(wrong) > MAX_NAMED else ""
    return f"{kind}: {'; '.join(wrong[:MAX_NAMED])}{more}"


def _bytes_fault(expected: Checksum, found: Checksum) -> str:
    if found.size != expected.size:
        return f"has {found.size:,} bytes instead of {expected.size:,}"
    return f"has CRC64NVME {found.crc64nvme} instead of {expected.crc64nvme}"
