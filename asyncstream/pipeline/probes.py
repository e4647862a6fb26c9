"""Look at files before they are laid out: their sizes, their first bytes, where their lines end."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from functools import partial
from pathlib import PurePath
from typing import Any, TypeVar

from asyncstream.archives.pack_members import Member, PackMembers
from asyncstream.archives.zip_windows import read_whole
from asyncstream.errors import LineTooLong, SourceChanged, SourceNotFound
from asyncstream.locations import LocalFile, S3Object
from asyncstream.mapping.calls import map_items
from asyncstream.objects import ByteRange, Stored
from asyncstream.pipeline.context import Ends
from asyncstream.ports import Engine
from asyncstream.tracing.spans import UNTRACED
from asyncstream.units import KiB, MiB

T = TypeVar("T")
R = TypeVar("R")
# Bytes read of a file to find the end of a line, and the most that are searched for it.
PROBE, _LONGEST_LINE = 64 * KiB, 8 * MiB


class Probes:
    """Asks for short ranges of files, each of the version that was found first.

    Args:
        ends: the sources of the files.
        engine: runs the requests.
        max_concurrency: requests in flight at once.
    """

    def __init__(self, ends: Ends, engine: Engine, max_concurrency: int) -> None:
        self._ends = ends
        self._engine = engine
        self._max_concurrency = max_concurrency

    async def find_each(
        self, places: Sequence[S3Object | LocalFile], *, leave_out: bool = False
    ) -> PackMembers:
        """Ask for the size and the version of each file of a list. Missing ones may be left out."""
        members = PackMembers(lambda at: places[int(at)], lambda at: _name_of(places[int(at)]))

        async def find(place: S3Object | LocalFile) -> Stored | None:
            try:
                return await self._ends.source_of(place).head(place, None)
            except SourceNotFound:
                if not leave_out:
                    raise
                return None

        for position, stored in enumerate(await self.ask_each(find, places)):
            if stored is None:
                members.left_out += 1
            else:
                members.add(position, stored.size, stored.etag, stored.modified)
        return members

    async def find_line_end(self, member: Member, start: int, known: bytes = b"") -> int:
        """Return the position after the first line end from `start` on; the size if there is none.

        Args:
            member: the text.
            start: where to search.
            known: the bytes from there on, as far as they are known.

        Raises:
            LineTooLong: no line ends in the next 8 MiB.
        """
        searched = 0
        while (found := known.find(b"\n", searched)) < 0:
            searched = len(known)
            if start + searched >= member.size:
                return member.size
            if searched >= _LONGEST_LINE:
                raise LineTooLong(
                    f"{member.place}: no line ends in the {_LONGEST_LINE:,} bytes from byte {start:,} on. "
                    "Check that its lines end with a line feed, or copy it as it is"
                )
            stop = start + max(PROBE, 2 * searched)
            known += await self.read(member, start + searched, min(stop, member.size))
        return start + found + 1

    async def read(self, member: Member, start: int, stop: int) -> bytes:
        """Return a short range of a member; a negative `start` counts from its end."""
        content, _ = await self.read_with_headers(member, start, stop)
        return content

    async def read_with_headers(
        self, member: Member, start: int, stop: int
    ) -> tuple[bytes, Mapping[str, Any]]:
        """Return a short range of a member as `read` does, and what its object says of itself.

        Raises:
            SourceChanged: it has another version or another size than the member.
        """
        range_ = ByteRange(start % member.size if member.size else 0, stop)
        if not range_.length:
            return b"", {}

        async def once() -> tuple[bytes, Mapping[str, Any]]:
            opened = await self._ends.source_of(member.place).open(member.place, range_, member.etag)
            if opened.size is not None and opened.size != member.size:
                await opened.stream.close()
                raise SourceChanged(f"{member.place} has {opened.size} bytes, and not {member.size}")
            return bytes(await read_whole(opened.stream, range_.length)), opened.attributes

        return await self._ends.retrying.run(once)

    async def ask_each(self, ask: Callable[[T], Awaitable[R]], items: Sequence[T]) -> list[R]:
        """Return the reply for each item, in order; several are asked at once."""
        replies = map_items(
            lambda item: self._ends.retrying.run(partial(ask, item)),
            items,
            self._engine,
            max_concurrency=self._max_concurrency,
            deadline=self._ends.retrying.deadline,
            span=UNTRACED,
            ordered=True,
        )
        async with aclosing(replies):
            return [outcome.result() async for outcome in replies]


def _name_of(place: S3Object | LocalFile) -> str:
    return place.key if isinstance(place, S3Object) else PurePath(place.path).as_posix().lstrip("/")
