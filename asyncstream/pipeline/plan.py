"""Cut files into ranges within S3's limits. Pure arithmetic.

The limits are from the S3 user guide, "Amazon S3 multipart upload limits": 1 to 10,000 parts of 5 MiB to
5 GiB (the last may be smaller), objects of up to 50 TB, and one PUT of up to 5 GiB.
"""

from collections.abc import Iterable
from typing import NamedTuple

from asyncstream.errors import InputError
from asyncstream.objects import MAX_PARTS, ByteRange
from asyncstream.ports import Cut
from asyncstream.units import GiB, MiB

MIN_PART = 5 * MiB
MAX_PART = 5 * GiB
MAX_PUT = 5 * GiB
MAX_OBJECT = 50 * 10**12

# Smaller parts need more requests, and each costs CPU time and money: parts of 8 MiB double the CPU time.
AUTO_PART = 25 * MiB
PARTS_PER_SLOT = 4
# The parts of a pack are not limited by the sizes of its files.
PACK_PARTS_PER_SLOT = 1
# The most bytes that are lost if the time is up in the middle of a file that is one stream: what one
# connection copies in ten seconds. Each such part costs two requests.
CHAINED_PART = 512 * MiB


class PartPlan(NamedTuple):
    """A file of `size` bytes cut into parts: the first has `first` bytes, the others have `step`.

    The last may have fewer. `step` is 0 if there is only one part. `first` and `step` differ only in
    continuations of earlier versions. If a server copies some parts itself, `cut` has all of them, and no
    later transfer can continue the file: `first` is 0.
    """

    size: int
    first: int
    step: int
    cut: Cut | None = None

    @property
    def planned(self) -> int:
        """The number of parts."""
        if self.cut is not None:
            return len(self.cut.edges) - 1
        return 1 + (-(-(self.size - self.first) // self.step) if self.step else 0)

    def range(self, number: int, last: int | None = None) -> ByteRange:
        """Return the range of a part, or the range from part `number` to part `last`; counted from 1."""
        start, stop = self._stop(number - 1), self._stop(number if last is None else last)
        return ByteRange(start, stop)

    def _stop(self, number: int) -> int:
        if self.cut is not None:
            return self.cut.edges[number]
        return min(self.first + (number - 1) * self.step, self.size) if number else 0


def auto_part_size(known_sizes: Iterable[int], slots: int, per_slot: int = PARTS_PER_SLOT) -> int:
    """Return the bytes of a part if none are configured: `per_slot` parts per slot over the known sizes.

    Few large parts need the fewest requests, but with four per slot, fewer slots are idle at the end. The
    result is at least 25 MiB, and a multiple of 1 MiB.
    """
    wanted = -(-sum(known_sizes) // (slots * per_slot))
    return min(max(AUTO_PART, _round_up(wanted, MiB)), MAX_PART)


def check_size(size: int) -> None:
    """Raise InputError if a file is larger than S3's limit."""
    if size > MAX_OBJECT:
        raise InputError(f"an object of {size} bytes is over S3's limit of {MAX_OBJECT}")


def max_range(part_size: int, multipart: bool, chained: bool) -> int:
    """Return the most bytes of one range of a file.

    Without `multipart` a file is one range, as far as S3 allows. If a next transfer may continue it
    (`chained`), its ranges are shorter, so that less is lost at the deadline.
    """
    if multipart:
        return part_size
    return CHAINED_PART if chained else MAX_PUT


def part_length(size: int, wanted: int) -> int:
    """Return the bytes of each part but the last: those wanted, or more if there would be over 10,000 parts.

    The parts of an upload have one size, because some servers, such as R2, refuse others at its end.
    """
    return max(wanted, -(-size // MAX_PARTS))


def plan_parts(size: int, length: int) -> PartPlan:
    """Return the parts of a file, of `length` bytes each; the last may have fewer."""
    return PartPlan(size, size, 0) if length >= size else PartPlan(size, length, length)


# After this many parts of output, the part size doubles.
OUTPUT_STEP = 1_000


def output_part_size(number: int, first: int, most: int) -> int:
    """Return the bytes of a part of an output of unknown length. Parts grow, so that 10,000 hold terabytes.

    Args:
        number: the part's number, from 1.
        first: bytes of each of the first thousand parts.
        most: bytes of a part that fit into memory.
    """
    return min(first << ((number - 1) // OUTPUT_STEP), most, MAX_PART)


def auto_output_part(memory_limit: int, slots: int, slot_bytes: int) -> int:
    """Return the bytes of an output part if none are configured: as many as fit in every slot, 5 to 25 MiB.

    Each part costs a request, and stays in memory until it is sent.
    """
    return min(max(MIN_PART, memory_limit // slots - slot_bytes), AUTO_PART)


def _round_up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple
