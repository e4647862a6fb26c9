"""Compare the members of a pack that are read in several pieces with their checksums. Does no I/O."""

from collections.abc import Mapping

from asyncstream.archives.pack_members import Member
from asyncstream.checksum import Checksum, combined
from asyncstream.errors import ChecksumMismatch


class MemberMismatch(ChecksumMismatch):
    """Another piece than the one just read may be the wrong one, so the whole pack is read again."""

    retryable = False


class PackChecks:
    """The checksums that members must have, and those of the pieces that were read of them.

    Pieces of an earlier transfer are unknown: a member that has such is not compared. Several tasks use it at
    once without a lock, each for its own piece.
    """

    def __init__(self) -> None:
        self._expected: dict[int, dict[str, Checksum]] = {}
        # By the position of the member, and where the piece starts: where it stops, and its checksums.
        self._pieces: dict[int, dict[int, tuple[int, Mapping[str, Checksum]]]] = {}

    def expect(self, position: int, checksum: Checksum | None) -> None:
        """Note the checksum of a member; None: it has none that can be compared."""
        expected = self._expected.setdefault(position, {})
        if checksum is not None:
            expected[checksum.kind] = checksum

    def expects(self, position: int) -> bool:
        """Whether it is known which checksum a member has."""
        return position in self._expected

    def expected(self, position: int, kind: str) -> Checksum | None:
        """Return the checksum of a kind that a member must have, if it is known."""
        return self._expected.get(position, {}).get(kind)

    def kinds(self, position: int) -> list[str]:
        """Return the kinds of checksum to compute over the pieces of a member."""
        return list(self._expected.get(position, ()))

    def add(self, position: int, start: int, stop: int, checksums: Mapping[str, Checksum]) -> None:
        """Note the checksums of a piece. A later one that starts at the same place takes its place."""
        if checksums:
            self._pieces.setdefault(position, {})[start] = stop, checksums

    def compare(self, position: int, member: Member) -> None:
        """Compare a member with its checksums, if all its pieces are known.

        Raises:
            ChecksumMismatch: it has others, and was read in one piece.
            MemberMismatch: it has others. All pieces are forgotten.
        """
        pieces, in_turn, at = self._pieces.get(position, {}), [], 0
        while at < member.length:
            if at not in pieces:
                return
            stop, checksums = pieces[at]
            in_turn.append((stop - at, checksums))
            at = stop
        for kind, expected in tuple(self._expected.get(position, {}).items()):
            if not all(kind in checksums for _, checksums in in_turn):
                continue
            found = combined(kind, ((checksums[kind], length) for length, checksums in in_turn))
            if found != expected:
                self._expected.pop(position, None)  # it may have been computed of wrong bytes
                if len(in_turn) == 1:
                    self._pieces.pop(position, None)
                    raise ChecksumMismatch(mismatch(member, found, expected))
                self._pieces.clear()
                raise MemberMismatch(mismatch(member, found, expected))


def mismatch(member: Member, found: Checksum, expected: Checksum) -> str:
    """Return a sentence that says how the bytes of a member differ from what is stored."""
    return (
        f"the {member.length} bytes read of {member.place} have the {found.kind} {found.value}, not "
        f"{expected.value}: they were changed on their way"
    )
