"""Tar archives that are damaged, hostile, changed, or read over broken connections, and those of programs."""

import gzip
import os
import shutil
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from asyncstream import (
    FileStarted,
    InputError,
    LocalFolder,
    MemoryNeeded,
    MiB,
    NothingToTransfer,
    OutputTooLarge,
    S3Object,
    S3Prefix,
    SourceChanged,
    TarEntries,
)
from asyncstream.errors import CorruptInput
from asyncstream.lab.s3 import LabS3
from asyncstream.lab.s3.faults import Fault, mix
from asyncstream.transforms.codecs import ZSTD
from asyncstream.transforms.gzip import library
from tests.servers import Bucket, content

from .fixture_types import Copy, StopAfter, Untar
from .tar_archives import CODINGS, FILES, as_it_is, gz, names, pack, unpacked

on_the_lab = pytest.mark.parametrize("server", ["lab"], indirect=True)
coded = pytest.mark.parametrize("encode", [as_it_is, gz], ids=["tar", "gz"])


@on_the_lab
@pytest.mark.parametrize("coding", [coding for coding in CODINGS if coding != "tar"])
@pytest.mark.varied("coding", engine="threads")
def test_a_damaged_archive_is_refused_before_anything_is_written(
    untar: Untar, bucket: Bucket, coding: str
) -> None:
    archive = bytearray(CODINGS[coding](pack(FILES)))
    archive[len(archive) // 2] ^= 1
    with pytest.raises(CorruptInput) as raised:
        untar(bytes(archive))
    assert "/archive: " in str(raised.value)
    assert unpacked(bucket) == {}


@on_the_lab
@coded
def test_an_archive_that_changes_fails_the_rest(
    untar: Untar, bucket: Bucket, encode: Callable[[bytes], bytes]
) -> None:
    files = {f"{number}": content(3 * MiB, number) for number in range(6)}

    def overwrite(event: Any) -> None:
        if isinstance(event, FileStarted) and str(event.source).endswith("!/3"):
            bucket.put("archive", pack({"other": b"1"}))

    report = untar(encode(pack(files)), overwrite, max_concurrency=1)
    assert all(isinstance(file.error, SourceChanged) for file in report.failed)
    assert all(body == files[name] for name, body in unpacked(bucket).items())
    # What a connection has sent before stays valid.
    assert report.failed or encode is not as_it_is


@on_the_lab
@coded
def test_a_broken_connection_resumes(
    untar: Untar, bucket: Bucket, lab: LabS3, encode: Callable[[bytes], bytes]
) -> None:
    files = {"a": content(3 * MiB), "b": content(3 * MiB, 1), "c": b"3"}
    archive = encode(pack(files))
    lab.set_faults([Fault("truncate", operation="GetObject", times=[2, 3, 4], at=0.6)])
    report = untar(archive)
    report.raise_for_failures()
    assert lab.faults_struck() == [3]
    assert unpacked(bucket) == files
    if encode is gz:
        # The archive's bytes resume, so no file is tried again, and the archive is not decoded again.
        assert {file.attempts for file in report.files} == {1}
        assert report.requests["GetObject"] == 6


@on_the_lab
def test_a_small_file_that_is_sent_again_is_not_decoded_again(
    untar: Untar, bucket: Bucket, lab: LabS3
) -> None:
    lab.set_faults([Fault("refuse", operation="PutObject", times=[2, 3])])
    files = {name: name.encode() for name in "abc"}
    report = untar(gz(pack(files)))
    report.raise_for_failures()
    assert lab.faults_struck() == [2]
    assert report.requests["GetObject"] == 3
    assert unpacked(bucket) == files


@on_the_lab
def test_a_large_file_that_is_sent_again_is_decoded_again(untar: Untar, bucket: Bucket, lab: LabS3) -> None:
    lab.set_faults([Fault("refuse", operation="PutObject", times=[2])])
    files = {name: content(2 * MiB, ord(name)) for name in "abc"}
    report = untar(gz(pack(files)))
    report.raise_for_failures()
    assert lab.faults_struck() == [1]
    assert report.requests["GetObject"] == 4
    assert unpacked(bucket) == files
    assert bucket.uploads() == []


@on_the_lab
@pytest.mark.parametrize("time", [2, 3])
def test_a_wrong_byte_on_the_way_is_never_visible(
    untar: Untar, bucket: Bucket, lab: LabS3, time: int
) -> None:
    """The first reading computes a checksum of each file, which the second must have, too."""
    lab.set_faults([Fault("wrong-byte", operation="GetObject", times=[time])])
    files = {name: content(2 * MiB, ord(name)) for name in "abc"}
    report = untar(gz(pack(files)))
    report.raise_for_failures()
    assert lab.faults_struck() == [1]
    assert {file.read_verified for file in report.files} == {"CRC64NVME"}
    assert unpacked(bucket) == files


@on_the_lab
@coded
@pytest.mark.parametrize("seed", [1, 2])
def test_every_file_arrives_over_a_bad_network(
    copy: Copy, bucket: Bucket, lab: LabS3, encode: Callable[[bytes], bytes], seed: int
) -> None:
    files = {f"{number}": content(number * 10_000, number) for number in range(40)}
    files["large"] = content(7 * MiB)
    bucket.put("archive", encode(pack(files)))
    pair = TarEntries(S3Object(bucket.name, "archive")), S3Prefix(bucket.name, "copies/")
    # Between uncompressed files nothing tells a wrong byte.
    left_out = {"stall", "wrong-byte"}
    lab.set_faults([each for each in mix(0.3) if each.kind not in left_out and not each.retry_after], seed)
    report = copy([pair], max_attempts=20, retry_base_delay=0.001, retry_max_delay=0.01)
    assert sum(lab.faults_struck()) > 0
    lab.set_faults([])
    report.raise_for_failures()
    assert unpacked(bucket) == files
    assert bucket.uploads() == []


HOSTILE = ["../x", "/x", "a/../../x", "C:/x", "a//x", "x\ny", ".."]


@on_the_lab
@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.varied("name", engine="threads")
def test_a_hostile_name_fails_its_file(untar: Untar, bucket: Bucket, name: str) -> None:
    report = untar(gz(pack({"good": b"1", name: b"2"})))
    [failed] = report.failed
    assert isinstance(failed.error, InputError)
    assert "its name" in str(failed.error)
    assert unpacked(bucket) == {"good": b"1"}


@on_the_lab
@pytest.mark.parametrize("name", ["../x", "/x", "a//x", "n" * 300, "k" * 1100])
@pytest.mark.varied("name", engine="threads")
def test_a_name_that_no_file_can_have_fails_its_file(
    copy: Copy, bucket: Bucket, tmp_path: Path, name: str
) -> None:
    """Also if the destination is a folder, out of which it would lead, or an object with a longer key."""
    bucket.put("archive", gz(pack({name: b"2", "good": b"1"})))
    archive = TarEntries(S3Object(bucket.name, "archive"))
    report = copy([(archive, LocalFolder(str(tmp_path / "out")))])
    assert names(report.failed) == [name]
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["good"]
    report = copy([(archive, S3Prefix(bucket.name, "copies/"))])
    assert unpacked(bucket)["good"] == b"1"
    assert len(report.failed) == (name != "n" * 300)


WHOLE = pack(FILES)


@on_the_lab
@pytest.mark.parametrize(
    ("archive", "words"),
    [
        (b"no archive" * 10_000, "not a tar archive"),
        (b"", "not a tar archive"),
        (WHOLE[: len(WHOLE) // 2], "truncated"),
        (gz(WHOLE)[:50_000], "within a member"),
        (gz(WHOLE[: len(WHOLE) // 2]), "truncated"),
        (gz(b"no archive" * 10_000), "not a tar archive"),
        (gz(WHOLE) + b"more", "trailing garbage"),
        (WHOLE[:1000], "truncated"),
    ],
    ids=["other", "empty", "cut", "gz cut", "cut, gz", "other, gz", "more", "cut within the first file"],
)
@pytest.mark.varied("archive", "words", engine="threads")
def test_a_bad_archive_is_refused_as_a_whole(
    untar: Untar, bucket: Bucket, archive: bytes, words: str
) -> None:
    with pytest.raises(CorruptInput, match=words) as raised:
        untar(archive)
    assert "/archive: " in str(raised.value)
    assert unpacked(bucket) == {}


@on_the_lab
def test_bombs_are_refused_before_anything_is_written(untar: Untar, bucket: Bucket) -> None:
    bomb = gzip.compress(pack({"a": b"1", "bomb": bytes(80 * MiB)}))
    with pytest.raises(OutputTooLarge, match="max_ratio"):
        untar(bomb)
    with pytest.raises(OutputTooLarge, match="max_output"):
        untar(bomb, max_ratio=None, max_output=10 * MiB)
    assert unpacked(bucket) == {}


@on_the_lab
def test_a_decoder_has_only_the_memory_of_the_transfer(untar: Untar, bucket: Bucket) -> None:
    """Its window is filled while the headers are found, so before anything is written."""
    zstandard = library(ZSTD)
    options = {zstandard.CompressionParameter.window_log: 25}
    files = {"a": content(40 * MiB), "b": b"2"}
    packed: bytes = zstandard.compress(pack(files), options=options)
    with pytest.raises(MemoryNeeded, match="are allowed"):
        untar(packed, memory_limit=24 * MiB)
    assert unpacked(bucket) == {}
    untar(packed, memory_limit=64 * MiB).raise_for_failures()
    assert unpacked(bucket) == files


@on_the_lab
def test_files_of_one_name_are_unpacked_once(untar: Untar, bucket: Bucket) -> None:
    """As by programs: the last one counts."""
    first, second = pack({"x": b"1", "y": b"1"}), pack({"./x": b"2"})
    report = untar(first[: -(-len(first) // 512 - 4) * 512][:2048] + second)
    report.raise_for_failures()
    assert unpacked(bucket) == {"x": b"2", "y": b"1"}
    assert any("1 files that a later one of the same name replaces" in each for each in report.downgrades)


@on_the_lab
def test_links_and_devices_are_left_out_and_counted(untar: Untar, bucket: Bucket) -> None:
    more = []
    for name, kind in (
        ("l", tarfile.SYMTYPE),
        ("h", tarfile.LNKTYPE),
        ("p", tarfile.FIFOTYPE),
        ("d", tarfile.DIRTYPE),
    ):
        member = tarfile.TarInfo(name)
        member.type, member.linkname = kind, "a"
        more.append(member)
    report = untar(pack({"a": b"1"}, more=more))
    report.raise_for_failures()
    assert unpacked(bucket) == {"a": b"1"}
    said = " ".join(report.downgrades)
    assert "2 symbolic and hard links, which were left out" in said
    assert "1 devices and pipes, which were left out" in said


@on_the_lab
def test_parts_that_were_sent_stay_at_the_deadline(
    copy: Copy, untar: Untar, bucket: Bucket, stop_after: StopAfter
) -> None:
    files = {"a": content(16 * MiB), "b": b"2"}
    bucket.put("archive", pack(files))
    pair = TarEntries(S3Object(bucket.name, "archive")), S3Prefix(bucket.name, "copies/")
    report = stop_after(pair, 11 * MiB, part_size=5 * MiB)
    assert report.count("pending")
    [left] = report.continuations.values()
    again = copy([pair], continuations=report.continuations)
    again.raise_for_failures()
    assert unpacked(bucket) == files
    assert left.part_plan.planned > again.requests["UploadPart"] > 0
    assert bucket.uploads() == []


@on_the_lab
def test_a_deadline_keeps_the_files_of_a_compressed_archive_that_are_done(
    copy: Copy, bucket: Bucket, stop_after: StopAfter
) -> None:
    files = {f"{number}": content(2 * MiB, number) for number in range(5)}
    bucket.put("archive", gz(pack(files)))
    pair = TarEntries(S3Object(bucket.name, "archive")), S3Prefix(bucket.name, "copies/")
    report = stop_after(pair, 5 * MiB)
    assert {file.status for file in report.files} == {"copied", "pending"}
    assert len(unpacked(bucket)) == report.count("copied")
    pending = [(file.source, file.destination) for file in report.files if file.status == "pending"]
    copy(pending, continuations=report.continuations).raise_for_failures()
    assert unpacked(bucket) == files
    assert bucket.uploads() == []


PROGRAMS = {
    **{f"tar, {form}": f"tar --format={form} -cf - *" for form in ("v7", "ustar", "gnu", "pax", "oldgnu")},
    **{f"bsdtar, {form}": f"bsdtar --format={form} -cf - *" for form in ("ustar", "pax", "gnutar", "v7")},
    "tar, with ./": "tar -cf - .",
    "tar, to zstd": "tar -cf - * | zstd -q",
    "tar, to zstd of a long window": "tar -cf - * | zstd -q --long=24",
    "tar, to gzip": "tar -cf - * | gzip",
    "tar, to bzip2": "tar -cf - * | bzip2",
    "tar, to xz": "tar -cf - * | xz",
    "tar, to two members": "tar -cf ../t *; head -c 10000 ../t | gzip; tail -c +10001 ../t | gzip",
    "7zz": "7zz a -ttar ../7z.tar . > ../log; cat ../7z.tar",
    "Python": "python3 -m tarfile -c ../py.tar *; cat ../py.tar",
}


@on_the_lab
@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.varied("program", engine="threads")
def test_archives_of_other_programs_are_unpacked(
    untar: Untar, bucket: Bucket, tmp_path: Path, program: str
) -> None:
    needed = {word for word in PROGRAMS[program].split() if word in {"bsdtar", "zstd", "xz", "bzip2", "7zz"}}
    missing = [word for word in needed if shutil.which(word) is None]
    if missing:
        pytest.skip(f"{', '.join(missing)} not installed.")
    files = {**FILES}
    if "v7" not in program:
        files["deep/" + "n" * 99] = b"long"
        if "ustar" not in program:
            files |= {"k" * 120: b"longer", "d" * 90 + "/" + "e" * 90 + "/" + "文" * 60: b"longest"}
    for name, body in files.items():
        (tmp_path / "files" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "files" / name).write_bytes(body)
    made = subprocess.run(
        ["sh", "-c", PROGRAMS[program]],
        cwd=tmp_path / "files",
        check=True,
        stdout=subprocess.PIPE,
        env={**os.environ, "LC_ALL": "C.UTF-8"},
    )
    untar(made.stdout).raise_for_failures()
    assert unpacked(bucket) == files


@on_the_lab
def test_sparse_files_fail_by_name(untar: Untar, bucket: Bucket, tmp_path: Path) -> None:
    with (tmp_path / "sparse").open("wb") as file:
        file.seek(MiB)
        file.write(b"1")
    (tmp_path / "a").write_bytes(b"1")
    for form in ("gnu", "pax"):
        made = subprocess.run(
            ["tar", f"--format={form}", "-cSf", "-", "a", "sparse"],
            cwd=tmp_path,
            check=True,
            stdout=subprocess.PIPE,
        )
        report = untar(made.stdout)
        assert names(report.failed) == ["sparse"]
        assert "it is a sparse file" in str(report.failed[0].error)
        assert unpacked(bucket) == {"a": b"1"}


@on_the_lab
def test_an_archive_without_files_has_nothing_to_unpack(untar: Untar) -> None:
    with pytest.raises(NothingToTransfer):
        untar(pack({}))
