"""A pack as a source: an archive or a joined file that is read from its members, as if it were stored."""

from collections.abc import AsyncGenerator, Callable, Mapping
from typing import Any, Protocol

from asyncstream.archives.pack_copying import cut_parts
from asyncstream.archives.pack_layout import SMALL_ZIP_MEMBER, Layout
from asyncstream.archives.pack_members import MemberPlace
from asyncstream.archives.pack_reader import PackReader
from asyncstream.archives.quotes import QuoteCount
from asyncstream.errors import AsyncstreamError, NothingYet, SourceChanged
from asyncstream.locations import LineRange, Lines, Pack, PackTarget, ZipEntries
from asyncstream.locations.lines import range_name
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

    async def plan_lines(self, lines: Lines) -> Mapping[int, Layout]:
        """Cut a text at line ends, and return the layouts of the ranges to make, by their numbers."""


class PackSource(Source[Pack | LineRange, Pack | Lines]):
    """Reads packs, and ranges of lines. See `ports.Source`.

    Args:
        planner: lays them out.
        source_of: returns the source that reads a member.
        retrying: repeats requests for members.
        member_bytes: bytes of memory that one part in flight costs if it is read from a member.
        verify: see `PackReader`.
    """

    def __init__(
        self, planner: Planner, source_of: SourceOf, retrying: Retrying, member_bytes: int, *, verify: bool
    ) -> None:
        self._verify = verify
        self._planner = planner
        self._source_of = source_of
        self._retrying = retrying
        self._member_bytes = member_bytes
        self._layouts: dict[PackTarget | LineRange, Layout] = {}
        self._packs: dict[PackTarget, Pack] = {}
        self._quotes: dict[LineRange, QuoteCount] = {}

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
            for pack in self._packs.values()
            if (layout := self._layout(pack)).members.left_out
        ]

    @property
    def held(self) -> int:
        """Bytes of memory that the lists of members take."""
        return sum(layout.held for layout in self._layouts.values())

    async def list_page(
        self, prefix: Pack | Lines, token: str | None
    ) -> tuple[list[ListedObject], str | None]:
        """Return the file that a pack becomes, or its volumes by their numbers; or ranges of a text."""
        if isinstance(prefix, Pack):
            packs = await self._plan(prefix)
            rows = packs.items()
            return [
                ListedObject(f"{pack.volume} {pack.division}", each.size, each.etag) for pack, each in rows
            ], None
        ranges = await self._planner.plan_lines(prefix)
        for number, layout in ranges.items():
            one = prefix.item(range_name(number))
            self._layouts[one] = layout
            if prefix.csv:
                self._quotes[one] = QuoteCount(one, layout.size)
        return [
            ListedObject(range_name(number), each.size, each.etag) for number, each in ranges.items()
        ], None

    def is_continuable(self, source: Pack | LineRange) -> bool:
        """Whether a later transfer need not read all of it: it does to count the quotes of a CSV."""
        return not (isinstance(source, LineRange) and source.lines.csv)

    def is_in_order(self, source: Pack | LineRange) -> bool:
        """Whether its members are decoded from their starts."""
        return not _is_in_ranges(source)

    def is_scattered(self, source: Pack | LineRange) -> bool:
        """Whether most members are small."""
        return _is_in_ranges(source) and self._layout(source).is_scattered

    def plan_copies(self, source: Pack | LineRange, length: int) -> Cut | None:
        """Return the parts if S3 is asked to copy some of them, and can."""
        if isinstance(source, LineRange) or not source.into.copy_parts:
            return None
        return cut_parts(self._layout(source), length)

    def last_from(self, source: Pack | LineRange, size: int) -> int:
        """Return where the directory starts that has the members' checksums."""
        layout = self._layout(source)
        return size if layout.crc32s is None else layout.members_end

    async def make_ready(
        self,
        source: Pack | LineRange,
        range_: ByteRange | None,
        etag: str | None,
        check: Callable[[], None],
    ) -> None:
        """List a pack again if a member was gone, and find the checksums that a range needs.

        Raises:
            SourceChanged: the members are not those that were listed before.
        """
        if etag is None and _leaves_out(source):
            assert isinstance(source, Pack)  # noqa: S101 - no range of lines leaves a file out
            await self._plan(source)
        layout = self._layout(source)
        if etag is not None and etag != layout.etag:
            raise SourceChanged(f"{source}: its files have changed since the earlier transfer")
        await self._reader(source, layout).prepare(_within(layout, range_), check)

    async def open(
        self,
        source: Pack | LineRange,
        range_: ByteRange | None,
        etag: str | None,
        if_none_match: str | None = None,
    ) -> Opened:
        """Open a range of a pack that was made ready. Sends no request."""
        layout = self._layout(source)
        wanted = _within(layout, range_)
        chunks = self._reader(source, layout).read(wanted)
        quotes = self._quotes.get(source) if isinstance(source, LineRange) else None
        stream = _PackStream(chunks if quotes is None else quotes.counted(chunks, wanted))
        in_ranges = _is_in_ranges(source)
        return Opened(layout.size, layout.etag, wanted, layout.headers, stream, in_ranges=in_ranges)

    def _reader(self, source: Pack | LineRange, layout: Layout) -> PackReader:
        leaves_out = _leaves_out(source)
        return PackReader(layout, self._source_of, self._retrying, verify=self._verify, leaves_out=leaves_out)

    async def _plan(self, source: Pack) -> Mapping[Pack, Layout]:
        packs = await self._planner.plan_pack(source)
        for pack, layout in packs.items():
            self._layouts[pack.target] = layout
            self._packs[pack.target] = pack
        return packs

    def _layout(self, source: Pack | LineRange) -> Layout:
        # A pack may have a list of a million files, which takes long to hash. Its target has no other pack.
        return self._layouts[source.target if isinstance(source, Pack) else source]


def _leaves_out(source: Pack | LineRange) -> bool:
    return isinstance(source, Pack) and source.into.if_missing == "leave_out"


def _within(layout: Layout, range_: ByteRange | None) -> ByteRange:
    """Return the bytes of a range that there are."""
    start, stop = range_ or (0, layout.size)
    return ByteRange(start, min(stop, layout.size))


def _is_in_ranges(source: Pack | LineRange) -> bool:
    """Return whether the members can be read in ranges: entries of an archive are decoded in turn."""
    return isinstance(source, LineRange) or not isinstance(source.members, ZipEntries)


class _PackStream:
    """A range of a pack. See `ports.ByteStream`."""

    def __init__(self, chunks: AsyncGenerator[bytes | memoryview, None]) -> None:
        self._chunks = chunks
        self._next: bytes | memoryview = b""
        self._error: AsyncstreamError | None = None

    async def read(self) -> bytes | memoryview:
        """Return the next bytes; short chunks are joined.

        Raises:
            NothingYet: the member that is open had nothing to read.
        """
        if self._next:
            chunk, self._next = self._next, b""
            return chunk
        joined = bytearray()
        while len(joined) < _JOINED:
            try:
                drawn = await self._draw()
            except AsyncstreamError as error:
                if not joined:
                    raise
                self._error = error  # what came before it is read, and not read again
                break
            if drawn is None:
                break
            if len(drawn) >= _JOINED and not joined:
                return drawn
            if len(joined) + len(drawn) > 2 * _JOINED:
                self._next = drawn
                break
            joined += drawn
        return memoryview(joined)

    async def _draw(self) -> bytes | memoryview | None:
        """Return the next chunk; None at the end."""
        error, self._error = self._error, None
        if error is not None:
            raise error
        chunk = await anext(self._chunks, None)
        if chunk is not None and not chunk:
            raise NothingYet("the next bytes of the pack are not there yet")
        return chunk

    async def close(self) -> None:
        """Close the member that is open."""
        await self._chunks.aclose()
