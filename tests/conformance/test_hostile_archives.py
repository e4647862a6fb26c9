"""Hostile, damaged and odd archives: an entry that cannot be read fails by name, and the others go on."""

import stat
import struct
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from asyncstream import (
    Concat,
    CorruptInput,
    InputError,
    KiB,
    LocalFolder,
    MemoryNeeded,
    MiB,
    NothingToTransfer,
    S3Object,
    S3Prefix,
    TransferReport,
    ZipEntries,
    ZipEntry,
)
from asyncstream.errors import DamagedInput
from asyncstream.pipeline import jobs
from tests.servers import Bucket, content
from tests.zip_packing import ENCRYPTED, FAT, METHODS, Row, compress, deflate64_zeros, pack_rows, streamed

from .archive_set import TEXT
from .fixture_types import Copy

pytestmark = pytest.mark.parametrize("server", ["lab"], indirect=True)
Unzip = Callable[..., TransferReport]
GOOD = {"good": b"good" * 1000, "last": b"last"}
COMPRESSED = [method for method in METHODS if method]


@pytest.fixture
def unzip(copy: Copy, bucket: Bucket) -> Unzip:
    """Put an archive of these entries, between good ones, into the bucket, and unpack it."""

    def unzip(*rows: Row, to: Any = None, archive: bytes | None = None, **settings: Any) -> TransferReport:
        if archive is None:
            first, last = (Row(name, body) for name, body in GOOD.items())
            archive = pack_rows([first, *rows, last])
        bucket.put("a.zip", archive)
        entries = ZipEntries(S3Object(bucket.name, "a.zip"))
        return copy([(entries, to or S3Prefix(bucket.name, "copies/"))], **settings)

    return unzip


@cache
def large_by_lzma() -> tuple[bytes, bytes]:
    """Return 20 MiB, and their LZMA data with a dictionary of 8 MiB."""
    large = content(256 * KiB) * 80
    return large, compress(14, large)


def unpacked(bucket: Bucket) -> dict[str, bytes]:
    return {key.removeprefix("copies/"): bucket.get(key) for key in bucket.keys("copies/")}


def written(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def failed(report: TransferReport) -> tuple[str, Exception]:
    """Return the name and the error of the only entry that failed."""
    [file] = report.failed
    assert file.error is not None
    return str(file.source).partition("!/")[2], file.error


@pytest.mark.parametrize(
    "said",
    [
        ("name", b"odd\0"),
        ("name", b"other"),
        ("method", 0),
        ("flags", ENCRYPTED),
        ("signature", b"PK\3\5"),
    ],
    ids=str,
)
def test_a_local_header_must_not_contradict_the_directory(
    unzip: Unzip, bucket: Bucket, said: tuple[str, Any]
) -> None:
    name, error = failed(unzip(Row("odd", TEXT, local=(said,))))
    assert name == "odd"
    assert isinstance(error, DamagedInput)
    assert "contradict each other" in str(error)
    assert unpacked(bucket) == GOOD


@pytest.mark.parametrize("method", COMPRESSED)
def test_damaged_data_fail_their_entry(unzip: Unzip, bucket: Bucket, method: int) -> None:
    data = bytearray(compress(method, TEXT))
    data[len(data) // 2] ^= 0x55
    data[-12:] = bytes(12)
    name, error = failed(unzip(Row("odd", TEXT, method, data=bytes(data))))
    assert name == "odd"
    assert "odd" in str(error) or "CRC32" in str(error)
    assert unpacked(bucket) == GOOD
    assert bucket.uploads() == []


@pytest.mark.parametrize("method", COMPRESSED)
def test_data_that_become_more_than_stated_fail(unzip: Unzip, bucket: Bucket, method: int) -> None:
    """A bomb stops at the size that its row states."""
    zeros = bytes(1 + 200 * 65_538)
    data = deflate64_zeros(200) if method == 9 else compress(method, zeros)
    name, error = failed(unzip(Row("odd", zeros, method, data=data, size=70_000)))
    assert name == "odd"
    assert "becomes more than the 70000 bytes" in str(error) or "CRC32" in str(error)
    assert unpacked(bucket) == GOOD


@pytest.mark.parametrize("method", COMPRESSED)
def test_data_that_become_less_than_stated_fail(unzip: Unzip, bucket: Bucket, method: int) -> None:
    name, error = failed(unzip(Row("odd", TEXT[:9_999], method, size=10_000)))
    assert name == "odd"
    assert "ended after 9999 of 10000 bytes" in str(error)
    assert unpacked(bucket) == GOOD


@pytest.mark.parametrize("method", [8, 93])
def test_content_without_data_fails(unzip: Unzip, bucket: Bucket, method: int) -> None:
    name, error = failed(unzip(Row("odd", b"1", method, data=b"")))
    assert name == "odd"
    assert isinstance(error, InputError | DamagedInput)
    assert unpacked(bucket) == GOOD


@pytest.mark.parametrize(("method", "name"), [(1, "Shrink"), (6, "Implode"), (98, "PPMd"), (99, "AES")])
def test_an_unsupported_method_is_named(unzip: Unzip, bucket: Bucket, method: int, name: str) -> None:
    odd, error = failed(unzip(Row("odd", b"1" * 50, method, data=b"?" * 40)))
    assert odd == "odd"
    assert f"method {method} ({name}" in str(error)
    assert unpacked(bucket) == GOOD


def test_a_window_beyond_the_memory_fails_its_entry(unzip: Unzip, bucket: Bucket) -> None:
    """The slots get what the memory limit leaves; a dictionary that does not fit is refused by name."""
    large, packed = large_by_lzma()
    data = bytearray(packed)
    struct.pack_into("<I", data, 5, 32 * MiB)
    report = unzip(Row("odd", large, 14, data=bytes(data)), memory_limit=16 * MiB, max_concurrency=1)
    name, error = failed(report)
    assert name == "odd"
    assert isinstance(error, MemoryNeeded)
    assert "Raise memory_limit" in str(error)
    assert unpacked(bucket) == GOOD


def test_windows_take_the_memory_of_slots(unzip: Unzip, bucket: Bucket) -> None:
    large, packed = large_by_lzma()
    limit: dict[str, Any] = {"memory_limit": 64 * MiB, "max_concurrency": 10}
    without = unzip(Row("odd", large), **limit)
    report = unzip(Row("odd", large, 14, data=packed), **limit)
    report.raise_for_failures()
    assert report.slots <= min(2, without.slots)
    assert unpacked(bucket) == {**GOOD, "odd": large}


def test_the_window_of_a_single_entry_is_known_too(copy: Copy, bucket: Bucket) -> None:
    large, packed = large_by_lzma()
    bucket.put("a.zip", pack_rows([Row("x", large, 14, data=packed)]))
    entry, missing = (ZipEntry(S3Object(bucket.name, key), "x") for key in ("a.zip", "missing.zip"))
    report = copy([(entry, S3Object(bucket.name, "copies/x")), (missing, S3Object(bucket.name, "copies/y"))])
    assert [file.source for file in report.failed] == [missing]
    assert unpacked(bucket) == {"x": large}


def test_packs_of_archives_have_memory_for_windows_too(copy: Copy, bucket: Bucket) -> None:
    large, packed = large_by_lzma()
    bucket.put("a.zip", pack_rows([Row("x", large, 14, data=packed)]))
    entries = ZipEntries(S3Object(bucket.name, "a.zip"))
    pair = (entries, Concat(S3Object(bucket.name, "copies/x")))
    copy([pair], part_size=32 * MiB, max_concurrency=1).raise_for_failures()
    assert unpacked(bucket) == {"x": large}


def test_archives_in_archives_are_files(unzip: Unzip, bucket: Bucket) -> None:
    """42.zip holds zips of zips: none of them is opened."""
    inner = pack_rows([Row(f"{number}", bytes(100_000)) for number in range(16)])
    unzip(*(Row(f"lib {number}.zip", inner) for number in range(16))).raise_for_failures()
    assert unpacked(bucket) == {**GOOD, **{f"lib {number}.zip": inner for number in range(16)}}


def test_quoted_overlaps_are_refused(unzip: Unzip, bucket: Bucket) -> None:
    """Each file's data start with the next one's header, as in a bomb of a few kilobytes for petabytes."""
    rows = [Row(f"{number}", b"x" * 100, method=0) for number in range(3)]
    with pytest.raises(CorruptInput, match="overlaps the next"):
        unzip(archive=pack_rows(rows, places=[0, 31, 62]))
    assert unpacked(bucket) == {}


def test_names_that_differ_in_case_or_form_are_kept(unzip: Unzip, bucket: Bucket, tmp_path: Path) -> None:
    names = {"x.txt": b"1", "X.TXT": b"2", "\xe9": b"3", "e\u0301": b"4"}
    rows = [Row(name, body) for name, body in names.items()]
    unzip(*rows).raise_for_failures()
    assert unpacked(bucket) == {**GOOD, **names}
    unzip(*rows, to=LocalFolder(str(tmp_path))).raise_for_failures()
    assert written(tmp_path) == {**GOOD, **names}


@pytest.mark.parametrize("names", [("x.txt", "X.TXT"), ("\xe9", "e\u0301")])
def test_names_of_one_file_are_refused_where_case_is_ignored(
    unzip: Unzip, tmp_path: Path, names: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "_CASE_IS_IGNORED", True)
    with pytest.raises(InputError, match="would be one file on this system"):
        unzip(*(Row(name, b"1") for name in names), to=LocalFolder(str(tmp_path)))
    assert written(tmp_path) == {}


def test_a_name_too_long_for_a_key_fails_its_entry(unzip: Unzip, bucket: Bucket) -> None:
    name, error = failed(unzip(Row("文" * 500, b"1")))
    assert name == "文" * 500
    assert isinstance(error, InputError)
    assert "1024" in str(error)
    assert unpacked(bucket) == GOOD


@pytest.mark.parametrize("name", ["../x", "/x", "a/../../x", "C:/x", "a//x", "x\ny", "..\\x"])
def test_a_hostile_name_leaves_no_folder(unzip: Unzip, tmp_path: Path, name: str) -> None:
    report = unzip(Row(name, b"1", host=FAT), to=LocalFolder(str(tmp_path / "in")))
    odd, error = failed(report)
    assert odd == name.replace("\\", "/")
    assert isinstance(error, InputError)
    assert written(tmp_path) == {f"in/{name}": body for name, body in GOOD.items()}


@pytest.mark.parametrize(
    "kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFSOCK], ids=oct
)
def test_links_and_special_files_are_left_out_and_counted(unzip: Unzip, bucket: Bucket, kind: int) -> None:
    report = unzip(Row("odd", b"/etc/passwd", attributes=(kind | 0o777) << 16))
    report.raise_for_failures()
    assert unpacked(bucket) == GOOD
    assert any("1 symbolic links or special files" in sentence for sentence in report.downgrades)


def test_folders_make_no_objects_and_empty_files_do(unzip: Unzip, bucket: Bucket) -> None:
    rows = [
        Row("folder/", method=0),
        Row("folder/empty", method=0),
        Row("deflated"),
        streamed("streamed", b""),
    ]
    unzip(*rows).raise_for_failures()
    assert unpacked(bucket) == {**GOOD, "folder/empty": b"", "deflated": b"", "streamed": b""}


@pytest.mark.parametrize("rows", [[], [Row("folder/", method=0)]], ids=["none", "folder"])
def test_an_archive_without_files_is_nothing_to_transfer(unzip: Unzip, rows: list[Row]) -> None:
    with pytest.raises(NothingToTransfer, match="nothing is stored under"):
        unzip(archive=pack_rows(rows))


def test_one_of_several_volumes_is_refused(unzip: Unzip) -> None:
    archive = bytearray(pack_rows([Row("x", b"1")]))
    struct.pack_into("<2H", archive, len(archive) - 18, 1, 1)
    with pytest.raises(CorruptInput, match="several volumes"):
        unzip(archive=bytes(archive))


@pytest.mark.parametrize("left", [0.1, 0.5, 0.999])
def test_a_truncated_archive_is_refused(unzip: Unzip, bucket: Bucket, left: float) -> None:
    whole = pack_rows([Row("x", TEXT)])
    with pytest.raises(CorruptInput, match="truncated"):
        unzip(archive=whole[: int(len(whole) * left)])
    assert unpacked(bucket) == {}
