"""`asyncstream tar`, `zip`, `concat` and `split`."""

import io
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import boto3
import pytest

from asyncstream.lab.s3 import LabS3
from tests.servers.base import GUARD_SECONDS

FILES = {"a.csv": b"id\n1\n2\n", "b.csv": b"id\n3", "deep/c.csv": b"id\n4\n"}
Run = Callable[..., "subprocess.CompletedProcess[bytes]"]


@pytest.fixture(scope="module")
def lab() -> Iterator[LabS3]:
    with LabS3() as lab:
        lab.create_bucket("raw", keep=True)
        yield lab


@pytest.fixture
def run(lab: LabS3, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Run a command in a folder of its own, with some files in S3."""
    for name, value in lab.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    for name, content in FILES.items():
        boto3.client("s3").put_object(Bucket="raw", Key=f"in/{name}", Body=content)

    def run(*arguments: str) -> "subprocess.CompletedProcess[bytes]":
        command = [sys.executable, "-m", "asyncstream.cli.main", *arguments]
        return subprocess.run(command, capture_output=True, timeout=GUARD_SECONDS, check=False)

    return run


def stored(key: str) -> bytes:
    return bytes(boto3.client("s3").get_object(Bucket="raw", Key=key)["Body"].read())


def test_tar_packs_a_prefix(run: Run) -> None:
    ended = run("tar", "s3://raw/in/", "s3://raw/out/all.tar")
    assert ended.returncode == 0, ended.stderr
    with tarfile.open(fileobj=io.BytesIO(stored("out/all.tar"))) as archive:
        assert {each.name: archive.extractfile(each).read() for each in archive} == FILES  # type: ignore[union-attr]


def test_tar_to_standard_output_is_read_by_tar(run: Run) -> None:
    packed = run("tar", "s3://raw/in/", "-")
    read = subprocess.run(["tar", "-tf", "-"], input=packed.stdout, capture_output=True, check=True)
    assert read.stdout.decode().split() == sorted(FILES)
    assert read.stderr == b""


def test_a_transform_compresses_the_archive(run: Run, tmp_path: Path) -> None:
    assert run("tar", "s3://raw/in/", "./all.tar.gz", "--transform", "gzip").returncode == 0
    with tarfile.open(tmp_path / "all.tar.gz") as archive:
        assert archive.getnames() == sorted(FILES)


def test_zip_packs_objects_and_files_by_their_names(run: Run, tmp_path: Path) -> None:
    (tmp_path / "here.txt").write_bytes(b"x")
    ended = run("zip", "s3://raw/in/a.csv", "./here.txt", "./all.zip")
    assert ended.returncode == 0, ended.stderr
    with zipfile.ZipFile(tmp_path / "all.zip") as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["in/a.csv", "here.txt"]


def test_unzip_undoes_zip(run: Run, tmp_path: Path) -> None:
    assert run("zip", "s3://raw/in/", "s3://raw/out/all.zip").returncode == 0
    assert run("unzip", "s3://raw/out/all.zip", "./unpacked/").returncode == 0
    unpacked = tmp_path / "unpacked"
    assert {name: (unpacked / name).read_bytes() for name in FILES} == FILES


def test_concat_keeps_one_header(run: Run) -> None:
    assert run("concat", "--header", "first", "s3://raw/in/", "-").stdout == b"id\n1\n2\n3\n4\n"


def test_concat_puts_a_separator_between_files(run: Run) -> None:
    ended = run("concat", "--separator", r"\n--\t\\", "s3://raw/in/b.csv", "s3://raw/in/a.csv", "-")
    assert ended.stdout == b"id\n3\n--\t\\id\n1\n2\n"


def test_split_undoes_concat(run: Run, tmp_path: Path) -> None:
    (tmp_path / "all.csv").write_bytes(b"id\n" + b"".join(b"%d\n" % n for n in range(1000)))
    assert run("split", "./all.csv", "s3://raw/parts/", "--ranges", "4", "--header", "--csv").returncode == 0
    assert (
        run("concat", "--header", "first", "s3://raw/parts/", "-").stdout
        == (tmp_path / "all.csv").read_bytes()
    )


def test_split_fails_for_a_cut_within_quotes(run: Run, tmp_path: Path) -> None:
    (tmp_path / "all.csv").write_bytes(b'id,text\n1,"' + b"\n" * 1000 + b'"\n')
    options = ("split", "./all.csv", "s3://raw/quoted/", "--ranges", "2", "--header")
    ended = run(*options, "--csv")
    assert ended.returncode == 1
    assert b"an odd number: a cut is within quotes" in ended.stderr
    assert run(*options).returncode == 0


def test_a_dry_run_moves_nothing(run: Run) -> None:
    ended = run("tar", "s3://raw/in/", "s3://raw/dry.tar", "--dry-run")
    assert ended.stdout.decode() == "s3://raw/in/ -> s3://raw/dry.tar  10,240 bytes\n"
    assert b"would be copied" in ended.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("tar", "s3://raw/in/", "s3://raw/out/"),
            b"s3://raw/out/ is a folder: name the file to write in it",
        ),
        (("zip", "s3://raw/nothing/", "s3://raw/x.zip"), b"nothing is stored under s3://raw/nothing/"),
        (("concat", "--header", "first", "--separator", "x", "s3://raw/in/", "-"), b"separator: "),
        (("split", "s3://raw/in/a.csv", "s3://raw/p/", "--ranges", "0"), b"ranges=0 must be a number from 1"),
    ],
)
def test_wrong_input_is_explained(run: Run, arguments: tuple[str, ...], message: bytes) -> None:
    ended = run(*arguments)
    assert ended.returncode == 2
    assert message in ended.stderr
    assert b"Traceback" not in ended.stderr
