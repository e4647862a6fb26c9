"""The files to copy: checks before any I/O, and jobs."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, overload

from msgspec import Struct, msgpack
from msgspec.structs import replace

from asyncstream.errors import InputError, NothingToTransfer
from asyncstream.locations import (
    MAX_KEY_BYTES,
    Folder,
    LocalFile,
    LocalFolder,
    S3Object,
    S3Prefix,
    SourceFile,
    SourceFolder,
    StandardStream,
    TargetFile,
    WebFile,
    ZipEntries,
    ZipEntry,
    rebased,
)
from asyncstream.objects import ListedObject
from asyncstream.pipeline.continuation import Continuation
from asyncstream.pipeline.groups import Groups
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


Pair = tuple[SourceFile, TargetFile] | tuple[SourceFolder, Folder]
_FOLDERS, _OF_S3 = (S3Prefix, LocalFolder), (S3Object, S3Prefix)
_SOURCE_FOLDERS = (*_FOLDERS, ZipEntries)
_TARGETS = (S3Object, LocalFile, StandardStream)
_SOURCES = (*_TARGETS, WebFile, ZipEntry)


def check_pairs(pairs: Iterable[Pair], *, one_server: bool = True) -> list[Pair]:
    """Check pairs of source and destination, and return them as a list.

    Args:
        pairs: the pairs.
        one_server: whether both sides are on one server. If not, they may have one name.

    Raises:
        NothingToTransfer: there are no pairs.
        InputError: an element is not a pair, a destination is named twice, or the two sides of a pair are the
            same object.
    """
    pairs = list(pairs)
    if not pairs:
        raise NothingToTransfer("the list of files is empty")
    seen: set[str] = set()
    for position, pair in enumerate(pairs):
        if not isinstance(pair, tuple) or len(pair) != 2:
            raise InputError(f"files[{position}] is {pair!r}: give a pair of a source and a destination")
        try:
            _check_pair(*pair)
        except InputError as error:
            raise InputError(f"files[{position}]: {error}") from None
        source, destination = pair
        if not isinstance(destination, _FOLDERS):
            if destination.uri in seen:
                raise InputError(f"files[{position}]: the destination {destination} is named twice")
            seen.add(destination.uri)
        if (one_server or not isinstance(source, _OF_S3)) and _are_the_same(source, destination):
            raise InputError(f"files[{position}]: source and destination are the same, {source}")
    if len(pairs) > 1 and any(isinstance(place, StandardStream) for pair in pairs for place in pair):
        raise InputError("a standard stream has one file: copy it by a transfer of its own")
    return pairs


def _are_the_same(source: SourceFile | SourceFolder, destination: TargetFile | Folder) -> bool:
    earlier = isinstance(source, S3Object) and source.version_id is not None
    return source.uri == destination.uri and not earlier and not isinstance(source, StandardStream)


def _check_pair(source: object, destination: object) -> None:
    """Check that one side can be copied to the other.

    Raises:
        InputError: it cannot.
    """
    if isinstance(source, _SOURCE_FOLDERS) and isinstance(destination, _FOLDERS):
        _check_names_match(source, destination)
    elif not (isinstance(source, _SOURCES) and isinstance(destination, _TARGETS)):
        raise InputError(
            "give two S3Objects, or two S3Prefixes to copy a listing (or a LocalFile, LocalFolder, WebFile, "
            "ZipEntry or ZipEntries in the place of one), not "
            f"{type(source).__name__} and {type(destination).__name__}"
        )
    if isinstance(destination, S3Object) and destination.version_id is not None:
        raise InputError(f"a destination cannot name a version ({destination})")


def _check_names_match(source: SourceFolder, destination: Folder) -> None:
    """Check that a prefix whose names become those of files ends where a folder does.

    Raises:
        InputError: it does not: `s3://bucket/data` would make `data/x` to `/x`.
    """
    for prefix, other in ((source, destination), (destination, source)):
        if isinstance(other, LocalFolder | ZipEntries) and prefix.prefix and not prefix.prefix.endswith("/"):
            raise InputError(f"{prefix} and a folder: end the prefix with a slash")


# A row of `Jobs`: position of its pair of prefixes, key, size, ETag. The names of files may be no Unicode.
_read_row = msgpack.Decoder(tuple[int, bytes, int, str]).decode
_SURROGATES = "surrogatepass"
# Bytes per file in addition to its row, once it has ended: object headers, two lists, its result.
_BESIDE_ROW = 170
# Bytes per file of a `Listing`, once it has ended: its result.
_OF_RESULT = 140


class Jobs(Sequence[Job]):
    """The files to copy, in order. Listed files take about 130 bytes each (500 as objects).

    Those of a `Listing` take none, since it makes them when they are asked for.

    Args:
        pairs: the result of `check_pairs`.

    Attributes:
        held: bytes of memory that the listed files and their results will take.
        listed: number of files that were listed.
        bytes: sum over all files of known size.
        folder_markers: number of listed objects that only mark a folder. They are not among the files.
    """

    def __init__(self, pairs: Sequence[Pair]) -> None:
        self._pairs = pairs
        # For a pair of objects its position, for a listed object its row.
        self._rows: list[int | bytes] = []
        self._groups = Groups()
        self._continuations: dict[int, Continuation] = {}
        self.held = 0
        self.listed = 0
        self.bytes = 0
        self.folder_markers = 0

    def add(self, position: int) -> None:
        """Add a pair of objects, by its position."""
        self._rows.append(position)

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

    def add_listing(self, position: int, listing: Listing) -> None:
        """Add all files of a listing for a pair of folders.

        Raises:
            InputError: the key of a destination would be too long, or no file can have its name.
        """
        self._groups.add(len(self), position, listing)
        self.held += listing.held + len(listing) * _OF_RESULT
        self.listed += len(listing)
        self.bytes += listing.total
        destination = self._pairs[position][1]
        # To make a million files takes seconds. A character has up to four bytes.
        if isinstance(destination, S3Prefix):
            longest = len(destination.prefix.encode()) + 4 * listing.longest
            if longest <= MAX_KEY_BYTES:
                return
        for place in range(len(listing)):
            self._listed_job(position, listing[place])

    def pairs_of(self, left: bytes) -> Iterator[tuple[Any, Any, range]]:
        """Yield the pairs of the files that are left, and their positions.

        For the files of a `Listing`, it is one pair of folders.

        Args:
            left: 1 for each file that is left, 0 for each other.
        """
        position = left.find(1)
        while position >= 0:
            group, _ = self._groups.find(position)
            if group is None:
                job = self[position]
                positions = range(position, position + 1)
                yield job.source, job.destination, positions
            else:
                positions = range(group.first, group.after)
                rest = group.listing.rest(left[group.first : group.after])
                yield rest, self._pairs[group.pair][1], positions
            position = left.find(1, positions.stop)

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
        position = 0
        while position < len(self):
            group, _ = self._groups.find(position)
            if group is not None and not self._may_have(group.pair, place):
                position = group.after
                continue
            job = self[position]
            position += 1
            if place.uri in {job.source.uri, job.destination.uri}:
                raise InputError(
                    f"{place} is one of the files, {job.source} -> {job.destination}: name another"
                )

    def _may_have(self, pair: int, place: S3Object) -> bool:
        return any(place.uri.startswith(side.uri) for side in self._pairs[pair])

    def check_distinct(self) -> None:
        """Check that no two files have the same destination, now that all prefixes are listed.

        Raises:
            InputError: two files have the same destination.
        """
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
        source, destination = self._pairs[position]
        assert not isinstance(source, _SOURCE_FOLDERS) and not isinstance(destination, _FOLDERS)  # noqa: S101, PT018 - checked
        return Job(source, destination)

    def _unpack_job(self, row: bytes) -> Job:
        position, name, size, etag = _read_row(row)
        return self._listed_job(position, ListedObject(_key(name), size, etag))

    def _listed_job(self, position: int, listed: ListedObject) -> Job:
        source, destination = self._pairs[position]
        assert isinstance(source, _SOURCE_FOLDERS) and isinstance(destination, _FOLDERS)  # noqa: S101, PT018 - checked
        key = listed.key
        read = source.item(key, listed.row) if isinstance(source, ZipEntries) else source.item(key)
        try:
            written = destination.item(rebased(key, source, destination))
            return Job(read, written, listed.size, listed.etag)
        except InputError as error:
            raise InputError(f"{read} cannot be written under {destination}: {error}") from None


def _key(name: bytes) -> str:
    return name.decode(errors=_SURROGATES)
