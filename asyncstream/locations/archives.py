"""The entries of an archive, as sources."""

from msgspec import Struct

from asyncstream.errors import InputError
from asyncstream.locations.local import LocalFile
from asyncstream.locations.s3 import S3Object
from asyncstream.locations.web import WebFile

# The places of an archive. All of them can be read in ranges, unless a URL's server cannot.
ArchiveFile = S3Object | LocalFile | WebFile


class ZipEntry(Struct, frozen=True):
    """One entry of a ZIP archive.

    Attributes:
        archive: the archive.
        name: the entry's name, as the archive has it.
    """

    archive: ArchiveFile
    name: str

    @property
    def uri(self) -> str:
        """The archive's URI and the name, for display."""
        return f"{self.archive.uri}!/{self.name}"

    def __str__(self) -> str:
        return f"{self.archive}!/{self.name}"


class ZipEntries(Struct, frozen=True):
    """The files in a ZIP archive, with slashes between the folders of their names.

    Attributes:
        archive: an object, a file, or a URL whose server supports ranges.
        select: a pattern of names, as in shells, such as "*.csv". `*` matches slashes, too. Default: all.
        encoding: the encoding of names that are not marked as UTF-8, such as "cp932". Default: UTF-8 if they
            are valid, else cp437, as the format says.

    Raises:
        InputError: the encoding is unknown.
    """

    archive: ArchiveFile
    select: str = "*"
    encoding: str | None = None

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
    def uri(self) -> str:
        """The archive's URI, for display."""
        return f"{self.archive.uri}!/"

    def __str__(self) -> str:
        return f"{self.archive}!/"

    def item(self, name: str) -> ZipEntry:
        """Return the entry of this name."""
        return ZipEntry(self.archive, name)
