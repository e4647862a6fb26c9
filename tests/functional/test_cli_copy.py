"""`asyncstream copy` against the lab S3, from the command line to the exit code."""

import gzip
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.request import urlopen

import boto3
import pytest

from asyncstream.engines import EngineName
from asyncstream.lab.s3 import LabS3
from tests.servers.base import GUARD_SECONDS, until

from .command_line import Ended

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def lab() -> Iterator[LabS3]:
    with LabS3() as lab:
        lab.create_bucket("source", keep=True)
        lab.create_bucket("destination", keep=False)
        lab.declare_many("source", "in/", 5, 200_000)
        lab.declare("source", [("large/one", 12_000_000)])
        yield lab


@pytest.fixture(autouse=True)
def environment(lab: LabS3, monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the environment variables that lead to the lab S3."""
    for name, value in lab.environment().items():
        monkeypatch.setenv(name, value)


def contents(lab: LabS3, bucket: str, prefix: str) -> dict[str, tuple[int, str]]:
    checksums = lab.checksums(bucket, prefix)
    return {key.removeprefix(prefix): (row.size, row.crc64nvme) for key, row in checksums.items()}


@pytest.mark.parametrize("engine", ["sequential", "threads", "asyncio"])
def test_a_prefix_is_copied(lab: LabS3, run: Callable[..., Ended], engine: EngineName) -> None:
    done = run("copy", "s3://source/in/", f"s3://destination/{engine}/", "--engine", engine)
    assert (done.code, done.out) == (0, "")
    assert re.fullmatch(rf"5 of 5 files copied: 1 MB in .* 11 requests, {engine}\n", done.err)
    assert contents(lab, "destination", f"{engine}/") == contents(lab, "source", "in/")


def test_settings_are_passed_on(lab: LabS3, run: Callable[..., Ended]) -> None:
    lab.reset_stats()
    options = ["--multipart", "--part-size", "5MiB", "--max-concurrency", "2", "--memory-limit", "16MiB"]
    done = run("copy", "s3://source/large/", "s3://destination/parts/", *options)
    assert done.code == 0
    assert lab.stats()["operations"]["UploadPart"] == 3
    assert lab.stats()["peak_data_requests"] <= 4
    assert contents(lab, "destination", "parts/") == contents(lab, "source", "large/")


def test_copying_tags_is_passed_on(run: Callable[..., Ended]) -> None:
    """The lab S3 has no tags, and says so."""
    done = run("copy", "s3://source/large/", "s3://destination/tagged/", "--copy-tags")
    assert done.code == 1
    assert "GetObjectTagging s3://source/large/one: NotImplemented" in done.err


def test_one_object_is_copied_to_one_key(lab: LabS3, run: Callable[..., Ended]) -> None:
    done = run("copy", "--object", "s3://source/large/one", "s3://destination/renamed")
    assert done.code == 0
    assert contents(lab, "destination", "renamed")[""] == contents(lab, "source", "large/one")[""]


@pytest.mark.parametrize("options", [[], ["--object"]])
@pytest.mark.parametrize("folder", ["folder/", "a/b/"])
def test_one_object_is_copied_into_a_folder(
    lab: LabS3, run: Callable[..., Ended], folder: str, options: list[str]
) -> None:
    done = run("copy", "s3://source/large/one", f"s3://destination/{folder}", *options)
    assert done.code == 0
    assert contents(lab, "destination", folder) == contents(lab, "source", "large/")


@pytest.mark.parametrize("more", [["s3://one"], ["s3://two/"], ["s3://three", "--object"]])
def test_one_object_is_copied_into_a_bucket(lab: LabS3, run: Callable[..., Ended], more: list[str]) -> None:
    bucket = more[0].strip("/").removeprefix("s3://")
    lab.create_bucket(bucket, keep=False)
    assert run("copy", "s3://source/large/one", *more).code == 0
    assert contents(lab, bucket, "") == contents(lab, "source", "large/")


def test_an_object_that_other_keys_start_with_is_a_question(lab: LabS3, run: Callable[..., Ended]) -> None:
    lab.declare("source", [("twice/a.csv", 10), ("twice/a.csv.bak", 20)])
    done = run("copy", "s3://source/twice/a.csv", "s3://destination/asked/")
    assert done.code == 2
    assert "s3://source/twice/a.csv is an object, and 1 other keys start with its key." in done.err
    assert contents(lab, "destination", "asked/") == {}

    for options, keys in (
        (["s3://destination/asked/", "--object"], {"a.csv"}),
        (["s3://destination/asked/a.csv"], {"a.csv", "a.csv.bak"}),
    ):
        assert run("copy", "s3://source/twice/a.csv", *options).code == 0
        assert contents(lab, "destination", "asked/").keys() == keys


def test_a_prefix_that_is_not_an_object_is_replaced_by_a_folder(
    lab: LabS3, run: Callable[..., Ended]
) -> None:
    assert run("copy", "s3://source/in/0", "s3://destination/rest/").code == 0
    assert contents(lab, "destination", "rest/") == contents(lab, "source", "in/0")


def test_folder_markers_are_told(lab: LabS3, run: Callable[..., Ended]) -> None:
    lab.declare("source", [("marked/", 0), ("marked/a/", 0), ("marked/a/b", 10)])
    planned = run("copy", "s3://source/marked/", "s3://destination", "--dry-run")
    done = run("copy", "s3://source/marked/", "s3://destination")
    assert (planned.code, done.code) == (0, 0)
    assert "1 files, 10 B, would be copied, 2 folder markers left out" in planned.err
    assert "1 of 1 files copied, 2 folder markers left out: " in done.err


def test_the_endpoint_may_be_named(
    lab: LabS3, run: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL_S3")
    done = run("copy", "s3://source/in/", "s3://destination/named/", "--endpoint-url", lab.endpoint_url)
    assert done.code == 0
    assert len(contents(lab, "destination", "named/")) == 5


def test_files_are_changed_on_their_way_and_back(lab: LabS3, run: Callable[..., Ended]) -> None:
    assert run("copy", "s3://source/in/", "s3://source/zipped/", "--transform", "gzip").code == 0
    done = run("copy", "s3://source/zipped/", "s3://destination/chain/", "--transform", "gunzip,zstd,unzstd")
    assert (done.code, done.out) == (0, "")
    assert contents(lab, "source", "zipped/") != contents(lab, "source", "in/")
    assert contents(lab, "destination", "chain/") == contents(lab, "source", "in/")


def test_a_function_of_this_directory_is_a_transform(
    lab: LabS3, run: Callable[..., Ended], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "changed_here.py").write_text("def doubled(chunk):\n    return chunk + chunk\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    done = run("copy", "s3://source/in/", "s3://destination/d/", "--transform", "changed_here:doubled")
    assert done.code == 0
    assert {size for size, _ in contents(lab, "destination", "d/").values()} == {400_000}


def test_what_is_no_gzip_is_a_failure_in_one_line(lab: LabS3, run: Callable[..., Ended]) -> None:
    done = run("copy", "--object", "s3://source/large/one", "s3://destination/no", "--transform", "gunzip")
    assert done.code == 1
    assert "s3://destination/no: CorruptInput: " in done.err
    assert "Traceback" not in done.err
    assert contents(lab, "destination", "no") == {}


def test_what_may_be_made_of_a_file_can_be_bounded_and_unbounded(
    lab: LabS3, run: Callable[..., Ended]
) -> None:
    body = gzip.compress(bytes(70_000_000))
    boto3.client("s3").put_object(Bucket="source", Key="bomb/one", Body=body)
    unpack = "copy", "s3://source/bomb/", "s3://destination/bomb/", "--transform", "gunzip"
    by_default, bounded = run(*unpack), run(*unpack, "--max-ratio", "none", "--max-output", "1MB")
    assert (by_default.code, bounded.code) == (1, 1)
    assert "OutputTooLarge: " in by_default.err
    assert "more than the 250 times" in by_default.err
    assert "more than the 1000000 that max_output allows" in bounded.err
    assert contents(lab, "destination", "bomb/") == {}
    assert run(*unpack, "--max-ratio", "none").code == 0
    assert [size for size, _ in contents(lab, "destination", "bomb/").values()] == [70_000_000]


@pytest.mark.parametrize("more", [[], ["--dry-run"]])
def test_an_unknown_transform_is_an_error_before_any_request(
    lab: LabS3, run: Callable[..., Ended], more: list[str]
) -> None:
    lab.reset_stats()
    done = run("copy", "s3://source/in/", "s3://destination/none/", "--transform", "gunzip,lz4", *more)
    assert done.code == 2
    assert len(done.err.splitlines()) == 1
    assert "transform 'lz4' must be one of bunzip2, gunzip, gzip" in done.err
    assert lab.stats()["operations"] == {}


def test_a_dry_run_lists_and_copies_nothing(lab: LabS3, run: Callable[..., Ended]) -> None:
    lab.reset_stats()
    done = run("copy", "s3://source/in/", "s3://destination/dry/", "--dry-run")
    assert done.code == 0
    lines = done.out.splitlines()
    assert lines[0] == "s3://source/in/000000 -> s3://destination/dry/000000  200,000 bytes"
    assert len(lines) == 5
    assert "dry run: 5 files, 1 MB" in done.err
    assert lab.stats()["operations"] == {"ListObjectsV2": 1}


def test_each_failed_file_is_told(lab: LabS3, run: Callable[..., Ended]) -> None:
    done = run("copy", "s3://source/in/", "s3://nobucket/out/")
    assert done.code == 1
    failed = [line for line in done.err.splitlines() if line.startswith("FAILED")]
    assert len(failed) == 5
    assert failed[0].startswith("FAILED  s3://source/in/000000 -> s3://nobucket/out/000000: BucketNotFound: ")
    assert "0 of 5 files copied, 5 failed" in done.err
    assert "Traceback" not in done.err


def test_a_bucket_that_cannot_be_listed_is_a_failure_in_one_line(
    lab: LabS3, run: Callable[..., Ended]
) -> None:
    done = run("copy", "s3://nobucket/in/", "s3://destination/")
    assert done.code == 1
    assert len(done.err.splitlines()) == 1
    assert "nobucket" in done.err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "COMMAND"),
        (["copy"], "SOURCE"),
        (["copy", "s3://a"], "DESTINATION"),
        (["copy", "source/in", "s3://destination/"], "not an S3 URI"),
        (["copy", "s3://source/in/", "s3://source/in/"], "the same"),
        (["copy", "s3://source/nothing/", "s3://destination/"], "nothing is stored"),
        (["copy", "--object", "s3://source", "s3://destination/x"], "names no object"),
        (["copy", "s3://source/in/", "s3://destination/", "--part-size", "x"], "not a size"),
        (["copy", "s3://source/in/", "s3://destination/", "--part-size", "1KiB"], "part_size=1024"),
        (["copy", "s3://source/in/", "s3://destination/", "--max-concurrency", "0"], "max_concurrency=0"),
        (["copy", "s3://source/in/", "s3://destination/", "--memory-limit", "1KiB"], "memory_limit"),
        (["copy", "s3://source/in/", "s3://destination/", "--engine", "steam"], "steam"),
    ],
)
def test_bad_input_is_told_in_one_line(
    lab: LabS3, run: Callable[..., Ended], arguments: list[str], told: str
) -> None:
    done = run(*arguments)
    assert done.code == 2
    assert len(done.err.splitlines()) == 1
    assert told in done.err


def test_the_version_is_told(lab: LabS3, run: Callable[..., Ended]) -> None:
    done = run("--version")
    assert done.code == 0
    assert re.fullmatch(r"asyncstream \d+\.\d+\.\d+\n", done.out)


def test_a_terminal_gets_a_progress_bar(lab: LabS3) -> None:
    line = f"{sys.executable} -m asyncstream.cli.main copy s3://source/in/ s3://destination/bar/"
    done = subprocess.run(
        ["script", "--quiet", "--return", "--command", line, os.devnull],
        env={**os.environ, **lab.environment(), "TERM": "xterm", "COLUMNS": "100"},
        cwd=ROOT,
        capture_output=True,
        stdin=subprocess.DEVNULL,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0
    assert "5/5 files" in done.stdout
    assert "5 of 5 files copied" in done.stdout


@pytest.mark.parametrize(
    ("engine", "ending"),
    [
        ("sequential", signal.SIGINT),
        ("threads", signal.SIGINT),
        ("asyncio", signal.SIGINT),
        ("asyncio", signal.SIGTERM),
    ],
)
def test_an_interrupted_copy_leaves_no_upload_open(engine: EngineName, ending: signal.Signals) -> None:
    with LabS3(model="4/8/1") as slow:
        slow.create_bucket("source", keep=True)
        slow.create_bucket("destination", keep=True)
        slow.declare("source", [("in/large", 3_000_000_000)])
        options = ["--engine", engine, "--multipart", "--part-size", "5MiB"]
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "asyncstream.cli.main",
                "copy",
                "s3://source/in/",
                "s3://destination/",
                *options,
            ],
            env={**os.environ, **slow.environment()},
            cwd=ROOT,
            stderr=subprocess.PIPE,
            text=True,
        )
        until(lambda: slow.stats()["operations"].get("CreateMultipartUpload"))
        assert process.poll() is None
        assert open_uploads(slow) != []
        process.send_signal(ending)
        _, told = process.communicate(timeout=GUARD_SECONDS)
        assert process.returncode == 130
        assert told.splitlines() == ["interrupted"]
        assert open_uploads(slow) == []


def open_uploads(lab: LabS3) -> list[str]:
    with urlopen(f"{lab.endpoint_url}/destination?uploads") as reply:
        return re.findall(r"<UploadId>(.*?)</UploadId>", reply.read().decode())


MRAP = "arn:aws:s3::123456789012:accesspoint/mfzwi23gnjvgw.mrap"


@pytest.mark.parametrize(
    "arguments",
    [("--object", f"s3://{MRAP}/a", "s3://destination/a"), (f"s3://{MRAP}/in/", "s3://destination/in/")],
    ids=["object", "prefix"],
)
def test_a_wrong_setting_has_one_exit_code(
    run: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL_S3")
    done = run("copy", *arguments)
    assert done.code == 2
    assert "Name the bucket, or an access point of one region" in done.err


def test_missing_credentials_have_the_exit_code_of_a_wrong_setting(
    run: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, os.devnull)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    done = run("copy", "--object", "s3://source/large/one", "s3://destination/none")
    assert done.code == 2
    assert "Unable to locate credentials. Set AWS_ACCESS_KEY_ID" in done.err


@pytest.mark.parametrize("engine", ["sequential", "threads", "asyncio"])
def test_a_missing_login_is_one_line_on_every_engine(lab: LabS3, tmp_path: Path, engine: str) -> None:
    """The SDK of asyncio would also print its own tracebacks: three in a process without a log."""
    config = tmp_path / "config"
    config.write_text(
        "[default]\nregion = us-east-1\nsso_session = office\nsso_account_id = 1\nsso_role_name = reader\n"
        "[sso-session office]\nsso_region = us-east-1\nsso_start_url = https://office.test\n"
    )
    environment = {name: value for name, value in lab.environment().items() if "_KEY" not in name}
    done = subprocess.run(
        [
            *(sys.executable, "-m", "asyncstream.cli.main", "copy"),
            *("s3://source/in/", "s3://destination/no/", "--engine", engine),
        ],
        cwd=ROOT,
        env={"PATH": "", "HOME": str(tmp_path), **environment, "AWS_CONFIG_FILE": str(config)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "Run `aws sso login`" in done.stderr
