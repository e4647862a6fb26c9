"""Packs in events: what an archive or a joined file is made of, and how. Does no I/O."""

from typing import Literal

from msgspec import Struct

from asyncstream.errors import InputError
from asyncstream.locations import Concat, PackInto, S3Object, Tar, Zip
from asyncstream.locations.packs import IfMissing

Kind = Literal["tar", "zip", "concat"]


class Packing(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """How many objects become one.

    Attributes:
        into: "tar" or "zip" for an archive, "concat" for one object after the other.
        separator: the text between two objects that are joined; see `Concat`.
        header: "first" keeps the first line of the first joined object only.
        if_missing: "leave_out" packs what is there, if an object is deleted meanwhile; see `Tar`.
    """

    into: Kind
    separator: str = ""
    header: Literal["all", "first"] = "all"
    if_missing: IfMissing = "fail"

    def at(self, target: S3Object) -> PackInto:
        """Return the archive or the joined object, to be written to this place.

        Raises:
            InputError: an archive has a separator or a header, or both contradict each other.
        """
        if self.into == "concat":
            return Concat(target, self.separator.encode(), self.header, self.if_missing)
        if self.separator or self.header != "all":
            raise InputError(f"`separator` and `header` are for `concat`, not for `{self.into}`")
        return Tar(target, self.if_missing) if self.into == "tar" else Zip(target, self.if_missing)
