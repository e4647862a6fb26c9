"""Single runs of a comparison: handlers that lie, crash or corrupt, against the lab S3."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from asyncstream.lab.compare import workloads
from asyncstream.lab.compare.rounds import Turn, source_prefix, take, turns
from asyncstream.lab.compare.testbed import LabTestbed
from asyncstream.lab.compare.variants import VARIANTS, Variant
from asyncstream.lab.compare.verification import Checksum, difference
from asyncstream.report.measurement import Failure, Run, Way, Workload

FILES = Workload(2, 50_000)

COPYING = """
import boto3
from urllib.parse import urlsplit

def handler(event, context):
    s3 = boto3.client("s3")
    for file in event["files"]:
        source, destination = urlsplit(file["source"]), urlsplit(file["destination"])
        body = s3.get_object(Bucket=source.netloc, Key=source.path[1:])["Body"].read()
        s3.put_object(Bucket=destination.netloc, Key=destination.path[1:], Body=changed(body))
    return {"status": "copied"}
"""


REPLYING = "handler = lambda event, context: {}"
NO = {"type": "Denied", "message": "no"}


@pytest.fixture(scope="module")
def testbed() -> Iterator[LabTestbed]:
    with LabTestbed("off", tls=False) as testbed:
        testbed.put_sources(source_prefix(FILES), workloads.names(FILES), FILES.size)
        yield testbed


def taken(testbed: LabTestbed, directory: Path, code: str, name: str) -> Run | Failure:
    file = directory / "handler.py"
    file.write_text(code)
    return take(Turn(1, FILES, Variant(Way(name, name), file)), testbed, 4)


def test_a_right_copy_is_a_run(testbed: LabTestbed, tmp_path: Path) -> None:
    run = taken(testbed, tmp_path, COPYING + "changed = bytes", "right")
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
    run = taken(testbed, tmp_path, COPYING + change, change)
    assert isinstance(run, Failure)
    assert run.error.startswith("WrongBytes: ")
    assert told in run.error


def test_a_handler_that_did_nothing_is_a_failure(testbed: LabTestbed, tmp_path: Path) -> None:
    run = taken(testbed, tmp_path, "handler = lambda event, context: {'status': 'copied'}", "idle")
    assert run == Failure("WrongBytes: 000000 is missing; 000001 is missing")


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("def handler(event, context): raise OSError('boom')", "OSError: boom"),
        ("import os\ndef handler(event, context): os._exit(3)", "exit status 3"),
        ("import os\ndef handler(event, context): os.kill(os.getpid(), 9)", "killed by signal 9"),
        ("import nonsense_that_is_not_there", "No module named 'nonsense_that_is_not_there'"),
        (
            REPLYING.format({"status": "failed", "failures": [{"error": NO}, {}, {}]}),
            "Denied: no (and 2 more",
        ),
        (REPLYING.format({"status": "rejected", "error": NO}), "Denied: no"),
    ],
)
def test_a_handler_that_fails_is_a_failure(testbed: LabTestbed, tmp_path: Path, code: str, told: str) -> None:
    run = taken(testbed, tmp_path, code, "failing")
    assert isinstance(run, Failure)
    assert told in run.error


def test_the_runner_loads_nothing_of_asyncstream(testbed: LabTestbed, tmp_path: Path) -> None:
    # Else the reference code's imports and memory would be measured wrong.
    names = "[m for m in ('asyncstream', 'awscrt') if sys.modules.get(m)]"
    code = f"import boto3, sys\ndef handler(event, context): raise OSError({names})"
    assert taken(testbed, tmp_path, code, "modules") == Failure("OSError: []")


def test_variants_take_turns_in_every_round() -> None:
    other = Workload(1, 1)
    order = [(t.round, t.workload, t.variant) for t in turns(2, [FILES, other], VARIANTS[:2])]
    first = [
        (1, FILES, VARIANTS[0]),
        (1, FILES, VARIANTS[1]),
        (1, other, VARIANTS[0]),
        (1, other, VARIANTS[1]),
    ]
    assert order == first + [(2, workload, variant) for _, workload, variant in first]


def test_differences_beyond_the_third_are_counted() -> None:
    expected = {str(number): Checksum(1, "a") for number in range(5)}
    told = difference(expected, {})
    assert told == "WrongBytes: 0 is missing; 1 is missing; 2 is missing and 2 more"


def test_what_was_not_asked_for_is_wrong_too() -> None:
    assert difference({}, {"x": Checksum(1, "a")}) == "WrongBytes: x was not asked for"
    assert difference({"x": Checksum(1, "a")}, {"x": Checksum(1, "a")}) is None
