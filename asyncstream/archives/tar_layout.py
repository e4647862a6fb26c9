"""A tar archive to write. Pure."""

from collections.abc import Iterator

from asyncstream.archives.pack_layout import Layout
from asyncstream.archives.pack_members import Member
from asyncstream.archives.tar_headers import END, RECORD, padding, tar_end, tar_header


class TarLayout(Layout):
    """The bytes of a tar archive."""

    MOST_END = RECORD + len(END)
    headers = {"ContentType": "application/x-tar"}  # noqa: RUF012 - read only

    def before_length(self, member: Member) -> int:
        """Return the length of the headers."""
        return len(self.before(member))

    def before(self, member: Member, crc32: int = 0) -> bytes:
        """Return the headers."""
        return tar_header(member.name, member.size, member.modified)

    def after(self, member: Member) -> bytes:
        """Return the zeros up to the next block."""
        return padding(member.size)

    def tail_length(self) -> int:
        """Return the length of the archive's end."""
        return len(tar_end(self.members_end))

    def tail(self) -> Iterator[bytes]:
        """Yield the archive's end."""
        yield tar_end(self.members_end)
