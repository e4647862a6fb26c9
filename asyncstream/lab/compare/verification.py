"""Whether all that was asked for arrived, and nothing else. Pure."""

from collections.abc import Callable, Hashable, Mapping
from typing import NamedTuple, TypeVar

MOST_NAMED = 3

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")
# The columns of a row, but for its key.
Row = tuple[object, ...]


class Checksum(NamedTuple):
    """What two objects must have in common to hold the same bytes."""

    size: int
    crc64nvme: str  # base64, as in S3's headers


def wrong_bytes(expected: Mapping[str, Checksum], found: Mapping[str, Checksum]) -> str | None:
    """What is wrong with copies, in one line; None if nothing is.

    Args:
        expected: the sources, by the last part of their keys.
        found: what a run has written, by the same.
    """
    return _difference("WrongBytes", expected, found, _bytes_fault)


def wrong_rows(expected: Mapping[int, Row], found: Mapping[int, Row]) -> str | None:
    """What is wrong with the rows of a table, likewise.

    Args:
        expected: what the pages hold, by the rows' key.
        found: what is in the table, by the same.
    """
    return _difference("WrongRows", expected, found, lambda row, other: f"has {other} instead of {row}")


def _difference(
    kind: str,
    expected: Mapping[Key, Value],
    found: Mapping[Key, Value],
    told: Callable[[Value, Value], str],
) -> str | None:
    wrong = [
        f"{key} {told(value, found[key]) if key in found else 'is missing'}"
        for key, value in expected.items()
        if key not in found or found[key] != value
    ]
    wrong += [f"{key} was not asked for" for key in found if key not in expected]
    if not wrong:
        return None
    more = f" and {len(wrong) - MOST_NAMED:,} more" if len(wrong) > MOST_NAMED else ""
    return f"{kind}: {'; '.join(wrong[:MOST_NAMED])}{more}"


def _bytes_fault(expected: Checksum, found: Checksum) -> str:
    if found.size != expected.size:
        return f"has {found.size:,} bytes instead of {expected.size:,}"
    return f"has CRC64NVME {found.crc64nvme} instead of {expected.crc64nvme}"
