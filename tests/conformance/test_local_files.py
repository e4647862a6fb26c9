"""Files of this machine as sources and destinations: they appear whole, or not at all."""

import errno
import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from asyncstream import (
    AccessDenied,
    BytesMoved,
    DestinationExists,
    Event,
    FileError,
    FileStarted,
    InputError,
    LocalFile,
    LocalFolder,
    MiB,
    NothingToTransfer,
    S3Object,
    S3Prefix,
    SourceChanged,
    SourceNotFound,
    TransferSession,
)
from asyncstream.engines import EngineName
from asyncstream.files import source
from tests.servers import Bucket, content

from .fixture_types import Copy, StopAfter

SIZE = 12 * MiB

pytestmark = pytest.mark.parametrize("server", ["lab"], indirect=True)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    return tmp_path


def names(folder: Path) -> set[str]:
    """Return the paths of all files in a folder, temporary ones too."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def write(folder: Path, name: str, size: int = 1000) -> LocalFile:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content(size, name))
    return LocalFile(str(path))


@pytest.mark.parametrize("size", [0, 1, 100_000, SIZE])
@pytest.mark.parametrize("multipart", [True, False])
def test_a_file_goes_to_s3_and_back(
    copy: Copy, bucket: Bucket, folder: Path, size: int, multipart: bool
) -> None:
    there, back = S3Object(bucket.name, "copies/x"), LocalFile(str(folder / "out" / "x.csv"))
    up = copy([(write(folder, "in/x.csv", size), there)], multipart=multipart)
    up.raise_for_failures()
    down = copy([(there, back)], multipart=multipart)
    down.raise_for_failures()
    body = content(size, "in/x.csv")
    assert bucket.get("copies/x") == Path(back.path).read_bytes() == body
    assert bucket.head("copies/x")["ContentType"] == "text/csv"
    assert up.files[0].parts == down.files[0].parts == (3 if multipart and size == SIZE else 1)
    assert down.files[0].read_verified == "CRC64NVME"
    assert down.files[0].write_verified is None
    assert names(folder) == {"in/x.csv", "out/x.csv"}


def test_a_file_is_copied_to_a_file(copy: Copy, bucket: Bucket, folder: Path) -> None:
    copy([(write(folder, "in/x", SIZE), LocalFile(str(folder / "y")))], multipart=True).raise_for_failures()
    assert (folder / "y").read_bytes() == content(SIZE, "in/x")
    assert names(folder) == {"in/x", "y"}


def test_a_folder_goes_to_a_prefix_and_back(copy: Copy, bucket: Bucket, folder: Path) -> None:
    """Links to folders are not followed, and temporary files of other transfers are left out."""
    files = {"a", "a.d/b", "d/e/f", "ä ü%20"}
    for name in files:
        write(folder, f"in/{name}")
    (folder / "in" / "loop").symlink_to(folder / "in")
    os.mkfifo(folder / "in" / "fifo")
    write(folder, "in/.x.0123456789abcdef.asyncstream")
    prefix = S3Prefix(bucket.name, "copies/")
    copy([(LocalFolder(str(folder / "in")), prefix)]).raise_for_failures()
    assert bucket.keys("copies/") == {f"copies/{name}" for name in files}
    copy([(prefix, LocalFolder(str(folder / "out")))]).raise_for_failures()
    assert names(folder / "out") == files
    assert all((folder / "out" / name).read_bytes() == content(1000, f"in/{name}") for name in files)


@pytest.mark.parametrize("key", ["../x", "a/../../x", "/x", "a//x", "./x"])
@pytest.mark.varied("key", engine="threads")
def test_a_key_never_leaves_its_folder(copy: Copy, bucket: Bucket, folder: Path, key: str) -> None:
    bucket.put(f"in/{key}", b"x")
    with pytest.raises(InputError, match="not the name of a file within"):
        copy([(S3Prefix(bucket.name, "in/"), LocalFolder(str(folder / "out")))])
    assert names(folder) == set()


def test_names_that_are_no_unicode_are_kept(copy: Copy, bucket: Bucket, folder: Path) -> None:
    name = os.fsdecode(b"\xff")
    (folder / "in" / name).write_bytes(b"x")
    copy([(LocalFolder(str(folder / "in")), LocalFolder(str(folder / "out")))]).raise_for_failures()
    assert names(folder / "out") == {name}
    with pytest.raises(InputError, match="is not valid Unicode"):
        copy([(LocalFolder(str(folder / "in")), S3Prefix(bucket.name, "copies/"))])


def test_links_to_nothing_are_left_out(copy: Copy, bucket: Bucket, folder: Path) -> None:
    write(folder, "in/x")
    for name, target in {"absent": "absent.", "file": "x/y", "itself": "itself"}.items():
        (folder / "in" / name).symlink_to(target)
    copy([(LocalFolder(str(folder / "in")), S3Prefix(bucket.name, "copies/"))]).raise_for_failures()
    assert bucket.keys("copies/") == {"copies/x"}


def test_two_names_of_one_file_are_refused(
    copy: Copy, bucket: Bucket, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.put("in/x", b"x")
    monkeypatch.chdir(folder)
    pairs = [
        (S3Prefix(bucket.name, "in/"), LocalFolder(str(folder))),
        (S3Object(bucket.name, "in/x"), LocalFile("x")),
    ]
    with pytest.raises(InputError, match="would both be written"):
        copy(pairs)


@pytest.mark.parametrize("kind", [os.mkfifo, os.mkdir])
@pytest.mark.parametrize("if_exists", ["overwrite", "skip"])
@pytest.mark.varied("if_exists", engine="threads")
def test_only_files_are_replaced(
    copy: Copy, bucket: Bucket, folder: Path, kind: Callable[[Path], None], if_exists: str
) -> None:
    """A rename would make a file of /dev/null. No byte is read before the failure."""
    bucket.put("x", b"")
    kind(folder / "x")
    moved: list[Event] = []
    pair = S3Object(bucket.name, "x"), LocalFile(str(folder / "x"))
    [file] = copy([pair], moved.append, if_exists=if_exists).failed
    assert isinstance(file.error, InputError)
    assert not (folder / "x").is_file()
    assert not any(isinstance(event, BytesMoved) for event in moved)


def test_a_file_that_hides_its_size_is_refused(copy: Copy, bucket: Bucket) -> None:
    [file] = copy([(LocalFile("/proc/self/status"), S3Object(bucket.name, "copies/x"))]).failed
    assert isinstance(file.error, InputError)
    assert bucket.keys("copies/") == set()


def test_a_folder_that_cannot_be_listed_is_written_to(
    copy: Copy, bucket: Bucket, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.put("x", b"x")
    opened = os.open

    def refuse(path: Any, flags: int, mode: int = 0o777) -> int:
        if flags & os.O_DIRECTORY:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return opened(path, flags, mode)

    monkeypatch.setattr(os, "open", refuse)
    copy([(S3Object(bucket.name, "x"), LocalFile(str(folder / "x")))]).raise_for_failures()
    assert names(folder) == {"x"}


def test_a_prefix_of_a_folder_ends_with_a_slash(copy: Copy, bucket: Bucket, folder: Path) -> None:
    for pair in (
        (S3Prefix(bucket.name, "in"), LocalFolder(str(folder))),
        (LocalFolder(str(folder)), S3Prefix(bucket.name, "in")),
    ):
        with pytest.raises(InputError, match="end the prefix with a slash"):
            copy([pair])


def test_an_empty_folder_has_nothing_to_copy(copy: Copy, bucket: Bucket, folder: Path) -> None:
    with pytest.raises(NothingToTransfer):
        copy([(LocalFolder(str(folder / "in")), S3Prefix(bucket.name, "copies/"))])


@pytest.mark.parametrize("multipart", [True, False])
def test_a_failed_download_leaves_nothing(copy: Copy, bucket: Bucket, folder: Path, multipart: bool) -> None:
    """The file that was there stays as it was."""
    bucket.put("x", content(SIZE))
    (folder / "x").write_bytes(b"before")

    def overwrite(event: Any) -> None:
        if isinstance(event, FileStarted):
            bucket.put("x", content(SIZE, "other"))
        if isinstance(event, BytesMoved):
            raise TypeError("a callback's mistake")

    report = copy(
        [(S3Object(bucket.name, "x"), LocalFile(str(folder / "x")))], overwrite, multipart=multipart
    )
    assert len(report.failed) == 1
    assert (folder / "x").read_bytes() == b"before"
    assert names(folder) == {"x"}


@pytest.mark.parametrize("multipart", [True, False])
def test_a_file_that_changes_while_it_is_read_fails(
    copy: Copy, bucket: Bucket, folder: Path, multipart: bool
) -> None:
    read = write(folder, "in/x", SIZE)

    def change(event: Any) -> None:
        if isinstance(event, FileStarted):
            write(folder, "in/x", SIZE)

    report = copy([(read, S3Object(bucket.name, "copies/x"))], change, multipart=multipart)
    assert isinstance(report.failed[0].error, SourceChanged)
    assert bucket.keys("copies/") == set()
    assert bucket.uploads() == []


def test_a_truncated_file_fails(copy: Copy, bucket: Bucket, folder: Path) -> None:
    read = write(folder, "in/x", SIZE)

    def cut(event: Any) -> None:
        if isinstance(event, FileStarted):
            os.truncate(read.path, SIZE // 2)

    report = copy([(read, S3Object(bucket.name, "copies/x"))], cut)
    assert isinstance(report.failed[0].error, SourceChanged)


def test_paths_that_cannot_be_copied_are_named(copy: Copy, bucket: Bucket, folder: Path) -> None:
    target = S3Object(bucket.name, "copies/x")
    os.mkfifo(folder / "fifo")
    write(folder, "plain")
    for path, kind, words in (
        ("absent", SourceNotFound, "there is no such file"),
        ("in", InputError, "is a folder"),
        ("fifo", InputError, "not a regular file"),
        ("plain/x", FileError, "Not a directory"),
    ):
        [file] = copy([(LocalFile(str(folder / path)), target)]).failed
        assert isinstance(file.error, kind), file.error
        assert words in str(file.error)
        assert str(folder / path) in str(file.error)


def test_places_that_cannot_be_written_are_named(copy: Copy, bucket: Bucket, folder: Path) -> None:
    bucket.put("x", b"x")
    write(folder, "plain")
    for path, kind in (("in", InputError), ("plain/x", FileError)):
        [file] = copy([(S3Object(bucket.name, "x"), LocalFile(str(folder / path)))]).failed
        assert isinstance(file.error, kind), file.error
        assert str(folder / path) in str(file.error)
    assert names(folder) == {"plain"}


@pytest.mark.parametrize(("code", "kind"), [(errno.ENOSPC, FileError), (errno.EACCES, AccessDenied)])
@pytest.mark.parametrize("multipart", [True, False])
def test_a_full_disk_fails_the_file_alone(
    copy: Copy,
    bucket: Bucket,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    code: int,
    kind: type[Exception],
    multipart: bool,
) -> None:
    for key in ("x", "y"):
        bucket.put(key, content(SIZE, key))
    synced = os.fsync

    def fsync(descriptor: int) -> None:
        if "/.x." in str(Path(f"/proc/self/fd/{descriptor}").readlink()):
            raise OSError(code, os.strerror(code))
        synced(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    pairs = [(S3Object(bucket.name, key), LocalFile(str(folder / key))) for key in ("x", "y")]
    report = copy(pairs, multipart=multipart, max_concurrency=1)
    [failed] = report.failed
    assert isinstance(failed.error, kind)
    assert os.strerror(code) in str(failed.error)
    assert names(folder) == {"y"}


@pytest.mark.parametrize("multipart", [True, False])
def test_an_existing_file_is_kept_if_asked(copy: Copy, bucket: Bucket, folder: Path, multipart: bool) -> None:
    bucket.put("x", content(SIZE))
    write(folder, "x")
    pair = S3Object(bucket.name, "x"), LocalFile(str(folder / "x"))
    [file] = copy([pair], if_exists="fail", multipart=multipart).failed
    assert isinstance(file.error, DestinationExists)
    assert (folder / "x").read_bytes() == content(1000, "x")


@pytest.mark.parametrize("multipart", [True, False])
def test_a_file_that_appears_meanwhile_is_kept(
    copy: Copy, bucket: Bucket, folder: Path, multipart: bool
) -> None:
    bucket.put("x", content(SIZE))

    def appear(event: Any) -> None:
        if isinstance(event, FileStarted):
            write(folder, "x")

    pair = S3Object(bucket.name, "x"), LocalFile(str(folder / "x"))
    [file] = copy([pair], appear, if_exists="fail", multipart=multipart).failed
    assert isinstance(file.error, DestinationExists)
    assert names(folder) == {"x"}
    assert (folder / "x").read_bytes() == content(1000, "x")


def test_file_systems_without_hard_links_keep_files_too(
    copy: Copy, bucket: Bucket, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def link(*_: object) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", link)
    bucket.put("x", content(SIZE))
    pair = S3Object(bucket.name, "x"), LocalFile(str(folder / "x"))
    copy([pair], if_exists="fail").raise_for_failures()
    assert (folder / "x").read_bytes() == content(SIZE)
    write(folder, "y")
    [file] = copy([(pair[0], LocalFile(str(folder / "y")))], if_exists="fail").failed
    assert isinstance(file.error, DestinationExists)
    assert names(folder) == {"x", "y"}


@pytest.mark.parametrize("listed", [True, False])
def test_a_downloaded_file_is_skipped_by_its_checksum(
    copy: Copy, bucket: Bucket, folder: Path, listed: bool
) -> None:
    """Also if its size is known from a listing, so that it could be read in ranges."""
    bucket.put("in/x", content(SIZE), ChecksumAlgorithm="CRC32")
    pair: Any = S3Object(bucket.name, "in/x"), LocalFile(str(folder / "x"))
    if listed:
        pair = S3Prefix(bucket.name, "in/"), LocalFolder(str(folder))
    statuses = [copy([pair], if_exists="skip", multipart=True).files[0].status for _ in range(2)]
    (folder / "x").write_bytes(content(SIZE, "other"))
    statuses.append(copy([pair], if_exists="skip", multipart=True).files[0].status)
    assert statuses == ["copied", "skipped", "copied"]
    assert (folder / "x").read_bytes() == content(SIZE)


def test_an_uploaded_file_is_skipped_by_its_origin(copy: Copy, bucket: Bucket, folder: Path) -> None:
    pair = write(folder, "in/x"), S3Object(bucket.name, "copies/x")
    statuses = [copy([pair], if_exists="skip").files[0].status for _ in range(2)]
    (folder / "in" / "x").write_bytes(b"other")
    statuses.append(copy([pair], if_exists="skip").files[0].status)
    assert statuses == ["copied", "skipped", "copied"]


@pytest.mark.parametrize("way", ["up", "down"])
def test_a_later_transfer_continues_a_file(
    copy: Copy,
    bucket: Bucket,
    folder: Path,
    stop_after: StopAfter,
    way: str,
) -> None:
    """What is on the disk, or in S3, is not moved again."""
    body = content(22 * MiB, "in/x")
    here, there = write(folder, "in/x", len(body)), S3Object(bucket.name, "copies/x")
    if way == "down":
        bucket.put("x", body)
    pair = (here, there) if way == "up" else (S3Object(bucket.name, "x"), LocalFile(str(folder / "x")))
    first = stop_after(pair, 12 * MiB)
    assert [file.status for file in first.files] == ["pending"]

    moved: list[int] = []
    report = copy(
        [pair],
        lambda event: moved.append(event.bytes) if isinstance(event, BytesMoved) else None,
        first.continuations,
        multipart=True,
    )
    report.raise_for_failures()
    assert moved[0] == 10 * MiB
    assert sum(moved) == len(body)
    assert report.files[0].read_verified == ("CRC32" if way == "down" else None)
    assert (bucket.get("copies/x") if way == "up" else (folder / "x").read_bytes()) == body
    assert names(folder) == ({"in/x"} if way == "up" else {"in/x", "x"})
    assert bucket.uploads() == []


@pytest.mark.parametrize("removed", [True, False])
def test_a_continued_download_needs_its_temporary_file(
    copy: Copy, bucket: Bucket, folder: Path, stop_after: StopAfter, removed: bool
) -> None:
    """If it was removed, or the id in an event is not one of ours, the file is copied from its start."""
    bucket.put("x", content(22 * MiB))
    pair = S3Object(bucket.name, "x"), LocalFile(str(folder / "x"))
    first = stop_after(pair, 12 * MiB)
    continued = first.continuations[pair]
    if removed:
        for path in folder.glob(".*"):
            path.unlink()
    else:
        continued = replace(continued, upload_id="../../x")
    left = names(folder)
    report = copy([pair], continuations={pair: continued}, multipart=True)
    report.raise_for_failures()
    assert report.files[0].restarted is not None
    assert (folder / "x").read_bytes() == content(22 * MiB)
    assert names(folder) == {"x"} | left


def test_damaged_lines_of_parts_are_sent_again(
    copy: Copy, bucket: Bucket, folder: Path, stop_after: StopAfter
) -> None:
    bucket.put("x", content(22 * MiB))
    pair = S3Object(bucket.name, "x"), LocalFile(str(folder / "x"))
    first = stop_after(pair, 12 * MiB)
    [listed] = folder.glob(".*-parts")
    listed.write_bytes(listed.read_bytes().replace(b"}\n", b"\n", 1))
    report = copy([pair], continuations=first.continuations, multipart=True)
    report.raise_for_failures()
    assert report.files[0].restarted is None
    assert (folder / "x").read_bytes() == content(22 * MiB)


def test_leftovers_of_a_killed_process_are_cleaned(engine: EngineName, server: Any, folder: Path) -> None:
    write(folder, "deep/.x.0123456789abcdef.asyncstream")
    write(folder, "deep/.x.0123456789abcdef.asyncstream-parts")
    for name in ("mine", "..0123456789abcdef.asyncstream", "...0123456789abcdef.asyncstream"):
        write(folder, f"deep/{name}")
    kept = names(folder) - {
        "deep/.x.0123456789abcdef.asyncstream",
        "deep/.x.0123456789abcdef.asyncstream-parts",
    }
    with TransferSession(engine, endpoint_url=server.endpoint_url) as session:
        [left] = session.stale_uploads(LocalFolder(str(folder)), timedelta(seconds=-60))
        assert str(left.target) == str(folder / "deep" / "x")
        session.abort([left])
        with pytest.raises(SourceNotFound, match="listing"):
            session.stale_uploads(LocalFolder(str(folder / "absent")), timedelta())
    assert names(folder) == kept


def test_buffers_do_not_grow_with_files(copy: Copy, bucket: Bucket, folder: Path) -> None:
    """A part in flight costs what the source says it does."""
    opened: list[int] = []
    original = source._FileStream

    class Counted(original):  # type: ignore[misc, valid-type]
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            opened.append(len(self._buffer))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(source, "_FileStream", Counted)
        copy([(write(folder, "in/x", SIZE), S3Object(bucket.name, "copies/x"))]).raise_for_failures()
    assert max(opened) <= 512 * 1024


def test_only_transfers_of_other_ends_pay_for_them(copy: Copy, engine: EngineName, bucket: Bucket) -> None:
    """A slot of a copy within S3 costs what the S3 client says: one chunk and 80 KiB with threads."""
    bucket.put("x", b"x")
    pair = S3Object(bucket.name, "x"), S3Object(bucket.name, "copies/x")
    report = copy([pair], memory_limit=(1 if engine == "threads" else 2) * MiB)
    assert report.slots == {"sequential": 1, "threads": 7, "asyncio": 2}[engine]


def test_sources_that_are_folders_leave_no_descriptor(copy: Copy, bucket: Bucket, folder: Path) -> None:
    pair = LocalFile(str(folder / "in")), S3Object(bucket.name, "copies/x")
    copy([pair])
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(5):
        assert len(copy([pair]).failed) == 1
    assert len(list(Path("/proc/self/fd").iterdir())) <= before + 2
