"""Whether every byte arrived: checksums of sources and results compared; pure, called by `rounds.py`."""

from collections.abc import Mapping
from typing import NamedTuple

MOST_NAMED = 3


class Checksum(NamedTuple):
    """What two objects must have in common to hold the same bytes."""

    size: int
    crc64nvme: str  # base64, as in S3's headers


def difference(expected: Mapping[str, Checksum], found: Mapping[str, Checksum]) -> str | None:
    """What is wrong with the results, in one line; None if nothing is.

    Args:
        expected: the sources, by the last part of their keys.
        found: what a run has written, by the same.
    """
    wrong = [
        f"{name} {_fault(checksum, found.get(name))}"
        for name, checksum in expected.items()
        if found.get(name) != checksum
    ]
    wrong += [f"{name} was not asked for" for name in found if name not in expected]
    if not wrong:
        return None
    more = f" and {len(wrong) - MOST_NAMED:,} more" if len(wrong) > MOST_NAMED else ""
    return f"WrongBytes: {'; '.join(wrong[:MOST_NAMED])}{more}"


def _fault(expected: Checksum, found: Checksum | None) -> str:
    if found is None:
        return "is missing"
    if found.size != expected.size:
        return f"has {found.size:,} bytes instead of {expected.size:,}"
    return f"has CRC64NVME {found.crc64nvme} instead of {expected.crc64nvme}"
