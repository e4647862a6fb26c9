"""Plan a pack: list its members, look at their first lines if need be, and lay them out."""

import re
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from functools import partial
from hashlib import blake2b
from itertools import pairwise
from pathlib import Path

from msgspec.structs import replace

from asyncstream.archives.pack_layout import ConcatLayout, Layout
from asyncstream.archives.pack_members import PackMembers
from asyncstream.archives.tar_headers import check_name
from asyncstream.archives.tar_layout import TarLayout
from asyncstream.archives.zip_layout import ZipLayout
from asyncstream.errors import InputError, NothingToTransfer, S3Error, SourceChanged
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
from asyncstream.objects import ListedObject
from asyncstream.pipeline.context import Ends
from asyncstream.pipeline.cutting import cut_lines
from asyncstream.pipeline.probes import PROBE, Probes
from asyncstream.ports import Engine
from asyncstream.units import MiB


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
        self._probes = Probes(ends, engine, max_concurrency)
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
            members = await self._probes.find_each(pack.members, leave_out=leave_out)
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

    async def plan_lines(self, lines: Lines) -> Mapping[int, Layout]:
        """Return the layouts of ranges of a text by their numbers; see `cut_lines`."""
        return await cut_lines(self._probes, lines)

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
            known = await self._probes.read(member, 0, min(PROBE, member.size))
            if position == first and known.partition(b"\n")[0].endswith(b"\r"):
                line_end = b"\r\n"
            start = await self._probes.find_line_end(member, 0, known) if position > first else 0
            last = known if len(known) == member.size else await self._probes.read(member, -1, member.size)
            return start, last.endswith(b"\n")

        for position, (start, ends_line) in enumerate(await self._probes.ask_each(find, range(len(members)))):
            members.cut(position, start, members[position].size, ends_line=ends_line)
        return line_end


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
