"""`asyncstream copy` with files, URLs and standard streams at its ends."""

import gzip
import hashlib
import os
import signal
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from asyncstream.engines import ENGINES
from asyncstream.lab.s3 import LabS3
from asyncstream.lab.web import Origin
from tests.servers import content
from tests.servers.base import GUARD_SECONDS, until
from tests.servers.web_file import WebPage

from .command_line import Ended

ROOT = Path(__file__).parents[2]
SIZE = 12_000_000
Run = Callable[..., Ended]


@pytest.fixture(scope="module")
def lab() -> Iterator[LabS3]:
    with LabS3() as lab:
        lab.create_bucket("raw", keep=True)
        lab.declare("raw", [("in/x.csv", SIZE), ("in/d/y", 1000)])
        yield lab


@pytest.fixture(autouse=True)
def environment(lab: LabS3, monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the environment variables that lead to the lab S3, and allow the lab's web."""
    for name, value in lab.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("GATHER_ALLOWED_NETWORKS", "127.0.0.0/8")


@pytest.fixture
def page() -> Iterator[tuple[WebPage, str]]:
    """A file behind a URL."""
    served = WebPage(content(SIZE))
    with Origin(served) as origin:
        yield served, f"{origin.urls[0]}/x.csv?key=SECRET"


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "asyncstream.cli.main", "copy", *arguments]


def open_uploads() -> list[object]:
    return list(boto3.client("s3").list_multipart_uploads(Bucket="raw").get("Uploads", []))


def piped(*arguments: str, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """Run the command in a process with pipes for its standard streams."""
    return subprocess.run(
        command(*arguments), cwd=ROOT, input=given, capture_output=True, timeout=GUARD_SECONDS, check=False
    )


@pytest.mark.parametrize("engine", ENGINES)
def test_standard_input_is_copied_and_read_back(engine: str) -> None:
    body = content(SIZE)
    sent = piped("-", f"s3://raw/{engine}", "--engine", engine, given=body)
    assert (sent.returncode, sent.stdout) == (0, b""), sent.stderr
    assert b"1 of 1 files copied: 12 MB" in sent.stderr
    back = piped(f"s3://raw/{engine}", "-", "--engine", engine, "--multipart")
    assert back.returncode == 0, back.stderr
    assert back.stdout == body


def test_empty_standard_input_makes_an_empty_object(run: Run, tmp_path: Path) -> None:
    assert piped("-", "s3://raw/empty").returncode == 0
    assert run("copy", "s3://raw/empty", str(tmp_path / "x")).code == 0
    assert (tmp_path / "x").read_bytes() == b""


def test_a_transform_changes_what_pipes_carry() -> None:
    packed = piped("-", "-", "--transform", "gzip", given=content(SIZE))
    assert packed.returncode == 0, packed.stderr
    unpacked = piped("-", "-", "--transform", "gunzip", given=packed.stdout)
    assert unpacked.stdout == content(SIZE)


def test_a_reader_that_leaves_is_told_in_one_line() -> None:
    process = subprocess.Popen(
        command("s3://raw/in/x.csv", "-"), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    process.stdout.read(10)
    process.stdout.close()
    assert process.stderr is not None
    told = process.stderr.read().decode()
    assert process.wait(GUARD_SECONDS) == 1
    assert "Traceback" not in told
    assert "writing standard output: Broken pipe" in told
    process.stderr.close()


@pytest.mark.parametrize("engine", ENGINES)
def test_a_full_pipe_does_not_outlast_a_signal(engine: str) -> None:
    process = subprocess.Popen(
        command("s3://raw/in/x.csv", "-", "--engine", engine),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stdout is not None
    process.stdout.read(10)
    process.send_signal(signal.SIGTERM)
    assert process.wait(GUARD_SECONDS) == 130
    _, told = process.communicate()
    assert b"Traceback" not in told


def test_a_pipe_that_does_not_block_gets_every_byte() -> None:
    """A program that shares the pipe, such as a terminal multiplexer, may have set it so."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with subprocess.Popen(command("s3://raw/in/x.csv", "-"), cwd=ROOT, stdout=writing) as process:
        os.close(writing)
        with os.fdopen(reading, "rb") as pipe:
            assert len(pipe.read()) == SIZE
    assert process.returncode == 0


@pytest.mark.parametrize(
    ("closed", "source", "code", "told"),
    [
        ("<&-", "-", 1, b"standard input is closed"),
        (">&-", "s3://raw/in/d/y", 1, b"standard output is closed"),
        ("2>&-", "s3://raw/in/d/y", 0, b""),
    ],
)
def test_closed_streams_are_no_other_files(closed: str, source: str, code: int, told: bytes) -> None:
    """The next file or socket gets the number of a stream that the process was started without."""
    shell = ["bash", "-c", f'exec "$@" {closed}', "bash", *command(source, "-")]
    done = subprocess.run(
        shell, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, timeout=GUARD_SECONDS, check=False
    )
    assert done.returncode == code, done.stderr
    assert told in done.stderr
    assert len(done.stdout) == (0 if code else 1000)


def test_a_terminal_ends_its_input_once() -> None:
    ours, theirs = os.openpty()
    with subprocess.Popen(
        command("-", "s3://raw/typed"), cwd=ROOT, stdin=theirs, stderr=subprocess.PIPE, start_new_session=True
    ) as process:
        os.close(theirs)
        os.write(ours, b"abc\n\x04")
        assert process.wait(GUARD_SECONDS) == 0
    os.close(ours)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_silent_pipe_does_not_outlast_a_signal(engine: str) -> None:
    process = subprocess.Popen(
        command("-", f"s3://raw/silent-{engine}", "--engine", engine, "--part-size", "5MiB"),
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stdin is not None
    process.stdin.write(content(SIZE))
    process.stdin.flush()
    until(lambda: process.poll() is None and open_uploads())
    process.send_signal(signal.SIGTERM)
    _, told = process.communicate(timeout=GUARD_SECONDS)
    assert process.returncode == 130, told
    assert b"Traceback" not in told
    assert open_uploads() == []


def test_a_url_is_copied_and_compared(
    run: Run, lab: LabS3, page: tuple[WebPage, str], tmp_path: Path
) -> None:
    served, url = page
    digest = hashlib.sha256(served.body).hexdigest()
    for destination in ("s3://raw/web/", f"{tmp_path}/", f"{tmp_path}/y", f"file://{tmp_path}/z"):
        done = run("copy", url, destination, "--sha256", digest)
        assert done.code == 0, done.err
        assert "SECRET" not in done.err
    assert {path.name for path in tmp_path.iterdir()} == {"x.csv", "y", "z"}
    assert lab.checksums("raw", "web/")["web/x.csv"].size == SIZE
    wrong = run("copy", url, "s3://raw/wrong", "--sha256", "0" * 64)
    assert (wrong.code, "SHA256" in wrong.err) == (1, True)
    assert lab.checksums("raw", "wrong") == {}
    told = piped(url, "-", "--sha256", "0" * 64)
    assert (told.returncode, b"SHA256" in told.stderr) == (1, True)


def test_only_urls_need_the_settings_of_the_web(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GATHER_HEADERS", "{")
    assert run("copy", "s3://raw/in/d/y", f"{tmp_path}/").code == 0
    assert run("copy", "https://example.com/x", f"{tmp_path}/").code == 2


def test_folders_and_prefixes_stand_for_each_other(run: Run, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    assert run("copy", "s3://raw/in/", str(tmp_path / "out")).code == 0
    assert (tmp_path / "out" / "d" / "y").stat().st_size == 1000
    assert run("copy", str(tmp_path / "out"), "s3://raw/again/").code == 0
    done = run("copy", "s3://raw/again/d/y", str(tmp_path / "out"))
    assert done.code == 0, done.err
    assert (tmp_path / "out" / "y").stat().st_size == 1000


def test_a_dry_run_lists_files_of_folders(run: Run, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"123")
    done = run("copy", f"{tmp_path}/", "s3://raw/dry/", "--dry-run")
    assert done.out == f"{tmp_path}/x -> s3://raw/dry/x  3 bytes\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["s3://raw/in/", "-"], "takes one object only"),
        (["-", "s3://raw/folder/"], "has no name"),
        (["s3://raw/x", "https://example.com/x"], "can only be a source"),
        (["s3://raw/x", "x"], "is not an S3 URI"),
        (["ftp://example.com/x", "s3://raw/x"], "is not an S3 URI"),
        (["file://host/x", "s3://raw/x"], "write file:///path"),
        (["/tmp", "-"], "is a folder"),
        (["s3://raw/x", "s3://raw/y", "--sha256", "0" * 64], "behind a URL"),
        (["https://user:pw@example.com/x", "s3://raw/x"], "has credentials in it"),
        (["HTTPS://example.com/x?key=pw", "https:/b?key=pw"], "can only be a source"),
        (["https:/example.com/x?key=pw", "s3://raw/x"], "is not the URL of a page"),
        (["/same", "file:///same"], "are the same"),
    ],
)
def test_places_that_do_not_fit_are_explained(run: Run, arguments: list[str], words: str) -> None:
    done = run("copy", *arguments)
    assert (done.code, done.out) == (2, "")
    assert words in done.err
    assert "pw" not in done.err


def test_old_temporary_files_are_cleaned(run: Run, tmp_path: Path) -> None:
    left = tmp_path / "d" / ".x.0123456789abcdef.asyncstream"
    left.parent.mkdir()
    left.write_bytes(b"1")
    os.utime(left, (0, 0))
    done = run("clean", str(tmp_path), "--older-than", "1d")
    assert done.code == 0
    assert f"{tmp_path}/d/x" in done.out
    assert not left.exists()


def test_an_archive_is_listed_and_unpacked(run: Run, lab: LabS3, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name in ("x.csv", "d/y.txt"):
            archive.writestr(name, content(1000, name))
    assert run("copy", f"{tmp_path}/a.zip", "s3://raw/a.zip").code == 0
    listed = run("ls", "s3://raw/a.zip")
    assert (listed.code, listed.err) == (0, "2 files, 2 KB\n")
    assert listed.out.split() == ["1,000", "d/y.txt", "1,000", "x.csv"]
    dry = run("unzip", "s3://raw/a.zip", "s3://raw/unzipped/", "--select", "*.csv", "--dry-run")
    assert dry.out == "s3://raw/a.zip!/x.csv -> s3://raw/unzipped/x.csv  1,000 bytes\n"
    assert run("unzip", "s3://raw/a.zip", "s3://raw/unzipped/").code == 0
    assert lab.checksums("raw", "unzipped/").keys() == {"unzipped/x.csv", "unzipped/d/y.txt"}
    done = run("unzip", f"{tmp_path}/a.zip", f"{tmp_path}/out/")
    assert done.code == 0, done.err
    assert (tmp_path / "out" / "d" / "y.txt").read_bytes() == content(1000, "d/y.txt")
    assert run("unzip", "s3://raw/a.zip", f"{tmp_path}/packed/", "--gz").code == 0
    assert gzip.decompress((tmp_path / "packed" / "x.csv.gz").read_bytes()) == content(1000, "x.csv")
    wrong = run("unzip", "s3://raw/in/x.csv", "s3://raw/unzipped/")
    assert (wrong.code, "not a ZIP archive" in wrong.err) == (1, True)


@pytest.mark.parametrize("ending", [".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz"])
def test_a_tar_archive_is_listed_and_unpacked(run: Run, lab: LabS3, tmp_path: Path, ending: str) -> None:
    mode: Any = f"w:{ending.removeprefix('.tar').removeprefix('.').replace('tgz', 'gz')}"
    with tarfile.open(tmp_path / f"a{ending}", mode) as archive:
        for name in ("x.csv", "d/y.txt", "x.csv"):
            (tmp_path / "y").write_bytes(content(1000, name))
            archive.add(tmp_path / "y", name)
    place = f"s3://raw/a{ending}"
    assert run("copy", f"{tmp_path}/a{ending}", place).code == 0
    listed = run("ls", place)
    assert (listed.code, listed.err) == (0, "2 files, 2 KB\n")
    assert listed.out.split() == ["1,000", "d/y.txt", "1,000", "x.csv"]
    dry = run("untar", place, "s3://raw/untarred/", "--select", "*.csv", "--dry-run")
    assert dry.out == f"{place}!/x.csv -> s3://raw/untarred/x.csv  1,000 bytes\n"
    done = run("untar", place, "s3://raw/untarred/")
    assert (done.code, "1 files that a later one of the same name replaces" in done.err) == (0, True)
    assert lab.checksums("raw", "untarred/").keys() == {"untarred/x.csv", "untarred/d/y.txt"}
    assert run("untar", f"{tmp_path}/a{ending}", f"{tmp_path}/out/").code == 0
    assert (tmp_path / "out" / "d" / "y.txt").read_bytes() == content(1000, "d/y.txt")
    wrong = run("untar", "s3://raw/in/x.csv", "s3://raw/untarred/")
    assert (wrong.code, "not a tar archive" in wrong.err) == (1, True)
    encoded = run("ls", place, "--encoding", "cp932")
    assert (encoded.code, "is for ZIP archives" in encoded.err) == (2, True)


@pytest.mark.parametrize(
    "arguments",
    [
        ["ls", "HTTPS:/h/a?k=SECRET"],
        ["unzip", "s3://raw/a", "https://h/a?k=SECRET"],
        ["untar", "s3://raw/a", "https://h/a?k=SECRET"],
        ["ls", "https://h/a.tar?k=SECRET", "--encoding", "cp932"],
        ["clean", "http://h?SECRET"],
    ],
)
def test_no_command_shows_the_query_of_a_url(run: Run, arguments: list[str]) -> None:
    done = run(*arguments)
    assert (done.code, "SECRET" in done.err + done.out) == (2, False)
