"""`asyncstream compare --stack`: moto describes the stack, and the sandbox runs its functions, with traces.

The sandbox speaks Lambda's API with Lambda's REPORT lines and trace headers, which MiniStack lacks
(`tests/deploy/test_deployed_stack.py`).
"""

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from asyncstream.errors import AsyncstreamError
from asyncstream.lab.compare import deployed, variants
from asyncstream.lab.compare.deployed import DeployedFunctions
from asyncstream.lab.compare.stack import read_stack
from asyncstream.lab.report.measurement import Failure
from asyncstream.lab.s3 import LabS3
from asyncstream.lab.sandbox import Function, Sandbox
from asyncstream.lab.sandbox.service import Refused, _Handler
from asyncstream.lab.xray import XRayReceiver
from tests.servers import S3Server
from tests.servers.base import GUARD_SECONDS, until

from .command_line import Ended

ROOT = Path(__file__).parents[2]
TINY = ("--files", "3x200KB")
OWN_MB = 1769  # Lambda gives this size a whole CPU; with a quarter of it, imports alone take seconds
PLACES = {"SourceUri": "s3://raw/here/", "DestinationUri": "s3://clean/there/"}


def function_of(sandbox: Sandbox, name: str) -> Function:
    found = sandbox.function(name)
    assert found is not None
    return found


@pytest.fixture
def lab(monkeypatch: pytest.MonkeyPatch, credentials: None) -> Iterator[LabS3]:
    """Start a lab S3 with the stack's buckets."""
    with LabS3() as lab:
        for name, value in lab.environment().items():
            monkeypatch.setenv(name, value)
        lab.create_bucket("raw", keep=True)
        lab.create_bucket("clean", keep=True)
        yield lab


@pytest.fixture(scope="module")
def receiver() -> Iterator[XRayReceiver]:
    with XRayReceiver() as receiver:
        yield receiver


@pytest.fixture
def xray(receiver: XRayReceiver, monkeypatch: pytest.MonkeyPatch) -> XRayReceiver:
    monkeypatch.setenv("AWS_ENDPOINT_URL_XRAY", receiver.endpoint_url)
    return receiver


@pytest.fixture
def sandbox(lab: LabS3, xray: XRayReceiver, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    """Start a sandbox with the stack's functions."""
    functions = [
        Function(
            name=str(variant.output).removesuffix("Arn"),
            handler=variant.handler,
            code=[variant.code],
            memory_mb=OWN_MB,
            timeout=60,
            environment={**lab.environment(), "ASYNCSTREAM_MAX_CONCURRENCY": "4"},
            tracing=True,
        )
        for variant in variants.deployed()
    ]
    with Sandbox(functions, daemon_address=xray.daemon_address) as sandbox:
        monkeypatch.setenv("AWS_ENDPOINT_URL_LAMBDA", sandbox.endpoint_url)
        yield sandbox


@pytest.fixture
def tell(running: Callable[[str], S3Server], monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., str]]:
    """Return a function that creates a stack with given outputs in CloudFormation and returns its name."""
    endpoint = running("moto").endpoint_url
    monkeypatch.setenv("AWS_ENDPOINT_URL_CLOUDFORMATION", endpoint)
    client = boto3.client("cloudformation", endpoint_url=endpoint)

    def tell(**outputs: str) -> str:
        body = {
            "Resources": {"Topic": {"Type": "AWS::SNS::Topic"}},
            "Outputs": {name: {"Value": value} for name, value in outputs.items()},
        }
        client.create_stack(StackName="copier", TemplateBody=json.dumps(body))
        return "copier"

    yield tell
    client.delete_stack(StackName="copier")
    client.close()


@pytest.fixture
def stack(sandbox: Sandbox, tell: Callable[..., str]) -> str:
    """The name of a stack that was deployed from the template."""
    names = {str(variant.output) for variant in variants.deployed()}
    return tell(**PLACES, **{name: function_of(sandbox, name.removesuffix("Arn")).arn for name in names})


def rows(document: Any) -> dict[tuple[str, int], Any]:
    return {(row["way"]["name"], row["memory_mb"]): row for row in document["sections"][0]["rows"]}


def test_its_functions_are_compared_in_their_own_size(
    run: Callable[..., Ended], stack: str, sandbox: Sandbox, tmp_path: Path
) -> None:
    sandbox.configure("ThreadsFunction", memory_mb=1024)
    done = run("compare", "--stack", stack, *TINY, "--json", "--html", str(tmp_path / "page.html"))

    assert done.code == 0, done.err
    document = json.loads(done.out)
    sizes = {variant.way.name: OWN_MB for variant in variants.deployed()} | {"threads": 1024}
    assert set(rows(document)) == set(sizes.items())
    assert document["verified"] == len(sizes) + 1  # threads was measured twice
    for row in rows(document).values():
        figures = row["figures"]
        assert figures["requests"] == {"GetObject": 3, "PutObject": 3}
        assert figures["cpu_seconds"] > 0
        assert figures["init_seconds"] > 0
        assert figures["init_cpu_seconds"] is None
        assert figures["billed_mb"] == row["memory_mb"]
    assert document["untraced"] is None
    page = (tmp_path / "page.html").read_text()
    assert page.count('<details class="trace') == len(sizes)
    assert "s3://raw/here/asyncstream-compare-" in page


def test_memory_sizes_are_tried_and_then_put_back(
    run: Callable[..., Ended], stack: str, sandbox: Sandbox, lab: LabS3
) -> None:
    before = {
        variant.output: sandbox.function(str(variant.output).removesuffix("Arn"))
        for variant in variants.deployed()
    }
    options = ["--memory", "1024,1536", "--variants", "sequential,asyncio", "--no-repeat", "--no-trace"]
    done = run("compare", "--stack", stack, *TINY, *options, "--json")

    assert done.code == 0, done.err
    document = json.loads(done.out)
    assert set(rows(document)) == {(way, size) for way in ("sequential", "asyncio") for size in (1024, 1536)}
    assert document["memory"] == [1024, 1536]
    for name, function in before.items():
        assert sandbox.function(str(name).removesuffix("Arn")) == function
    assert lab.checksums("raw") == {}
    assert lab.checksums("clean") == {}


def test_every_run_begins_in_a_new_environment_that_is_sampled(
    run: Callable[..., Ended], stack: str, sandbox: Sandbox, xray: XRayReceiver
) -> None:
    before = xray.settle().received
    done = run(
        "compare", "--stack", stack, *TINY, "--variants", "threads", "--rounds", "2", "--no-repeat", "--json"
    )

    assert done.code == 0, done.err
    assert [seen.cold for seen in sandbox._observed.values()] == [True, True]
    assert xray.settle().received > before


def test_without_traces_nothing_is_sampled(run: Callable[..., Ended], stack: str, xray: XRayReceiver) -> None:
    before = xray.settle().received
    done = run(
        "compare", "--stack", stack, *TINY, "--variants", "threads", "--no-repeat", "--no-trace", "--json"
    )

    assert done.code == 0, done.err
    assert json.loads(done.out)["untraced"] is None
    assert xray.settle().received == before


def test_a_failing_function_is_a_row_with_its_error(
    run: Callable[..., Ended], stack: str, sandbox: Sandbox
) -> None:
    broken = {
        **function_of(sandbox, "ThreadsFunction").environment,
        "DEPLOYED_DESTINATION": "s3://elsewhere/",
    }
    sandbox.configure("ThreadsFunction", environment=broken)
    done = run(
        "compare", "--stack", stack, *TINY, "--variants", "threads,sequential", "--no-repeat", "--json"
    )

    assert done.code == 1
    (error,) = rows(json.loads(done.out))["threads", OWN_MB]["errors"]
    assert error.startswith("InputError: s3://clean/there/asyncstream-compare-")
    assert rows(json.loads(done.out))["sequential", OWN_MB]["errors"] == []


def test_figures_count_even_if_x_ray_cannot_be_asked(
    run: Callable[..., Ended], stack: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The output says that traces are missing."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_XRAY", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    done = run("compare", "--stack", stack, *TINY, "--variants", "sequential", "--no-repeat")

    assert done.code == 0, done.err
    assert "Traces are missing: X-Ray refused or did not answer" in done.out


@pytest.fixture
def comparing(stack: str, sandbox: Sandbox) -> Iterator[subprocess.Popen[str]]:
    """A comparison that has finished its first run and is changing the function for its second.

    As in Lambda, a function refuses a change while another one is in progress.
    """
    sandbox.update_seconds = 0.05
    options = ["--files", "1x2MB", "--variants", "sequential", "--no-repeat", "--no-trace", "--rounds", "100"]
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "asyncstream.cli.main", "compare", "--stack", stack),
            *options,
            "--memory",
            "1024",
        ],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    assert process.stderr.readline().startswith("[1/100] 1 x 2 MB, sequential at 1,024 MB")

    def second_run() -> bool:
        assert process.poll() is None
        number = function_of(sandbox, "SequentialFunction").environment.get("COMPARISON_RUN", "1").split()[0]
        return int(number) >= 2

    until(second_run)
    yield process
    process.kill()
    process.communicate()


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_comparison_restores_the_functions(
    comparing: subprocess.Popen[str], sandbox: Sandbox, lab: LabS3, ending: signal.Signals
) -> None:
    """An interrupted comparison deletes its files, too."""
    comparing.send_signal(ending)
    out, err = comparing.communicate(timeout=GUARD_SECONDS)

    assert comparing.returncode == 130
    assert "Traceback" not in err
    assert "Ended early (Ctrl-C)" in out
    assert function_of(sandbox, "SequentialFunction").memory_mb == OWN_MB
    assert "COMPARISON_RUN" not in function_of(sandbox, "SequentialFunction").environment
    assert lab.checksums("raw") == lab.checksums("clean") == {}


def test_what_a_killed_comparison_left_is_put_back_by_the_next(
    comparing: subprocess.Popen[str], run: Callable[..., Ended], stack: str, sandbox: Sandbox
) -> None:
    comparing.kill()
    comparing.wait()
    assert function_of(sandbox, "SequentialFunction").memory_mb == 1024

    done = run(
        "compare", "--stack", stack, *TINY, "--variants", "sequential", "--no-repeat", "--no-trace", "--json"
    )

    assert done.code == 0, done.err
    assert set(rows(json.loads(done.out))) == {("sequential", OWN_MB)}
    assert function_of(sandbox, "SequentialFunction").memory_mb == OWN_MB
    assert "COMPARISON_RUN" not in function_of(sandbox, "SequentialFunction").environment


def test_interrupted_again_it_names_what_it_could_not_put_back(
    stack: str, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    functions = DeployedFunctions(read_stack(stack, variants.deployed()), traced=False)
    functions._renew_environment(functions._stack.functions["threads"], 1024)
    monkeypatch.setattr(deployed, "configure", interrupt)

    with (
        pytest.raises(AsyncstreamError, match=r"not restored: arn:.*:ThreadsFunction \(1769 MB\)"),
        functions,
    ):
        pass


def test_what_lambda_refuses_as_too_much_runs_is_asked_for_again(
    stack: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusals = [
        Refused(429, "TooManyRequestsException", "Rate Exceeded."),
        Refused(429, "TooManyRequestsException", "Rate Exceeded."),
    ]
    answer = _Handler._invoke

    def invoke(self: _Handler, *given: Any) -> None:
        if refusals:
            raise refusals.pop()
        answer(self, *given)

    monkeypatch.setattr(_Handler, "_invoke", invoke)
    monkeypatch.setattr(deployed, "THROTTLED_SECONDS", (0.0, 0.0))
    read = read_stack(stack, variants.deployed())
    threads = next(variant for variant in variants.deployed() if variant.way.name == "threads")
    with DeployedFunctions(read, traced=False) as functions:
        answered = functions.invoke(threads, None, {"files": []})
        refusals += [Refused(429, "TooManyRequestsException", "Rate Exceeded.")] * 3
        with pytest.raises(AsyncstreamError, match="Rate Exceeded"):
            functions.invoke(threads, None, {"files": []})

    assert isinstance(answered, Failure)
    assert answered.error.startswith("InputError: the event is malformed at $.files")


def test_a_long_invocation_is_waited_for_and_not_repeated(stack: str) -> None:
    read = read_stack(stack, variants.deployed())
    with DeployedFunctions(read, traced=False) as functions:
        config = functions._invoker.meta.config

    assert config.read_timeout > max(function.timeout for function in read.functions.values())
    assert config.retries["total_max_attempts"] == 1


def test_an_interrupt_while_traces_load_keeps_all_figures(
    run: Callable[..., Ended], stack: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(deployed, "read_traces", interrupt)
    done = run("compare", "--stack", stack, *TINY, "--variants", "sequential", "--no-repeat")

    assert done.code == 130
    assert "Traces are missing: Ctrl-C." in done.out
    assert "Verified: every byte of 1 runs" in done.out
    assert "Ended early" not in done.out


class TestWhatIsNoStack:
    """Options and stacks that are refused before anything is uploaded or changed."""

    def refused(self, run: Callable[..., Ended], lab: LabS3, *arguments: str) -> str:
        done = run("compare", *arguments)
        assert (done.code, done.out) == (2, "")
        assert len(done.err.splitlines()) == 1
        assert lab.stats()["operations"] == {}
        return done.err

    def test_one_that_is_not_there(self, run: Callable[..., Ended], lab: LabS3, tell: Any) -> None:
        assert "the stack does not exist in us-east-1" in self.refused(run, lab, "--stack", "absent")

    def test_another_one(self, run: Callable[..., Ended], lab: LabS3, tell: Any) -> None:
        told = self.refused(run, lab, "--stack", tell(Queue="q"))
        assert "the stack has no output SourceUri: deploy this version's deploy/template.yaml" in told

    def test_one_whose_sources_would_invoke_a_function(
        self, run: Callable[..., Ended], lab: LabS3, tell: Any
    ) -> None:
        told = self.refused(run, lab, "--stack", tell(**PLACES, TriggerUri="s3://raw/"))
        assert "new objects under s3://raw/ invoke a function" in told

    @pytest.mark.parametrize(
        ("arguments", "told"),
        [
            (["--tls"], "--tls does not work with --stack"),
            (["--model", "off"], "--model does not work with --stack"),
            (["--endpoint-url", "http://127.0.0.1:9"], "--endpoint-url does not work with --stack"),
            (["--variants", "boto3"], "--variants boto3 does not work with --stack"),
        ],
    )
    def test_what_is_about_the_local_comparison(
        self, run: Callable[..., Ended], lab: LabS3, arguments: list[str], told: str
    ) -> None:
        assert told in self.refused(run, lab, "--stack", "copier", *arguments)
