"""The files of one tar archive, by name: selected, checked, each name once. Pure."""

from collections.abc import Iterator
from fnmatch import fnmatchcase

from msgspec import Struct

from asyncstream.archives.entry_names import refusal
from asyncstream.archives.tar_reading import Headers, Member
from asyncstream.archives.zip_entries import share_windows
from asyncstream.checksum import CRC64NVME, Checksum, Digests
from asyncstream.errors import InputError
from asyncstream.objects import ByteRange

# Bytes of a file beside its name. *Measured*: 280 to 380, and up to 530 while dictionaries grow.
_BYTES_OF_ENTRY = 600


class TarFile(Struct):
    """One file to read.

    Attributes:
        name: its name.
        range: its content in the archive, or in the bytes that a compressed archive becomes.
        refused: the reason why it cannot be read; None if it can.
        checksum: that of its content; None if the content was not read.
        window: a range that it shares with neighbours; None if it is read on its own.
        sharing: the number of files in its window.
    """

    name: str
    range: ByteRange
    refused: str | None
    checksum: Checksum | None = None
    window: ByteRange | None = None
    sharing: int = 0

    @property
    def size(self) -> int:
        """Bytes of its content."""
        return self.range.length


class TarIndex:
    """The selected files of an archive. `feed` adds them, as the bytes of the archive arrive.

    If several have one name, the last counts, as for programs: `tar -r` and `tar -u` append newer versions.

    Args:
        select: a pattern of names; see `TarEntries`.
        most_bytes: bytes of memory that the index may take.
        digest: whether to compute the checksum of each file. All bytes of the archive must then be fed.

    Attributes:
        headers: reads the headers.
        files: the files by name, in the order in which they are best read.
    """

    def __init__(self, select: str, most_bytes: float, *, digest: bool = False) -> None:
        self.headers = Headers()
        self.files: dict[str, TarFile] = {}
        self._select = select
        self._free = most_bytes
        self._links = self._devices = self._replaced = 0
        self._digest = digest
        self._digesting: tuple[TarFile, Digests] | None = None  # the file whose content arrives

    def feed(self, at: int, data: bytes | memoryview) -> None:
        """Add the files whose headers end in these bytes; see `Headers.feed`.

        Raises:
            CorruptInput: the bytes are not those of a tar archive.
            InputError: there are more files than there is memory for.
        """
        self._update_digest(at, data)
        for member in self.headers.feed(at, data):
            added = self._add(member)
            if added is not None and self._digest:
                self._digesting = added, Digests([CRC64NVME])
                self._update_digest(at, data)

    def share_windows(self) -> None:
        """Put small neighbours into windows, and order the files so that those of a window are apart."""
        self.files = {file.name: file for file in share_windows(self.files.values())}

    def left_out(self) -> Iterator[str]:
        """Yield what the files do not have of the archive, as clauses of a sentence about it."""
        for count, what in (
            (self._links, "symbolic and hard links, which were left out"),
            (self._devices, "devices and pipes, which were left out"),
            (self._replaced, "files that a later one of the same name replaces"),
        ):
            if count:
                yield f"has {count:,} {what}"
        if self.headers.lone_zeros is not None:
            yield f"has other data after a block of zeros at byte {self.headers.lone_zeros}, which ends it"
        if not self.headers.marked:
            yield "ends without an end mark: it may be truncated after a file"

    def _update_digest(self, at: int, data: bytes | memoryview) -> None:
        """Add the content of the file that arrives, as far as it is in these bytes."""
        if self._digesting is None:
            return
        file, digests = self._digesting
        start, stop = file.range
        digests.update(memoryview(data)[max(start - at, 0) : max(stop - at, 0)])
        if stop <= at + len(data):
            file.checksum, self._digesting = digests.checksums()[CRC64NVME], None

    def _add(self, member: Member) -> TarFile | None:
        if member.kind == "folder" or not fnmatchcase(member.name, self._select):
            return None
        # A link, too, takes the place of a file.
        if self.files.pop(member.name, None) is not None:
            self._replaced += 1
        if member.kind == "link":
            self._links += 1
        elif member.kind == "device":
            self._devices += 1
        else:
            return self._add_file(member)
        return None

    def _add_file(self, member: Member) -> TarFile:
        self._free -= _BYTES_OF_ENTRY + 4 * len(member.name)
        if self._free < 0:
            raise InputError(
                f"the list of its files needs more memory than there is, after {len(self.files):,} of them. "
                "Give the function more memory"
            )
        place = ByteRange(member.offset, member.offset + member.size)
        file = TarFile(member.name, place, refusal(member.name) or member.refused)
        self.files[member.name] = file
        return file
