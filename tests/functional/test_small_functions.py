"""Handlers in real memory groups of 128 MB: a right reply, where the kernel would kill a process of 129."""

import json

import pytest
from servers import LabServer
from servers.small_function import Invoke

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def test_ten_thousand_absent_keys_are_told(invoke: Invoke, handler: str, lab_server: LabServer) -> None:
    source, target = lab_server.new_bucket().name, lab_server.new_bucket().name
    names = [f"in/{number:06d}.bin" for number in range(10_000)]
    files = [{"source": f"s3://{source}/{key}", "destination": f"s3://{target}/{key}"} for key in names]

    reply = invoke(handler, {"files": files})

    assert reply["status"] == "failed"
    assert reply["totals"]["failed"] == len(files)
    assert len(reply["failures"]) + reply["failures_omitted"] == len(files)
    assert {row["error"]["type"] for row in reply["failures"]} == {"SourceNotFound"}
    assert len(json.dumps(reply)) < 256 * 1024
