"""The names of ZIP entries: decoded. Pure."""

import stat

from asyncstream.archives.zip_directory import RawEntry

_UTF8 = 1 << 11
_FAT, _UNIX, _NTFS = 0, 3, 10
_SPECIAL = {stat.S_IFLNK, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFIFO, stat.S_IFSOCK}


def decode_name(entry: RawEntry, encoding: str | None) -> str:
    """Return the name of an entry, with slashes between its folders.

    Backslashes are separators only if the name has no slash and was made under Windows. "./" at the start is
    left out.

    Args:
        entry: the row of the directory.
        encoding: the encoding of names that are not marked as UTF-8; None: UTF-8 if valid, else cp437.
    """
    name = _decode(entry, encoding)
    if "/" not in name and entry.host in {_FAT, _NTFS}:
        name = name.replace("\\", "/")
    while name.startswith("./"):
        name = name[2:]
    return name


def _decode(entry: RawEntry, encoding: str | None) -> str:
    if entry.unicode_name is not None:
        return entry.unicode_name.decode("utf-8", "replace")
    if entry.flags & _UTF8:
        return entry.name.decode("utf-8", "replace")
    if encoding is not None:
        return entry.name.decode(encoding, "replace")
    try:
        return entry.name.decode()  # macOS and Unix write UTF-8 without saying so
    except UnicodeDecodeError:
        return entry.name.decode("cp437")


def is_special(entry: RawEntry) -> bool:
    """Whether an entry is a symbolic link, whose content is the path of another file; a device or a pipe."""
    return entry.host == _UNIX and stat.S_IFMT(entry.attributes >> 16) in _SPECIAL
