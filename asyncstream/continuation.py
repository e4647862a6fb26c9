"""What is left of a file when the time is up, for the next transfer to go on with; made by the coordinator.

Plain data, so that any engine on any machine can take it up: as JSON it travels in a Lambda's reply and in
the event of the next one.
"""

from collections.abc import Mapping, Sequence

from msgspec import Struct

from asyncstream import plan
from asyncstream.checksum import KINDS, Checksum, Composite, are_pieces, checkable_in_parts
from asyncstream.errors import InputError


class CompletedPart(Struct, frozen=True, omit_defaults=True):
    """A part that S3 has confirmed; `checksums` are of the bytes sent, by kind.

    `pieces` are the checksums of what it has of each of the parts that its source was uploaded in.
    """

    number: int
    etag: str
    length: int
    checksums: Mapping[str, Checksum]
    pieces: str = ""


class Continuation(Struct, frozen=True, kw_only=True):
    """A multipart upload that is under way.

    Attributes:
        upload_id: S3's name for it.
        etag: of the source: the version that the parts are of.
        size: bytes of the source.
        first: bytes of the first part.
        step: bytes of each later part; the last may have fewer.
        verified: whether S3 is to compare the whole with its checksum.
        checksum: the source's own, if it has one.
        composite: that of the parts it was uploaded in, if it has such a one instead.
        digests: the kinds of checksums that all parts have.
        parts: those that S3 has confirmed, in any order.
        fruitless: transfers in a row that had taken it up and confirmed nothing more.
    """

    upload_id: str
    etag: str
    size: int
    first: int
    step: int
    verified: bool = False
    checksum: Checksum | None = None
    composite: Composite | None = None
    digests: Sequence[str] = ()
    parts: Sequence[CompletedPart] = ()
    fruitless: int = 0

    def __post_init__(self) -> None:
        """See that it is whole: it may come from somebody's event.

        Raises:
            InputError: it is not, and says where.
        """
        if not 0 < self.first <= self.size or (self.step < 1 and self.first < self.size):
            raise InputError(f"continuation: first={self.first}, step={self.step} of {self.size} bytes")
        plan.check_size(self.size)
        planned = 1 + (-(-(self.size - self.first) // self.step) if self.step else 0)
        if planned > plan.MAX_PARTS or max(self.first, self.step) > plan.MAX_PART:
            raise InputError(f"continuation: {planned} parts of {max(self.first, self.step)} bytes")
        if self.fruitless < 0:
            raise InputError(f"continuation: fruitless={self.fruitless}")
        self._check_composite()
        unknown = set(self.digests) - set(KINDS)
        if unknown:
            raise InputError(f"continuation: checksums of the kind {min(unknown)!r} are not known")
        if len({part.number for part in self.parts}) < len(self.parts):
            raise InputError("continuation: a part is named twice")
        for part in self.parts:
            self._check_part(part, planned)

    def _check_composite(self) -> None:
        composite = self.composite
        if composite is None:
            return
        if composite.kind not in KINDS or composite.part_size < 1:
            raise InputError(f"continuation: {composite.kind!r} of parts of {composite.part_size} bytes")
        if self.first < self.size and not checkable_in_parts(composite.kind):
            raise InputError(f"continuation: a {composite.kind} does not follow from those of pieces")

    def _check_part(self, part: CompletedPart, planned: int) -> None:
        number = part.number
        if not 1 <= number <= planned:
            raise InputError(f"continuation: part {number} of {planned}")
        start = 0 if number == 1 else self.first + (number - 2) * self.step
        expected = min(self.first if number == 1 else self.step, self.size - start)
        if part.length != expected:
            raise InputError(f"continuation: part {number} has {part.length} bytes, not {expected}")
        if set(self.digests) - set(part.checksums):
            raise InputError(f"continuation: part {number} lacks a checksum that all parts have")
        if self.composite is not None and not are_pieces(part.pieces, self.composite, start, part.length):
            raise InputError(f"continuation: part {number} lacks checksums of its pieces, or has too many")
