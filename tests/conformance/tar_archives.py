"""Tar archives for tests, plain and compressed, and what was unpacked."""

import bz2
import gzip
import io
import lzma
import tarfile
from collections.abc import Callable, Mapping
from typing import Any, Literal

from asyncstream import KiB, MiB
from asyncstream.transforms.codecs import ZSTD
from asyncstream.transforms.gzip import library
from tests.servers import Bucket, content

TEXT = b"".join(b"%07d GET /index.html?%s 200\n" % (n, content(4, n).hex().encode()) for n in range(20_000))
FILES: Mapping[str, bytes] = {
    "a.txt": b"x",
    "empty": b"",
    "deep/er/b.bin": content(300 * KiB),
    "large": content(2 * MiB + 1),
    "text.log": TEXT,
    "ü/文.txt": b"\xff" * 70_000,
    "last": b"y" * 512,
}


def zstd(plain: bytes) -> bytes:
    module = library(ZSTD)
    packed: bytes = module.compress(plain, options={module.CompressionParameter.checksum_flag: 1})
    return packed


def as_it_is(plain: bytes) -> bytes:
    return plain


def gz(plain: bytes) -> bytes:
    return gzip.compress(plain, 1)


def xz(plain: bytes) -> bytes:
    return lzma.compress(plain, preset=0)


CODINGS: Mapping[str, Callable[[bytes], bytes]] = {
    "tar": as_it_is,
    "gz": gz,
    "zst": zstd,
    "bz2": bz2.compress,
    "xz": xz,
}


def pack(
    files: Mapping[str, bytes],
    form: Literal[0, 1, 2] = tarfile.PAX_FORMAT,
    more: list[tarfile.TarInfo] | None = None,
) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=form) as archive:
        for name, body in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(body)
            archive.addfile(member, io.BytesIO(body))
        for member in more or ():
            archive.addfile(member)
    return packed.getvalue()


def unpacked(bucket: Bucket) -> dict[str, bytes]:
    return {key.removeprefix("copies/"): bucket.get(key) for key in bucket.keys("copies/")}


def names(files: Any) -> list[str]:
    return [str(file.source).rpartition("!/")[2] for file in files]
