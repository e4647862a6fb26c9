"""Events that ask for the files of a tar archive."""

import io
import tarfile
from collections.abc import Callable
from typing import Any

import pytest

from asyncstream.lab.s3 import LabS3
from asyncstream.lab.s3.faults import Fault
from tests.handlers.deliveries import Deliver
from tests.handlers.invocations import Invoke
from tests.handlers.trigger_events import sqs

from .packing import FILES, MANY, objects, under


def tar(files: dict[str, bytes], mode: Any = "w") -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode=mode) as archive:
        for name, body in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(body)
            archive.addfile(member, io.BytesIO(body))
    return packed.getvalue()


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_its_files_are_unpacked(
    invoke: Invoke, s3: Any, source: str, target: str, put: Callable[..., None], mode: str
) -> None:
    put(tar(FILES, mode), "in/a.tar")
    place = f"s3://{target}/report.json"
    event = {"untar": f"s3://{source}/in/a.tar", "destination": f"s3://{target}/x/", "select": "*.csv"}
    reply = invoke(event | {"report_uri": place})

    assert (reply["status"], reply["report_uri"]) == ("copied", place)
    found = objects(s3, target)
    assert b"in/a.tar!/a.csv" in found.pop("report.json")
    assert found == under("x/", {name: body for name, body in FILES.items() if name.endswith(".csv")})


def test_what_it_has_no_time_for_fails_and_is_unpacked_by_the_event_again(
    invoke: Invoke,
    lab: LabS3,
    s3: Any,
    source: str,
    target: str,
    put: Callable[..., None],
    faulty: Callable[..., None],
) -> None:
    put(tar(MANY), "in/a.tar")
    event = {
        "untar": f"s3://{source}/in/a.tar",
        "destination": f"s3://{target}/",
        "config": {"if_exists": "skip"},
    }
    # Tar has no checksums, so each file is an upload, which S3 compares before it becomes visible.
    faulty([Fault("stall", "UploadPart", key="*2?", seconds=3600)])
    first = invoke(event, seconds=3)
    faulty([])

    done = objects(s3, target)
    assert 0 < len(done) < len(MANY)
    assert (first["status"], first["failures"][0]["error"]["type"]) == ("partial", "DeadlineExceeded")
    assert invoke(event)["totals"]["skipped"] == len(done)
    assert objects(s3, target) == MANY
    assert s3.list_multipart_uploads(Bucket=target).get("Uploads", []) == []


def test_a_message_unpacks_within_the_deployed_prefixes(
    deliver: Deliver, lab: LabS3, s3: Any, source: str, target: str, put: Callable[..., None]
) -> None:
    put(tar(FILES), "in/a.tar")
    event = {"untar": f"s3://{source}/in/a.tar", "destination": f"s3://{target}/out/x/"}
    outside = deliver(event | {"untar": "s3://elsewhere/a.tar"})

    assert "is outside s3://" in outside["error"]["message"]
    assert lab.stats()["operations"] == {}
    assert deliver(sqs(event)) == {"batchItemFailures": []}
    assert objects(s3, target) == under("out/x/")
    deliver(sqs(event))
    assert not {"PutObject", "CreateMultipartUpload"} & lab.stats()["operations"].keys()
