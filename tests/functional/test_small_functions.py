"""Handlers in real memory groups of 128 MB reply correctly. The kernel would kill a process of 129 MB."""

import json
import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.servers import LabServer, S3Server
from tests.servers.small_function import Invoke

logger = logging.getLogger(__name__)  # --log-cli-level=info shows the measurements

MB = 1 << 20
MEMORY_MB = 128
MOST_REPLY = 256 * 1024

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def test_many_absent_keys_are_told(invoke: Invoke, handler: str, lab_server: LabServer) -> None:
    """Each failure once kept 20 KiB; at that size, 4,000 need more than a function of 128 MB has."""
    source, target = lab_server.new_bucket().name, lab_server.new_bucket().name
    names = [f"in/{number:06d}.bin" for number in range(4_000)]
    files = [{"source": f"s3://{source}/{key}", "destination": f"s3://{target}/{key}"} for key in names]

    reply = invoke(handler, {"files": files}, timeout=250.0)

    assert reply["status"] == "failed"
    assert reply["totals"]["failed"] == len(files)
    assert len(reply["failures"]) + reply["failures_omitted"] == len(files)
    assert {row["error"]["type"] for row in reply["failures"]} == {"SourceNotFound"}
    assert len(json.dumps(reply)) < MOST_REPLY


def test_many_failing_transforms_are_told(
    invoke: Invoke, handler: str, lab_server: LabServer, tmp_path: Path
) -> None:
    """Each failure once kept over 300 KiB; at that size, 400 need more than a function of 128 MB has."""
    code = "def decode(chunk):\n    return str(bytes(chunk), 'ascii').encode()\n"
    (tmp_path / "failing.py").write_text(code)
    source, target = lab_server.new_bucket().name, lab_server.new_bucket().name
    names = lab_server.lab.declare_many(source, "in/", 400, 300_000)
    files = [{"source": f"s3://{source}/{key}", "destination": f"s3://{target}/{key}"} for key in names]

    event = {"files": files, "config": {"transform": "failing:decode", "max_concurrency": 4}}
    reply = invoke(handler, event, code=tmp_path)

    assert (reply["status"], reply["totals"]["failed"]) == ("failed", 400)
    assert {row["error"]["type"] for row in reply["failures"]} == {"TransformError"}
    assert "UnicodeDecodeError" in reply["failures"][0]["error"]["message"]


@pytest.fixture(scope="module")
def many_keys(running: Callable[[str], S3Server]) -> str:
    """Declare 100,000 small objects in a bucket; return its name."""
    server = running("lab")
    assert isinstance(server, LabServer)
    bucket = server.new_bucket().name
    server.lab.declare_many(bucket, "year=2026/month=11/day=29/part-", 100_000, 1_000)
    return bucket


@pytest.fixture(scope="module")
def patience() -> list[float]:
    """Time-outs in seconds, each twice the one before. The first is long enough for a fast machine."""
    return [6.0, 12.0, 24.0, 48.0, 96.0]


@pytest.mark.parametrize("handler", ["threads", "asyncio_multipart"], indirect=True)  # one of each SDK
def test_a_hundred_thousand_keys_are_listed(
    invoke: Invoke, handler: str, lab_server: LabServer, many_keys: str, patience: list[float]
) -> None:
    """The function copies until its time is up. A slower machine needs more time for the listing alone."""
    target = lab_server.new_bucket().name
    event = {"source_prefix": f"s3://{many_keys}", "destination": f"s3://{target}/copies/"}

    reply = invoke(handler, event, timeout=patience[0])
    while reply["status"] == "rejected" and len(patience) > 1:
        del patience[0]  # the other handlers start with the next one, too
        reply = invoke(handler, event, timeout=patience[0])

    totals = reply["totals"]
    assert (reply["status"], totals["files"], totals["failed"]) == ("pending", 100_000, 0)
    assert totals["pending"] == len(reply["pending"]) + reply["pending_omitted"]
    assert totals["copied"] + totals["pending"] == 100_000
    assert len(json.dumps(reply)) < MOST_REPLY
