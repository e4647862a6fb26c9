"""The Lambda sandbox, called through boto3, with processes that behave like functions."""

import base64
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from botocore.exceptions import ClientError

from asyncstream.errors import InputError
from asyncstream.lab.sandbox import Function, Observation, Sandbox
from asyncstream.lab.sandbox.log import Report, read_report
from tests.servers.base import until

CODE = [Path(__file__).with_name("sandbox_functions")]
ROOT = Path(__file__).parents[2]


def a_function(name: str, **settings: Any) -> Function:
    return Function(name=name, handler=f"handling.{name}", code=CODE, **settings)


class Invoked(NamedTuple):
    payload: Any
    error: str | None
    log: str
    report: Report
    observed: Observation


Invoke = Callable[..., Invoked]


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    names = ("describe", "allocate", "compute", "wait", "wait_for_file", "leave", "fall", "fail", "talk")
    settings = {"memory_mb": 512, "environment": {"MINE": "ä"}, "lacks": ["awscrt"]}
    functions = [a_function(name, **settings) for name in (*names, "unserializable")]
    functions.append(Function(name="unimportable", handler="absent.handler", code=CODE))
    functions.append(Function(name="no-such-handler", handler="handling.absent", code=CODE))
    with Sandbox(functions) as sandbox:
        yield sandbox


@pytest.fixture(scope="module")
def client(sandbox: Sandbox) -> Iterator[Any]:
    client = sandbox.client()
    yield client
    client.close()


@pytest.fixture
def invoke(sandbox: Sandbox, client: Any) -> Invoke:
    def run(name: str, event: Any = None, **arguments: Any) -> Invoked:
        payload = json.dumps(event if event is not None else {})
        reply = client.invoke(FunctionName=name, LogType="Tail", Payload=payload, **arguments)
        log = base64.b64decode(reply["LogResult"]).decode()
        report = read_report(log)
        observed = sandbox.observed(report.request_id)
        return Invoked(json.load(reply["Payload"]), reply.get("FunctionError"), log, report, observed)

    return run


@pytest.fixture
def limited(sandbox: Sandbox) -> None:
    if not sandbox.limits.startswith("cgroup"):
        pytest.skip(f"This machine has no control groups: {sandbox.limits}.")


def reset(client: Any, name: str, **settings: Any) -> None:
    """Change a function, so that its next invocation starts a new environment."""
    client.update_function_configuration(FunctionName=name, **settings)
    client.get_waiter("function_updated_v2").wait(FunctionName=name)


def test_an_invocation_answers_as_lambda_does(invoke: Invoke, client: Any) -> None:
    reset(client, "describe")
    done = invoke("describe", {"käse": [1]})
    assert done.error is None
    assert done.payload["event"] == {"käse": [1]}
    assert done.payload["request_id"] == done.report.request_id
    assert done.payload["arn"] == "arn:aws:lambda:us-east-1:123456789012:function:describe"
    assert (done.payload["name"], done.payload["memory"]) == ("describe", "512")
    assert 600_000 < done.payload["remaining"] <= 900_000
    assert done.log.splitlines()[:3] == [
        f"START RequestId: {done.report.request_id} Version: $LATEST",
        "imported",
        "call 1",
    ]
    assert done.log.splitlines()[3] == f"END RequestId: {done.report.request_id}"


def test_a_function_sees_none_of_the_callers_variables(
    invoke: Invoke, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It sees Lambda's variables and its own."""
    monkeypatch.setenv("OF_THE_CALLER", "1")
    reset(client, "describe")
    done = invoke("describe").payload
    variables = done["variables"]
    assert variables["MINE"] == "ä"
    assert "OF_THE_CALLER" not in variables
    assert variables["AWS_LAMBDA_FUNCTION_NAME"] == "describe"
    assert variables["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"] == "512"
    assert variables["_HANDLER"] == "handling.describe"
    assert variables["AWS_EXECUTION_ENV"] == "AWS_Lambda_python{}.{}".format(*sys.version_info)
    assert variables["LAMBDA_TASK_ROOT"] == str(CODE[0])
    assert variables["TZ"] == ":UTC"
    assert done["awscrt"] is None


def test_the_second_invocation_is_warm_and_init_ran_once(invoke: Invoke, client: Any) -> None:
    reset(client, "describe")
    first, second = invoke("describe"), invoke("describe")
    assert (first.payload["calls"], second.payload["calls"]) == (1, 2)
    assert first.payload["pid"] == second.payload["pid"]
    assert (first.observed.cold, second.observed.cold) == (True, False)
    assert first.report.init_seconds is not None
    assert second.report.init_seconds is None
    assert "imported" in first.log
    assert "imported" not in second.log
    assert first.observed.init_cpu_seconds > 0
    # Since August 2025 Lambda also bills the init.
    whole = first.report.seconds + first.report.init_seconds
    assert first.report.billed_seconds == pytest.approx(whole, abs=0.002)
    assert second.report.billed_seconds == pytest.approx(second.report.seconds, abs=0.001)


def test_a_change_of_configuration_begins_a_new_environment(invoke: Invoke, client: Any) -> None:
    before = invoke("describe").payload["pid"]
    reset(client, "describe", MemorySize=640, Environment={"Variables": {"MINE": "other"}})
    after = invoke("describe")
    assert after.payload["pid"] != before
    assert not Path(f"/proc/{before}").exists()
    assert after.payload["variables"]["MINE"] == "other"
    assert after.report.memory_mb == 640
    reset(client, "describe", MemorySize=512, Environment={"Variables": {"MINE": "ä"}})


def test_simultaneous_invocations_have_their_own_environments(
    invoke: Invoke, sandbox: Sandbox, tmp_path: Path
) -> None:
    go_on = tmp_path / "go on"

    def all_are_running() -> bool:
        return [each.function.name for each in list(sandbox._all)].count("wait_for_file") == 3

    with ThreadPoolExecutor(3) as pool:
        running = [pool.submit(invoke, "wait_for_file", {"path": str(go_on)}) for _ in range(3)]
        try:
            until(all_are_running)
        finally:
            go_on.touch()
    assert [each.result().observed.cold for each in running] == [True] * 3
    assert invoke("wait_for_file", {"path": str(go_on)}).observed.cold is False


@pytest.mark.usefixtures("limited")
def test_more_memory_than_the_function_has_ends_it_as_in_lambda(invoke: Invoke, client: Any) -> None:
    reset(client, "allocate", MemorySize=256)
    assert invoke("allocate", {"mb": 100}).payload == 100 << 20
    killed = invoke("allocate", {"mb": 300})
    assert killed.error == "Unhandled"
    assert killed.payload == {
        "errorType": "Runtime.OutOfMemory",
        "errorMessage": f"RequestId: {killed.report.request_id} "
        "Error: Runtime exited with error: signal: killed",
    }
    assert (killed.report.status, killed.report.error_type) == ("error", "Runtime.OutOfMemory")
    assert (killed.report.memory_mb, killed.report.peak_mb) == (256, 256)
    assert invoke("allocate", {"mb": 100}).observed.cold is True


@pytest.mark.usefixtures("limited")
@pytest.mark.parametrize("memory_mb", [256, 884, 1769])
def test_cpu_comes_in_proportion_to_memory(invoke: Invoke, client: Any, memory_mb: int) -> None:
    """Use the kernel's counters: a busy machine gives less CPU in a period, but never more than the quota."""
    reset(client, "compute", MemorySize=memory_mb)
    seen = invoke("compute", {"cpu_seconds": 0.2}).observed
    quotas = seen.cpu_seconds / (memory_mb / 1769 * 0.020)
    assert quotas >= 0.2 / 0.020
    assert seen.throttling is not None
    # With a larger quota the function needs fewer periods, with a smaller one it is throttled in more.
    # The kernel checks every 4 ms, and one core's unused quota may be missing on another core.
    assert quotas <= 1.05 * seen.throttling.periods + 2
    assert seen.throttling.throttled <= 1.25 * quotas + 2


def test_memory_is_sampled_and_its_peak_reported(invoke: Invoke, client: Any) -> None:
    reset(client, "allocate", MemorySize=1769)
    seen = invoke("allocate", {"mb": 200})
    assert 200 < seen.observed.peak_bytes / 2**20 < 260
    assert seen.report.peak_mb == pytest.approx(seen.observed.peak_bytes / 2**20, abs=1)
    assert max(sample.bytes for sample in seen.observed.memory) <= seen.observed.peak_bytes
    moments = [sample.seconds for sample in seen.observed.memory]
    assert moments == sorted(moments)


def test_a_function_that_takes_too_long_is_ended(invoke: Invoke, client: Any) -> None:
    reset(client, "wait", Timeout=1)
    late = invoke("wait", {"seconds": 60})
    assert late.payload == {
        "errorType": "Sandbox.Timedout",
        "errorMessage": f"RequestId: {late.report.request_id} Error: Task timed out after 1.00 seconds",
    }
    assert late.report.status == "timeout"
    assert re.search(rf"Z {late.report.request_id} Task timed out after 1.00 seconds", late.log)
    assert invoke("wait", {"seconds": 0}).observed.cold is True
    reset(client, "wait", Timeout=1800)


@pytest.mark.parametrize(
    ("name", "event", "reason"),
    [
        ("leave", {"status": 3}, "Runtime exited with error: exit status 3"),
        ("leave", {"status": 0}, "Runtime exited without providing a reason"),
        ("fall", {}, "Runtime exited with error: signal: segmentation fault"),
    ],
)
def test_a_process_that_ends_is_reported_in_lambdas_words(
    invoke: Invoke, name: str, event: Any, reason: str
) -> None:
    ended = invoke(name, event)
    assert ended.payload == {
        "errorType": "Runtime.ExitError",
        "errorMessage": f"RequestId: {ended.report.request_id} Error: {reason}",
    }
    assert (ended.report.status, ended.report.error_type) == ("error", "Runtime.ExitError")
    assert invoke(name, event).observed.cold is True


def test_an_exception_is_reported_and_the_environment_goes_on(invoke: Invoke) -> None:
    first = invoke("fail", {"what": "luck"})
    assert (first.error, first.payload["errorType"]) == ("Unhandled", "ValueError")
    assert first.payload["errorMessage"] == "no luck"
    assert "in fail" in first.payload["stackTrace"][0]
    assert "[ERROR] ValueError: no luck" in first.log
    assert invoke("fail", {"what": "luck"}).observed.cold is False


def test_a_reply_that_is_no_json_is_reported(invoke: Invoke) -> None:
    assert invoke("unserializable").payload["errorType"] == "Runtime.MarshalError"


@pytest.mark.parametrize(
    ("name", "kind"),
    [("unimportable", "Runtime.ImportModuleError"), ("no-such-handler", "Runtime.HandlerNotFound")],
)
def test_code_that_cannot_be_loaded_is_reported(invoke: Invoke, name: str, kind: str) -> None:
    done = invoke(name)
    assert (done.error, done.payload["errorType"]) == ("Unhandled", kind)


def test_the_log_result_is_the_last_4_kb(invoke: Invoke) -> None:
    done = invoke("talk", {"bytes": 100_000})
    assert len(done.log.encode()) == 4096
    assert done.log.rstrip().splitlines()[-1].startswith("REPORT RequestId: ")


def test_a_reply_over_6_mb_is_refused_as_in_lambda(invoke: Invoke) -> None:
    done = invoke("talk", {"bytes": 1, "reply": 7 << 20})
    assert done.payload["errorType"] == "Function.ResponseSizeTooLarge"
    assert invoke("talk", {"bytes": 1, "reply": 5 << 20}).error is None


@pytest.mark.parametrize(
    ("call", "kind"),
    [
        (lambda lambda_: lambda_.invoke(FunctionName="absent"), "ResourceNotFoundException"),
        (lambda lambda_: lambda_.invoke(FunctionName="talk", Payload=b"{"), "InvalidRequestContentException"),
        (
            lambda lambda_: lambda_.invoke(FunctionName="talk", InvocationType="Event"),
            "InvalidParameterValue",
        ),
        (
            lambda lambda_: lambda_.invoke(FunctionName="talk", Payload=b'"' + b"x" * (7 << 20) + b'"'),
            "RequestTooLargeException",
        ),
        (
            lambda lambda_: lambda_.update_function_configuration(FunctionName="talk", Timeout=1801),
            "InvalidParameterValueException",
        ),
        (
            lambda lambda_: lambda_.update_function_configuration(FunctionName="talk", MemorySize=10_241),
            "InvalidParameterValueException",
        ),
        (
            lambda lambda_: lambda_.update_function_configuration(FunctionName="talk", Role="arn:aws:iam::1"),
            "InvalidParameterValueException",
        ),
    ],
)
def test_what_lambda_refuses_is_refused(client: Any, call: Any, kind: str) -> None:
    with pytest.raises(ClientError) as refused:
        call(client)
    assert refused.value.response["Error"]["Code"].startswith(kind)


def test_an_unknown_invocation_was_not_observed(sandbox: Sandbox) -> None:
    with pytest.raises(InputError, match="there is no invocation never"):
        sandbox.observed("never")


def test_a_closed_sandbox_leaves_nothing() -> None:
    before = list_groups(os.getpid())  # the control groups of the other tests' sandbox
    with Sandbox([a_function("wait", memory_mb=256), a_function("describe")]) as sandbox:
        client = sandbox.client()
        pid = json.load(client.invoke(FunctionName="describe")["Payload"])["pid"]
        with ThreadPoolExecutor(1) as pool:
            busy = pool.submit(client.invoke, FunctionName="wait", Payload=b'{"seconds": 60}')
            while list_groups(os.getpid()) == before and sandbox.limits.startswith("cgroup"):
                assert not busy.done()
            sandbox.close()
            assert busy.exception() is not None or "FunctionError" in busy.result()
        client.close()
    assert not Path(f"/proc/{pid}").exists()
    assert list_groups(os.getpid()) == before


OWNER = """
import sys
from pathlib import Path
from asyncstream.lab.sandbox import Function, Sandbox
sandbox = Sandbox([Function(name="f", handler="handling.describe", code=[Path(sys.argv[1])], memory_mb=256)])
print(sandbox.client().invoke(FunctionName="f")["Payload"].read().decode(), flush=True)
sys.stdin.read()
"""


def test_nothing_outlives_an_owner_that_was_killed() -> None:
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(CODE[0])],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert owner.stdout is not None
    pid = json.loads(owner.stdout.readline())["pid"]
    owner.send_signal(signal.SIGKILL)
    owner.communicate()
    until(lambda: not Path(f"/proc/{pid}").exists())
    with Sandbox([]):
        pass  # a new sandbox removes the groups that the killed owner left
    assert list_groups(owner.pid) == []


def list_groups(pid: int) -> list[Path]:
    """Return the control groups that a process's sandboxes created."""
    roots = [
        Path(line.split()[1])
        for line in Path("/proc/self/mounts").read_text().splitlines()
        if line.split()[2].startswith("cgroup")
    ]
    return [group for root in roots for group in root.glob(f"**/asyncstream-{pid}-*")]
