"""The files to copy, as jobs."""

import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import groupby, pairwise
from typing import Any, NamedTuple, overload

from msgspec import Struct, msgpack
from msgspec.structs import replace

from asyncstream.errors import InputError
from asyncstream.locations import (
    LineRange,
    Lines,
    LocalFolder,
    Pack,
    S3Object,
    SourceFile,
    TarEntries,
    TargetFile,
    Unwritable,
    ZipEntries,
    rebased,
)
from asyncstream.objects import ListedObject
from asyncstream.pipeline.continuation import Continuation
from asyncstream.pipeline.groups import Groups
from asyncstream.pipeline.pairs import (
    FOLDERS,
    SOURCE_FOLDERS,
    Pair,
    check_foldable,
    check_volume,
)
from asyncstream.ports import Listing


class Job(Struct, frozen=True):
    """One file to copy.

    Attributes:
        source: the object, file or URL to read.
        destination: the object or file to write.
        size: bytes of the source, if known from a listing.
        etag: the source's ETag, if known from a listing.
        continuation: where an earlier transfer stopped, if there was one.
    """

    source: SourceFile
    destination: TargetFile
    size: int | None = None
    etag: str | None = None
    continuation: Continuation | None = None


# Whether the usual file systems take names for equal that differ in case or in Unicode's normal form.
_CASE_IS_IGNORED = sys.platform in {"darwin", "win32"}


def check_writable(job: Job) -> None:
    """Raise InputError if no file or object can have the name that a file would get."""
    if isinstance(job.destination, Unwritable):
        raise InputError(f"{job.source} cannot be written: {job.destination.reason}")


# A row of `Jobs`: position of its pair of prefixes, key, size, ETag. The names of files may be no Unicode.
_read_row = msgpack.Decoder(tuple[int, bytes, int, str]).decode
_SURROGATES = "surrogatepass"
# Bytes per file in addition to its row, once it has ended: object headers, two lists, its result.
_BESIDE_ROW = 170
# Bytes per file of a `Listing`, once it has ended: its result.
_OF_RESULT = 140


class Known(NamedTuple):
    """What an earlier listing has told of a source: its size in bytes, and its ETag."""

    size: int
    etag: str


class Jobs(Sequence[Job]):
    """The files to copy, in order. Listed files take about 130 bytes each (500 as objects).

    Those of a `Listing` take none, since it makes them when they are asked for.

    Args:
        pairs: the result of `check_pairs`.

    Attributes:
        held: bytes of memory that the listed files and their results will take.
        listed: number of files that were listed.
        bytes: sum over all files of known size.
        largest: bytes of the largest of them.
        folder_markers: number of listed objects that only mark a folder. They are not among the files.
        in_order: whether the files must be read one after the other.
    """

    def __init__(self, pairs: Sequence[Pair]) -> None:
        self._pairs = pairs
        # For a pair of objects its position, for a pack -1 and down, for a listed object its row.
        self._rows: list[int | bytes] = []
        self._groups = Groups()
        self._continuations: dict[int, Continuation] = {}
        self._packs: list[Job] = []
        self._known: dict[int, Known] = {}
        self.held = 0
        self.listed = 0
        self.bytes = self.largest = 0
        self.folder_markers = 0
        self.in_order = False

    def add(self, position: int, known: Known | None = None) -> None:
        """Add a pair of objects, by its position, with what an earlier listing has told of the source."""
        self._rows.append(position)
        if known is not None:
            self._known[position] = known
            self.listed += 1
            self.bytes += known.size
            self.largest = max(self.largest, known.size)

    def add_pack(self, position: int, listed: ListedObject) -> None:
        """Add the file that a pack becomes, or one of its volumes: the key has its number and its division.

        Raises:
            InputError: a volume would overwrite one of the sources, or another file.
        """
        pack, _ = self._pairs[position]
        assert isinstance(pack, Pack)  # noqa: S101 - the caller has listed it
        volume, _, division = listed.key.partition(" ")
        pack = replace(pack, volume=int(volume), division=division)
        others = [destination for at, (_, destination) in enumerate(self._pairs) if at != position]
        check_volume(pack, [*others, *(job.destination for job in self._packs)])
        self._packs.append(Job(pack, pack.target, listed.size, listed.etag))
        self._rows.append(-len(self._packs))
        self.listed += 1
        self.bytes += listed.size
        self.largest = max(self.largest, listed.size)

    def add_listed(self, position: int, listed: ListedObject) -> None:
        """Add an object that was listed for a pair of prefixes, with its size and ETag.

        Raises:
            InputError: the key of its destination would be empty or too long.
        """
        # A copy, because the encoder's own bytes occupy up to a quarter more than they need.
        row = bytes(
            memoryview(
                msgpack.encode((position, listed.key.encode(errors=_SURROGATES), listed.size, listed.etag))
            )
        )
        self._unpack_job(row)
        self._rows.append(row)
        self.held += len(row) + _BESIDE_ROW
        self.listed += 1
        self.bytes += listed.size
        self.largest = max(self.largest, listed.size)

    def add_listing(self, position: int, listing: Listing) -> None:
        """Add all files of a listing for a pair of folders."""
        self._groups.add(len(self), position, listing)
        self.held += listing.held + len(listing) * _OF_RESULT
        self.listed += len(listing)
        self.bytes += listing.total
        self.largest = max(self.largest, listing.largest)

    def pairs_of(self, left: bytes) -> Iterator[tuple[Any, Any, range]]:
        """Yield the pairs of the files whose byte is 1, and the positions that each stands for.

        For the files of a `Listing`, it is one pair of folders, and so it is for the ranges of a text.
        """
        for group, positions in self._groups.parts(len(self)):
            if group is not None:
                rest = group.listing.rest(left[positions.start : positions.stop])
                if rest is not None:
                    yield rest, self._pairs[group.pair][1], positions
                continue
            own = (position for position in positions if left[position])
            for (source, destination), same in groupby(own, self._rows_pair):
                first, *others = same
                uris = (self._job(each).source.uri for each in (first, *others))
                those = source.only_ranges(uris) if isinstance(source, Lines) else source
                yield those, destination, range(first, (others or [first])[-1] + 1)

    def _rows_pair(self, position: int) -> Pair:
        job = self._job(position)
        if not isinstance(job.source, LineRange):
            return job.source, job.destination
        row = self._rows[self._groups.find(position).position]
        assert isinstance(row, bytes)  # noqa: S101 - ranges of lines are listed
        return self._pairs[_read_row(row)[0]]

    @property
    def continued(self) -> Collection[int]:
        """The positions of the files that have continuations."""
        return self._continuations.keys()

    def add_continuations(self, left: Mapping[tuple[Any, Any], Continuation]) -> None:
        """Add continuations of an earlier transfer of these files.

        Raises:
            InputError: a continuation belongs to none of the files.
        """
        if not left:
            return
        unknown = dict(left)
        for position, job in enumerate(self):
            found = unknown.pop((job.source, job.destination), None)
            if found is not None:
                self._continuations[position] = found
            if not unknown:
                return
        for source, destination in unknown:
            raise InputError(
                f"there is a continuation of {source} -> {destination}, which is not one of the files"
            )

    def check_apart(self, place: S3Object | None) -> None:
        """Check that no file reads or writes this object, if one is given.

        Raises:
            InputError: a file does.
        """
        if place is None:
            return
        for source, _ in self._pairs:
            if isinstance(source, ZipEntries) and source.archive.uri == place.uri:
                raise InputError(f"{place} is the archive {source.archive}: name another")
        for group, positions in self._groups.parts(len(self)):
            folders = self._pairs[group.pair] if group is not None else ()
            if group is not None and not any(place.uri.startswith(folder.uri) for folder in folders):
                continue
            for job in map(self._job, positions):
                if place.uri in {job.source.uri, job.destination.uri}:
                    raise InputError(
                        f"{place} is one of the files, {job.source} -> {job.destination}: name another"
                    )

    def check_distinct(self) -> None:
        """Check that no two files have the same destination, now that all prefixes are listed.

        Raises:
            InputError: two files have the same destination.
        """
        if _CASE_IS_IGNORED and any(isinstance(destination, LocalFolder) for _, destination in self._pairs):
            check_foldable((job.source, job.destination) for job in self)
        # A listing has each key once, and `check_pairs` has compared the pairs of objects. So few transfers
        # need to compare all files, which takes 300 bytes per file.
        places = sorted(destination.uri for _, destination in self._pairs)
        if not self.listed or not any(other.startswith(place) for place, other in pairwise(places)):
            return
        seen: dict[str, int] = {}
        for position, job in enumerate(self):
            other = seen.setdefault(job.destination.uri, position)
            if other != position:
                raise InputError(
                    f"{self[other].source} and {job.source} would both be written to {job.destination}"
                )

    def listed_keys(self, first: int) -> set[str]:
        """Return the keys of the files that were listed, from this position on."""
        rows = self._rows[first - self._groups.files :]
        return {_key(_read_row(row)[1]) for row in rows if isinstance(row, bytes)}

    def __len__(self) -> int:
        return len(self._rows) + self._groups.files

    @overload
    def __getitem__(self, position: int) -> Job: ...
    @overload
    def __getitem__(self, position: slice) -> list[Job]: ...
    def __getitem__(self, position: int | slice) -> Job | list[Job]:
        if isinstance(position, slice):
            return [self[each] for each in range(*position.indices(len(self)))]
        position = range(len(self))[position]
        job = self._job(position)
        return replace(job, continuation=self._continuations.get(position)) if self._continuations else job

    def _job(self, position: int) -> Job:
        group, place = self._groups.find(position)
        if group is not None:
            return self._listed_job(group.pair, group.listing[place])
        row = self._rows[place]
        return self._pair_job(row) if isinstance(row, int) else self._unpack_job(row)

    def _pair_job(self, position: int) -> Job:
        if position < 0:
            return self._packs[-position - 1]
        source, destination = self._pairs[position]
        assert not isinstance(source, SOURCE_FOLDERS) and not isinstance(destination, FOLDERS)  # noqa: S101, PT018 - checked
        known = self._known.get(position)
        return Job(source, destination) if known is None else Job(source, destination, known.size, known.etag)

    def _unpack_job(self, row: bytes) -> Job:
        position, name, size, etag = _read_row(row)
        return self._listed_job(position, ListedObject(_key(name), size, etag))

    def _listed_job(self, position: int, listed: ListedObject) -> Job:
        source, destination = self._pairs[position]
        assert isinstance(source, SOURCE_FOLDERS) and isinstance(destination, FOLDERS)  # noqa: S101, PT018 - checked
        key = listed.key
        read = source.item(key, listed.row) if isinstance(source, ZipEntries) else source.item(key)
        try:
            written: TargetFile = destination.item(rebased(key, source, destination))
        except InputError as error:
            if not isinstance(source, ZipEntries | TarEntries):
                raise InputError(f"{read} cannot be written under {destination}: {error}") from None
            # An archive may be hostile, or from another system.
            end = source.suffix if isinstance(source, ZipEntries) else ""
            written = Unwritable(destination, key + end, str(error))
        return Job(read, written, listed.size, listed.etag)


def _key(name: bytes) -> str:
    return name.decode(errors=_SURROGATES)
