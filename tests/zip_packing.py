"""Build ZIP archives byte by byte: any method, flags, descriptors, Zip64 fields and attributes, and lies."""

import bz2
import io
import lzma
import struct
import zipfile
import zlib
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any, NamedTuple

from asyncstream.transforms.codecs import ZSTD

UTF8, ENCRYPTED, DESCRIPTOR = 1 << 11, 1 << 0, 1 << 3
FAT, UNIX, NTFS = 0, 3, 10
_LARGE = 0xFFFFFFFF


class Row(NamedTuple):
    """One entry.

    Attributes:
        name: its name; text is written as UTF-8 with its flag.
        content: its content.
        method: how it is compressed.
        data: its compressed data; None: what the method makes of the content.
        flags: bits of the general purpose flag.
        local: the local header's fields that differ from the directory's: name, method, flags, signature.
        descriptor: what follows the data.
        local_extra: extra fields of the local header.
        extra: extra fields of the directory.
        crc32, size: what the directory says; None: the truth.
        host, attributes: the system, and its attributes.
        zip64: whether sizes and place stand in Zip64 fields.
    """

    name: str | bytes
    content: bytes = b""
    method: int = 8
    data: bytes | None = None
    flags: int = 0
    local: tuple[tuple[str, Any], ...] = ()
    descriptor: bytes = b""
    local_extra: bytes = b""
    extra: bytes = b""
    crc32: int | None = None
    size: int | None = None
    host: int = UNIX
    attributes: int = 0o100644 << 16
    zip64: bool = False


def pack_rows(
    rows: Sequence[Row], before: bytes = b"", comment: bytes = b"", places: Sequence[int] = ()
) -> bytes:
    """Return an archive of these entries.

    Args:
        rows: the entries.
        before: what stands before the archive; the places in the archive do not count it.
        comment: the archive's comment.
        places: the places that the directory says; default: the truth.
    """
    data, directory = io.BytesIO(), io.BytesIO()
    for number, row in enumerate(rows):
        place = places[number] if places else data.tell()
        packed = compress(row.method, row.content) if row.data is None else row.data
        _write_local(data, row, packed)
        _write_row(directory, row, packed, place)
    end = struct.pack(
        "<4s4H2IH",
        b"PK\5\6",
        0,
        0,
        len(rows),
        len(rows),
        directory.tell(),
        data.tell(),
        len(comment),
    )
    return before + data.getvalue() + directory.getvalue() + end + comment


def compress(method: int, content: bytes) -> bytes:
    """Return the data of an entry."""
    return _COMPRESSORS[method](content)


def descriptor(content: bytes, packed: bytes, *, signature: bool = True, wide: bool = False) -> bytes:
    """Return the descriptor after an entry's data, of 32 or 64 bits, with or without its signature."""
    sizes = struct.pack("<2Q" if wide else "<2I", len(packed), len(content))
    return (b"PK\7\x08" if signature else b"") + struct.pack("<I", zlib.crc32(content)) + sizes


def streamed(name: str, content: bytes, *, signature: bool = True, wide: bool = False) -> Row:
    """Return an entry as a program writes it that cannot seek: the sizes stand after the data."""
    packed = compress(8, content)
    follows = descriptor(content, packed, signature=signature, wide=wide)
    return Row(name, content, data=packed, flags=DESCRIPTOR, descriptor=follows)


def _raw_name(row: Row) -> tuple[bytes, int]:
    return (row.name, row.flags) if isinstance(row.name, bytes) else (row.name.encode(), row.flags | UTF8)


def _write_local(data: io.BytesIO, row: Row, packed: bytes) -> None:
    name, flags = _raw_name(row)
    said = {"name": name, "method": row.method, "flags": flags, "signature": b"PK\3\4", **dict(row.local)}
    late = bool(row.flags & DESCRIPTOR)
    crc32, packed_size, size = (0, 0, 0) if late else (zlib.crc32(row.content), len(packed), len(row.content))
    extra = row.local_extra
    if row.zip64:
        extra += struct.pack("<2H2Q", 1, 16, size, packed_size)
        packed_size = size = _LARGE
    head = (
        45,
        said["flags"],
        said["method"],
        0,
        0x21,
        crc32,
        packed_size,
        size,
        len(said["name"]),
        len(extra),
    )
    data.write(said["signature"] + struct.pack("<5H3I2H", *head) + said["name"] + extra)
    data.write(packed + row.descriptor)


def _write_row(directory: io.BytesIO, row: Row, packed: bytes, place: int) -> None:
    name, flags = _raw_name(row)
    crc32 = zlib.crc32(row.content) if row.crc32 is None else row.crc32
    size = len(row.content) if row.size is None else row.size
    packed_size, extra = len(packed), row.extra
    if row.zip64:
        extra += struct.pack("<2H3Q", 1, 24, size, packed_size, place)
        size = packed_size = place = _LARGE
    head = (
        row.host << 8 | 45,
        45,
        flags,
        row.method,
        0,
        0x21,
        crc32,
        packed_size,
        size,
        len(name),
        len(extra),
    )
    rest = (0, 0, 0, row.attributes, place)
    directory.write(b"PK\1\2" + struct.pack("<6H3I2H", *head) + struct.pack("<3H2I", *rest) + name + extra)


def _deflate(content: bytes) -> bytes:
    deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return deflater.compress(content) + deflater.flush()


def _deflate64(content: bytes) -> bytes:
    """Return deflated data without matches, whose longest ones differ in Deflate64."""
    deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS, strategy=zlib.Z_HUFFMAN_ONLY)
    return deflater.compress(content) + deflater.flush()


def deflate64_zeros(matches: int) -> bytes:
    """Return Deflate64 data of 1 + 65,538 * `matches` zeros: one literal, and the longest matches."""
    # Most significant bit first for the codes of the fixed tree, least significant first for numbers.
    literal, longest, distance, end = "00110000", "11000101" + "1" * 16, "00000", "0000000"
    bits = "1" + "10" + literal + (longest + distance) * matches + end
    return int(bits[::-1], 2).to_bytes(-(-len(bits) // 8), "little")


def _lzma(content: bytes) -> bytes:
    """Return the data as Python's zipfile writes them."""
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("x", content)
    info = archive.infolist()[0]
    return whole.getvalue()[31:][: info.compress_size]


def _zstd(content: bytes) -> bytes:
    packed: bytes = import_module(ZSTD).compress(content)
    return packed


_COMPRESSORS: dict[int, Callable[[bytes], bytes]] = {
    0: lambda content: content,
    8: _deflate,
    9: _deflate64,
    12: bz2.compress,
    14: _lzma,
    20: _zstd,
    93: _zstd,
    95: lzma.compress,
}
METHODS = tuple(_COMPRESSORS)
