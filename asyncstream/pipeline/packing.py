"""Plan a pack: list its members, look at their first lines if need be, and lay them out."""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from functools import partial
from pathlib import PurePath
from typing import TypeVar

from asyncstream.archives.pack_layout import ConcatLayout, Layout
from asyncstream.archives.pack_members import Member, PackMembers
from asyncstream.archives.tar_headers import check_name
from asyncstream.archives.tar_layout import TarLayout
from asyncstream.archives.zip_layout import ZipLayout
from asyncstream.archives.zip_windows import read_whole
from asyncstream.errors import InputError, LineTooLong, NothingToTransfer
from asyncstream.locations import Concat, LocalFile, Pack, S3Object, Tar, Zip, is_folder_marker
from asyncstream.mapping.calls import map_items
from asyncstream.objects import ByteRange, Stored
from asyncstream.pipeline.context import Ends
from asyncstream.ports import Engine
from asyncstream.tracing.spans import UNTRACED
from asyncstream.units import KiB, MiB

T = TypeVar("T")
R = TypeVar("R")
# Bytes read of a file to find the end of its first line, and the most that such a line may have.
_PROBE, _LONGEST_LINE = 64 * KiB, 8 * MiB


class PackPlanner:
    """Lists the members of packs, and lays them out.

    Args:
        ends: the sources to list and to look at.
        engine: runs the requests for single members.
        max_concurrency: requests in flight at once.
    """

    def __init__(self, ends: Ends, engine: Engine, max_concurrency: int) -> None:
        self._ends = ends
        self._engine = engine
        self._max_concurrency = max_concurrency

    async def plan(self, pack: Pack) -> Layout:
        """Return the layout of a pack.

        Raises:
            NothingToTransfer: nothing is stored under its prefix.
            InputError: a name cannot be packed, or two are the same.
            LineTooLong: the first line of a file is too long to be left out.
        """
        members = await (self._find_each(pack) if isinstance(pack.members, tuple) else self._list(pack))
        match pack.into:
            case Tar():
                return await self._engine.compute(partial(_lay_out_archive, TarLayout, members))
            case Zip():
                return await self._engine.compute(partial(_lay_out_archive, ZipLayout, members))
            case Concat(separator=separator, header=header):
                if header == "first":
                    await self._find_lines(members)
                lines = header == "first"
                return await self._engine.compute(partial(ConcatLayout, members, separator, lines=lines))

    async def _list(self, pack: Pack) -> PackMembers:
        """List the members in a folder. The archive itself is left out, and so are folder markers."""
        folder = pack.members
        assert not isinstance(folder, tuple)  # noqa: S101 - the caller has checked it
        strip = folder.prefix.rfind("/") + 1
        members = PackMembers(folder.item, lambda key: key[strip:])
        source, token = self._ends.source_of(folder), None
        while True:
            page, token = await self._ends.retrying.run(partial(source.list_page, folder, token))
            for row in page:
                left_out = is_folder_marker(row.key, row.size) or folder.item(row.key) == pack.into.target
                members.left_out += left_out
                if not left_out:
                    members.add(row.key, row.size, row.etag, row.modified)
            if token is None:
                break
        if not members:
            raise NothingToTransfer(f"nothing is stored under {folder}")
        return members

    async def _find_each(self, pack: Pack) -> PackMembers:
        """Ask for the size and the version of each file of a list."""
        places = pack.members
        assert isinstance(places, tuple)  # noqa: S101 - the caller has checked it
        members = PackMembers(lambda at: places[int(at)], lambda at: _name_of(places[int(at)]))

        async def find(place: S3Object | LocalFile) -> Stored:
            return await self._ends.source_of(place).head(place, None)

        for position, stored in enumerate(await self._ask_each(find, places)):
            members.add(position, stored.size, stored.etag, stored.modified)
        return members

    async def _find_lines(self, members: PackMembers) -> None:
        """Find where the first lines end, and which files end with a line end."""

        async def find(position: int) -> tuple[int, bool]:
            member = members[position]
            start = await self._read(member, 0, min(_PROBE, member.size))
            skip = await self._find_header(member, start) if position else 0
            last = start[-1:] if len(start) == member.size else await self._read(member, -1, member.size)
            return skip, last == b"\n"

        for position, (skip, ends_line) in enumerate(await self._ask_each(find, range(len(members)))):
            members.cut(position, skip, ends_line)

    async def _find_header(self, member: Member, start: bytes) -> int:
        """Return the length of a file's first line, given its first bytes."""
        searched = 0
        while (end := start.find(b"\n", searched)) < 0:
            searched = len(start)
            if searched == member.size:
                return searched
            if searched >= _LONGEST_LINE:
                raise LineTooLong(f"the first line of {member.place} has over {_LONGEST_LINE} bytes")
            start += await self._read(member, searched, min(2 * searched, member.size))
        return end + 1

    async def _read(self, member: Member, start: int, stop: int) -> bytes:
        """Return a short range of a member; a negative `start` counts from its end."""
        range_ = ByteRange(start % member.size if member.size else 0, stop)
        if not range_.length:
            return b""

        async def once() -> bytes:
            opened = await self._ends.source_of(member.place).open(member.place, range_, member.etag)
            return bytes(await read_whole(opened.stream, range_.length))

        return await self._ends.retrying.run(once)

    async def _ask_each(self, ask: Callable[[T], Awaitable[R]], items: Sequence[T]) -> list[R]:
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


def _lay_out_archive(layout: Callable[[PackMembers], Layout], members: PackMembers) -> Layout:
    """Return the layout of an archive, whose entries need names of their own.

    Raises:
        InputError: a name cannot be packed, or two are the same.
    """
    seen: set[int] = set()
    for member in members:
        check_name(member.name)
        # A hash takes a tenth of the memory of a name.
        if hash(member.name) in seen and sum(other.name == member.name for other in members) > 1:
            raise InputError(f"{member.place}: another file has the same name in the archive, {member.name}")
        seen.add(hash(member.name))
    return layout(members)


def _name_of(place: S3Object | LocalFile) -> str:
    return place.key if isinstance(place, S3Object) else PurePath(place.path).as_posix().lstrip("/")
