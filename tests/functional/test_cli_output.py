"""The command line with a closed pipe, or an encoding that lacks characters of keys."""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

import boto3
import pytest

from asyncstream.lab.s3 import LabS3
from tests.servers.base import GUARD_SECONDS

ROOT = Path(__file__).parents[2]
KEY = "in/é"
ASCII = {"LC_ALL": "C", "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


@pytest.fixture(scope="module")
def lab() -> Iterator[LabS3]:
    with LabS3() as lab:
        for bucket in ("source", "destination"):
            lab.create_bucket(bucket, keep=True)
        lab.declare_many("source", "many/", 2_000, 0)
        lab.declare("source", [(KEY, 10)])
        yield lab


@pytest.fixture(autouse=True)
def environment(lab: LabS3, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in lab.environment().items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def closed_pipe() -> Iterator[int]:
    """A pipe whose reader has gone, as after `| head -1`."""
    reading, writing = os.pipe()
    os.close(reading)
    yield writing
    os.close(writing)


def run(
    *arguments: str | bytes,
    out: int = subprocess.PIPE,
    error: int = subprocess.PIPE,
    variables: Mapping[str, str] = MappingProxyType({}),
) -> tuple[int, bytes, bytes]:
    done = subprocess.run(
        [sys.executable, "-m", "asyncstream.cli.main", *arguments],
        env={**os.environ, **variables},
        cwd=ROOT,
        stdout=out,
        stderr=error,
        timeout=GUARD_SECONDS,
        check=False,
    )
    return done.returncode, done.stdout or b"", done.stderr or b""


@pytest.mark.parametrize("prefix", ["s3://source/many/", f"s3://source/{KEY}"], ids=["long", "short"])
def test_a_list_that_is_read_in_part_is_a_success(closed_pipe: int, prefix: str) -> None:
    """A long list fails while it is written, a short one when the process ends."""
    code, _, error = run("copy", "--dry-run", prefix, "s3://destination/x", out=closed_pipe)
    assert code == 0
    assert error.startswith(b"dry run: ")
    assert len(error.splitlines()) == 1


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_help_that_is_read_in_part_is_a_success(closed_pipe: int, option: str) -> None:
    assert run(option, out=closed_pipe) == (0, b"", b"")


def test_uploads_are_removed_also_if_their_list_is_not_read(closed_pipe: int) -> None:
    s3 = boto3.client("s3")
    for number in range(3):
        s3.create_multipart_upload(Bucket="destination", Key=f"open/{number}")
    code, _, error = run("clean", "s3://destination/open/", "--older-than", "0s", out=closed_pipe)
    assert (code, error) == (0, b"3 uploads older than 0s: removed\n")
    assert "Uploads" not in s3.list_multipart_uploads(Bucket="destination")


def test_failed_files_decide_the_exit_code_also_if_they_are_not_read(closed_pipe: int) -> None:
    code, *_ = run("copy", "s3://source/in/", "s3://nobucket/", out=closed_pipe, error=closed_pipe)
    assert code == 1


def test_wrong_input_decides_the_exit_code_also_if_it_is_not_read(closed_pipe: int) -> None:
    assert run("copy", "nowhere", "s3://destination/", error=closed_pipe)[0] == 2


def test_keys_are_escaped_where_the_locale_is_ascii() -> None:
    code, out, error = run("copy", "--dry-run", "s3://source/in/", "s3://destination/", variables=ASCII)
    assert (code, out) == (0, b"s3://source/in/\\xe9 -> s3://destination/\\xe9  10 bytes\n")
    assert error.startswith(b"dry run: ")

    code, _, error = run("copy", "s3://source/in/", "s3://nobucket/", variables=ASCII)
    assert code == 1
    assert error.startswith(b"FAILED  s3://source/in/\\xe9 -> s3://nobucket/\\xe9: BucketNotFound: ")
    assert b"Traceback" not in error


def test_keys_may_be_given_where_the_locale_is_ascii() -> None:
    code, _, error = run("copy", f"s3://source/{KEY}".encode(), "s3://destination/ascii/", variables=ASCII)
    assert (code, error.count(b"\n")) == (0, 1)
    assert boto3.client("s3").head_object(Bucket="destination", Key="ascii/é")["ContentLength"] == 10


def test_an_argument_that_is_not_utf8_is_wrong_input() -> None:
    code, _, error = run("copy", b"s3://source/\xff", "s3://destination/", variables=ASCII)
    assert code == 2
    assert b"is not valid Unicode" in error
    assert len(error.splitlines()) == 1
