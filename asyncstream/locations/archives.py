"""The entries of an archive, as sources."""

from collections.abc import Iterable, Sequence

from msgspec import Struct

from asyncstream.errors import InputError
from asyncstream.locations.local import LocalFile, LocalFolder
from asyncstream.locations.s3 import S3Object, S3Prefix
from asyncstream.locations.web import WebFile

# The places of an archive. All of them can be read in ranges, unless a URL's server cannot.
ArchiveFile = S3Object | LocalFile | WebFile


# The most characters of an ETag: S3's have up to 40, other servers' some hundred.
_MAX_ETAG = 2_048
_MAX_NUMBER = 1 << 63


class ZipEntry(Struct, frozen=True, eq=False):
    """One entry of a ZIP archive. Entries of one archive and one name are equal.

    Attributes:
        archive: the archive.
        name: the entry's name, as the archive has it.
        as_gzip: see `ZipEntries`. The destination's name stays as it is.
        row: the number of its row in the directory, if a listing found it. It saves a search by name.
    """

    archive: ArchiveFile
    name: str
    as_gzip: bool = False
    row: int | None = None

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ZipEntry):
            return NotImplemented
        own = self.name, self.as_gzip, self.archive
        return own == (other.name, other.as_gzip, other.archive)

    def __hash__(self) -> int:
        return hash((self.archive, self.name, self.as_gzip))

    @property
    def uri(self) -> str:
        """The archive's URI and the name, for display."""
        return f"{self.archive.uri}!/{self.name}"

    def __str__(self) -> str:
        return f"{self.archive}!/{self.name}"


class ZipSlice(Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """Rows of the directory of one version of an archive: a share of the work, or the rest of it.

    It is plain data, so that any engine on any machine can use it. As JSON, a slice of 1,000 rows has at most
    160 bytes. `TransferSession.slice_archive` and `TransferReport.unfinished` make slices.

    Attributes:
        etag: the archive's ETag, "" if it has none. An archive that was overwritten raises SourceChanged.
        start: the position in the archive of the first row to read.
        stop: the position after the last row to read.
        first: the number of the row at `start`. Numbers count from 0.
        count: the number of rows from `start` to `stop`.
        end: the position after the data of these rows' entries.
        rows: the numbers of the rows among these that are meant, such as "7,90-1999". Empty: all.
        shift: bytes before the archive, such as a program that unpacks it.

    Raises:
        InputError: a field is wrong; the message names it.
    """

    etag: str
    start: int
    stop: int
    first: int
    count: int
    end: int
    rows: str = ""
    shift: int = 0

    def __post_init__(self) -> None:
        check_etag(self.etag, "slice")
        numbers = self.start, self.stop, self.first, self.count, self.end, self.shift
        if min(numbers) < 0 or max(numbers) > _MAX_NUMBER:
            raise InputError(f"slice: {min(numbers)} or {max(numbers)} is not a position or a number of rows")
        if self.stop - self.start < self.count or not self.count:
            raise InputError(f"slice: bytes {self.start} to {self.stop} cannot have {self.count} rows")
        ranges, last = parse_rows(self.rows), self.first + self.count - 1
        if ranges and not self.first <= ranges[0].start <= ranges[-1][-1] <= last:
            raise InputError(f"slice: rows {self.rows:.100} are not within {self.first} to {last}")


def check_etag(etag: str, name: str) -> None:
    """Raise InputError if a text, which `name` has, cannot be an ETag."""
    if len(etag) > _MAX_ETAG or not etag.isprintable():
        raise InputError(f"{name}: {etag!r:.100} is not an ETag")


def parse_rows(text: str) -> list[range]:
    """Return the ranges of row numbers that a text such as "7,90-1999" names, in order.

    Raises:
        InputError: it is not a list of numbers and ranges in ascending order.
    """
    ranges: list[range] = []
    after = 0
    for part in text.split(",") if text else ():
        first, dash, last = part.partition("-")
        texts = (first, last) if dash else (first, first)
        if not all(each.isascii() and each.isdecimal() and len(each) <= 15 for each in texts):
            raise InputError(f"rows {text!r:.100}: {part!r:.40} is neither a number nor a range")
        found = range(int(texts[0]), int(texts[1]) + 1)
        if found.start < after or not found:
            raise InputError(f"rows {text!r:.100}: {part!r:.40} is not in ascending order")
        ranges.append(found)
        after = found.stop
    return ranges


def format_rows(ranges: Iterable[Sequence[int]]) -> str:
    """Return ranges of row numbers, in ascending order, as `parse_rows` reads them. Neighbours are joined."""
    joined: list[range] = []
    for each in ranges:
        if not each:
            continue
        if joined and joined[-1].stop == each[0]:
            joined[-1] = range(joined[-1].start, each[-1] + 1)
        else:
            joined.append(range(each[0], each[-1] + 1))
    return ",".join(str(each[0]) if len(each) == 1 else f"{each[0]}-{each[-1]}" for each in joined)


class Unwritable(Struct, frozen=True):
    """The destination of a file whose name in an archive no file or object can have. Only that file fails.

    Attributes:
        folder: where it would have been written.
        name: the name of the file under `folder`.
        reason: why it cannot be written.
    """

    folder: S3Prefix | LocalFolder
    name: str
    reason: str

    @property
    def uri(self) -> str:
        """The URI that it would have, for display."""
        return f"{self.folder.uri}{self.name}"

    def __str__(self) -> str:
        return self.uri


class ZipEntries(Struct, frozen=True):
    """The files in a ZIP archive, with slashes between the folders of their names.

    Attributes:
        archive: an object, a file, or a URL whose server supports ranges.
        select: a pattern of names, as in shells, such as "*.csv". `*` matches slashes, too. Default: all.
        encoding: the encoding of names that are not marked as UTF-8, such as "cp932". Default: UTF-8 if they
            are valid, else cp437, as the format says.
        as_gzip: make gzip files, whose names get ".gz", without inflating: a deflated file keeps its data, a
            stored one becomes stored blocks, and others fail. Nothing compares the content with the archive's
            CRC32, so programs that read the gzip file find what was damaged in the archive.
        slice: the rows of the directory to read, of one version of the archive. Default: all.

    Raises:
        InputError: the encoding is unknown.
    """

    archive: ArchiveFile
    select: str = "*"
    encoding: str | None = None
    as_gzip: bool = False
    slice: ZipSlice | None = None

    def __post_init__(self) -> None:
        try:
            # Python looks no encoding up for an empty text. Encodings of domain names refuse this one.
            b"\xff".decode(self.encoding or "utf-8", "replace")
        except (LookupError, ValueError):
            raise InputError(
                f"encoding {self.encoding!r:.100} of {self.archive} is unknown to Python"
            ) from None

    @property
    def prefix(self) -> str:
        """Empty: the names of entries start in the archive."""
        return ""

    @property
    def suffix(self) -> str:
        """The end that names get at the destination."""
        return ".gz" if self.as_gzip else ""

    @property
    def uri(self) -> str:
        """The archive's URI, for display."""
        return f"{self.archive.uri}!/"

    def __str__(self) -> str:
        return f"{self.archive}!/"

    def item(self, name: str, row: int | None = None) -> ZipEntry:
        """Return the entry of this name, whose row in the directory has this number."""
        return ZipEntry(self.archive, name, self.as_gzip, row)


class TarEntry(Struct, frozen=True):
    """One file of a tar archive, which may be compressed.

    Attributes:
        archive: the archive.
        name: the file's name, without "./" at the start.
    """

    archive: ArchiveFile
    name: str

    @property
    def uri(self) -> str:
        """The archive's URI and the name, for display."""
        return f"{self.archive.uri}!/{self.name}"

    def __str__(self) -> str:
        return f"{self.archive}!/{self.name}"


class TarEntries(Struct, frozen=True):
    """The files in a tar archive, which may be compressed by gzip, Zstandard, bzip2 or xz.

    If several files have one name, the last counts, as for programs.

    Attributes:
        archive: an object, a file, or a URL whose server supports ranges.
        select: a pattern of names, as in shells, such as "*.csv". `*` matches slashes, too. Default: all.
    """

    archive: ArchiveFile
    select: str = "*"

    @property
    def prefix(self) -> str:
        """Empty: the names of files start in the archive."""
        return ""

    @property
    def uri(self) -> str:
        """The archive's URI, for display."""
        return f"{self.archive.uri}!/"

    def __str__(self) -> str:
        return f"{self.archive}!/"

    def item(self, name: str) -> TarEntry:
        """Return the file of this name."""
        return TarEntry(self.archive, name)
