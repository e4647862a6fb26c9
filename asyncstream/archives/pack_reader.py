"""Read ranges of a pack from its members."""

from base64 import b64decode
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from functools import partial
from typing import Any, TypeVar

from asyncstream.archives.pack_layout import SMALL_MEMBER, SMALL_ZIP_MEMBER, Layout
from asyncstream.archives.pack_members import Member, MemberPlace
from asyncstream.checksum import Checksum, Digests, combined
from asyncstream.errors import ChecksumMismatch, OtherVersion, SourceChanged, SourceNotFound, TruncatedBody
from asyncstream.locations import S3Object
from asyncstream.objects import ByteRange
from asyncstream.ports import Opened, Source
from asyncstream.retry import Retrying
from asyncstream.units import MiB

T = TypeVar("T")
# Seconds that a pack may wait for its next member while its bytes are sent: S3 ends a PUT that pauses for 20.
_LONGEST_WAIT = 15.0
# Bytes of a member whose CRC32 is computed by one request.
_CRC32_RANGE = 64 * MiB


class MemberGone(OtherVersion):
    """A member was deleted or overwritten, and may be left out: the pack starts over."""

    starts_over = True


class PackReader:
    """Reads ranges of one pack.

    Args:
        layout: where its bytes come from.
        source_of: returns the source that reads a member.
        retrying: repeats requests for members.
        leaves_out: whether a pack is listed again if a member is gone.
    """

    def __init__(
        self,
        layout: Layout,
        source_of: Callable[[MemberPlace], Source[Any, Any]],
        retrying: Retrying,
        *,
        leaves_out: bool = False,
    ) -> None:
        self._layout = layout
        self._source_of = source_of
        self._retrying = retrying
        self._leaves_out = leaves_out

    async def compute_crc32s(self, wanted: ByteRange) -> None:
        """Compute the CRC32s that a range has, but for those of small members that it reads whole.

        The last bytes of an archive have the CRC32s of all members.
        """
        layout, crc32s = self._layout, self._layout.crc32s
        if crc32s is None:
            return
        all_of_them = wanted.stop > layout.members_end
        first, stop = 0, len(layout.members)
        if not all_of_them:
            first, stop = layout.find(wanted.start), layout.find(wanted.stop - 1) + 1
        for position in crc32s.unknown(first, stop):
            member = layout.members[position]
            has_header = layout.start(position) + layout.before_length(member) > wanted.start
            if has_header and self._is_small(member):
                continue
            if has_header or all_of_them:
                crc32s[position] = await self._find_crc32(member)

    async def read(self, wanted: ByteRange) -> AsyncGenerator[bytes | memoryview, None]:
        """Yield the bytes of a range. Chunks are valid until the next one is drawn."""
        left = wanted.length
        async with aclosing(self._read_frames(wanted)) as chunks:
            async for chunk in chunks:
                yield chunk[:left]
                left -= len(chunk)
                if left <= 0:
                    return

    async def _read_frames(self, wanted: ByteRange) -> AsyncGenerator[bytes | memoryview, None]:
        """Yield the bytes from the start of a range on, maybe beyond its end."""
        layout = self._layout
        at = wanted.start
        for position in range(layout.find(at), len(layout.members)):
            member = layout.members[position]
            start = layout.start(position)
            async with aclosing(self._read_frame(position, member, at - start, wanted.stop - start)) as frame:
                async for chunk in frame:
                    yield chunk
            at = layout.start(position + 1)
        skip = at - layout.members_end
        for piece in layout.tail():
            yield piece[skip:]
            skip = max(0, skip - len(piece))

    async def _read_frame(
        self, position: int, member: Member, skip: int, stop: int
    ) -> AsyncGenerator[bytes | memoryview, None]:
        """Yield the bytes before, of and after a member, without the first `skip` ones."""
        layout, crc32s = self._layout, self._layout.crc32s
        before = layout.before_length(member)
        content = b""
        whole = before if member.length > SMALL_MEMBER else before + member.length
        if self._is_small(member) and skip < whole:
            content = await self._repeat(lambda: self._read_small(member))
            if crc32s is not None:
                crc32s[position] = _crc32_of(content)
        if skip < before:
            yield layout.before(member, 0 if crc32s is None else crc32s[position])[skip:]
        skip = max(0, skip - before)
        if content:
            yield content[skip:]
        elif skip < member.length:
            async with aclosing(self._read_large(member, skip, min(member.length, stop - before))) as chunks:
                async for chunk in chunks:
                    yield chunk
        yield layout.after(member)[max(0, skip - member.length) :]

    async def _read_small(self, member: Member) -> bytes:
        """Return the bytes of a small member, after one request."""
        opened = await self._open(member, 0, member.length)
        async with aclosing(_read_stream(member, opened, member.length)) as chunks:
            return b"".join([bytes(chunk) async for chunk in chunks])

    async def _read_large(
        self, member: Member, start: int, stop: int
    ) -> AsyncGenerator[bytes | memoryview, None]:
        """Yield the bytes of a member from `start` to `stop`; see `_read_stream`."""
        if start == stop:
            return
        opened = await self._repeat(lambda: self._open(member, start, stop))
        async with aclosing(_read_stream(member, opened, stop - start)) as chunks:
            async for chunk in chunks:
                yield chunk

    async def _open(self, member: Member, start: int, stop: int) -> Opened:
        # The reply to a GET of the whole has its checksum.
        whole = stop - start == member.size
        range_ = None if whole else ByteRange(member.start + start, member.start + stop)
        try:
            return await self._source_of(member.place).open(member.place, range_, member.etag)
        except (SourceNotFound, SourceChanged) as error:
            if self._leaves_out:
                raise MemberGone(str(error)) from error
            raise

    def _is_small(self, member: Member) -> bool:
        """Whether a member is read whole, by one request."""
        return member.length <= (SMALL_MEMBER if self._layout.crc32s is None else SMALL_ZIP_MEMBER)

    async def _find_crc32(self, member: Member) -> int:
        """Return the CRC32 of a member: S3's own if it has one, else that of its bytes."""
        if isinstance(member.place, S3Object) and not self._is_small(member):
            place = member.place
            source = self._source_of(place)
            stored = await self._repeat(lambda: source.head(place, member.etag))
            if stored.checksum is not None and stored.checksum.kind == "CRC32":
                return _as_number(stored.checksum)
        pieces = []
        for start in range(0, member.size, _CRC32_RANGE):
            stop = min(start + _CRC32_RANGE, member.size)
            digest = await self._repeat(partial(self._digest, member, start, stop))
            pieces.append((digest, stop - start))
        return _as_number(combined("CRC32", pieces)) if pieces else 0

    async def _digest(self, member: Member, start: int, stop: int) -> Checksum:
        digests = Digests(["CRC32"])
        async with aclosing(self._read_large(member, start, stop)) as chunks:
            async for chunk in chunks:
                digests.update(chunk)
        return digests.checksums()["CRC32"]

    async def _repeat(self, once: Callable[[], Awaitable[T]]) -> T:
        """Return the result of `once`, repeated if need be while the upload waits."""
        deadline = self._retrying.deadline
        pause_ends = deadline.now() + _LONGEST_WAIT
        return await self._retrying.run(once, left=lambda: pause_ends - deadline.now())


async def _read_stream(
    member: Member, opened: Opened, length: int
) -> AsyncGenerator[bytes | memoryview, None]:
    """Yield the bytes of an open member, and close it.

    Raises:
        TruncatedBody: there are fewer than `length`.
        ChecksumMismatch: the member was read whole, and does not have the checksum that S3 has of it.
    """
    checksum = opened.checksum
    digests = Digests([] if checksum is None else [checksum.kind])
    left = length
    try:
        while left and (chunk := await opened.stream.read()):
            digests.update(chunk)
            left -= len(chunk)
            if not left:
                _compare(member, digests, checksum)
            yield chunk
    finally:
        await opened.stream.close()
    if left:
        raise TruncatedBody(f"{member.place} ended {left} bytes before its end")


def _compare(member: Member, digests: Digests, checksum: Checksum | None) -> None:
    if checksum is None:
        return
    found = digests.checksums()[checksum.kind]
    if found != checksum:
        raise ChecksumMismatch(
            f"the {member.size} bytes read of {member.place} have the {found.kind} {found.value}, not "
            f"{checksum.value}: they were changed on their way"
        )


def _crc32_of(content: bytes) -> int:
    digests = Digests(["CRC32"])
    digests.update(content)
    return _as_number(digests.checksums()["CRC32"])


def _as_number(checksum: Checksum) -> int:
    return int.from_bytes(b64decode(checksum.value), "big")
