"""Single runs of a comparison against the lab S3, with handlers that lie, crash or corrupt."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from asyncstream.lab.compare import workloads
from asyncstream.lab.compare.files import CopyFiles, source_prefix
from asyncstream.lab.compare.harness import Turn
from asyncstream.lab.compare.rounds import take, turns
from asyncstream.lab.compare.sandboxed import SandboxedFunctions
from asyncstream.lab.compare.testbed import LabTestbed
from asyncstream.lab.compare.variants import VARIANTS, Variant, repeated
from asyncstream.lab.compare.verification import Checksum, wrong_bytes
from asyncstream.lab.report.measurement import Failure, Files, Run, Way
from asyncstream.lab.xray.reading import all_spans

FILES = Files(2, 50_000)

COPYING = """
import boto3
from urllib.parse import urlsplit

def handler(event, context):
    s3 = boto3.client("s3")
    for file in event["files"]:
        source, destination = urlsplit(file["source"]), urlsplit(file["destination"])
        body = s3.get_object(Bucket=source.netloc, Key=source.path[1:])["Body"].read()
        s3.put_object(Bucket=destination.netloc, Key=destination.path[1:], Body=changed(body))
    return {"status": "copied", "totals": {"requests": {}}}
"""


REPLYING = "handler = lambda event, context: {}"
NO = {"type": "Denied", "message": "no"}


@pytest.fixture(scope="module")
def testbed() -> Iterator[LabTestbed]:
    with LabTestbed("off", tls=False) as testbed:
        testbed.put_sources(source_prefix(FILES), workloads.names(FILES), FILES.size)
        yield testbed


def taken(testbed: LabTestbed, directory: Path, code: str) -> Run | Failure:
    (directory / "written.py").write_text(code)
    # The name is unique to the test, so its objects do not mix with those of other tests.
    variant = Variant(Way(directory.name, "written", reference=True), directory, "written.handler")
    with SandboxedFunctions([variant], testbed.environment(), traced=False) as functions:
        return take(Turn(1, FILES, variant, None), CopyFiles(testbed, 4), functions)


def test_a_right_copy_is_a_run(testbed: LabTestbed, tmp_path: Path) -> None:
    run = taken(testbed, tmp_path, COPYING + "changed = bytes")
    assert isinstance(run, Run)
    assert run.requests == {"GetObject": 2, "PutObject": 2}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("changed = lambda body: body[:-1]", "000000 has 49,999 bytes instead of 50,000"),
        ("changed = lambda body: body[1:] + body[:1]", "000001 has CRC64NVME"),
    ],
)
def test_wrong_bytes_are_a_failure(testbed: LabTestbed, tmp_path: Path, change: str, told: str) -> None:
    run = taken(testbed, tmp_path, COPYING + change)
    assert isinstance(run, Failure)
    assert run.error.startswith("WrongBytes: ")
    assert told in run.error


def test_a_handler_that_did_nothing_is_a_failure(testbed: LabTestbed, tmp_path: Path) -> None:
    run = taken(testbed, tmp_path, "handler = lambda event, context: {'status': 'copied'}")
    assert run == Failure("WrongBytes: 000000 is missing; 000001 is missing")


def test_an_upload_left_open_is_told_of_a_right_copy_and_removed(testbed: LabTestbed, tmp_path: Path) -> None:
    leaving = """
def changed(body):
    s3 = boto3.client("s3")
    s3.create_multipart_upload(Bucket="destination", Key="round-1/left/all/2x50000/000000")
    return body
"""
    directory = tmp_path / "left"
    directory.mkdir()
    for _ in range(2):  # the second run finds nothing left by the first
        run = taken(testbed, directory, COPYING + leaving)
        assert isinstance(run, Run)
        assert run.left_open == 2


def tried(s3: Any, prefix: str) -> list[bool]:
    """Return which of several requests succeeded."""

    def went_well(number: int) -> bool:
        try:
            s3.get_object(Bucket="source", Key=source_prefix(FILES) + "000000", Range=f"bytes={number}-")
            s3.put_object(Bucket="destination", Key=f"{prefix}{number}", Body=b"x")
        except (BotoCoreError, ClientError):
            return False
        return True

    return [went_well(number) for number in range(10)]


def test_every_run_meets_the_same_faults() -> None:
    """Requests outside a run meet no faults."""
    once = Config(retries={"total_max_attempts": 1})
    with LabTestbed("off", tls=False, faults=0.3) as testbed:
        told = testbed.environment()
        session = boto3.session.Session(told["AWS_ACCESS_KEY_ID"], told["AWS_SECRET_ACCESS_KEY"])
        options = {"endpoint_url": told["AWS_ENDPOINT_URL_S3"], "region_name": "us-east-1", "config": once}
        testbed.put_sources(source_prefix(FILES), workloads.names(FILES), FILES.size)
        with closing(session.client("s3", **options)) as s3:
            assert all(tried(s3, "before/"))
            met = []
            for prefix in ("one/", "another/"):
                testbed.start_run(prefix, seed=1)
                met.append((tried(s3, prefix), testbed.end_run().faults or {}))
                assert all(tried(s3, "after/"))
    assert met[0] == met[1]
    went_well, faults = met[0]
    assert sum(faults.values()) >= went_well.count(False) > 0


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("def handler(event, context): raise OSError('boom')", "OSError: boom"),
        (
            "import os\ndef handler(event, context): os._exit(3)",
            "Runtime.ExitError: Runtime exited with error: exit status 3",
        ),
        ("import os\ndef handler(event, context): os.kill(os.getpid(), 9)", "signal: killed"),
        ("import nonsense_that_is_not_there", "No module named 'nonsense_that_is_not_there'"),
        (
            REPLYING.format({"status": "failed", "failures": [{"error": NO}, {}, {}]}),
            "Denied: no (and 2 more",
        ),
        (REPLYING.format({"status": "rejected", "error": NO}), "Denied: no"),
    ],
)
def test_a_handler_that_fails_is_a_failure(testbed: LabTestbed, tmp_path: Path, code: str, told: str) -> None:
    run = taken(testbed, tmp_path, code)
    assert isinstance(run, Failure)
    assert told in run.error


def test_a_function_has_nothing_loaded_but_its_own(testbed: LabTestbed, tmp_path: Path) -> None:
    # Other modules would distort the measured imports and memory of the reference code.
    names = "[m for m in ('asyncstream', 'awscrt') if sys.modules.get(m)]"
    code = f"import boto3, sys\ndef handler(event, context): raise OSError({names})"
    failure = taken(testbed, tmp_path, code)
    assert isinstance(failure, Failure)
    assert failure.error == "OSError: []"


def test_a_failure_keeps_the_memory_it_had(testbed: LabTestbed, tmp_path: Path) -> None:
    failure = taken(testbed, tmp_path, "def handler(event, context): raise OSError('boom')")
    assert isinstance(failure, Failure)
    assert failure.memory[0].bytes > 5 << 20


def test_a_traced_run_has_its_spans_and_another_has_none(testbed: LabTestbed) -> None:
    variant = VARIANTS[0]
    for traced in (True, False):
        with SandboxedFunctions([variant], testbed.environment(), traced=traced) as functions:
            run = take(Turn(1, FILES, variant, 1769), CopyFiles(testbed, 4), functions)
        assert isinstance(run, Run)
        names = [] if run.trace is None else [span.name for span in all_spans(run.trace.roots)]
        assert names.count("file") == (FILES.files if traced else 0)


def test_variants_and_sizes_take_turns_in_every_round() -> None:
    """One variant is measured twice."""
    other = Files(1, 1)
    one, two = VARIANTS[:2]
    candidates = [(variant, size) for size in (128, 512) for variant in (one, two)]
    order = list(turns(2, [FILES, other], candidates, two))
    assert order == [
        Turn(round_, workload, variant, size, again)
        for round_ in (1, 2)
        for workload in (FILES, other)
        for size in (128, 512)
        for variant, again in ((one, False), (two, False), (two, True))
    ]


def test_what_is_made_twice_has_files_in_flight_together() -> None:
    assert repeated(VARIANTS).way.name == "threads"
    assert repeated([VARIANTS[0], VARIANTS[-1]]).way.name == "sequential"


def test_differences_beyond_the_third_are_counted() -> None:
    expected = {str(number): Checksum(1, "a") for number in range(5)}
    told = wrong_bytes(expected, {})
    assert told == "WrongBytes: 0 is missing; 1 is missing; 2 is missing and 2 more"


def test_what_was_not_asked_for_is_wrong_too() -> None:
    assert wrong_bytes({}, {"x": Checksum(1, "a")}) == "WrongBytes: x is unexpected"
    assert wrong_bytes({"x": Checksum(1, "a")}, {"x": Checksum(1, "a")}) is None
