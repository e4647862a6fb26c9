"""The entries of an archive, as sources."""

from msgspec import Struct

from asyncstream.errors import InputError
from asyncstream.locations.local import LocalFile, LocalFolder
from asyncstream.locations.s3 import S3Object, S3Prefix
from asyncstream.locations.web import WebFile

# The places of an archive. All of them can be read in ranges, unless a URL's server cannot.
ArchiveFile = S3Object | LocalFile | WebFile


class ZipEntry(Struct, frozen=True):
    """One entry of a ZIP archive.

    Attributes:
        archive: the archive.
        name: the entry's name, as the archive has it.
        as_gzip: see `ZipEntries`. The destination's name stays as it is.
    """

    archive: ArchiveFile
    name: str
    as_gzip: bool = False

    @property
    def uri(self) -> str:
        """The archive's URI and the name, for display."""
        return f"{self.archive.uri}!/{self.name}"

    def __str__(self) -> str:
        return f"{self.archive}!/{self.name}"


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

    Raises:
        InputError: the encoding is unknown.
    """

    archive: ArchiveFile
    select: str = "*"
    encoding: str | None = None
    as_gzip: bool = False

    def __post_init__(self) -> None:
        try:
            b"".decode(self.encoding or "utf-8")
        except LookupError:
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

    def item(self, name: str) -> ZipEntry:
        """Return the entry of this name."""
        return ZipEntry(self.archive, name, self.as_gzip)
