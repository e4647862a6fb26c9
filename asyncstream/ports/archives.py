"""The Protocols of archives: their listings, and the memory of their decoders."""

from typing import Any, NamedTuple, Protocol

from asyncstream.locations import ZipEntries
from asyncstream.objects import ListedObject


class Listing(Protocol):
    """All files of an archive. A file is made when it is asked for, so that a million take little memory.

    `total` is the sum of their sizes, `largest` the size of the largest, and `held` the memory that the
    listing takes, all in bytes.
    """

    total: int
    largest: int
    held: int

    def __len__(self) -> int:
        """Return the number of files."""

    def __getitem__(self, position: int) -> ListedObject:
        """Return the file at a position."""

    def rest(self, pending: bytes) -> ZipEntries | None:
        """Return what selects the pending files only; None if none is pending.

        `pending` is 1 for each file that is pending, and 0 for the others.
        """


class Share(NamedTuple):
    """A selection of some of an archive's entries, with the number of its files and their bytes.

    `bytes` are those of their contents, `packed` those of their data in the archive.
    """

    entries: ZipEntries
    files: int
    bytes: int
    packed: int


class Archives(Protocol):
    """Lists the files in archives, and decodes them within a limited memory."""

    async def list_all(self, entries: ZipEntries) -> Listing:
        """Return all files that a selection has."""

    async def cut(self, entries: ZipEntries, size: int) -> list[Share]:
        """Return selections of up to `size` entries each, which together are the whole selection."""

    @property
    def decoder_bytes(self) -> int:
        """The most bytes that the decoder of one file holds, beside `slot_bytes`.

        They are known of the archives that were listed or prepared.
        """

    def allow(self, memory: int) -> None:
        """Let each decoder hold at most so many bytes. A file that needs more fails with `MemoryNeeded`."""

    async def prepare(self, source: Any) -> None:
        """Read the directory of an archive of which one file is copied."""
