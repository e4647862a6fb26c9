"""Cut a pack into parts that S3 copies itself, and parts whose bytes are sent. Pure.

S3 copies a range of an object that has more than 5 MiB, and every part but the last has at least 5 MiB. So a
header takes what it lacks from the start of its member.
"""

from array import array

from asyncstream.archives.pack_layout import Layout
from asyncstream.archives.pack_members import Member
from asyncstream.locations import S3Object
from asyncstream.objects import MAX_PARTS, ByteRange, CopiedRange
from asyncstream.ports import Cut
from asyncstream.units import MiB

_LEAST = 5 * MiB
# Bytes of a part that S3 copies. aws-c-s3, issue 288: 1 GiB takes 15.6 s whole, 3.6 s in parts of 64 MiB.
_COPIED = 64 * MiB


def cut_parts(layout: Layout, sent: int) -> Cut | None:
    """Return the parts of a pack; None if S3 can copy none of them, or there would be over 10,000.

    Args:
        layout: the pack.
        sent: the usual bytes of a part whose bytes are sent.
    """
    copied = max(_COPIED, 4 * layout.size // MAX_PARTS)
    edges, copies = array("Q", [0]), dict[int, CopiedRange]()
    for position, member in enumerate(layout.members):
        if not isinstance(member.place, S3Object) or member.size <= _LEAST:
            continue
        data = layout.start(position) + layout.before_length(member)
        stop, before = data + member.length, data - edges[-1]
        start = edges[-1] + _LEAST if 0 < before < _LEAST else data
        if stop - start < _LEAST:
            continue
        edges.extend(_divided(edges[-1], start, sent))
        for edge in _divided(start, stop, copied):
            copies[len(edges)] = _range_of(member.place, member, edges[-1] - data, edge - data)
            edges.append(edge)
    edges.extend(_divided(edges[-1], layout.size, sent))
    return Cut(edges, copies) if copies and len(edges) <= MAX_PARTS + 1 else None


def _divided(start: int, stop: int, length: int) -> list[int]:
    """Return where pieces of at least `length` bytes end, which are about equal; none of no bytes."""
    count = max(1, (stop - start) // length)
    return [start + (stop - start) * each // count for each in range(1, count + 1)] if stop > start else []


def _range_of(place: S3Object, member: Member, start: int, stop: int) -> CopiedRange:
    whole = stop - start == member.size
    range_ = None if whole else ByteRange(member.start + start, member.start + stop)
    return CopiedRange(place, range_, member.etag)
