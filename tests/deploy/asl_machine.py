"""A test double of Step Functions that runs the project's state machine.

No local engine knows ItemBatcher, ResultWriter and redrives. For the fields that the machine uses, this one
follows the developer guide ("Using Map state in Distributed mode", "Redriving Map Runs"). `asl_checks.py`
refuses any other field. Child executions run one after the other.
"""

import csv
import gzip
import io
import itertools
import json
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .asl_checks import check_machine
from .asl_paths import Unknown, evaluate, path, resolve
from .asl_retry import Retries

Invoke = Callable[[Any], Any]


LONGEST_CAUSE = 32_768  # API reference of Step Functions, DescribeExecution


class Failed(Exception):
    """A failed state, with the error's name and its cause, cut to Step Functions' limit."""

    def __init__(self, error: str, cause: str) -> None:
        super().__init__(f"{error}: {cause}")
        self.error, self.cause = error, cause[:LONGEST_CAUSE]


@dataclass
class Execution:
    """An execution: its current state and that state's input."""

    machine: Mapping[str, Any]
    input: Any
    name: str
    state: str = ""
    value: Any = None
    status: str = "PENDING"
    error: str = ""
    cause: str = ""
    items: int = 1  # for a child execution, the number of the Map's items that it has
    children: "list[Execution]" = field(default_factory=list)


class StepFunctions:
    """Start and redrive executions.

    Args:
        machine: the state machine's definition.
        s3: a boto3 client.
        invoke: a function that invokes the Lambda function; raises `Failed`, as the Lambda integration does.
    """

    def __init__(self, machine: Mapping[str, Any], s3: Any, invoke: Invoke) -> None:
        check_machine(machine)
        self._machine, self._s3, self._invoke = machine, s3, invoke
        self.waits: list[float] = []

    def start(self, given: Any, name: str = "run") -> Execution:
        """StartExecution: run an execution to its end."""
        return self._run(Execution(self._machine, given, name, self._machine["StartAt"], given))

    def redrive(self, execution: Execution) -> Execution:
        """RedriveExecution: repeat the failed state with its input, and continue from there."""
        assert execution.status == "FAILED", "Only failed executions can be redriven."
        return self._run(execution)

    def _run(self, execution: Execution) -> Execution:
        try:
            while execution.state:
                state = execution.machine["States"][execution.state]
                output, following = self._step(state, execution)
                execution.state, execution.value = following, output
            execution.status = "SUCCEEDED"
        except Failed as failure:
            execution.status, execution.error, execution.cause = "FAILED", failure.error, failure.cause
        return execution

    def _step(self, state: Mapping[str, Any], execution: Execution) -> tuple[Any, str]:
        """Run a state; return its output and the next state's name, empty at the end."""
        value = execution.value
        context = {"Execution": {"Input": execution.input, "Name": execution.name}}
        match state["Type"]:
            case "Fail":
                raise Failed(state["Error"], state["Cause"])
            case "Succeed":
                return value, ""
            case "Choice":
                return value, _chosen(state, value)
            case "Pass":
                return _passed(state, value, context), state.get("Next", "")
            case "Task":
                result = self._retried(state, lambda: self._task(state, value, context))
                output = _placed(state, value, result)
                return path(state.get("OutputPath", "$"), output, {}), state.get("Next", "")
            case "Map":
                return self._map(state, execution, context), state.get("Next", "")
        raise Unknown(state["Type"])

    def _task(self, state: Mapping[str, Any], value: Any, context: Mapping[str, Any]) -> Any:
        if state["Resource"] != "arn:aws:states:::lambda:invoke":
            raise Unknown(state["Resource"])
        parameters = resolve(state["Parameters"], value, context)
        assert parameters.keys() == {"FunctionName", "Payload"}
        assert len(json.dumps(parameters["Payload"])) <= 256 * 1024
        return {"Payload": self._invoke(parameters["Payload"])}

    def _retried(self, state: Mapping[str, Any], attempt: Callable[[], Any]) -> Any:
        """Return the attempt's result; repeat the attempt as the retriers say."""
        retries = Retries(state)
        while True:
            try:
                return attempt()
            except Failed as failure:
                wait = retries.next_wait(failure.error)
                if wait is None:
                    raise
                self.waits.append(wait)

    def _map(self, state: Mapping[str, Any], execution: Execution, context: Mapping[str, Any]) -> Any:
        if not execution.children:
            execution.children = self._children(state, execution, context)
        total = sum(child.items for child in execution.children)
        assert path(state["MaxConcurrencyPath"], execution.value, {}) > 0
        tolerated = path(state["ToleratedFailurePercentagePath"], execution.value, {})
        for child in execution.children:
            if child.status == "FAILED":  # failed in an earlier run, which is redriven now
                child.status = "PENDING"
        failed = 0
        for child in execution.children:
            if child.status == "PENDING":
                self._run(child)
            failed = sum(each.items for each in execution.children if each.status == "FAILED")
            if failed * 100 > tolerated * total:
                break
        details = self._write_results(state["ResultWriter"], execution, context)
        if failed * 100 > tolerated * total:
            raise Failed("States.ExceedToleratedFailureThreshold", f"{failed} of {total} items failed")
        return details

    def _children(
        self, state: Mapping[str, Any], execution: Execution, context: Mapping[str, Any]
    ) -> list[Execution]:
        processor = state["ItemProcessor"]
        assert processor["ProcessorConfig"] == {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"}
        items = []
        for item in self._read(state["ItemReader"], execution.value, context):
            own = {**context, "Map": {"Item": {"Value": item}}}
            items.append(
                resolve(state.get("ItemSelector", {"item.$": "$$.Map.Item.Value"}), execution.value, own)
            )
            if "ItemSelector" not in state:
                items[-1] = item
        batches: list[Any] = items
        if "ItemBatcher" in state:
            batches = [{"Items": batch} for batch in _batches(state["ItemBatcher"], items, execution.value)]
        return [
            Execution(
                processor,
                given,
                f"child-{number}",
                processor["StartAt"],
                given,
                items=len(given["Items"]) if "ItemBatcher" in state else 1,
            )
            for number, given in enumerate(batches)
        ]

    def _read(self, reader: Mapping[str, Any], value: Any, context: Mapping[str, Any]) -> list[Any]:
        parameters = resolve(reader["Parameters"], value, context)
        if reader["Resource"] == "arn:aws:states:::s3:listObjectsV2":
            pages = self._s3.get_paginator("list_objects_v2").paginate(**parameters)
            return [
                {"Key": row["Key"], "Size": row["Size"]} for page in pages for row in page.get("Contents", [])
            ]
        if reader["Resource"] != "arn:aws:states:::s3:getObject":
            raise Unknown(reader["Resource"])
        content = self._s3.get_object(**parameters)["Body"].read()
        match reader["ReaderConfig"]:
            case {"InputType": "CSV", "CSVHeaderLocation": "FIRST_ROW"}:
                return list(csv.DictReader(io.StringIO(content.decode())))
            case {"InputType": "JSONL"}:
                return [json.loads(line) for line in content.splitlines()]
            case {"InputType": "JSON"}:
                return list(json.loads(content))
            case {"InputType": "MANIFEST"}:
                return self._inventory(json.loads(content))
        raise Unknown(str(reader["ReaderConfig"]))

    def _inventory(self, manifest: Mapping[str, Any]) -> list[Any]:
        names = [name.strip() for name in manifest["fileSchema"].split(",")]
        bucket = manifest["destinationBucket"].rpartition(":::")[2]
        files = [
            self._s3.get_object(Bucket=bucket, Key=file["key"])["Body"].read() for file in manifest["files"]
        ]
        rows = itertools.chain.from_iterable(
            csv.reader(io.StringIO(gzip.decompress(f).decode())) for f in files
        )
        return [dict(zip(names, row, strict=True)) for row in rows]

    def _write_results(
        self, writer: Mapping[str, Any], execution: Execution, context: Mapping[str, Any]
    ) -> dict[str, Any]:
        assert writer["Resource"] == "arn:aws:states:::s3:putObject"
        parameters = resolve(writer["Parameters"], execution.value, context)
        folder = f"{parameters['Prefix']}/{uuid.uuid4()}"
        files: dict[str, list[Any]] = {"FAILED": [], "PENDING": [], "SUCCEEDED": []}
        for status, listed in files.items():
            rows = [_row(child) for child in execution.children if child.status == status]
            if rows:
                key = f"{folder}/{status}_0.json"
                self._s3.put_object(Bucket=parameters["Bucket"], Key=key, Body=json.dumps(rows).encode())
                listed.append({"Key": key})
        manifest = {"DestinationBucket": parameters["Bucket"], "MapRunArn": "arn", "ResultFiles": files}
        key = f"{folder}/manifest.json"
        self._s3.put_object(Bucket=parameters["Bucket"], Key=key, Body=json.dumps(manifest).encode())
        return {"MapRunArn": "arn", "ResultWriterDetails": {"Bucket": parameters["Bucket"], "Key": key}}


def _chosen(state: Mapping[str, Any], value: Any) -> str:
    for rule in state["Choices"]:
        found = path(rule["Variable"], value, {})
        more = "NumericGreaterThan" in rule and found > rule["NumericGreaterThan"]
        if more or found == rule.get("StringEquals", rule.get("NumericEquals")):
            return str(rule["Next"])
    return str(state["Default"])


def _passed(state: Mapping[str, Any], value: Any, context: Mapping[str, Any]) -> Any:
    result = state.get("Result", value)
    if "Parameters" in state:
        result = resolve(state["Parameters"], value, context)
    return evaluate(state.get("OutputPath", "$"), _placed(state, value, result), context)


def _placed(state: Mapping[str, Any], value: Any, result: Any) -> Any:
    """Return a state's result, or its input with the result at ResultPath."""
    where = state.get("ResultPath", "$")
    return result if where == "$" else {**value, where.removeprefix("$."): result}


def _batches(batcher: Mapping[str, Any], items: list[Any], value: Any) -> list[list[Any]]:
    most = path(batcher["MaxItemsPerBatchPath"], value, {})
    batches: list[list[Any]] = []
    size = 0
    for item in items:
        length = len(json.dumps(item, ensure_ascii=False).encode())
        if not batches or len(batches[-1]) == most or size + length > batcher["MaxInputBytesPerBatch"]:
            batches.append([])
            size = 0
        batches[-1].append(item)
        size += length
    return batches


def _row(child: Execution) -> dict[str, Any]:
    """Return a child execution in the form that ResultWriter writes."""
    row = {"Name": child.name, "Status": child.status, "Input": json.dumps(child.input)}
    if child.status == "FAILED":
        return row | {"Error": child.error, "Cause": child.cause}
    return row if child.status == "PENDING" else row | {"Output": json.dumps(child.value)}
