"""Files turned into ranges: pure arithmetic over S3's limits; used by the coordinator and its workers.

The limits are those of the S3 user guide, "Amazon S3 multipart upload limits": 1 to 10,000 parts, 5 MiB
to 5 GiB each, the last may be smaller; objects up to 50 TB; one PUT up to 5 GiB.
"""

from collections.abc import Iterable
from typing import NamedTuple

from asyncstream.errors import InputError

KiB = 1024
MiB = 1024 * KiB
GiB = 1024 * MiB

MAX_PARTS = 10_000
MIN_PART = 5 * MiB
MAX_PART = 5 * GiB
MAX_PUT = 5 * GiB
MAX_OBJECT = 50 * 10**12

# Smaller parts mean more requests, each of which costs CPU time and money: 8 MiB parts double the CPU.
AUTO_PART = 25 * MiB
PARTS_PER_SLOT = 4


class ByteRange(NamedTuple):
    """Bytes `start` to `stop` of an object, half-open."""

    start: int
    stop: int

    @property
    def length(self) -> int:
        """Bytes in the range."""
        return self.stop - self.start

    @property
    def header(self) -> str:
        """The range as HTTP writes it, inclusive (RFC 9110, 14.1.2)."""
        return f"bytes={self.start}-{self.stop - 1}"


def auto_part_size(known_sizes: Iterable[int], slots: int) -> int:
    """Bytes of a part when none is configured: about four parts a slot over the sizes that are known.

    Few large parts cost fewest requests; four a slot keep the last ones from leaving slots idle. At
    least 25 MiB, and a multiple of 1 MiB.
    """
    wanted = -(-sum(known_sizes) // (slots * PARTS_PER_SLOT))
    return min(max(AUTO_PART, _round_up(wanted, MiB)), MAX_PART)


def check_size(size: int) -> None:
    """Raise InputError for a file larger than S3 takes."""
    if size > MAX_OBJECT:
        raise InputError(f"an object of {size} bytes is over S3's limit of {MAX_OBJECT}")


def first_range(size: int | None, part_size: int, multipart: bool) -> ByteRange | None:
    """The range the first GET of a file asks for; None asks for the whole of an empty object.

    With the size unknown the range is bounded all the same: its reply tells total and ETag, and a file
    that fits needs no second GET. An empty object has no range at all (S3 answers 416).
    """
    reach = part_size if multipart else MAX_PUT
    if size is None:
        return ByteRange(0, reach)
    if size == 0:
        return None
    return split(size, part_size, multipart)[0]


def split(size: int, part_size: int, multipart: bool) -> list[ByteRange]:
    """Every byte of a file once, in order, in as few ranges as configuration and S3 allow.

    One range means a single PUT. Without `multipart` a file is one range up to 5 GiB. The part size
    grows with the file so that 10,000 parts suffice.

    Raises:
        InputError: the file is larger than S3 takes.
    """
    first = ByteRange(0, min(size, part_size if multipart else MAX_PUT))
    return [first, *rest(size, first.stop, part_size, multipart)]


def rest(size: int, done: int, part_size: int, multipart: bool) -> list[ByteRange]:
    """The ranges that follow a first one of `done` bytes, which need not be of `part_size`."""
    check_size(size)
    left = size - done
    wanted = part_size if multipart else MAX_PUT
    # Nine thousand nine hundred and ninety-nine: the first range is a part of its own.
    step = max(wanted, -(-left // (MAX_PARTS - 1)))
    return [ByteRange(start, min(start + step, size)) for start in range(done, size, step)]


def _round_up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple
