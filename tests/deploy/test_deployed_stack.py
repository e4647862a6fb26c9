"""The template deployed, compared, triggered and deleted on MiniStack, which enforces IAM policies."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest

from asyncstream.runs.descriptions import Description, Totals
from asyncstream.runs.places import Run
from asyncstream.runs.rows import Row, encode_rows
from tests.handlers.archives.packing import pack
from tests.servers.base import until

from .ministack import MiniStack
from .sam_builds import ARCHITECTURE, Build

# MiniStack lacks metric math, which all alarms use.
PARAMETERS = [f"Architecture={ARCHITECTURE}", "Alarms=no", "Trigger=yes", "Unpack=zip"]
WAIT_SECONDS = 120.0  # a guard: events may take long on a busy machine

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@dataclass(frozen=True)
class Deployed:
    """A deployed stack: its outputs, and clients of its MiniStack."""

    name: str
    cloud: MiniStack
    outputs: dict[str, str]

    def client(self, service: str) -> Any:
        return self.cloud.client(service)

    def bucket(self, kind: str) -> str:
        return self.outputs[f"{kind}Uri"].removeprefix("s3://").rstrip("/")

    def put(self, key: str, body: bytes) -> str:
        """Store a source; return its URI."""
        self.client("s3").put_object(Bucket=self.bucket("Source"), Key=key, Body=body)
        return f"s3://{self.bucket('Source')}/{key}"

    def copies(self) -> dict[str, int]:
        """Return the keys and sizes of all objects in the destination."""
        pages = self.client("s3").get_paginator("list_objects_v2").paginate(Bucket=self.bucket("Destination"))
        return {row["Key"]: row["Size"] for page in pages for row in page.get("Contents", ())}

    def invoke(self, function: str, event: Any, **more: Any) -> Any:
        reply = self.client("lambda").invoke(
            FunctionName=self.outputs[f"{function}FunctionArn"], Payload=json.dumps(event), **more
        )
        payload = reply["Payload"].read()
        return json.loads(payload) if payload else None

    def configurations(self) -> dict[str, Any]:
        """Return the settings of the functions that a comparison changes."""
        listed = self.client("lambda").list_functions()["Functions"]
        return {each["FunctionName"]: (each["MemorySize"], each["Environment"]) for each in listed}

    def wait_for_copies(self, *keys: str) -> None:
        until(lambda: set(keys) <= self.copies().keys(), WAIT_SECONDS)

    def run(self, **given: Any) -> Any:
        """Run the state machine; return its ended execution."""
        states = self.client("stepfunctions")
        arn = states.start_execution(stateMachineArn=self.outputs["ManyFilesArn"], input=json.dumps(given))[
            "executionArn"
        ]
        told = states.describe_execution
        until(lambda: told(executionArn=arn)["status"] != "RUNNING", WAIT_SECONDS)
        return told(executionArn=arn)


@pytest.fixture(scope="module")
def python(root: Path) -> Path:
    """Return MiniStack's Python, which also runs the functions."""
    python = root / ".venv" / "ministack" / "bin" / "python"
    if not python.is_file():
        pytest.fail("MiniStack is missing. Run `make .venv/ministack.stamp` to install it.")
    return python


@pytest.fixture(scope="module")
def cloud(python: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MiniStack]:
    with MiniStack(python, tmp_path_factory.mktemp("ministack")) as cloud:
        yield cloud


@pytest.fixture(scope="module")
def deploy(
    cloud: MiniStack,
    python: Path,
    run: Callable[..., str],
    sam: Path,
    build_for: Callable[[Path], Build],
    root: Path,
) -> Callable[[str], Deployed]:
    """Run `sam build` and `sam deploy` with the settings that the project ships."""
    built = build_for(python)

    def deploy(name: str) -> Deployed:
        run(
            *(sam, "deploy", "--stack-name", name, "--template-file", built.directory / "template.yaml"),
            *("--config-file", root / "deploy" / "samconfig.toml", "--no-confirm-changeset"),
            *("--parameter-overrides", f"Runtime={built.runtime}", *PARAMETERS),
            **cloud.environment,
        )
        described = cloud.client("cloudformation").describe_stacks(StackName=name)["Stacks"][0]
        return Deployed(
            name, cloud, {each["OutputKey"]: each["OutputValue"] for each in described["Outputs"]}
        )

    return deploy


@pytest.fixture(scope="module")
def stack(deploy: Callable[[str], Deployed]) -> Deployed:
    deployed = deploy("compared")
    # MiniStack stores this parameter as text, at which its poller fails. It is set again here as a number.
    functions = deployed.client("lambda")
    (mapping,) = functions.list_event_source_mappings()["EventSourceMappings"]
    most = int(mapping["ScalingConfig"]["MaximumConcurrency"])
    functions.update_event_source_mapping(UUID=mapping["UUID"], ScalingConfig={"MaximumConcurrency": most})
    # Failed messages return soon, not after the functions' timeout of minutes.
    deployed.client("sqs").set_queue_attributes(
        QueueUrl=deployed.outputs["QueueUrl"], Attributes={"VisibilityTimeout": "1"}
    )
    return deployed


def test_its_functions_are_compared_and_left_as_they_were(stack: Deployed, tmp_path: Path) -> None:
    before, copies = stack.configurations(), stack.copies()
    outputs = [f"--{kind}={tmp_path / kind}" for kind in ("json", "html")]

    done = subprocess.run(
        [
            *(sys.executable, "-m", "asyncstream.cli.main", "compare", "--stack", stack.name),
            *("--files", "3x1MB", "--memory", "256", "--no-repeat", *outputs),
        ],
        env=os.environ | stack.cloud.environment,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    document = json.loads((tmp_path / "json").read_text())
    rows = {(row["way"]["name"], row["memory_mb"]): row for row in document["sections"][0]["rows"]}
    ways = ("sequential", "threads", "threads-multipart", "asyncio", "asyncio-multipart")
    assert set(rows) == {(way, 256) for way in ways}
    assert document["verified"] == 5
    for row in rows.values():
        assert row["errors"] == []
        assert row["figures"]["requests"] == {"GetObject": 3, "PutObject": 3}
        assert 0 < row["figures"]["cpu_seconds"] < row["figures"]["seconds"]
    assert document["environment"]["system"].endswith(f"{ARCHITECTURE}, eu-central-1")
    assert "Which way is faster and cheaper?" in (tmp_path / "html").read_text()
    assert stack.configurations() == before
    assert stack.copies() == copies


def test_what_may_not_be_read_or_written_is_refused(stack: Deployed) -> None:
    source = stack.put("in/1", b"1")
    event = {"files": [{"source": source, "destination": f"s3://{stack.bucket('Source')}/out/1"}]}

    assert stack.invoke("Sequential", event)["status"] == "rejected"


def test_a_role_may_do_no_more_than_the_copies_need(stack: Deployed) -> None:
    functions, arn = stack.client("lambda"), stack.outputs["SequentialFunctionArn"]
    variables = functions.get_function_configuration(FunctionName=arn)["Environment"]["Variables"]
    within = {name: value for name, value in variables.items() if not name.startswith("DEPLOYED_")}
    source = stack.put("in/1", b"1")
    event = {"files": [{"source": source, "destination": f"s3://{stack.bucket('Source')}/out/1"}]}

    # Without the function's own check it asks S3, and IAM must refuse.
    functions.update_function_configuration(FunctionName=arn, Environment={"Variables": within})
    try:
        reply = stack.invoke("Sequential", event)
    finally:
        functions.update_function_configuration(FunctionName=arn, Environment={"Variables": variables})

    assert reply["status"] == "failed"
    assert [failure["error"]["type"] for failure in reply["failures"]] == ["AccessDenied"]


def test_a_new_object_is_copied(stack: Deployed) -> None:
    stack.put("incoming/2026/new +ä.csv", b"new")

    stack.wait_for_copies("incoming/2026/new +ä.csv")


def test_a_new_archive_arrives_unpacked(stack: Deployed) -> None:
    files = {"a.csv": b"1,2\n" * 1000, "deep/ä.txt": b"text", "empty": b""}

    stack.put("incoming/packed.zip", pack(files))

    unpacked = {f"incoming/packed/{name}": len(body) for name, body in files.items()}
    stack.wait_for_copies(*unpacked)
    found = {key: size for key, size in stack.copies().items() if key.startswith("incoming/packed")}
    assert found == unpacked  # and no copy of the archive


def test_messages_are_copied_and_bad_ones_become_dead_letters(stack: Deployed) -> None:
    queues, queue = stack.client("sqs"), stack.outputs["QueueUrl"]
    source = stack.put("own/1", b"own")
    event = {"files": [{"source": source, "destination": f"s3://{stack.bucket('Destination')}/own/1"}]}

    for body in ("no JSON", json.dumps(event)):
        queues.send_message(QueueUrl=queue, MessageBody=body)

    stack.wait_for_copies("own/1")
    wait_for_dead_letter(stack, "no JSON")


def test_a_failed_asynchronous_event_becomes_a_dead_letter(stack: Deployed) -> None:
    place = {"bucket": {"name": stack.bucket("Source")}, "object": {"key": "in/none"}}
    record = {"eventSource": "aws:s3", "eventName": "ObjectCreated:Put", "s3": place}

    # MiniStack's CloudFormation ignores a function's dead letter queue, so it is set again here.
    queue = stack.client("sqs").get_queue_attributes(
        QueueUrl=stack.outputs["DeadLetterQueueUrl"], AttributeNames=["QueueArn"]
    )["Attributes"]["QueueArn"]
    stack.client("lambda").update_function_configuration(
        FunctionName=stack.outputs["ThreadsFunctionArn"], DeadLetterConfig={"TargetArn": queue}
    )

    stack.invoke("Threads", {"Records": [record]}, InvocationType="Event")

    wait_for_dead_letter(stack, "in/none")


def wait_for_dead_letter(stack: Deployed, text: str) -> None:
    """Wait for a dead letter that contains the text. Slow copies can become dead letters, too."""
    queues, queue = stack.client("sqs"), stack.outputs["DeadLetterQueueUrl"]

    def received() -> bool:
        found = queues.receive_message(QueueUrl=queue, WaitTimeSeconds=1).get("Messages", ())
        for message in found:
            queues.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
        return any(text in message["Body"] for message in found)

    until(received, WAIT_SECONDS)


def plan(stack: Deployed, name: str) -> str:
    """Write a run of two batches of five files each, whose names start with this one; return its place."""
    place = f"s3://{stack.bucket('Destination')}/many-files/{name}/"
    run, s3 = Run.from_uri(place), stack.client("s3")
    copy = f"s3://{stack.bucket('Destination')}/{name}"
    sources = [(number, stack.put(f"{name}/{number}", b"x" * number)) for number in range(10)]
    rows = [Row(source, f"{copy}/{number}", size=number) for number, source in sources]
    described = Description(
        source=f"s3://{stack.bucket('Source')}/{name}/",
        destination=f"{copy}/",
        totals=Totals(files=10, batches=2),
    )
    contents = {
        run.batch(0): encode_rows(rows[:5]),
        run.batch(1): encode_rows(rows[5:]),
        run.description: msgspec.json.encode(described),
    }
    for where, content in contents.items():
        s3.put_object(Bucket=where.bucket, Key=where.key, Body=content)
    return place


def test_the_state_machine_moves_what_is_left_of_a_run(stack: Deployed) -> None:
    """MiniStack runs the Map, and tells no number of redrives."""
    place = plan(stack, "left")
    execution = stack.run(run=place, functions=2)

    assert execution["status"] == "SUCCEEDED", execution
    output = json.loads(execution["output"])
    assert (output["run"], output["batches"], output["again"]) == (place, 2, False)
    found = {key: size for key, size in stack.copies().items() if key.startswith("left/")}
    assert found == {f"left/{number}": number for number in range(10)}


def test_a_run_fails_with_its_failures_and_moves_the_rest(stack: Deployed) -> None:
    place = plan(stack, "failing")
    stack.client("s3").delete_object(Bucket=stack.bucket("Source"), Key="failing/7")
    execution = stack.run(run=place)

    assert execution["status"] == "FAILED", execution
    assert "1 of 10 files failed, and 1 of 2 batches" in execution["cause"]
    stack.put("failing/7", b"x")
    assert stack.run(run=place)["status"] == "SUCCEEDED"
    assert stack.copies()["failing/7"] == 1


def test_a_message_moves_a_batch(stack: Deployed) -> None:
    place = plan(stack, "sent")
    stack.client("sqs").send_message(
        QueueUrl=stack.outputs["QueueUrl"], MessageBody=json.dumps({"batch": f"{place}plan/000001.jsonl"})
    )

    stack.wait_for_copies("many-files/sent/done/000001.json", "sent/9")
    assert "sent/0" not in stack.copies()


def test_the_state_machine_copies_a_prefix(stack: Deployed) -> None:
    for number in range(5):
        stack.put(f"listed/{number}", b"x" * number)

    execution = stack.run(source=f"s3://{stack.bucket('Source')}/listed/")

    assert execution["status"] == "SUCCEEDED", execution
    assert json.loads(execution["output"])["totals"]["files"] == 5
    found = {key: size for key, size in stack.copies().items() if key.startswith("listed/")}
    assert found == {f"listed/{number}": number for number in range(5)}


@pytest.mark.parametrize(
    ("kind", "text"),
    [("csv", "source,destination\n{source},\n"), ("jsonl", '{{"source": "{source}"}}\n')],
)
def test_the_state_machine_copies_what_a_list_names(stack: Deployed, kind: str, text: str) -> None:
    source = stack.put(f"named/{kind}", b"named")
    place = stack.put(f"lists/{kind}", text.format(source=source).encode())

    execution = stack.run(kind=kind, source=place)

    assert execution["status"] == "SUCCEEDED", execution
    assert stack.copies()[f"named/{kind}"] == 5


def test_several_functions_unpack_one_archive(stack: Deployed) -> None:
    files = {f"{number // 100}/{number:04d}.txt": b"%d" % number for number in range(5_000)}
    place = stack.put("large/big.zip", pack(files))

    execution = stack.run(kind="zip", source=place, functions=4)

    assert execution["status"] == "SUCCEEDED", execution
    assert json.loads(execution["output"])["batches"] > 1
    assert stack.copies().items() >= {f"large/big/{name}": len(body) for name, body in files.items()}.items()


def test_deleted_it_leaves_nothing(
    deploy: Callable[[str], Deployed], run: Callable[..., str], sam: Path, cloud: MiniStack
) -> None:
    def functions() -> list[str]:
        listed = cloud.client("lambda").list_functions()["Functions"]
        return [each["FunctionName"] for each in listed if each["FunctionName"].startswith("deleted-")]

    deploy("deleted")
    assert len(functions()) == 4

    run(sam, "delete", "--stack-name", "deleted", "--no-prompts", **cloud.environment)

    assert functions() == []
    buckets = [bucket["Name"] for bucket in cloud.client("s3").list_buckets()["Buckets"]]
    assert not [name for name in buckets if name.startswith("deleted-")]
