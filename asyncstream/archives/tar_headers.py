"""Write the headers of a tar archive (POSIX.1-2017, pax, "ustar Interchange Format"). Does no I/O.

An archive is a header, the content and zeros up to a multiple of 512 bytes for each file, then `tar_end`. The
same files give the same bytes: owner, mode and group are always 0, 0644 and 0.
"""

from asyncstream.archives.entry_names import refusal
from asyncstream.errors import InputError

BLOCK = 512
# Programs write whole records of 20 blocks, and some of them warn about other lengths.
RECORD = 20 * BLOCK
# Two blocks of zeros end an archive.
END = bytes(2 * BLOCK)
# The largest number of 11 octal digits: 8 GiB less a byte, or a time in the year 2242.
MOST_OCTAL = 8**11 - 1
_NAME_BYTES, _PREFIX_BYTES = 100, 155
_FILE, _PAX = b"0", b"x"
# The name that Python gives to pax headers, too. Programs that do not know pax extract a file of this name.
_PAX_NAME = b"././@PaxHeader"


def tar_header(name: str, size: int, mtime: float) -> bytes:
    """Return the blocks before the content of a file.

    They are one ustar header if it can hold name, size and time, else it follows a pax header.

    Args:
        name: the path, with slashes between its steps.
        size: bytes of the content.
        mtime: when the file was changed, in seconds since 1970. Fractions are left out.

    Raises:
        InputError: no archive may have a file of this name.
    """
    check_name(name)
    seconds = int(mtime // 1)
    records = b""
    split = _split(name)
    if split is None:
        records += _pax_record("path", name)
        split = name.encode("ascii", "replace")[:_NAME_BYTES].rstrip(b"/"), b""
    if size > MOST_OCTAL:
        records += _pax_record("size", str(size))
        size = 0
    if not 0 <= seconds <= MOST_OCTAL:
        records += _pax_record("mtime", str(seconds))
        seconds = 0
    header = _ustar_header(*split, size, seconds, _FILE)
    if not records:
        return header
    pax = _ustar_header(_PAX_NAME, b"", len(records), 0, _PAX)
    return pax + records + padding(len(records)) + header


def padding(size: int) -> bytes:
    """Return the zeros after `size` bytes of content, up to the next block."""
    return bytes(-size % BLOCK)


def tar_end(length: int) -> bytes:
    """Return the end of an archive whose files take `length` bytes: zeros up to a whole record."""
    return END + bytes(-(length + len(END)) % RECORD)


def check_name(name: str) -> None:
    """Check that a file in an archive may have this name.

    Raises:
        InputError: programs would refuse the name, change it, or take the file for a folder.
    """
    reason = refusal(name)
    if reason is None and name.endswith("/"):
        reason = "its name ends with a slash, as those of folders do"
    if reason is None and not _is_unicode(name):
        reason = "its name is not Unicode"
    if reason is not None:
        raise InputError(f"{name!r:.300} cannot be packed: {reason}")


def _is_unicode(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:  # the name of a file on a disk may have any bytes
        return False
    return True


def _split(name: str) -> tuple[bytes, bytes] | None:
    """Return the name and prefix fields of a header; None if they cannot hold the name."""
    if not name.isascii():
        return None
    path = name.encode()
    if len(path) <= _NAME_BYTES:
        return path, b""
    # The first slash that leaves at most 100 bytes after it. The prefix is what stands before.
    slash = path.find(b"/", len(path) - _NAME_BYTES - 1)
    if not 0 < slash <= _PREFIX_BYTES:
        return None
    return path[slash + 1 :], path[:slash]


def _ustar_header(name: bytes, prefix: bytes, size: int, mtime: int, kind: bytes) -> bytes:
    start = b"%b%07o\0%07o\0%07o\0%011o\0%011o\0" % (name.ljust(_NAME_BYTES, b"\0"), 0o644, 0, 0, size, mtime)
    rest = kind + bytes(100) + b"ustar\00000" + bytes(64) + b"%07o\0%07o\0" % (0, 0)
    rest += prefix.ljust(_PREFIX_BYTES, b"\0") + bytes(12)
    # The checksum is the sum of all bytes, with spaces in its own place.
    return start + b"%06o\0 " % (sum(start) + 8 * ord(" ") + sum(rest)) + rest


def _pax_record(key: str, value: str) -> bytes:
    """Return `length key=value`, whose length counts its own digits."""
    content = b" %b=%b\n" % (key.encode(), value.encode())
    length = len(content)
    while length != (whole := len(content) + len(str(length))):
        length = whole
    return b"%d%b" % (length, content)
