"""Read ranges of a pack from its members."""

from base64 import b64decode
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from functools import partial
from typing import Any, TypeVar

from asyncstream.archives.pack_checks import mismatch
from asyncstream.archives.pack_layout import SMALL_MEMBER, SMALL_ZIP_MEMBER, Layout
from asyncstream.archives.pack_members import Member, MemberPlace
from asyncstream.checksum import Checksum, Digests, checkable_in_parts, combined
from asyncstream.errors import (
    ChecksumMismatch,
    NothingYet,
    OtherVersion,
    SourceChanged,
    SourceNotFound,
    TruncatedBody,
)
from asyncstream.locations import LocalFile, ZipEntry
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
        verify: whether to ask for the checksums of members that a range has only a piece of.
        leaves_out: whether a pack is listed again if a member is gone.
    """

    def __init__(
        self,
        layout: Layout,
        source_of: Callable[[MemberPlace], Source[Any, Any]],
        retrying: Retrying,
        *,
        verify: bool,
        leaves_out: bool = False,
    ) -> None:
        self._layout = layout
        self._verify = verify
        self._source_of = source_of
        self._retrying = retrying
        self._leaves_out = leaves_out

    async def prepare(self, wanted: ByteRange, check: Callable[[], None]) -> None:
        """Find the checksums that a range needs: those it has, and those to compare its members with.

        To compute them may take long. `check` is called before each chunk, and raises to stop.
        """
        if self._verify:
            await self._expect_checksums(wanted)
        await self._compute_crc32s(wanted, check)

    async def _expect_checksums(self, wanted: ByteRange) -> None:
        """Ask for the checksums of the first and the last member if the range has only a piece of them.

        The reply to a GET of a whole member has its checksum.
        """
        layout = self._layout
        if not wanted.start < min(wanted.stop, layout.members_end):
            return
        last = layout.find(min(wanted.stop, layout.members_end) - 1)
        for position in {layout.find(wanted.start), last}:
            member = layout.members[position]
            start = layout.start(position) + layout.before_length(member)
            stop = start + member.length
            has_piece = wanted.start < stop and start < wanted.stop
            if has_piece and (wanted.start > start or wanted.stop < stop) and not self._is_small(member):
                await self._expect_checksum(position, member)

    async def _expect_checksum(self, position: int, member: Member) -> Checksum | None:
        """Return the checksum of a member that pieces are compared with; None if it has none."""
        place, checks = member.place, self._layout.checks
        if isinstance(place, LocalFile) or member.length < member.size:
            return None
        if not checks.expects(position):
            source = self._source_of(place)
            stored = await self._retrying.run(lambda: self._or_gone(source.head(place, member.etag)))
            known = stored.checksum
            checks.expect(position, known if known is not None and checkable_in_parts(known.kind) else None)
        return checks.expected(position, "CRC32")

    async def _compute_crc32s(self, wanted: ByteRange, check: Callable[[], None]) -> None:
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
                check()
                crc32s[position] = _as_number(await self._find_crc32(position, member, check))
                if not self._is_small(member):
                    self._compare(position, member)

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
        # Also if only its end is wanted: else nothing would compare it.
        if self._is_small(member) and skip < before + member.length:
            if member.length:
                content = await self._repeat(lambda: self._read_small(member))
            if crc32s is not None:
                crc32s[position] = _crc32_of(content)
        if skip < before:
            yield layout.before(member, 0 if crc32s is None else crc32s[position])[skip:]
        skip = max(0, skip - before)
        if content:
            yield content[skip:]
        elif skip < member.length:
            async with aclosing(
                self._read_large(position, member, skip, min(member.length, stop - before))
            ) as chunks:
                async for chunk in chunks:
                    yield chunk
        if after := layout.after(member)[max(0, skip - member.length) :]:
            yield after

    async def _read_small(self, member: Member) -> bytes:
        """Return the bytes of a small member, after one request."""
        opened = await self._open(member, 0, member.length)
        checksum = opened.checksum if member.length == member.size else None
        async with aclosing(_read_stream(member, opened, member.length, checksum)) as chunks:
            return b"".join([bytes(chunk) async for chunk in chunks])

    async def _read_large(
        self, position: int, member: Member, start: int, stop: int
    ) -> AsyncGenerator[bytes | memoryview, None]:
        """Yield the bytes of a member from `start` to `stop`; see `_read_stream`.

        Raises:
            ChecksumMismatch: with this piece all are read, and the member has not the checksum that S3 has.
        """
        if start == stop:
            return
        checks, at = self._layout.checks, start
        opened = await self._repeat(lambda: self._open(member, start, stop))
        checksum = opened.checksum if stop - start == member.size else None
        if checksum is not None and checkable_in_parts(checksum.kind):
            # The connection may break: then the member is read in pieces.
            checks.expect(position, checksum)
            checksum = None
        own = () if self._layout.crc32s is None else ("CRC32",)
        digests = Digests({*checks.kinds(position), *own})
        async with aclosing(_read_stream(member, opened, stop - start, checksum)) as chunks:
            try:
                async for chunk in chunks:
                    digests.update(chunk)
                    at += len(chunk)
                    if at == stop:
                        checks.add(position, start, stop, digests.checksums())
                        self._compare(position, member)
                    yield chunk
            finally:
                if start < at < stop:  # it goes on there, over another connection
                    checks.add(position, start, at, digests.checksums())

    def _compare(self, position: int, member: Member) -> None:
        try:
            self._layout.checks.compare(position, member)
        except ChecksumMismatch:
            if self._layout.crc32s is not None:
                self._layout.crc32s.forget(position)
            raise

    async def _open(self, member: Member, start: int, stop: int) -> Opened:
        # The reply to a GET of the whole has its checksum.
        whole = stop - start == member.size
        range_ = None if whole else ByteRange(member.start + start, member.start + stop)
        return await self._or_gone(self._source_of(member.place).open(member.place, range_, member.etag))

    async def _or_gone(self, reply: Awaitable[T]) -> T:
        try:
            return await reply
        except (SourceNotFound, SourceChanged) as error:
            if self._leaves_out:
                raise MemberGone(str(error)) from error
            raise

    def _is_small(self, member: Member) -> bool:
        """Whether a member is read whole, by one request."""
        return member.length <= (SMALL_MEMBER if self._layout.crc32s is None else SMALL_ZIP_MEMBER)

    async def _find_crc32(self, position: int, member: Member, check: Callable[[], None]) -> Checksum:
        """Return the CRC32 of a member: that of S3 or of its archive if there is one, else of its bytes."""
        if isinstance(member.place, ZipEntry) or not self._is_small(member):
            known = await self._expect_checksum(position, member)
            if known is not None:
                return known
        pieces = [(Checksum("CRC32", "AAAAAA=="), 0)]
        for start in range(0, member.size, _CRC32_RANGE):
            stop = min(start + _CRC32_RANGE, member.size)
            digest = await self._retrying.run(partial(self._digest, member, start, stop, check))
            pieces.append((digest, stop - start))
        found = combined("CRC32", pieces)
        if not self._is_small(member):
            self._layout.checks.expect(position, found)
        return found

    async def _digest(self, member: Member, start: int, stop: int, check: Callable[[], None]) -> Checksum:
        digests = Digests(["CRC32"])
        opened = await self._open(member, start, stop)
        async with aclosing(_read_stream(member, opened, stop - start, None)) as chunks:
            async for chunk in chunks:
                check()
                digests.update(chunk)
        return digests.checksums()["CRC32"]

    async def _repeat(self, once: Callable[[], Awaitable[T]]) -> T:
        """Return the result of `once`, repeated if need be while the upload waits."""
        deadline = self._retrying.deadline
        pause_ends = deadline.now() + _LONGEST_WAIT
        return await self._retrying.run(once, left=lambda: pause_ends - deadline.now())


async def _read_stream(
    member: Member, opened: Opened, length: int, checksum: Checksum | None
) -> AsyncGenerator[bytes | memoryview, None]:
    """Yield the bytes of an open member, and close it. A chunk is empty if there was nothing to read yet.

    Raises:
        TruncatedBody: there are fewer than `length`.
        ChecksumMismatch: the bytes do not have the checksum.
    """
    digests = Digests([] if checksum is None else [checksum.kind])
    left = length
    try:
        while left:
            try:
                chunk = await opened.stream.read()
            except NothingYet:
                yield b""
                continue
            if not chunk:
                break
            chunk = chunk[:left]  # an entry of an archive is read on to its end
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
        raise ChecksumMismatch(mismatch(member, found, checksum))


def _crc32_of(content: bytes) -> int:
    digests = Digests(["CRC32"])
    digests.update(content)
    return _as_number(digests.checksums()["CRC32"])


def _as_number(checksum: Checksum) -> int:
    return int.from_bytes(b64decode(checksum.value), "big")
