"""The same handlers in the sandbox and in AWS's emulator of the Runtime API, as far as that goes."""

import json
import os
import re
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from asyncstream.lab.sandbox import Function, Sandbox
from asyncstream.lab.sandbox.function import variables
from tests.servers.base import free_port, until

CODE = Path(__file__).with_name("sandbox_functions")
ROOT = Path(__file__).parents[2]
EMULATOR = next(
    ROOT.glob(".venv/sam/lib/python*/site-packages/samcli/local/rapid/aws-lambda-rie-x86_64"), None
)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(EMULATOR is None, reason="the SAM CLI, which carries the emulator, is not installed"),
]


def a_function(name: str) -> Function:
    return Function(name="test_function", handler=f"handling.{name}", code=[CODE], timeout=60)


@contextmanager
def emulated(function: Function) -> Iterator[str]:
    """Yield the URL at which the emulator invokes a function."""
    port, api = free_port(), f"127.0.0.1:{free_port()}"
    own = {**variables(function, api, "stream", None), "AWS_LAMBDA_FUNCTION_TIMEOUT": "60"}
    address = f"127.0.0.1:{port}"
    addresses = ["--runtime-interface-emulator-address", address, "--runtime-api-address", api]
    # The sandbox's own bootstrap ends with its standard input, which the emulator does not provide.
    runtime = [sys.executable, "-P", "-m", "awslambdaric", function.handler]
    process = subprocess.Popen(
        [str(EMULATOR), *addresses, *runtime],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=own,
        cwd=CODE,
        start_new_session=True,
    )
    try:
        until(lambda: answers(port))
        yield f"http://{address}/2015-03-31/functions/function/invocations"
    finally:
        os.killpg(process.pid, 9)
        process.communicate()


def answers(port: int) -> bool:
    try:
        urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=1).close()
    except urllib.error.HTTPError as refused:
        refused.close()
    except OSError:
        return False
    return True


def by_emulator(name: str, event: Any) -> Any:
    with emulated(a_function(name)) as url:
        request = urllib.request.Request(url, json.dumps(event).encode(), method="POST")
        try:
            with urllib.request.urlopen(request, timeout=60) as reply:
                return json.load(reply)
        except urllib.error.HTTPError as failed:  # the emulator's reply if the process has ended
            with failed:
                return json.load(failed)


def by_sandbox(name: str, event: Any) -> Any:
    with Sandbox([a_function(name)]) as sandbox:
        client = sandbox.client()
        reply = client.invoke(FunctionName="test_function", Payload=json.dumps(event))
        client.close()
        return json.load(reply["Payload"])


def test_event_reply_and_context_are_the_same() -> None:
    event = {"käse": [1, 2.5, None, "\N{GRINNING FACE}"]}
    theirs, ours = by_emulator("describe", event), by_sandbox("describe", event)
    for field in ("event", "calls", "name", "memory"):
        assert ours[field] == theirs[field], field
    account = 4
    for position, part in enumerate(theirs["arn"].split(":")):
        assert position == account or ours["arn"].split(":")[position] == part
    assert 30_000 < ours["remaining"] <= 60_000
    assert len(ours["request_id"]) == len(theirs["request_id"])


def test_the_environment_has_what_the_emulator_sets() -> None:
    theirs, ours = (set(by("describe", {})["variables"]) for by in (by_emulator, by_sandbox))
    # The sandbox lacks the emulator's own settings, tracing (which is off) and Lambda's metadata endpoint.
    # Credentials are the function's own variables here.
    documented = {"AWS_LAMBDA_FUNCTION_TIMEOUT", "_X_AMZN_TRACE_ID"}
    credentials = {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"}
    metadata = {"AWS_LAMBDA_METADATA_API", "AWS_LAMBDA_METADATA_TOKEN"}
    assert theirs - ours <= documented | credentials | metadata


@pytest.mark.parametrize(
    ("name", "event", "fields"),
    [
        ("fail", {"what": "luck"}, ("errorType", "errorMessage", "stackTrace")),
        ("unserializable", {}, ("errorType", "errorMessage")),
        ("leave", {"status": 3}, ("errorType", "errorMessage")),
        ("leave", {"status": 0}, ("errorType", "errorMessage")),
        ("fall", {}, ("errorType", "errorMessage")),
    ],
)
def test_errors_are_the_same(name: str, event: Any, fields: tuple[str, ...]) -> None:
    theirs, ours = by_emulator(name, event), by_sandbox(name, event)
    for field in fields:
        assert without_id(ours[field]) == without_id(theirs[field])


def without_id(value: Any) -> str:
    return re.sub(r"RequestId: \S+", "RequestId: ...", str(value))
