"""A test double of Step Functions that runs the project's state machine.

No local engine knows redrives. For the fields that the machine uses, this one follows the developer guide
("Using Map state in Distributed mode", "Redriving executions", "Redriving Map Runs", "Context object").
`asl_checks.py` refuses any other field.

Child executions run one state at a time, in turns, as many at once as the Map says. An account's limit of
concurrent functions throttles the rest: an invocation that began in a turn holds its slot until the next one.
"""

import json
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from botocore.exceptions import ClientError

from .asl_checks import check_machine
from .asl_paths import Unknown, evaluate, path, resolve
from .asl_retry import Retries

Invoke = Callable[[Any], Any]


LONGEST_CAUSE = 32_768  # API reference of Step Functions, DescribeExecution
# Developer guide, "Service quotas": bytes of a state's input or output, of a task's payload, and of a Map's
# outputs together, if nothing else stores them.
LARGEST_STATE = 262_144
THROTTLED = "Lambda.TooManyRequestsException"


class Failed(Exception):
    """A failed state, with the error's name and its cause, cut to Step Functions' limit."""

    def __init__(self, error: str, cause: str) -> None:
        super().__init__(f"{error}: {cause}")
        self.error, self.cause = error, cause[:LONGEST_CAUSE]


@dataclass
class Execution:
    """An execution: its current state and that state's input.

    Attributes:
        redrives: how often it was redriven.
        children: the executions of the Map Run that failed, which a redrive of the Map repeats.
        map_runs: all executions of each Map Run that was started, in order.
        retries: the attempts of the current state; None before its first one.
    """

    machine: Mapping[str, Any]
    input: Any
    name: str
    state: str = ""
    value: Any = None
    status: str = "PENDING"
    error: str = ""
    cause: str = ""
    redrives: int = 0
    children: "list[Execution]" = field(default_factory=list)
    map_runs: "list[list[Execution]]" = field(default_factory=list)
    retries: Retries | None = None

    @property
    def context(self) -> dict[str, Any]:
        """The context object."""
        return {"Execution": {"Input": self.input, "Name": self.name, "RedriveCount": self.redrives}}


class StepFunctions:
    """Start and redrive executions.

    Args:
        machine: the state machine's definition.
        s3: a boto3 client.
        invoke: a function that invokes the Lambda function; raises `Failed`, as the Lambda integration does.
        functions: how many functions the account may run at once.

    Attributes:
        waits: seconds of each wait before a state was repeated, and of each Wait state.
        largest: bytes of the largest state so far.
    """

    def __init__(
        self, machine: Mapping[str, Any], s3: Any, invoke: Invoke, functions: int | None = None
    ) -> None:
        check_machine(machine)
        self._machine, self._s3, self._invoke = machine, s3, invoke
        self._slots = self._free = functions
        self.waits: list[float] = []
        self.largest = 0

    def start(self, given: Any, name: str = "run") -> Execution:
        """StartExecution: run an execution to its end."""
        return self._run(Execution(self._machine, given, name, self._machine["StartAt"], given))

    def redrive(self, execution: Execution) -> Execution:
        """RedriveExecution: repeat the failed state with its input, and continue from there."""
        assert execution.status == "FAILED", "Only failed executions can be redriven."
        execution.redrives += 1
        return self._run(execution)

    def _run(self, execution: Execution) -> Execution:
        execution.status = "RUNNING"
        while execution.status == "RUNNING":
            self._free = self._slots
            self._advance(execution)
        return execution

    def _advance(self, execution: Execution) -> None:
        """Run the current state once, or end the execution."""
        state = execution.machine["States"][execution.state]
        execution.retries = execution.retries or Retries(state)
        try:
            output, following = self._step(state, execution)
            self._measure(output)
        except Failed as failure:
            wait = execution.retries.next_wait(failure.error)
            if wait is not None:
                self.waits.append(wait)
                return
            execution.status, execution.error, execution.cause = "FAILED", failure.error, failure.cause
            execution.retries = None
            return
        execution.state, execution.value, execution.retries = following, output, None
        if not following:
            execution.status = "SUCCEEDED"

    def _step(self, state: Mapping[str, Any], execution: Execution) -> tuple[Any, str]:
        """Run a state; return its output and the next state's name, empty at the end."""
        value, context = execution.value, execution.context
        match state["Type"]:
            case "Succeed":
                return path(state.get("OutputPath", "$"), value, context), ""
            case "Choice":
                return value, _chosen(state, value)
            case "Pass":
                return _passed(state, value, context), state.get("Next", "")
            case "Wait":
                self.waits.append(path(state["SecondsPath"], value, context))
                assert self.waits[-1] > 0
                return value, state["Next"]
            case "Task":
                return _placed(state, value, self._task(state, value, context)), state.get("Next", "")
            case "Map":
                return _placed(state, value, self._map(state, execution)), state.get("Next", "")
        raise Unknown(state["Type"])

    def _task(self, state: Mapping[str, Any], value: Any, context: Mapping[str, Any]) -> Any:
        if state["Resource"] != "arn:aws:states:::lambda:invoke":
            raise Unknown(state["Resource"])
        parameters = resolve(state["Parameters"], value, context)
        assert parameters.keys() == {"FunctionName", "Payload"}
        self._measure(parameters["Payload"])
        if self._free == 0:
            raise Failed(THROTTLED, "Rate Exceeded.")
        if self._free is not None:
            self._free -= 1
        # The other fields are those that the Lambda integration adds to each result.
        return {
            "ExecutedVersion": "$LATEST",
            "Payload": self._invoke(parameters["Payload"]),
            "StatusCode": 200,
        }

    def _map(self, state: Mapping[str, Any], execution: Execution) -> Any:
        """Run the children that have not succeeded, and return the Map's result.

        The children that failed, in a Map Run that failed, stay for a redrive.
        """
        if not execution.children:
            execution.children = self._children(state, execution)
            execution.map_runs.append(execution.children)
        self._run_children(state, execution)
        failed = sum(child.status == "FAILED" for child in execution.children)
        if failed * 100 > state["ToleratedFailurePercentage"] * len(execution.children):
            raise Failed("States.ExceedToleratedFailureThreshold", f"{failed} items failed")
        outputs = [child.value for child in execution.children if child.status == "SUCCEEDED"]
        self._measure(outputs)
        execution.children = []
        return resolve(state["ResultSelector"], outputs, execution.context)

    def _run_children(self, state: Mapping[str, Any], execution: Execution) -> None:
        at_once = path(state["MaxConcurrencyPath"], execution.value, {})
        assert isinstance(at_once, int) and at_once > 0  # noqa: PT018 - one statement: what the field may be
        waiting = deque(child for child in execution.children if child.status != "SUCCEEDED")
        running: list[Execution] = []
        while waiting or running:
            while waiting and len(running) < at_once:
                running.append(waiting.popleft())
                running[-1].status = "RUNNING"
            self._free = self._slots
            for child in running:
                self._advance(child)
            running = [child for child in running if child.status == "RUNNING"]

    def _children(self, state: Mapping[str, Any], execution: Execution) -> list[Execution]:
        processor = state["ItemProcessor"]
        assert processor["ProcessorConfig"] == {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"}
        items = self._read(state["ItemReader"], execution)
        assert items, "How Step Functions runs a Map without items is not documented."
        return [
            Execution(processor, item, f"child-{number}", processor["StartAt"], item)
            for number, item in enumerate(items)
        ]

    def _read(self, reader: Mapping[str, Any], execution: Execution) -> list[Any]:
        parameters = resolve(reader["Parameters"], execution.value, execution.context)
        if reader["Resource"] != "arn:aws:states:::s3:getObject":
            raise Unknown(reader["Resource"])
        if reader["ReaderConfig"] != {"InputType": "JSON"}:
            raise Unknown(str(reader["ReaderConfig"]))
        try:
            return list(json.loads(self._s3.get_object(**parameters)["Body"].read()))
        except ClientError as error:
            raise Failed("States.ItemReaderFailed", str(error)) from None

    def _measure(self, state: Any) -> None:
        """Count the bytes of a state's input or output, of which Step Functions allows 256 KiB."""
        self.largest = max(self.largest, len(json.dumps(state)))
        if self.largest > LARGEST_STATE:
            raise Failed("States.DataLimitExceeded", f"{self.largest} bytes")


def _chosen(state: Mapping[str, Any], value: Any) -> str:
    for rule in state["Choices"]:
        found = path(rule["Variable"], value, {})
        more = "NumericGreaterThan" in rule and found > rule["NumericGreaterThan"]
        equal = "StringEquals" in rule and isinstance(found, str) and found == rule["StringEquals"]
        same = "BooleanEquals" in rule and found is rule["BooleanEquals"]
        if more or equal or same:
            return str(rule["Next"])
    return str(state["Default"])


def _passed(state: Mapping[str, Any], value: Any, context: Mapping[str, Any]) -> Any:
    result = state.get("Result", evaluate(state.get("InputPath", "$"), value, context))
    if "Parameters" in state:
        result = resolve(state["Parameters"], value, context)
    return _placed(state, value, result)


def _placed(state: Mapping[str, Any], value: Any, result: Any) -> Any:
    """Return a state's result, or its input with the result at ResultPath."""
    where = state.get("ResultPath", "$")
    return result if where == "$" else {**value, where.removeprefix("$."): result}
