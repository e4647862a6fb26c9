"""Choose the checksums to compute for a file, and compare them with S3's. Does no I/O itself.

The bytes read are compared with the checksum that S3 stores for the source. It covers all bytes
(FULL_OBJECT), or the checksums of the parts that the source was uploaded in (COMPOSITE), as after boto3's own
uploads. The bytes written are compared with the CRC64NVME that S3 computes from the bytes it receives.
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
from asyncstream.locations import TargetFile
from asyncstream.objects import MAX_PARTS, MultipartUpload, Stored, Written
from asyncstream.pipeline.continuation import PartRun, joined
from asyncstream.pipeline.tasks import FileFacts
from asyncstream.ports import Body, Opened


async def choose_digests(
    file: FileFacts,
    source: Opened | Stored,
    whole: bool,
    part_size: Callable[[int], Awaitable[int | None]],
) -> None:
    """Set the checksums to compute over a file: CRC64NVME, and the kind that S3 stores for the source.

    If the source's checksum is a hash, it can only be compared if the file is read as one range.

    Args:
        file: a file in progress of which no bytes were copied yet.
        source: size and checksum of the source.
        whole: whether the file is read as one range.
        part_size: requests the bytes of one part of the source by its number. Returns None if the server does
            not say.
    """
    file.checksum, composite = source.checksum, source.composite
    own = CRC64NVME if file.checksum is None else file.checksum.kind
    file.digests = frozenset({CRC64NVME, own} if whole or checkable_in_parts(own) else {CRC64NVME})
    if composite is not None and source.size is not None and (whole or checkable_in_parts(composite.kind)):
        file.composite = await _evenly_cut(composite, source.size, part_size)


async def _evenly_cut(
    composite: Composite, size: int, part_size: Callable[[int], Awaitable[int | None]]
) -> Composite | None:
    """Return the checksum with the size of its parts; None if the sizes differ or are unknown.

    The size of the first part is not enough: 24 bytes make three parts of 8, 9 and 7 bytes, or of 8 each. If
    the last part fits too, the parts between would need different sizes that add up as if they were equal.
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
    """Return the running checksums for a range of the file that starts at this position."""
    return Digests(file.digests, file.composite, start)


def expected(file: FileFacts) -> Checksum | Composite | None:
    """Return the checksum that the file must have when it is read as one range."""
    return file.checksum or file.composite


def confirmed(file: FileFacts) -> list[PartRun]:
    """Return the parts that S3 has confirmed to this or earlier transfers; one run if all parts are."""
    here = map(PartRun.of, file.completed[file.listed :])
    composite = file.composite
    if composite is not None and (file.output is not None or not checkable_in_parts(composite.kind)):
        composite = None
    return joined([*file.runs, *here], composite, file.part_plan)


def declared(upload: MultipartUpload, whole: PartRun) -> Checksum | None:
    """Return the checksum of the whole to send when completing the upload; None if S3 does not verify it."""
    value = whole.checksums.get(upload.kind)
    return Checksum(upload.kind, value) if upload.verified and value is not None else None


def compare_read(file: FileFacts, whole: PartRun) -> str | None:
    """Compare the bytes read in parts with the source's checksum.

    Returns:
        The checksum's kind; None if there is no checksum to compare with.

    Raises:
        ChecksumMismatch: the checksums differ.
    """
    source = expected(file)
    if source is None or file.output is not None:  # the body that read the whole source has compared it
        return None if source is None else source.kind
    kind = source.kind
    if not checkable_in_parts(kind):  # read as one range and compared then, or not compared
        compared = file.composite is not None or kind in file.digests
        return kind if compared and not file.listed else None
    what = f"the data read in parts from {file.job.source}"
    if isinstance(source, Composite):
        compare(composed(source, whole.length, whole.pieces), source, what)
    elif kind not in whole.checksums:
        return None
    else:
        compare(Checksum(kind, whole.checksums[kind]), source, what)
    return kind


def compare_received(written: Written, body: Body, target: TargetFile, more: str) -> None:
    """Compare the bytes sent with the checksum in S3's reply, if it has one. `more` is added to the error.

    Raises:
        ChecksumMismatch: S3 has received other bytes.
    """
    if written.checksum is None:
        return
    sent = body.digests.checksums().get(written.checksum.kind)
    if sent is not None:
        compare(written.checksum, sent, f"the data that S3 received for {target}", more)


def compare_made(written: Written, declared: Checksum | None, target: TargetFile) -> str | None:
    """Compare the checksum of a completed object with the declared one.

    Returns:
        The checksum's kind; None if no checksum was declared or S3 returned none.

    Raises:
        ChecksumMismatch: the object has another checksum.
    """
    if declared is None or written.checksum is None or written.checksum.kind != declared.kind:
        return None
    compare(written.checksum, declared, f"the object that S3 assembled as {target}")
    return declared.kind


def compare(found: Checksum | Composite, wanted: Checksum | Composite, what: str, more: str = "") -> None:
    """Raise ChecksumMismatch if two checksums differ. The message starts with `what` and ends with `more`."""
    if found != wanted:
        raise ChecksumMismatch(f"{what} has the {found.kind} {found.value}, not {wanted.value}.{more}")
