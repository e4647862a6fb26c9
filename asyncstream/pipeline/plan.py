"""Files turned into ranges: pure arithmetic over S3's limits.

The limits are those of the S3 user guide, "Amazon S3 multipart upload limits": 1 to 10,000 parts, 5 MiB
to 5 GiB each, the last may be smaller; objects up to 50 TB; one PUT up to 5 GiB.
"""

from collections.abc import Iterable
from typing import NamedTuple

from asyncstream.errors import InputError
from asyncstream.objects import MAX_PARTS, ByteRange
from asyncstream.units import GiB, MiB

MIN_PART = 5 * MiB
MAX_PART = 5 * GiB
MAX_PUT = 5 * GiB
MAX_OBJECT = 50 * 10**12

# Smaller parts mean more requests, each of which costs CPU time and money: 8 MiB parts double the CPU.
AUTO_PART = 25 * MiB
PARTS_PER_SLOT = 4
# Of a file that is one stream, what is lost when the time is up in the middle of it: ten seconds of one
# connection, at two requests each.
CHAINED_PART = 512 * MiB


class PartPlan(NamedTuple):
    """A file of `size` bytes cut into parts: the first of `first` bytes, the others of `step`.

    The last may have fewer. `step` is 0 if there is a single part.
    """

    size: int
    first: int
    step: int

    @property
    def planned(self) -> int:
        """How many parts there are."""
        return 1 + (-(-(self.size - self.first) // self.step) if self.step else 0)

    def range(self, number: int, last: int | None = None) -> ByteRange:
        """Return the bytes of a part, or those from one part to another; numbers count from 1."""
        start, stop = self._stop(number - 1), self._stop(number if last is None else last)
        return ByteRange(start, stop)

    def _stop(self, number: int) -> int:
        return min(self.first + (number - 1) * self.step, self.size) if number else 0


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


def reach(part_size: int, multipart: bool, chained: bool) -> int:
    """Bytes that one range of a file has at most.

    Without `multipart` a file is one range as far as S3 allows; but where a next transfer is to go on with
    it (`chained`), in pieces that are worth keeping.
    """
    if multipart:
        return part_size
    return CHAINED_PART if chained else MAX_PUT


def first_range(size: int | None, reach: int) -> ByteRange | None:
    """The range the first GET of a file asks for; None asks for the whole, which tells its checksum too.

    With the size unknown that is the whole as well: its reply tells the size, a file that fits needs no
    second request, and one that does not is read as far as `reach`, and what is left of the reply dropped.
    """
    if size is None or size <= reach:
        return None
    return ByteRange(0, reach)


def cut(size: int, first: int, reach: int) -> PartPlan:
    """Return the parts of a file whose first one has `first` bytes, which need not be as long as the others.

    As few of at most `reach` bytes as S3 allows: they grow with the file so that 10,000 suffice.

    Raises:
        InputError: the file is larger than S3 takes.
    """
    check_size(size)
    if first >= size:
        return PartPlan(size, size, 0)
    # Nine thousand nine hundred and ninety-nine: the first range is a part of its own.
    return PartPlan(size, first, max(reach, -(-(size - first) // (MAX_PARTS - 1))))


# So many parts of one size, then as many of the double, and so on.
OUTPUT_STEP = 1_000


def output_part_size(number: int, first: int, most: int) -> int:
    """Bytes of a part of output whose length nobody knows: they grow, so that 10,000 take terabytes.

    Args:
        number: of the part, from 1.
        first: bytes of the first thousand.
        most: bytes that there is memory for.
    """
    return min(first << ((number - 1) // OUTPUT_STEP), most, MAX_PART)


def auto_output_part(memory_limit: int, slots: int, slot_bytes: int) -> int:
    """Bytes of an output part when none is configured: as large as fits in every slot, 5 to 25 MiB.

    Each is a request, and each waits in memory until it is sent.
    """
    return min(max(MIN_PART, memory_limit // slots - slot_bytes), AUTO_PART)


def _round_up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple
