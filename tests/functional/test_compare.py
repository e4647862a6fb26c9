"""`asyncstream compare` from the command line to the exit code, with files small enough for a test."""

import json
import re
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from asyncstream.errors import S3Error
from asyncstream.lab.compare.endpoint import EndpointTestbed
from asyncstream.lab.compare.variants import VARIANTS
from asyncstream.lab.s3 import LabS3
from asyncstream.lab.sandbox.limits import open_limits
from asyncstream.locations import S3Prefix
from tests.servers import S3Server

from .command_line import Ended
from .interrupted import interrupt

ROOT = Path(__file__).parents[2]
TINY = ("compare", "--files", "3x200KB", "--model", "off")


def rows(document: Any, section: int = 0) -> dict[str, Any]:
    return {row["way"]["name"]: row for row in document["sections"][section]["rows"]}


def test_every_way_is_run_and_verified(run: Callable[..., Ended], tmp_path: Path) -> None:
    done = run(*TINY, "--json", str(tmp_path / "out.json"))
    assert done.code == 0
    assert "Verified: every byte of 8 runs" in done.out
    assert "[8/8] 3 x 200 KB, threads again, round 1: " in done.err
    document = json.loads((tmp_path / "out.json").read_bytes())
    assert document["command"] == f"asyncstream {' '.join(TINY)} --json {tmp_path / 'out.json'}"
    assert list(rows(document)) == [variant.way.name for variant in VARIANTS]
    for name, row in rows(document).items():
        assert row["errors"] == []
        assert row["figures"]["requests"] == {"GetObject": 3, "PutObject": 3}, name
        assert row["figures"]["cpu_seconds"] > 0
        assert 20 * 2**20 < row["figures"]["peak_bytes"] < 200 * 2**20
        assert row["figures"]["init_cpu_seconds"] > 0
        assert 128 <= row["figures"]["needed_mb"] <= 10_240
        assert re.search(rf"^{re.escape(row['way']['label'])} +\d", done.out, re.MULTILINE)


def test_json_on_standard_output_is_alone_there(run: Callable[..., Ended]) -> None:
    done = run(*TINY, "--no-trace", "--variants", "boto3", "--rounds", "2", "--no-repeat", "--json")
    document = json.loads(done.out)
    assert done.code == 0
    assert "boto3 one by one" in done.err
    assert (document["rounds"], document["verified"]) == (2, 2)
    assert rows(document)["boto3"]["figures"]["rounds"] == 2


def test_the_engine_and_multipart_can_be_told_apart(run: Callable[..., Ended]) -> None:
    options = ["--variants", "asyncio,asyncio-multipart", "--no-trace", "--no-repeat", "--json"]
    done = run("compare", "--files", "1x60MB", "--model", "off", *options)
    document = json.loads(done.out)
    assert rows(document)["asyncio"]["figures"]["requests"] == {"GetObject": 1, "PutObject": 1}
    assert "UploadPart" in rows(document)["asyncio-multipart"]["figures"]["requests"]


def test_a_sweep_invokes_every_way_in_every_size_and_shows_it(
    run: Callable[..., Ended], tmp_path: Path
) -> None:
    page, comment = tmp_path / "out.html", tmp_path / "out.md"
    options = ["--variants", "asyncio-multipart,boto3", "--memory", "1024,1769", "--html", str(page)]
    done = run(*TINY, *options, "--markdown", str(comment), "--json")
    assert done.code == 0
    document = json.loads(done.out)
    assert document["memory"] == [1024, 1769]
    found = [(row["way"]["name"], row["memory_mb"]) for row in document["sections"][0]["rows"]]
    assert found == [(way, size) for way in ("asyncio-multipart", "boto3") for size in (1024, 1769)]
    for row in document["sections"][0]["rows"]:
        assert row["figures"]["billed_mb"] == row["memory_mb"]
        assert row["noise"] >= 0
    assert "asyncio + multipart at 1,769 MB again, round 1" in done.err
    assert "| asyncio + multipart | 1,024 |" in comment.read_text()
    # Traces were read back and contain the files.
    assert "s3://source/3x200000/000002" in page.read_text()


def test_a_size_that_is_too_small_is_a_row_that_says_so(run: Callable[..., Ended]) -> None:
    if not open_limits().description.startswith("cgroup"):
        pytest.skip(
            "This machine has no control groups, so no size is too small."
        )  # only root, or the owner of the machine, can provide them
    options = ["--variants", "boto3-pool", "--memory", "128", "--no-repeat", "--no-trace", "--json"]
    done = run("compare", "--files", "10x30MB", "--model", "off", *options)
    (row,) = json.loads(done.out)["sections"][0]["rows"]
    assert row["figures"] is None
    assert row["errors"] == ["Runtime.OutOfMemory: Runtime exited with error: signal: killed"]
    assert "out of memory" in done.err
    assert done.code == 0  # too little memory is a finding; the comparison itself succeeded


def test_a_failing_variant_is_a_row_with_its_error(
    run: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other variants run."""
    monkeypatch.setenv("ASYNCSTREAM_MEMORY_LIMIT", "1")
    done = run(*TINY, "--no-trace", "--no-repeat", "--variants", "threads,boto3", "--json")
    assert done.code == 1
    document = json.loads(done.out)
    assert rows(document)["threads"]["figures"] is None
    assert rows(document)["threads"]["errors"][0].startswith("ConfigError: memory_limit of 1 bytes")
    assert rows(document)["boto3"]["figures"]["seconds"] > 0
    assert "FAILED  3 x 200 KB, threads: ConfigError" in done.err


def test_faults_are_survived_told_and_leave_nothing(run: Callable[..., Ended], tmp_path: Path) -> None:
    page, comment = tmp_path / "out.html", tmp_path / "out.md"
    options = ["--variants", "threads-multipart,asyncio-multipart", "--no-trace", "--no-repeat", "--json"]
    files = ["--files", "3x60MB", "--model", "off", "--faults", "0.1"]
    done = run("compare", *files, *options, "--html", str(page), "--markdown", str(comment))
    assert done.code == 0, done.err
    document = json.loads(done.out)
    assert (document["verified"], document["network"]["faults"]) == (2, 0.1)
    for name, row in rows(document).items():
        assert sum(row["figures"]["faults"].values()) > 0, name
        assert row["figures"]["left_open"] == 0, name
    for told in (done.err, page.read_text(), comment.read_text()):
        assert "10 % of requests fail" in " ".join(told.split())
        assert "faults" in told.replace("--faults", "")


def test_files_are_changed_on_their_way_by_all_and_verified(
    run: Callable[..., Ended], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "swapped_here.py").write_text("def swapped(chunk):\n    return chunk.swapcase()\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    transform = "swapped_here:swapped,zstd"
    comment = tmp_path / "out.md"
    options = ["--no-trace", "--no-repeat", "--transform", transform]
    done = run(*TINY, *options, "--json", "--markdown", str(comment))
    assert done.code == 0, done.err
    document = json.loads(done.out)
    assert (document["transform"], document["verified"]) == (transform, 3)
    assert list(rows(document)) == ["sequential", "threads", "asyncio"]
    for told in (done.err, comment.read_text()):
        assert f"each file transformed by {transform}" in " ".join(told.split())


def test_a_comparison_ignores_a_transform_of_the_environment(
    run: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ASYNCSTREAM_TRANSFORM", "gzip")
    assert run(*TINY, "--no-trace", "--no-repeat", "--variants", "threads").code == 0


def test_tls(run: Callable[..., Ended]) -> None:
    done = run(*TINY, "--no-trace", "--no-repeat", "--variants", "asyncio,boto3-pool", "--tls")
    assert done.code == 0
    assert "over TLS" in done.out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--files", "ten"], "is not a workload"),
        (["--files", "0x1KB"], "use 1 to 20,000 files"),
        (["--files", "2x1KB", "--files", "2x1000"], "twice"),
        (["--variants", "steam"], "no variant 'steam'"),
        (["--variants", "threads,threads"], "twice"),
        (["--model", "fast"], "network model 'fast'"),
        (["--rounds", "0"], "--rounds 0"),
        (["--concurrency", "0"], "--concurrency 0"),
        (["--memory", "64"], "--memory 64"),
        (["--memory", "128,ten"], "write sizes in MB, such as 128,512,1769"),
        (["--json", "-", "--markdown", "-"], "only one of --json, --markdown and --html"),
        (["--html", "/absent/out.html"], "--html /absent/out.html: the directory does not exist"),
        (["--prices", "absent.json"], "absent.json"),
        (["--json", "/absent/out.json"], "the directory does not exist"),
        (["--source-bucket", "mine"], "--endpoint-url"),
        (["--transform", "lz4"], "transform 'lz4' must be one of"),
        (["--transform", "gunzip"], "--transform gunzip: the files are random bytes"),
        (
            ["--transform", "gzip", "--variants", "boto3"],
            "--variants boto3 does not work with --transform",
        ),
        (["--faults", "1.5"], "--faults 1.5 is out of range: use 0 to 1"),
        (["--faults", "nan"], "--faults nan"),
        (["--faults", "5%"], "--faults: invalid float value: '5%'"),
        (["--faults", "0.1", "--stack", "mine"], "--faults does not work with --stack: only the lab's S3"),
        (["--faults", "0.1", "--endpoint-url", "http://127.0.0.1:9"], "does not work with --endpoint-url"),
    ],
)
def test_bad_input_is_told_in_one_line(run: Callable[..., Ended], arguments: list[str], told: str) -> None:
    done = run("compare", *arguments)
    assert (done.code, done.out) == (2, "")
    assert len(done.err.splitlines()) == 1
    assert told in done.err


@pytest.fixture
def other(monkeypatch: pytest.MonkeyPatch) -> Iterator[LabS3]:
    """Start another lab S3 that is used like any S3 server."""
    with LabS3() as other:
        for name, value in other.environment().items():
            if "ENDPOINT" not in name:
                monkeypatch.setenv(name, value)
        yield other


def test_buckets_are_made_and_gone_afterwards(other: LabS3, run: Callable[..., Ended]) -> None:
    options = ["--files", "2x9MB", "--endpoint-url", other.endpoint_url, "--json"]
    done = run("compare", "--no-trace", "--no-repeat", "--variants", "threads-multipart,boto3", *options)
    assert done.code == 0
    document = json.loads(done.out)
    assert document["verified"] == 2
    assert document["network"] == {"server": other.endpoint_url, "model": None, "tls": False, "faults": None}
    assert rows(document)["threads-multipart"]["figures"]["requests"] == {"GetObject": 2, "PutObject": 2}
    of_boto3 = rows(document)["boto3"]["figures"]["requests"]
    assert of_boto3 == {
        "GetObject": 2,
        "CreateMultipartUpload": 2,
        "UploadPart": 4,
        "CompleteMultipartUpload": 2,
    }
    operations = other.stats()["operations"]
    assert operations["CreateBucket"] == operations["DeleteBucket"] == 2


def test_named_buckets_stay_and_are_left_as_they_were(other: LabS3, run: Callable[..., Ended]) -> None:
    for name in ("mine", "yours"):
        other.create_bucket(name, keep=True)
        other.declare(name, [("not-ours", 10)])
    buckets = ["--source-bucket", "mine", "--destination-bucket", "yours"]
    options = [
        "--files",
        "3x20KB",
        "--no-repeat",
        "--variants",
        "asyncio",
        "--endpoint-url",
        other.endpoint_url,
    ]
    assert run("compare", "--no-trace", *options, *buckets).code == 0
    assert [*other.checksums("mine"), *other.checksums("yours")] == ["not-ours", "not-ours"]


def test_of_a_bucket_with_versions_none_is_left(
    running: Callable[[str], S3Server], run: Callable[..., Ended]
) -> None:
    server = running("moto")
    bucket = server.new_bucket()
    client = bucket.client
    client.put_bucket_versioning(Bucket=bucket.name, VersioningConfiguration={"Status": "Enabled"})
    bucket.put("ours", b"x")

    options = ["--files", "3x20KB", "--variants", "threads", "--no-trace", "--no-repeat"]
    buckets = ["--source-bucket", bucket.name, "--destination-bucket", bucket.name]
    assert run("compare", *options, "--endpoint-url", server.endpoint_url, *buckets).code == 0

    listed = client.list_object_versions(Bucket=bucket.name)
    assert [row["Key"] for row in listed["Versions"]] == ["ours"]
    assert "DeleteMarkers" not in listed


def test_what_could_not_be_deleted_is_told(other: LabS3, monkeypatch: pytest.MonkeyPatch) -> None:
    other.create_bucket("mine", keep=True)
    testbed = EndpointTestbed(other.endpoint_url, S3Prefix("mine"), S3Prefix("mine"))
    testbed.put_sources("in/", ["a"], 10)
    # S3 answers 200 for a refused deletion, too.
    refusal = {"Errors": [{"Key": "in/a", "Code": "AccessDenied", "Message": "no"}]}
    monkeypatch.setattr(testbed._s3, "delete_objects", lambda **_: refusal)

    with (
        pytest.raises(S3Error, match=r"1 objects under s3://mine/.* were not deleted: AccessDenied: no"),
        testbed,
    ):
        pass


def test_a_bucket_that_is_not_there_is_told_in_one_line(other: LabS3, run: Callable[..., Ended]) -> None:
    done = run("compare", "--endpoint-url", other.endpoint_url, "--source-bucket", "absent")
    assert (done.code, done.out) == (1, "")
    assert len(done.err.splitlines()) == 1


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_comparison_shows_results_so_far(ending: signal.Signals, tmp_path: Path) -> None:
    """An interrupted comparison leaves nothing behind."""
    two = ["--files", "1x20KB", "--files", "1x90MB", "--model", "1/1/1", "--tls", "--no-repeat"]
    interrupt([*two, "--variants", "boto3"], "boto3 one by one", ending, tmp_path)
