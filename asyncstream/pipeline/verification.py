"""Which checksums run over a file, and what they have to be. Pure.

What is read is compared with the checksum that S3 keeps of the source: of all its bytes (FULL_OBJECT), or of
the checksums of the parts that it was uploaded in (COMPOSITE), which boto3's own uploads leave. What is
written is compared with the CRC64NVME that S3 computes of what it receives.
"""

from collections.abc import Awaitable, Callable

from msgspec.structs import replace

from asyncstream.checksum import (
    CRC64NVME,
    Checksum,
    Composite,
    Digests,
    checkable_in_parts,
    composed,
)
from asyncstream.errors import ChecksumMismatch
from asyncstream.locations import S3Object
from asyncstream.objects import MAX_PARTS, MultipartUpload, Stored, Written
from asyncstream.pipeline.continuation import PartRun, joined
from asyncstream.pipeline.tasks import FileFacts
from asyncstream.ports import Body, Opened


async def choose(
    file: FileFacts,
    told: Opened | Stored,
    whole: bool,
    part_size: Callable[[int], Awaitable[int | None]],
) -> None:
    """Set what runs over the file's bytes: S3's checksum of what it receives, and that of the source.

    A source's hash is of use only if it is read as one range.

    Args:
        file: in progress, not a byte of it moved.
        told: its source, with its checksum.
        whole: whether it is read as one range.
        part_size: asks for the bytes of one of the parts that the source was uploaded in, by its number;
            None where the server tells none.
    """
    file.checksum, composite = told.checksum, told.composite
    own = CRC64NVME if file.checksum is None else file.checksum.kind
    file.digests = frozenset({CRC64NVME, own} if whole or checkable_in_parts(own) else {CRC64NVME})
    if composite is not None and (whole or checkable_in_parts(composite.kind)):
        file.composite = await _evenly_cut(composite, told.size, part_size)


async def _evenly_cut(
    composite: Composite, size: int, part_size: Callable[[int], Awaitable[int | None]]
) -> Composite | None:
    """The checksum with the size of its parts, or None: they are not all of one, or nobody knows.

    That of the first is not enough: parts of 8, 9 and 7 bytes are as many as 24 bytes have of 8. With that of
    the last, those between would have to be of several sizes and yet as long together as if they were not.
    """
    if composite.parts == 1:
        return replace(composite, part_size=size) if size else None
    last = await part_size(composite.parts) if composite.parts <= MAX_PARTS else None
    if not last:
        return None
    first, uneven = divmod(size - last, composite.parts - 1)
    if uneven or last > first or (composite.parts > 2 and await part_size(1) != first):
        return None
    return replace(composite, part_size=first)


def digests(file: FileFacts, start: int) -> Digests:
    """Those of a range of the file that begins there."""
    return Digests(file.digests, file.composite, start)


def expected(file: FileFacts) -> Checksum | Composite | None:
    """What the whole of the file, read as one range, must have."""
    return file.checksum or file.composite


def confirmed(file: FileFacts) -> list[PartRun]:
    """Return the parts that S3 has confirmed, here or to earlier transfers: one run, if that is all."""
    here = map(PartRun.of, file.completed[file.listed :])
    composite = file.composite
    if composite is not None and (file.output is not None or not checkable_in_parts(composite.kind)):
        composite = None
    return joined([*file.runs, *here], composite, file.cut)


def declared(upload: MultipartUpload, whole: PartRun) -> Checksum | None:
    """Return the checksum that S3 compares with that of all its parts, if it is to."""
    value = whole.checksums.get(CRC64NVME)
    return Checksum(CRC64NVME, value) if upload.verified and value is not None else None


def compare_read(file: FileFacts, whole: PartRun) -> str | None:
    """See that what was read in parts is what the source's checksum says.

    Returns:
        The checksum's kind; None where there is none to compare with.

    Raises:
        ChecksumMismatch: it is not.
    """
    if file.output is not None:  # its source was compared by the body that read all of it
        read = expected(file)
        return None if read is None else read.kind
    what = f"the parts read of {file.job.source}"
    if file.composite is not None:
        if not checkable_in_parts(file.composite.kind):  # of one range, compared when that was read
            return None if file.listed else file.composite.kind
        found = composed(file.composite, whole.length, whole.pieces)
        compare(found, file.composite, what)
        return found.kind
    if file.checksum is None or file.checksum.kind not in whole.checksums:
        return None
    kind = file.checksum.kind
    compare(Checksum(kind, whole.checksums[kind]), file.checksum, what)
    return kind


def compare_received(written: Written, body: Body, target: S3Object, more: str) -> None:
    """See that S3 has received what was sent, as far as it says; `more` is told where it has not.

    Raises:
        ChecksumMismatch: it has received something else.
    """
    if written.checksum is None:
        return
    sent = body.digests.checksums().get(written.checksum.kind)
    if sent is not None:
        compare(written.checksum, sent, f"what S3 received for {target}", more)


def compare_made(written: Written, declared: Checksum | None, target: S3Object) -> str | None:
    """See that S3 has made of the parts what they were declared to be.

    Returns:
        The checksum's kind; None where nothing was declared, or S3 does not say.

    Raises:
        ChecksumMismatch: it has made something else.
    """
    if declared is None or written.checksum is None or written.checksum.kind != declared.kind:
        return None
    compare(written.checksum, declared, f"what S3 made of the parts of {target}")
    return declared.kind


def is_copy(there: Stored, source: Opened) -> bool:
    """Whether what is stored is a copy of the source, as far as their checksums tell."""
    return there.size == source.size and source.checksum is not None and there.checksum == source.checksum


def compare(found: Checksum | Composite, wanted: Checksum | Composite, what: str, more: str = "") -> None:
    """Raise ChecksumMismatch, with `what` was compared and `more`, if they differ."""
    if found != wanted:
        raise ChecksumMismatch(f"{what} has the {found.kind} {found.value}, not {wanted.value}.{more}")
