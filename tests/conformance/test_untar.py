"""Tar archives as sources: each file is an object, read by ranges, or in order if it is compressed."""

import bz2
import gzip
from collections.abc import Callable
from pathlib import Path

import pytest

from asyncstream import (
    FetchConfig,
    InputError,
    LocalFile,
    LocalFolder,
    MiB,
    NothingToTransfer,
    S3Object,
    S3Prefix,
    Tar,
    TarEntries,
    TarEntry,
    WebFile,
)
from asyncstream.lab.s3 import LabS3
from tests.servers import Bucket, content
from tests.servers.web_file import WebPage

from .fixture_types import Copy, Serve, Untar
from .tar_archives import CODINGS, FILES, TEXT, as_it_is, gz, names, pack, unpacked
from .web.web_origins import ALLOWED

on_the_lab = pytest.mark.parametrize("server", ["lab"], indirect=True)
coded = pytest.mark.parametrize("encode", [as_it_is, gz], ids=["tar", "gz"])


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.varied("coding", server="lab")
def test_files_become_objects(untar: Untar, bucket: Bucket, coding: str) -> None:
    report = untar(CODINGS[coding](pack(FILES)))
    report.raise_for_failures()
    assert unpacked(bucket) == FILES
    assert report.bytes == sum(map(len, FILES.values()))
    assert report.downgrades == [] or all("tar" not in sentence for sentence in report.downgrades)
    assert bucket.uploads() == []
    if coding != "tar":
        assert report.slots == 1
        assert names(report.files) == list(FILES)


@on_the_lab
def test_small_neighbours_share_a_request(untar: Untar, bucket: Bucket) -> None:
    files = {f"{number:04d}": content(5000, number) for number in range(600)}
    report = untar(pack(files))
    report.raise_for_failures()
    assert unpacked(bucket) == files
    assert report.requests["GetObject"] <= len(files) / 40 + 10
    assert report.requests["PutObject"] == len(files)


@on_the_lab
def test_a_compressed_archive_is_read_twice(untar: Untar, bucket: Bucket) -> None:
    """Once for its headers, once for its files."""
    files = {f"{number:04d}": content(5000, number) for number in range(100)}
    report = untar(gz(pack(files)))
    assert unpacked(bucket) == files
    assert report.requests["GetObject"] == 3  # the first tells size and format


@on_the_lab
def test_large_files_are_not_read_for_the_headers_between_them(
    untar: Untar, bucket: Bucket, lab: LabS3
) -> None:
    archive = pack({f"{number}": bytes(6 * MiB) for number in range(5)})
    lab.reset_stats()
    with pytest.raises(NothingToTransfer):
        untar(archive, select="none")
    ranges = [row["range"] for row in lab.request_log() if row["operation"] == "GetObject"]
    bounds = [map(int, text.removeprefix("bytes=").split("-")) for text in ranges]
    assert sum(1 + last - first for first, last in bounds) < MiB


@on_the_lab
def test_large_files_are_copied_in_parts_at_once(untar: Untar, bucket: Bucket) -> None:
    files = {"small": b"1", "large": content(12 * MiB)}
    report = untar(pack(files), multipart=True, part_size=5 * MiB)
    report.raise_for_failures()
    assert unpacked(bucket) == files
    assert report.requests["UploadPart"] == 3


@on_the_lab
@coded
def test_only_selected_files_are_unpacked(
    untar: Untar, bucket: Bucket, encode: Callable[[bytes], bytes]
) -> None:
    untar(encode(pack(FILES)), select="*.txt").raise_for_failures()
    assert unpacked(bucket).keys() == {"a.txt", "ü/文.txt"}


@on_the_lab
@coded
def test_several_selections_of_one_archive_are_unpacked(
    copy: Copy, bucket: Bucket, encode: Callable[[bytes], bytes]
) -> None:
    bucket.put("archive", encode(pack(FILES)))
    archive = S3Object(bucket.name, "archive")
    copy(
        [
            (TarEntries(archive, "*.txt"), S3Prefix(bucket.name, "copies/t/")),
            (TarEntries(archive, "*.bin"), S3Prefix(bucket.name, "copies/b/")),
            (TarEntry(archive, "last"), S3Object(bucket.name, "copies/last")),
        ]
    ).raise_for_failures()
    assert unpacked(bucket) == {
        "t/a.txt": FILES["a.txt"],
        "t/ü/文.txt": FILES["ü/文.txt"],
        "b/deep/er/b.bin": FILES["deep/er/b.bin"],
        "last": FILES["last"],
    }


@on_the_lab
@coded
def test_a_second_run_skips_what_is_there(
    untar: Untar, bucket: Bucket, encode: Callable[[bytes], bytes]
) -> None:
    archive = encode(pack(FILES))
    untar(archive, if_exists="skip").raise_for_failures()
    bucket.put("copies/a.txt", b"another")
    again = untar(archive, if_exists="skip")
    assert names(again.copied) == ["a.txt"]
    assert unpacked(bucket) == FILES


@on_the_lab
def test_files_of_a_compressed_archive_are_recognised_by_their_checksums(
    copy: Copy, untar: Untar, bucket: Bucket, tmp_path: Path
) -> None:
    """Without metadata of ours: of an archive that was packed again, and in a folder, too."""
    untar(gz(pack(FILES))).raise_for_failures()
    again = untar(bz2.compress(pack({"new": b"new", **FILES})), if_exists="skip")
    assert names(again.copied) == ["new"]
    pair = TarEntries(S3Object(bucket.name, "archive")), LocalFolder(str(tmp_path))
    copy([pair]).raise_for_failures()
    (tmp_path / "a.txt").write_bytes(b"y")
    assert names(copy([pair], if_exists="skip").copied) == ["a.txt"]


@on_the_lab
def test_a_file_of_a_compressed_archive_is_one_request(untar: Untar, bucket: Bucket) -> None:
    """Which declares its checksum, also if it is large."""
    report = untar(gz(pack(FILES)))
    report.raise_for_failures()
    assert report.requests["PutObject"] == len(FILES)
    assert {file.read_verified for file in report.files} == {"CRC64NVME"}
    assert {file.write_verified for file in report.files} == {"CRC64NVME"}


@on_the_lab
@coded
def test_one_file_never_stands_for_another(
    copy: Copy, bucket: Bucket, encode: Callable[[bytes], bytes]
) -> None:
    """Files of one size and one archive have versions of their own, by which a second run compares."""
    bucket.put("archive", encode(pack({"a": b"1", "b": b"2"})))
    for name in ("a", "b"):
        entry = TarEntry(S3Object(bucket.name, "archive"), name)
        copy([(entry, S3Object(bucket.name, "copies/x"))], if_exists="skip").raise_for_failures()
    assert unpacked(bucket) == {"x": b"2"}


@on_the_lab
@coded
def test_one_entry_is_a_file_like_any_other(
    copy: Copy, bucket: Bucket, tmp_path: Path, encode: Callable[[bytes], bytes]
) -> None:
    (tmp_path / "a").write_bytes(encode(pack(FILES)))
    archive = LocalFile(str(tmp_path / "a"))
    report = copy(
        [
            (TarEntry(archive, "text.log"), S3Object(bucket.name, "copies/x")),
            (TarEntry(archive, "a.txt"), LocalFile(str(tmp_path / "a.txt"))),
            (TarEntry(archive, "none"), S3Object(bucket.name, "copies/none")),
        ]
    )
    assert unpacked(bucket) == {"x": TEXT}
    assert (tmp_path / "a.txt").read_bytes() == b"x"
    [failed] = report.failed
    assert "the archive has no such file" in str(failed.error)


@on_the_lab
@coded
def test_files_of_an_archive_become_files(
    copy: Copy, bucket: Bucket, tmp_path: Path, encode: Callable[[bytes], bytes]
) -> None:
    bucket.put("archive", encode(pack(FILES)))
    entries = TarEntries(S3Object(bucket.name, "archive"))
    copy([(entries, LocalFolder(str(tmp_path)))]).raise_for_failures()
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {str(path.relative_to(tmp_path)): path.read_bytes() for path in written} == FILES


@on_the_lab
@coded
def test_a_transform_follows(untar: Untar, bucket: Bucket, encode: Callable[[bytes], bytes]) -> None:
    untar(encode(pack({"t": TEXT, "u": TEXT * 10})), transform="gzip").raise_for_failures()
    plain = {name: gzip.decompress(body) for name, body in unpacked(bucket).items()}
    assert plain == {"t": TEXT, "u": TEXT * 10}


@on_the_lab
@coded
def test_an_archive_behind_a_url_is_unpacked(
    copy: Copy, bucket: Bucket, serve: Serve, encode: Callable[[bytes], bytes]
) -> None:
    page = WebPage(encode(pack(FILES)))
    entries = TarEntries(WebFile(serve(x=page).urls[0] + "/x"))
    web = FetchConfig(allowed_networks=ALLOWED)
    copy([(entries, S3Prefix(bucket.name, "copies/"))], web=web).raise_for_failures()
    assert unpacked(bucket) == FILES


@on_the_lab
def test_a_url_without_ranges_is_refused(copy: Copy, bucket: Bucket, serve: Serve) -> None:
    entries = TarEntries(WebFile(serve(x=WebPage(pack(FILES), ranges=False)).urls[0] + "/x"))
    web = FetchConfig(allowed_networks=ALLOWED)
    with pytest.raises(InputError, match="cannot be read in ranges"):
        copy([(entries, S3Prefix(bucket.name, "copies/"))], web=web)


@on_the_lab
@pytest.mark.parametrize("transform", [None, "gzip"])
def test_what_was_packed_is_unpacked(copy: Copy, bucket: Bucket, transform: str | None) -> None:
    for name, body in FILES.items():
        bucket.put(f"in/{name}", body)
    archive = S3Object(bucket.name, "archive")
    copy([(S3Prefix(bucket.name, "in/"), Tar(archive))], transform=transform).raise_for_failures()
    copy([(TarEntries(archive), S3Prefix(bucket.name, "copies/"))]).raise_for_failures()
    assert unpacked(bucket) == FILES


@on_the_lab
def test_an_archive_is_not_packed_as_it_is(copy: Copy, bucket: Bucket) -> None:
    archive = S3Object(bucket.name, "archive")
    with pytest.raises(InputError, match="Tar takes an S3Prefix"):
        copy([(TarEntries(archive), Tar(S3Object(bucket.name, "copies/x")))])
