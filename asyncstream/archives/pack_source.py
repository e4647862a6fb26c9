"""A pack as a source: an archive or a joined file that is read from its members, as if it were stored."""

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from typing import Any, Protocol

from asyncstream.archives.pack_copying import cut_parts
from asyncstream.archives.pack_layout import SMALL_ZIP_MEMBER, Layout
from asyncstream.archives.pack_members import MemberPlace
from asyncstream.archives.pack_reader import PackReader
from asyncstream.errors import SourceChanged
from asyncstream.locations import LineRange, Lines, Pack, ZipEntries
from asyncstream.objects import ByteRange, ListedObject
from asyncstream.ports import Cut, Opened, Source
from asyncstream.retry import Retrying
from asyncstream.units import KiB

# Chunks are joined up to this many bytes: each costs a call of the SDK.
_JOINED = 64 * KiB

SourceOf = Callable[[MemberPlace], Source[Any, Any]]


class Planner(Protocol):
    """Lays out packs."""

    async def plan_pack(self, pack: Pack) -> Mapping[Pack, Layout]:
        """List the members of a pack, and return the layout of each of its files."""

    async def plan_lines(self, lines: Lines) -> Sequence[Layout]:
        """Cut a text at line ends, and return the layouts of its ranges."""


class PackSource(Source[Pack | LineRange, Pack | Lines]):
    """Reads packs, and ranges of lines. See `ports.Source`.

    Args:
        planner: lays them out.
        source_of: returns the source that reads a member.
        retrying: repeats requests for members.
        member_bytes: bytes of memory that one part in flight costs if it is read from a member.
    """

    def __init__(self, planner: Planner, source_of: SourceOf, retrying: Retrying, member_bytes: int) -> None:
        self._planner = planner
        self._source_of = source_of
        self._retrying = retrying
        self._member_bytes = member_bytes
        self._layouts: dict[Any, Layout] = {}

    @property
    def slot_bytes(self) -> int:
        """Bytes of memory that one part in flight costs."""
        return self._member_bytes + 2 * SMALL_ZIP_MEMBER + 2 * _JOINED

    @property
    def downgrades(self) -> list[str]:
        """What was left out of packs, as sentences."""
        return [
            f"{pack} has {layout.members.left_out:,} files that were left out: they only mark folders, "
            "are archives of an earlier run, or do not exist"
            for pack, layout in self._layouts.items()
            if layout.members.left_out
        ]

    async def list_page(
        self, prefix: Pack | Lines, token: str | None
    ) -> tuple[list[ListedObject], str | None]:
        """Return the file that a pack becomes, or its volumes by their numbers; or all ranges of a text."""
        if isinstance(prefix, Pack):
            packs = await self._planner.plan_pack(prefix)
            self._layouts |= packs
            return [
                ListedObject(str(pack.volume), each.size, each.etag) for pack, each in packs.items()
            ], None
        ranges = await self._planner.plan_lines(prefix)
        named = {f"part-{number:05d}": layout for number, layout in enumerate(ranges)}
        self._layouts |= {prefix.item(name): layout for name, layout in named.items()}
        return [ListedObject(name, layout.size, layout.etag) for name, layout in named.items()], None

    def is_scattered(self, source: Pack | LineRange) -> bool:
        """Whether most members are small."""
        return self._layouts[source].is_scattered

    def plan_copies(self, source: Pack | LineRange, length: int) -> Cut | None:
        """Return the parts if S3 is asked to copy some of them, and can."""
        if isinstance(source, LineRange) or not source.into.copy_parts:
            return None
        return cut_parts(self._layouts[source], length)

    def last_from(self, source: Pack | LineRange, size: int) -> int:
        """Return where the directory starts that has the members' checksums."""
        layout = self._layouts[source]
        return size if layout.crc32s is None else layout.members_end

    async def open(
        self,
        source: Pack | LineRange,
        range_: ByteRange | None,
        etag: str | None,
        if_none_match: str | None = None,
    ) -> Opened:
        """Open a range of a pack. Sends a request only if it needs checksums of large members.

        Raises:
            SourceChanged: the members are not those that were listed before.
        """
        layout = self._layouts[source]
        leaves_out = False
        if isinstance(source, Pack) and source.into.if_missing == "leave_out":
            leaves_out = True
            if etag is None:  # a member was gone: list them again
                self._layouts |= await self._planner.plan_pack(source)
                layout = self._layouts[source]
        if etag is not None and etag != layout.etag:
            raise SourceChanged(f"{source}: its files have changed since the earlier transfer")
        wanted = ByteRange(0, layout.size) if range_ is None else range_
        wanted = ByteRange(wanted.start, min(wanted.stop, layout.size))
        reader = PackReader(layout, self._source_of, self._retrying, leaves_out=leaves_out)
        await reader.compute_crc32s(wanted)
        stream = _PackStream(reader.read(wanted))
        in_ranges = isinstance(source, LineRange) or not isinstance(source.members, ZipEntries)
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
