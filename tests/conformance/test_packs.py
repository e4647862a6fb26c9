"""Packs: many files become one archive, or one joined file, and other programs read it."""

import gzip
import io
import os
import shutil
import subprocess
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from asyncstream import (
    BytesMoved,
    Concat,
    FileStarted,
    InputError,
    KiB,
    LocalFile,
    LocalFolder,
    MiB,
    NothingToTransfer,
    S3Object,
    S3Prefix,
    Tar,
    Zip,
    ZipEntries,
)
from asyncstream.lab.s3 import LabS3
from asyncstream.pipeline.assembling import AssembledPart
from tests.lacking import lacking
from tests.servers import Bucket, S3Server, content

from .fixture_types import Copy, Keep, Pack, Put

on_the_lab = pytest.mark.parametrize("server", ["lab"], indirect=True)

LONG = "long/" + "x" * 90 + "/" + "y" * 120 + ".txt"
FEW: Mapping[str, bytes] = {
    "a.txt": b"x",
    "deep/er/b.bin": content(300 * KiB),
    "empty": b"",
    LONG: content(700),
    "ü/文.txt": b"\xff" * 70_000,
}
# Parts of 5 MiB start and end within these, and are streamed.
LARGE: Mapping[str, bytes] = {
    "a": content(7 * MiB, 1),
    "b": content(100, 2),
    "c": content(4 * MiB, 3),
    "d": b"",
}
# Parts of 5 MiB of these are assembled by several tasks.
MANY: Mapping[str, bytes] = {f"{number:04}": content(110_000 + number, number) for number in range(60)}
SETS = {"few": FEW, "large": LARGE, "many": MANY}
of_any_files = pytest.mark.parametrize("files", SETS.values(), ids=SETS)


def read_tar(archive: bytes) -> dict[str, bytes]:
    found = {}
    with tarfile.open(fileobj=io.BytesIO(archive), mode="r:") as opened:
        for each in opened:
            file = opened.extractfile(each)
            assert file is not None
            found[each.name] = file.read()
    return found


def read_zip(archive: bytes) -> dict[str, bytes]:
    """Return the files of an archive; `read` compares each with its CRC32."""
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        return {name: opened.read(name) for name in opened.namelist()}


READ: Mapping[Any, Callable[[bytes], dict[str, bytes]]] = {Tar: read_tar, Zip: read_zip}
into_archives = pytest.mark.parametrize("into", [Tar, Zip])


@into_archives
@of_any_files
@pytest.mark.varied("files", server="lab")
def test_files_become_one_archive(pack: Pack, bucket: Bucket, into: Any, files: Mapping[str, bytes]) -> None:
    moved: list[int] = []

    def on_event(event: object) -> None:
        if isinstance(event, BytesMoved):
            moved.append(event.bytes)

    report = pack(into, on_event, files)
    report.raise_for_failures()
    archive = bucket.get("out")
    assert READ[into](archive) == files
    assert bucket.head("out")["ContentType"] == f"application/{'x-tar' if into is Tar else 'zip'}"
    [result] = report.files
    assert sum(moved) == result.bytes == len(archive)
    assert result.attempts == result.parts == max(1, report.requests.get("UploadPart", 0))
    assert result.restarted is None
    assert bucket.uploads() == []


@on_the_lab
@of_any_files
@pytest.mark.parametrize("separator", [b"\n--\n", b""])
@pytest.mark.varied("separator", engine="threads")
def test_files_are_joined(pack: Pack, bucket: Bucket, files: Mapping[str, bytes], separator: bytes) -> None:
    pack(partial(Concat, separator=separator), files=files).raise_for_failures()
    assert bucket.get("out") == separator.join(files[name] for name in sorted(files))


@on_the_lab
def test_empty_files_become_an_empty_file(pack: Pack, put: Put, bucket: Bucket) -> None:
    put({"a": b"", "b": b""})
    pack(Concat).raise_for_failures()
    assert bucket.get("out") == b""


@on_the_lab
@into_archives
def test_an_entry_has_the_time_of_its_file(pack: Pack, put: Put, bucket: Bucket, into: Any) -> None:
    put({"a": b"1"})
    changed = bucket.head("in/a")["LastModified"]
    pack(into).raise_for_failures()
    archive = io.BytesIO(bucket.get("out"))
    if into is Tar:
        with tarfile.open(fileobj=archive) as opened:
            assert opened.getmember("a").mtime == int(changed.timestamp())
    else:
        found = zipfile.ZipFile(archive).getinfo("a").date_time
        assert found == (*changed.timetuple()[:5], changed.second // 2 * 2)


@on_the_lab
def test_empty_files_send_no_get(pack: Pack, put: Put, bucket: Bucket) -> None:
    put({"a": b"", "b": b"", "c": b"1"})
    report = pack(Zip)
    assert report.requests["GetObject"] == 1
    assert read_zip(bucket.get("out")) == {"a": b"", "b": b"", "c": b"1"}


# By what reads the archive `../archive` from an empty folder, and extracts it there.
READERS: Mapping[str, tuple[Any, list[str]]] = {
    "GNU tar": (Tar, ["tar", "-xf", "../archive"]),
    "bsdtar": (Tar, ["bsdtar", "-xf", "../archive"]),
    "bsdtar of zip": (Zip, ["bsdtar", "-xf", "../archive"]),
    "unzip": (Zip, ["unzip", "-qq", "../archive"]),
    "7zz": (Zip, ["7zz", "x", "-y", "-bso0", "../archive"]),
    "jar": (Zip, ["jar", "xf", "../archive"]),
    "a stream to bsdtar": (Zip, ["sh", "-c", "cat ../archive | bsdtar -xf -"]),
}


@on_the_lab
@pytest.mark.parametrize("program", READERS)
@pytest.mark.varied("program", engine="threads")
def test_other_programs_extract_the_files(pack: Pack, bucket: Bucket, tmp_path: Path, program: str) -> None:
    into, command = READERS[program]
    name = "bsdtar" if command[0] == "sh" else command[0]
    if shutil.which(name) is None:
        if name == "jar":  # Java is large, and no script installs it
            pytest.skip("jar is not installed.")
        lacking(f"{name} is missing: `make .venv/programs.stamp` installs it")
    pack(into, files=FEW).raise_for_failures()
    (tmp_path / "archive").write_bytes(bucket.get("out"))
    (tmp_path / "there").mkdir()
    done = subprocess.run(
        command,
        cwd=tmp_path / "there",
        env={**os.environ, "LC_ALL": "C.UTF-8"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    found = [path for path in (tmp_path / "there").rglob("*") if path.is_file()]
    assert {path.relative_to(tmp_path / "there").as_posix(): path.read_bytes() for path in found} == FEW


# Unlike `jar xf`, it sees local headers only.
STREAMED = """
import java.io.*;
import java.util.zip.*;

public class Streamed {
    public static void main(String[] names) throws IOException {
        ZipInputStream files = new ZipInputStream(new FileInputStream(names[0]));
        for (ZipEntry each; (each = files.getNextEntry()) != null; ) {
            System.out.println(each.getName() + " " + files.readAllBytes().length);
        }
    }
}
"""


@on_the_lab
@pytest.mark.parametrize("engine", ["threads"], indirect=True)
def test_java_reads_the_archive_as_a_stream(pack: Pack, bucket: Bucket, tmp_path: Path) -> None:
    if shutil.which("java") is None or shutil.which("javac") is None:
        pytest.skip("Java is not installed.")
    pack(Zip, files=FEW).raise_for_failures()
    (tmp_path / "archive").write_bytes(bucket.get("out"))
    (tmp_path / "Streamed.java").write_text(STREAMED)
    command = ["java", "-Dstdout.encoding=UTF-8", "-Dfile.encoding=UTF-8", "Streamed.java", "archive"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [f"{name} {len(FEW[name])}" for name in sorted(FEW)]


@on_the_lab
@into_archives
def test_local_files_are_packed(copy: Copy, bucket: Bucket, tmp_path: Path, into: Any) -> None:
    for name, body in FEW.items():
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).write_bytes(body)
    copy([(LocalFolder(str(tmp_path / "in")), into(S3Object(bucket.name, "out")))]).raise_for_failures()
    assert READ[into](bucket.get("out")) == FEW


@on_the_lab
def test_a_list_keeps_its_order_and_paths(copy: Copy, put: Put, bucket: Bucket, tmp_path: Path) -> None:
    put(FEW)
    (tmp_path / "x").write_bytes(b"local")
    path = str(tmp_path / "x")
    files = [S3Object(bucket.name, "in/empty"), LocalFile(path), S3Object(bucket.name, "in/a.txt")]
    copy([(files, Tar(S3Object(bucket.name, "out")))]).raise_for_failures()
    assert list(read_tar(bucket.get("out")).items()) == [
        ("in/empty", b""),
        (path.lstrip("/"), b"local"),
        ("in/a.txt", b"x"),
    ]


@on_the_lab
@into_archives
@of_any_files
@pytest.mark.varied("files", engine="threads")
def test_an_archive_is_a_local_file(
    copy: Copy, put: Put, bucket: Bucket, tmp_path: Path, into: Any, files: Mapping[str, bytes]
) -> None:
    put(files)
    copy([(S3Prefix(bucket.name, "in/"), into(LocalFile(str(tmp_path / "out"))))]).raise_for_failures()
    assert READ[into]((tmp_path / "out").read_bytes()) == files
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@on_the_lab
@of_any_files
@pytest.mark.varied("files", engine="threads")
def test_a_transform_follows(pack: Pack, bucket: Bucket, files: Mapping[str, bytes]) -> None:
    pack(Tar, files=files, transform="gzip").raise_for_failures()
    assert read_tar(gzip.decompress(bucket.get("out"))) == files


@on_the_lab
@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED])
@of_any_files
@pytest.mark.varied("method", "files", engine="threads")
def test_an_archive_is_packed_again(
    copy: Copy, bucket: Bucket, method: int, files: Mapping[str, bytes]
) -> None:
    """Entries keep their order, and neighbours share requests."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", method) as opened:
        for name in sorted(files, reverse=True):
            opened.writestr(name, files[name])
    bucket.put("a.zip", archive.getvalue())
    entries = ZipEntries(S3Object(bucket.name, "a.zip"))
    for into in (Tar, Zip):
        report = copy([(entries, into(S3Object(bucket.name, "out")))])
        report.raise_for_failures()
        assert list(READ[into](bucket.get("out")).items()) == sorted(files.items(), reverse=True)
        assert report.requests["GetObject"] <= 5 + max(len(files) / 4, 3)
    assert bucket.uploads() == []


@on_the_lab
def test_a_second_run_reads_nothing(pack: Pack, put: Put, bucket: Bucket, server: S3Server) -> None:
    put(FEW)
    pack(Zip, if_exists="skip").raise_for_failures()
    with server.counted() as seen:
        report = pack(Zip, if_exists="skip")
    assert report.count("skipped") == 1
    assert seen == {"ListObjectsV2": 1, "HeadObject": 1}
    bucket.put("in/new", b"new")
    assert pack(Zip, if_exists="skip").count("copied") == 1
    assert read_zip(bucket.get("out")) == {**FEW, "new": b"new"}


@on_the_lab
def test_other_names_are_another_archive(copy: Copy, bucket: Bucket) -> None:
    """Files of one content have one ETag."""
    for name in "ab":
        bucket.put(name, b"same")
    out = Tar(S3Object(bucket.name, "out"))
    statuses = [
        copy([([S3Object(bucket.name, name)], out)], if_exists="skip").files[0].status for name in "aab"
    ]
    assert statuses == ["copied", "skipped", "copied"]
    assert list(read_tar(bucket.get("out"))) == ["b"]


@on_the_lab
def test_folder_markers_and_the_archive_itself_are_left_out(
    copy: Copy, put: Put, bucket: Bucket, tmp_path: Path
) -> None:
    put({"a": b"1", "folder/": b"", "all.tar": b"an earlier run"})
    report = copy([(S3Prefix(bucket.name, "in/"), Tar(S3Object(bucket.name, "in/all.tar")))])
    report.raise_for_failures()
    assert read_tar(bucket.get("in/all.tar")) == {"a": b"1"}
    assert [line for line in report.downgrades if "2 files that were left out" in line]
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "a").write_bytes(b"1")
    (tmp_path / "link").symlink_to(tmp_path / "files")
    for folder in ("files", "link"):
        target = LocalFile(os.path.relpath(tmp_path / "files" / "all.tar"))
        copy([(LocalFolder(str(tmp_path / folder)), Tar(target))]).raise_for_failures()
        assert read_tar((tmp_path / "files" / "all.tar").read_bytes()) == {"a": b"1"}


@on_the_lab
def test_a_prefix_of_folder_markers_has_nothing_to_pack(pack: Pack, put: Put, bucket: Bucket) -> None:
    put({"folder/": b""})
    with pytest.raises(NothingToTransfer, match="nothing is stored"):
        pack(Tar)


# Keys under `in/`, with words of the error.
REFUSED = {
    "../x": "`..`",
    "a/../x": "`..`",
    "a//b": "an empty step",
    "x\ny": "control characters",
    "C:/x": "absolute",
    "content/": "ends with a slash",
}


@on_the_lab
@into_archives
@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.varied("name", engine="threads")
def test_a_bad_name_is_refused_before_any_byte_moves(
    pack: Pack, put: Put, bucket: Bucket, server: S3Server, into: Any, name: str
) -> None:
    put({"good": b"1", name: b"2"})
    with server.counted() as seen, pytest.raises(InputError, match=REFUSED[name]) as raised:
        pack(into)
    assert repr(name) in str(raised.value)
    assert seen == {"ListObjectsV2": 1}
    put({"good": b"1"})
    pack(Concat).raise_for_failures()  # whose files have no names
    assert bucket.get("out") in {b"12", b"21"}


@on_the_lab
@into_archives
def test_two_files_of_one_name_are_refused(copy: Copy, put: Put, bucket: Bucket, into: Any) -> None:
    put({"a": b"1", "b": b"2"})
    files = [S3Object(bucket.name, f"in/{name}") for name in "aba"]
    with pytest.raises(InputError, match="another file has the same name in the archive, in/a"):
        copy([(files, into(S3Object(bucket.name, "out")))])
    copy([(files, Concat(S3Object(bucket.name, "out")))]).raise_for_failures()
    assert bucket.get("out") == b"121"


@on_the_lab
def test_a_name_that_is_not_unicode_is_refused(copy: Copy, bucket: Bucket, tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"\xff")).write_bytes(b"1")
    folder, out = LocalFolder(str(tmp_path)), S3Object(bucket.name, "out")
    with pytest.raises(InputError, match="is not Unicode"):
        copy([(folder, Tar(out))])
    copy([(folder, Concat(out))]).raise_for_failures()
    assert bucket.get("out") == b"1"


@on_the_lab
def test_a_file_cannot_be_packed_into_itself(copy: Copy, bucket: Bucket, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"1")
    target = LocalFile(os.path.relpath(tmp_path / "a"))
    for files, into in (
        ([LocalFile(str(tmp_path / "a"))], target),
        ([S3Object(bucket.name, "a")], S3Object(bucket.name, "a")),
    ):
        with pytest.raises(InputError, match="cannot be made of itself"):
            copy([(files, Tar(into))])


@on_the_lab
def test_packs_and_copies_share_a_transfer(copy: Copy, put: Put, bucket: Bucket, lab: LabS3) -> None:
    put(MANY)
    started: list[Any] = []
    prefix = S3Prefix(bucket.name, "in/")
    report = copy(
        [
            (prefix, Tar(S3Object(bucket.name, "out"))),
            (prefix, Zip(S3Object(bucket.name, "out.zip"))),
            (prefix, Concat(S3Object(bucket.name, "joined"))),
            (prefix, S3Prefix(bucket.name, "copies/")),
        ],
        lambda event: started.append(event.source) if isinstance(event, FileStarted) else None,
        memory_limit=16 * MiB,
    )
    report.raise_for_failures()
    assert len(started) == len(report.files) == len(MANY) + 3
    assert read_tar(bucket.get("out")) == read_zip(bucket.get("out.zip")) == MANY
    assert bucket.get("joined") == b"".join(MANY.values())
    assert {key.removeprefix("copies/"): bucket.get(key) for key in bucket.keys("copies/")} == MANY


@on_the_lab
@pytest.mark.parametrize(
    ("slots", "part_size"), [(1, 5 * MiB), (2, 5 * MiB), (3, 6 * MiB + 1), (7, 64 * MiB), (10, "auto")]
)
@pytest.mark.parametrize("files", [MANY, LARGE], ids=["many", "large"])
@pytest.mark.varied("slots", "part_size", engine=("threads", "asyncio"))
def test_what_was_packed_is_unpacked(
    copy: Copy,
    keep: Keep,
    bucket: Bucket,
    slots: int,
    part_size: int | str,
    files: Mapping[str, bytes],
) -> None:
    out = S3Object(bucket.name, "out")
    usual: dict[str, Any] = {"max_concurrency": slots, "part_size": part_size, "memory_limit": 32 * MiB}
    copy([(keep(files), Zip(out))], **usual).raise_for_failures()
    copy([(ZipEntries(out), S3Prefix(bucket.name, "copies/"))], **usual).raise_for_failures()
    assert {key.removeprefix("copies/"): bucket.get(key) for key in bucket.keys("copies/")} == files


@on_the_lab
@pytest.mark.parametrize("memory_limit", [12 * MiB, 24 * MiB])
@pytest.mark.varied("memory_limit", engine="threads")
def test_parts_in_memory_stay_within_the_limit(
    copy: Copy, keep: Keep, bucket: Bucket, monkeypatch: pytest.MonkeyPatch, memory_limit: int
) -> None:
    """Counted where their bytes are, and not where they are reserved."""
    written: set[AssembledPart] = set()
    most: list[int] = []
    write, discard = AssembledPart.write, AssembledPart.discard

    def spy_on_write(part: AssembledPart, at: int, chunk: bytes | memoryview) -> None:
        written.add(part)
        most.append(sum(each.length for each in tuple(written)))
        write(part, at, chunk)

    def spy_on_discard(part: AssembledPart) -> None:
        written.discard(part)
        discard(part)

    monkeypatch.setattr(AssembledPart, "write", spy_on_write)
    monkeypatch.setattr(AssembledPart, "discard", spy_on_discard)
    targets = [S3Object(bucket.name, f"out/{number}") for number in range(3)]
    copy(
        [(keep(MANY), into(target)) for into, target in zip((Tar, Zip, Concat), targets, strict=True)],
        max_concurrency=4,
        memory_limit=memory_limit,
    ).raise_for_failures()
    assert not written
    assert max(most, default=0) < memory_limit
    assert bool(most) == (copy([(keep(MANY), Tar(targets[0]))], max_concurrency=4).slots > 1)


@on_the_lab
@pytest.mark.parametrize("engine", ["threads"], indirect=True)
def test_a_time_that_no_archive_can_have_is_left_out(copy: Copy, bucket: Bucket, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"1")
    os.utime(tmp_path / "a", (-(2**33), -(2**33)))
    copy([(LocalFolder(str(tmp_path)), Zip(S3Object(bucket.name, "out")))]).raise_for_failures()
    archive = zipfile.ZipFile(io.BytesIO(bucket.get("out")))
    assert archive.getinfo("a").date_time == (1980, 1, 1, 0, 0, 0)
