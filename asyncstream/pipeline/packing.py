"""Plan a pack: list its members, look at their first lines if need be, and lay them out."""

import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from functools import partial
from hashlib import blake2b
from itertools import pairwise
from pathlib import Path, PurePath
from typing import TypeVar

from msgspec.structs import replace

from asyncstream.archives.pack_layout import ConcatLayout, Layout
from asyncstream.archives.pack_members import Member, PackMembers
from asyncstream.archives.tar_headers import check_name
from asyncstream.archives.tar_layout import TarLayout
from asyncstream.archives.zip_layout import ZipLayout
from asyncstream.archives.zip_windows import read_whole
from asyncstream.errors import (
    InputError,
    LineTooLong,
    NothingToTransfer,
    S3Error,
    SourceChanged,
    SourceNotFound,
)
from asyncstream.locations import (
    Concat,
    Lines,
    LocalFile,
    LocalFolder,
    Pack,
    S3Object,
    S3Prefix,
    SourceFolder,
    Tar,
    Zip,
    ZipEntries,
    is_folder_marker,
)
from asyncstream.mapping.calls import map_items
from asyncstream.objects import ByteRange, ListedObject, Stored
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
        room: bytes of memory that the members of one pack may take.
    """

    def __init__(self, ends: Ends, engine: Engine, max_concurrency: int, room: float) -> None:
        self._ends = ends
        self._engine = engine
        self._max_concurrency = max_concurrency
        self._room = room

    async def plan_pack(self, pack: Pack) -> Mapping[Pack, Layout]:
        """Return the layout of a pack, or of each of its volumes.

        Raises:
            NothingToTransfer: nothing is stored under its prefix.
            SourceChanged: it is a volume of an earlier pack, and the files have changed.
            InputError: a name cannot be packed, or two are the same.
            LineTooLong: the first line of a file is too long to be left out.
        """
        if isinstance(pack.members, tuple):
            leave_out = pack.into.if_missing == "leave_out"
            members = await self._find_each(pack.members, leave_out=leave_out)
        else:
            members = await self._list(pack)
        if isinstance(pack.into, Concat):
            end = await self._find_lines(members) if pack.into.header == "first" else b""
            separator = pack.into.separator
            joined = await self._engine.compute(partial(ConcatLayout, members, separator, line_end=end))
            return {pack: joined}
        layouts = await self._engine.compute(partial(_lay_out_archives, pack.into, members))
        if pack.into.split is None:
            return {pack: layouts[0]}
        division = blake2b("".join(each.etag for each in layouts).encode(), digest_size=8).hexdigest()
        volumes = {
            replace(pack, volume=number, division=division): each for number, each in enumerate(layouts, 1)
        }
        if not pack.volume:
            return volumes
        if pack not in volumes:
            raise SourceChanged(
                f"{pack}: its files have changed since they were split. Pack all of them again"
            )
        return {pack: volumes[pack]}

    async def plan_lines(self, lines: Lines) -> list[Layout]:
        """Cut a text at line ends, and return the layouts of its ranges.

        Raises:
            NothingToTransfer: the text is empty.
            LineTooLong: no line ends within 8 MiB after the place of a cut.
        """
        text = await self._find_each((lines.file,))
        size = text.bytes
        if not size:
            raise NothingToTransfer(f"{lines.file} is empty")
        header = await self._find_line_end(text[0], 0) if lines.header else 0
        wanted = [header + (size - header) * each // lines.ranges for each in range(1, lines.ranges)]
        cuts = await self._ask_each(lambda at: self._find_line_end(text[0], max(at - 1, header)), wanted)
        edges = sorted({header, *cuts, size})
        ranges = list(pairwise(edges)) or [(size, size)]
        return [_lay_out_lines(lines.file, text[0], header, start, stop) for start, stop in ranges]

    async def _list(self, pack: Pack) -> PackMembers:
        """List the members in a folder. The archive itself is left out, and so are folder markers."""
        folder = pack.members
        assert not isinstance(folder, tuple)  # noqa: S101 - the caller has checked it
        strip = folder.prefix.rfind("/") + 1
        end = folder.suffix if isinstance(folder, ZipEntries) else ""
        members = PackMembers(folder.item, lambda key: key[strip:] + end)
        own = await self._engine.compute(partial(_own_keys, pack, self._ends.one_server))
        async with aclosing(self._pages(folder, members)) as pages:
            async for page in pages:
                for row in page:
                    left_out = is_folder_marker(row.key, row.size) or own(row.key)
                    members.left_out += left_out
                    if not left_out:
                        members.add(row.key, row.size, row.etag, row.modified)
                if members.held > self._room:
                    raise InputError(
                        f"{folder}: the {len(members):,} files listed so far need more than the "
                        f"{self._room / MiB:.0f} MiB of memory for them. Give the function more memory, or "
                        "pack several prefixes, one after the other"
                    )
        if not members:
            raise NothingToTransfer(f"nothing is stored under {folder}")
        return members

    async def _pages(
        self, folder: SourceFolder, known: PackMembers
    ) -> AsyncGenerator[list[ListedObject], None]:
        """Yield the pages of a listing, each key once: a page of S3's may repeat keys of the page before.

        Args:
            folder: what to list.
            known: the files of the pages so far.

        Raises:
            S3Error: the pages do not end.
        """
        source, token = self._ends.source_of(folder), None
        last, seen = "", None
        while True:
            page, following = await self._ends.retrying.run(partial(source.list_page, folder, token))
            if isinstance(folder, ZipEntries):  # its order spreads neighbours over slots
                page = sorted(page, key=lambda row: row.row or 0)
            keys = [last, *(row.key for row in page)]
            if isinstance(folder, S3Prefix) and seen is None and any(b <= a for a, b in pairwise(keys)):
                seen = set(known.keys())  # it takes memory, so only once keys are out of order
            last = keys[-1]
            new = [row for row in page if seen is None or _is_new(row.key, seen)]
            if following is not None and (following == token or (page and not new)):
                raise S3Error(f"the listing of {folder} does not advance after {len(known):,} files")
            yield new
            token = following
            if token is None:
                return

    async def _find_each(
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

        for position, stored in enumerate(await self._ask_each(find, places)):
            if stored is None:
                members.left_out += 1
            else:
                members.add(position, stored.size, stored.etag, stored.modified)
        return members

    async def _find_lines(self, members: PackMembers) -> bytes:
        """Find where the first lines end, and which files end with a line end.

        Returns:
            How lines end: as the header does, which is that of the first file that is not empty.
        """
        line_end = b"\n"
        first = next((position for position, member in enumerate(members) if member.size), 0)

        async def find(position: int) -> tuple[int, bool]:
            nonlocal line_end
            member = members[position]
            known = await self._read(member, 0, min(_PROBE, member.size))
            if position == first and known.partition(b"\n")[0].endswith(b"\r"):
                line_end = b"\r\n"
            start = await self._find_line_end(member, 0, known) if position > first else 0
            last = known if len(known) == member.size else await self._read(member, -1, member.size)
            return start, last.endswith(b"\n")

        for position, (start, ends_line) in enumerate(await self._ask_each(find, range(len(members)))):
            members.cut(position, start, members[position].size, ends_line=ends_line)
        return line_end

    async def _find_line_end(self, member: Member, start: int, known: bytes = b"") -> int:
        """Return the position after the first line end from `start` on; the size if there is none.

        Args:
            member: the text.
            start: where to search.
            known: the bytes from there on, as far as they are known.
        """
        searched = 0
        while (found := known.find(b"\n", searched)) < 0:
            searched = len(known)
            if start + searched >= member.size:
                return member.size
            if searched >= _LONGEST_LINE:
                raise LineTooLong(f"{member.place}: the line at {start} has over {_LONGEST_LINE} bytes")
            stop = start + max(_PROBE, 2 * searched)
            known += await self._read(member, start + searched, min(stop, member.size))
        return start + found + 1

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


def _lay_out_archives(into: Tar | Zip, members: PackMembers) -> list[Layout]:
    """Return the layout of an archive, or of its volumes.

    Raises:
        InputError: a name cannot be packed, or two are the same.
    """
    _check_names(members)
    layout_of: type[Layout] = TarLayout if isinstance(into, Tar) else ZipLayout
    whole = layout_of(members)
    if into.split is None:
        return [whole]
    volumes = [layout_of(members.of(positions)) for positions in whole.volumes(into.split)]
    volumes[0].members.left_out = members.left_out
    return volumes


def _check_names(members: PackMembers) -> None:
    seen: set[int] = set()
    for member in members:
        check_name(member.name)
        # A hash takes a tenth of the memory of a name.
        if hash(member.name) in seen and sum(other.name == member.name for other in members) > 1:
            raise InputError(f"{member.place}: another file has the same name in the archive, {member.name}")
        seen.add(hash(member.name))


def _lay_out_lines(file: S3Object | LocalFile, text: Member, header: int, start: int, stop: int) -> Layout:
    """Return the layout of some lines, after the header."""
    members = PackMembers(lambda _: file, lambda _: "")
    members.add(0, text.size, text.etag, text.modified)
    members.repeat(0, start, stop, ends_line=True)
    members.cut(0, 0, header, ends_line=True)
    return ConcatLayout(members, b"")


def _is_new(key: str, seen: set[str]) -> bool:
    """Add a key to a set, and return whether it was not in it."""
    before = len(seen)
    seen.add(key)
    return len(seen) > before


def _own_keys(pack: Pack, one_server: bool) -> Callable[[str], bool]:
    """Return a function that says whether a listed key is that of the archive, or of one of its volumes."""
    whole = _key_in_folder(pack, one_server)
    if whole is None or isinstance(pack.into, Concat) or pack.into.split is None:
        return lambda key: key == whole
    first = _key_in_folder(replace(pack, volume=1), one_server) or ""
    before, _, after = first.rpartition("-00001")
    volume = re.compile(rf"{re.escape(before)}-\d{{5}}{re.escape(after)}")
    return lambda key: key == whole or volume.fullmatch(key) is not None


def _key_in_folder(pack: Pack, one_server: bool) -> str | None:
    """Return the key that a pack's file has in the listing of its members; None if it is not there."""
    match pack.members, pack.target:
        case S3Prefix(bucket=bucket), S3Object() as target if target.bucket == bucket and one_server:
            return target.key
        case LocalFolder(path=folder), LocalFile(path=path):
            file, root = Path(path), Path(folder).resolve()
            file = file.parent.resolve() / file.name
            return file.relative_to(root).as_posix() if file.is_relative_to(root) else None
    return None


def _name_of(place: S3Object | LocalFile) -> str:
    return place.key if isinstance(place, S3Object) else PurePath(place.path).as_posix().lstrip("/")
