"""A pack as a source: an archive or a joined file that is read from its members, as if it were stored."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

from asyncstream.archives.pack_layout import SMALL_MEMBER, Layout
from asyncstream.archives.pack_members import MemberPlace
from asyncstream.archives.pack_reader import PackReader
from asyncstream.errors import SourceChanged
from asyncstream.locations import Pack, ZipEntries
from asyncstream.objects import ByteRange, ListedObject
from asyncstream.ports import Opened, Source
from asyncstream.retry import Retrying
from asyncstream.units import KiB

# Chunks are joined up to this many bytes: each costs a call of the SDK.
_JOINED = 64 * KiB

Plan = Callable[[Pack], Awaitable[Layout]]
SourceOf = Callable[[MemberPlace], Source[Any, Any]]


class PackSource(Source[Pack, Pack]):
    """Reads packs. See `ports.Source`.

    Args:
        plan: lists the members of a pack, and returns its layout.
        source_of: returns the source that reads a member.
        retrying: repeats requests for members.
        member_bytes: bytes of memory that one part in flight costs if it is read from a member.
    """

    def __init__(self, plan: Plan, source_of: SourceOf, retrying: Retrying, member_bytes: int) -> None:
        self._plan = plan
        self._source_of = source_of
        self._retrying = retrying
        self._member_bytes = member_bytes
        self._layouts: dict[Pack, Layout] = {}

    @property
    def slot_bytes(self) -> int:
        """Bytes of memory that one part in flight costs."""
        return self._member_bytes + 2 * SMALL_MEMBER + 2 * _JOINED

    @property
    def downgrades(self) -> list[str]:
        """What was left out of packs, as sentences."""
        return [
            f"{pack} has {layout.members.left_out:,} folder markers or archives of an earlier run, left out"
            for pack, layout in self._layouts.items()
            if layout.members.left_out
        ]

    async def list_page(self, prefix: Pack, token: str | None) -> tuple[list[ListedObject], str | None]:
        """List the members, and return the one file that they become."""
        layout = self._layouts[prefix] = await self._plan(prefix)
        return [ListedObject("", layout.size, layout.etag)], None

    def is_scattered(self, source: Pack) -> bool:
        """Whether most members are small."""
        return self._layouts[source].is_scattered

    def last_from(self, source: Pack, size: int) -> int:
        """Return where the directory starts that has the members' checksums."""
        layout = self._layouts[source]
        return size if layout.crc32s is None else layout.members_end

    async def open(
        self, source: Pack, range_: ByteRange | None, etag: str | None, if_none_match: str | None = None
    ) -> Opened:
        """Open a range of a pack. Sends a request only if it needs checksums of large members.

        Raises:
            SourceChanged: the members are not those that were listed before.
        """
        layout = self._layouts[source]
        if etag is not None and etag != layout.etag:
            raise SourceChanged(f"{source}: its files have changed since the earlier transfer")
        wanted = ByteRange(0, layout.size) if range_ is None else range_
        wanted = ByteRange(wanted.start, min(wanted.stop, layout.size))
        reader = PackReader(layout, self._source_of, self._retrying)
        await reader.compute_crc32s(wanted)
        stream = _PackStream(reader.read(wanted))
        in_ranges = not isinstance(source.members, ZipEntries)
        return Opened(layout.size, layout.etag, wanted, layout.headers, stream, in_ranges=in_ranges)


class _PackStream:
    """A range of a pack. See `ports.ByteStream`."""

    def __init__(self, chunks: AsyncGenerator[bytes | memoryview, None]) -> None:
        self._chunks = chunks
        self._next: bytes | memoryview = b""

    async def read(self) -> bytes | memoryview:
        """Return the next bytes; short chunks are joined."""
        if self._next:
            chunk, self._next = self._next, b""
            return chunk
        joined = bytearray()
        async for chunk in self._chunks:
            if len(chunk) >= _JOINED and not joined:
                return chunk
            if len(joined) + len(chunk) > 2 * _JOINED:
                self._next = chunk
                break
            joined += chunk
            if len(joined) >= _JOINED:
                break
        return memoryview(joined)

    async def close(self) -> None:
        """Close the member that is open."""
        await self._chunks.aclose()
