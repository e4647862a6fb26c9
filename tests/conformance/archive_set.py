"""Archives as other programs make them, each made when a test first asks for it, and what is in them."""

import io
import os
import shutil
import struct
import subprocess
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pytest

from asyncstream import KiB
from tests.lacking import lacking
from tests.servers import content
from tests.zip_packing import FAT, NTFS, UTF8, Row, pack_rows, streamed

# Half of it can be compressed.
TEXT = b"".join(b"%07d GET /index.html?%s 200\n" % (n, content(4, n).hex().encode()) for n in range(20_000))
FILES: Mapping[str, bytes] = {
    "a.txt": b"x",
    "empty": b"",
    "deep/er/b.bin": content(300 * KiB),
    "text.log": TEXT,
    "ü/文.txt": b"\xff" * 70_000,
}
_ENVIRON = {**os.environ, "LC_ALL": "C.UTF-8"}
_SEVEN = ["7zz", "a", "-bso0", "-bsp0", "-tzip"]


class Made(NamedTuple):
    """An archive, and how it must be unpacked.

    Attributes:
        archive: its bytes.
        files: its files by name.
        failing: words of the error of each file that cannot be read, by name.
    """

    archive: bytes
    files: Mapping[str, bytes] = FILES
    failing: Mapping[str, str] = {}


Make = Callable[[Path], Made]


def by_program(*command: str, failing: str = "") -> Make:
    """Return a function that packs the files with a program. It skips the test if the program is missing.

    Args:
        command: the program and its arguments; run in the folder of the files, it writes `../a.zip`.
        failing: words of the error of each file that is compressed or encrypted; empty: all can be read.
    """

    def make(folder: Path) -> Made:
        needed = command[2].split()[0] if command[0] == "sh" else command[0]
        if shutil.which(needed) is None:
            if needed == "jar":  # Java is large, and no script installs it
                pytest.skip("jar is not installed.")
            lacking(f"{needed} is missing: `make .venv/programs.stamp` installs it")
        for name, body in FILES.items():
            (folder / "files" / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / "files" / name).write_bytes(body)
        subprocess.run(command, cwd=folder / "files", check=True, env=_ENVIRON)
        archive = (folder / "a.zip").read_bytes()
        if not failing:
            return Made(archive)
        failed = {_name(row) for row in zipfile.ZipFile(io.BytesIO(archive)).infolist() if _is_odd(row)}
        readable = {name: body for name, body in FILES.items() if name not in failed}
        return Made(archive, readable, dict.fromkeys(failed, failing))

    return make


def _name(row: zipfile.ZipInfo) -> str:
    return row.filename if row.flag_bits & UTF8 else row.filename.encode("cp437").decode()


def _is_odd(row: zipfile.ZipInfo) -> bool:
    """Whether an entry is encrypted, or compressed and no folder."""
    return not row.is_dir() and bool(row.compress_type or row.flag_bits & 1)


def by_hand(rows: Callable[[], list[Row]], before: bytes = b"", comment: bytes = b"") -> Make:
    """Return a function that packs entries byte by byte. Their names are text or UTF-8."""

    def make(_: Path) -> Made:
        packed = rows()
        names = [row.name.decode() if isinstance(row.name, bytes) else row.name for row in packed]
        files = {name: row.content for name, row in zip(names, packed, strict=True) if not name.endswith("/")}
        return Made(pack_rows(packed, before, comment), files)

    return make


def by_zipfile(method: int, *, seekable: bool = True, zip64: bool = False) -> Make:
    """Return a function that packs the files with Python's zipfile."""

    def make(_: Path) -> Made:
        packed = io.BytesIO()
        target = packed if seekable else _Pipe(packed)
        with zipfile.ZipFile(target, "w", method) as archive:  # type: ignore[call-overload]
            for name, body in FILES.items():
                with archive.open(name, "w", force_zip64=zip64) as entry:
                    entry.write(body)
        return Made(packed.getvalue())

    return make


class _Pipe:
    """A file that can only be written, in order."""

    def __init__(self, target: io.BytesIO) -> None:
        self._target = target

    def write(self, data: bytes) -> int:
        return self._target.write(data)

    def flush(self) -> None:
        """Do nothing: the bytes are there."""


def _rows(**fields: object) -> Callable[[], list[Row]]:
    return lambda: [Row(name, body, **fields) for name, body in FILES.items()]  # type: ignore[arg-type]


def _like_macos() -> list[Row]:
    """Return entries as `ditto` writes them: descriptors, UTF-8 without the mark, folders, owners."""
    owner = struct.pack("<2H", 0x7875, 11) + b"\x01\x04\xf5\x01\0\0\x04\x14\0\0\0"
    folder = Row(b"deep/", method=0, local_extra=owner, attributes=0o040755 << 16)
    rows = [
        streamed(name, body)._replace(name=name.encode(), local_extra=owner) for name, body in FILES.items()
    ]
    return [folder, *rows, streamed("__MACOSX/._a.txt", b"\0\5\x16\7")]


def _like_dotnet() -> list[Row]:
    """Return entries as .NET writes them to a stream: descriptors of 64 bits, and names with backslashes."""
    rows = [streamed(name, body, wide=True) for name, body in FILES.items()]
    return [row._replace(zip64=True, host=NTFS) for row in rows]


def _backslashes(_: Path) -> Made:
    """Return an archive of .NET before 4.6.1."""
    rows = [Row(name.replace("/", "\\"), body, host=FAT) for name, body in FILES.items()]
    return Made(pack_rows(rows))


def _unicode_paths(_: Path) -> Made:
    """Return an archive with names in a code page, and in Unicode beside them, as WinZip and Info-ZIP do."""

    def row(number: int, name: str, body: bytes) -> Row:
        old = b"%d_?" % number
        path = b"\x01" + struct.pack("<I", zlib.crc32(old)) + name.encode()
        return Row(old, body, extra=struct.pack("<2H", 0x7075, len(path)) + path, host=FAT)

    return Made(pack_rows([row(number, *item) for number, item in enumerate(FILES.items())]))


def _code_page(_: Path) -> Made:
    """Return an archive of Windows' Explorer: its names are in cp437."""
    return Made(pack_rows([Row("é/Ñ.txt".encode("cp437"), b"1", host=FAT)]), {"é/Ñ.txt": b"1"})


def _adjusted(make: Make, before: bytes) -> Make:
    """Return a function that puts bytes before an archive, which its places do not count."""

    def adjusted(folder: Path) -> Made:
        made = make(folder)
        return made._replace(archive=before + made.archive)

    return adjusted


def _counted(_: Path) -> Made:
    """Return an archive after a program, whose places count the program, as `zip -A` writes them."""
    packed = io.BytesIO(_PROGRAM)
    packed.seek(len(_PROGRAM))
    with zipfile.ZipFile(packed, "a", zipfile.ZIP_DEFLATED) as archive:
        for name, body in FILES.items():
            archive.writestr(name, body)
    return Made(packed.getvalue())


_PROGRAM = b"#!/bin/sh\n" + b"echo unpacking\n" * 700
_ZSTANDARD = getattr(zipfile, "ZIP_ZSTANDARD", None)
_ZIP64 = by_program("zip", "-qr", "-fz", "../a.zip", ".")


def _archives() -> Iterator[tuple[str, Make]]:
    """Yield what makes each archive, by a name for tests."""
    yield "zip", by_program("zip", "-qr", "../a.zip", ".")
    yield "zip -9", by_program("zip", "-qr9", "../a.zip", ".")
    yield "zip, stored", by_program("zip", "-qr0", "../a.zip", ".")
    yield "zip, bzip2", by_program("zip", "-qr", "-Z", "bzip2", "../a.zip", ".")
    yield "zip, descriptors", by_program("zip", "-qr", "-fd", "../a.zip", ".")
    yield "zip, Zip64", _ZIP64
    comment = "zip -qr ../a.zip . && printf 'PK\\005\\006' | zip -qz ../a.zip"
    yield "zip, comment", by_program("sh", "-c", comment)
    yield "zip, to a pipe", by_program("sh", "-c", "zip -qr - . | cat > ../a.zip")
    yield "zip, encrypted", by_program("zip", "-qrP", "secret", "../a.zip", ".", failing="encrypted")
    for method in ("Copy", "Deflate", "Deflate64", "BZip2", "LZMA"):
        yield f"7-Zip, {method}", by_program(*_SEVEN, f"-mm={method}", "../a.zip", ".")
    yield "7-Zip, LZMA, 64 MiB", by_program(*_SEVEN, "-mm=LZMA:d=64m", "../a.zip", ".")
    yield "7-Zip, LZMA, end mark", by_program(*_SEVEN, "-mm=LZMA:eos=on", "../a.zip", ".")
    yield "7-Zip, PPMd", by_program(*_SEVEN, "-mm=PPMd", "../a.zip", ".", failing="PPMd")
    for cipher in ("AES256", "ZipCrypto"):
        secret = ("-psecret", f"-mem={cipher}")
        yield f"7-Zip, {cipher}", by_program(*_SEVEN, *secret, "../a.zip", ".", failing="encrypted")
    yield "bsdtar", by_program("bsdtar", "--format", "zip", "-cf", "../a.zip", *FILES)
    yield "bsdtar, to a pipe", by_program("sh", "-c", "bsdtar --format zip -cf - * | cat > ../a.zip")
    stored = ("--options", "zip:compression=store")
    yield "bsdtar, stored", by_program("bsdtar", "--format", "zip", *stored, "-cf", "../a.zip", *FILES)
    yield "jar", by_program("jar", "cMf", "../a.zip", ".")
    yield "jar, stored", by_program("jar", "cM0f", "../a.zip", ".")
    for name, number in (("stored", 0), ("deflated", 8), ("bzip2", 12), ("LZMA", 14)):
        yield f"zipfile, {name}", by_zipfile(number)
        yield f"zipfile, {name}, to a pipe", by_zipfile(number, seekable=False)
    yield "zipfile, Zip64", by_zipfile(8, zip64=True)
    if _ZSTANDARD is not None:
        yield "zipfile, Zstandard", by_zipfile(_ZSTANDARD)
    yield "Zstandard", by_hand(_rows(method=93))
    yield "Zstandard, old number", by_hand(_rows(method=20))
    yield "XZ", by_hand(_rows(method=95))
    yield "like Go", by_hand(lambda: [streamed(*item) for item in FILES.items()])
    unsigned = partial(streamed, signature=False)
    yield "descriptors, unsigned", by_hand(lambda: [unsigned(*item) for item in FILES.items()])
    yield "like macOS", by_hand(_like_macos)
    yield "like .NET", by_hand(_like_dotnet)
    yield "backslashes", _backslashes
    yield "Unicode paths", _unicode_paths
    yield "code page", _code_page
    yield "Zip64 in all fields", by_hand(_rows(zip64=True), comment=b"with a comment")
    yield "program before", _adjusted(by_hand(_rows()), _PROGRAM)
    yield "program before, counted", _counted
    yield "program before, Zip64", _adjusted(_ZIP64, _PROGRAM)


ARCHIVES: Mapping[str, Make] = dict(_archives())
