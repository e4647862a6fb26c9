"""Events that ask for packs: tar and ZIP archives of many objects, and joined objects."""

import io
import tarfile
import zipfile
from collections.abc import Callable
from typing import Any

import pytest

from asyncstream.lab.s3 import LabS3
from asyncstream.lab.s3.faults import Fault
from tests.handlers.deliveries import Deliver
from tests.handlers.invocations import PART, Invoke
from tests.handlers.trigger_events import sqs

from .packing import objects

DAYS = {"a.csv": b"day,n\n1,2\n", "b.csv": b"day,n\n3,4\n", "deep/c.csv": b"day,n\n5,6"}


@pytest.fixture
def days(put: Callable[..., None], source: str) -> str:
    """Store some objects under a prefix of the source; return its URI."""
    for name, body in DAYS.items():
        put(body, f"days/{name}")
    return f"s3://{source}/days/"


def read_tar(archive: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        return {each.name: opened.extractfile(each).read() for each in opened}  # type: ignore[union-attr]


def read_zip(archive: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        assert opened.testzip() is None
        return {name: opened.read(name) for name in opened.namelist()}


@pytest.mark.parametrize(("into", "read"), [("tar", read_tar), ("zip", read_zip)])
def test_objects_under_a_prefix_become_an_archive(
    invoke: Invoke, s3: Any, target: str, days: str, into: str, read: Callable[[bytes], Any]
) -> None:
    reply = invoke({into: days, "destination": f"s3://{target}/packed"})

    assert (reply["status"], reply["totals"]["files"]) == ("copied", 1)
    assert read(objects(s3, target)["packed"]) == DAYS


def test_a_list_becomes_an_archive_and_a_report(invoke: Invoke, s3: Any, target: str, days: str) -> None:
    names = [f"{days}b.csv", f"{days}a.csv"]
    place = f"s3://{target}/report.json"
    reply = invoke({"tar": names, "destination": f"s3://{target}/a.tar", "report_uri": place})

    assert (reply["status"], reply["report_uri"]) == ("copied", place)
    assert list(read_tar(objects(s3, target)["a.tar"])) == ["days/b.csv", "days/a.csv"]


@pytest.mark.parametrize(
    ("how", "joined"),
    [
        ({}, b"".join(DAYS.values())),
        ({"separator": "--"}, b"--".join(DAYS.values())),
        ({"header": "first"}, b"day,n\n1,2\n3,4\n5,6\n"),
    ],
)
def test_objects_are_joined(invoke: Invoke, s3: Any, target: str, days: str, how: Any, joined: bytes) -> None:
    reply = invoke({"concat": days, "destination": f"s3://{target}/all.csv", **how})

    assert reply["status"] == "copied"
    assert objects(s3, target) == {"all.csv": joined}


def test_a_pack_that_takes_long_is_continued_by_its_event(
    invoke: Invoke,
    lab: LabS3,
    s3: Any,
    source: str,
    target: str,
    put: Callable[..., None],
    faulty: Callable[..., None],
) -> None:
    large = {"x": bytes(range(256)) * 40_000, "y": bytes(range(255)) * 40_000}
    for name, body in large.items():
        put(body, f"large/{name}")
    event = {
        "tar": f"s3://{source}/large/",
        "destination": f"s3://{target}/large.tar",
        "config": {"part_size": PART, "multipart": True},
    }
    faulty([Fault("stall", "UploadPart", part_number=3, seconds=3600)])
    first = invoke(event, seconds=4)
    faulty([])

    assert (first["status"], first["totals"]["pending"]) == ("pending", 1)
    assert "pending" not in first
    second = invoke(event | {"continuation": first["continuation"]})
    assert (second["status"], second.get("continuation")) == ("copied", None)
    assert "CreateMultipartUpload" not in lab.stats()["operations"]
    assert read_tar(objects(s3, target)["large.tar"]) == large


def test_a_message_asks_for_a_pack(deliver: Deliver, s3: Any, target: str, days: str) -> None:
    event = {"zip": days, "destination": f"s3://{target}/out/a.zip"}

    assert deliver(sqs(event)) == {"batchItemFailures": []}
    assert read_zip(objects(s3, target)["out/a.zip"]) == DAYS


def test_a_deployed_function_packs_within_its_prefixes(
    deliver: Deliver, lab: LabS3, source: str, target: str, days: str
) -> None:
    there = f"s3://{target}/out/a.tar"
    replies = [
        deliver({"tar": "s3://elsewhere/", "destination": there}),
        deliver({"tar": [f"{days}a.csv", "s3://elsewhere/a"], "destination": there}),
        deliver({"zip": days, "destination": f"s3://{target}/a.zip"}),
        deliver({"concat": days, "destination": f"s3://{source}/in/a"}),
    ]

    assert [reply["status"] for reply in replies] == ["rejected"] * 4
    assert all("is outside s3://" in reply["error"]["message"] for reply in replies)
    assert lab.stats()["operations"] == {}
