"""Checks of a state machine before the test double of Step Functions in `asl_machine.py` runs it.

They refuse what CreateStateMachine refuses: names that occur twice and targets that do not exist. They also
refuse fields and error names that the double does not know, because it would run them differently from Step
Functions.
"""

import inspect
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from asyncstream import errors

from .asl_paths import Unknown

_COMMON = {"Type", "Comment", "Next", "End"}
FIELDS = {
    "machine": {"Comment", "StartAt", "States", "ProcessorConfig"},
    "Pass": _COMMON | {"InputPath", "Parameters", "Result", "ResultPath"},
    "Choice": {"Type", "Choices", "Default"},
    "rule": {"Variable", "StringEquals", "BooleanEquals", "NumericGreaterThan", "Next"},
    "Succeed": {"Type", "OutputPath"},
    "Wait": {"Type", "SecondsPath", "Next"},
    "Task": _COMMON | {"Resource", "Parameters", "ResultPath", "TimeoutSeconds", "Retry"},
    "retrier": {
        "ErrorEquals",
        "IntervalSeconds",
        "MaxAttempts",
        "BackoffRate",
        "MaxDelaySeconds",
        "JitterStrategy",
    },
    "Map": _COMMON
    | {
        "Label",
        "ItemReader",
        "MaxConcurrencyPath",
        "ToleratedFailurePercentage",
        "ItemProcessor",
        "ResultSelector",
        "ResultPath",
    },
    "ItemReader": {"Resource", "Parameters", "ReaderConfig"},
    "ReaderConfig": {"InputType"},
}
# Names that a retrier may have. Step Functions takes any text, so a misspelt name retries nothing.
ERRORS = {
    # Amazon States Language, "Predefined error codes", except States.ALL and States.TaskFailed: those match
    # other names too, and this double only compares names.
    *(f"States.{name}" for name in ("Timeout", "HeartbeatTimeout", "Permissions", "BranchFailed")),
    *(f"States.{name}" for name in ("ResultPathMatchFailure", "ParameterPathFailure", "IntrinsicFailure")),
    *(f"States.{name}" for name in ("NoChoiceMatched", "QueryEvaluationError", "ItemReaderFailed")),
    *(f"States.{name}" for name in ("ResultWriterFailed", "ExceedToleratedFailureThreshold")),
    # Step Functions developer guide, "Handle Lambda service exceptions".
    *(f"Lambda.{name}" for name in ("ServiceException", "AWSLambdaException", "SdkClientException")),
    *(
        f"Lambda.{name}"
        for name in ("ClientExecutionTimeoutException", "TooManyRequestsException", "Unknown")
    ),
    # Types in Lambda's replies when the environment ends before the function returns.
    *("Sandbox.Timedout", "Runtime.ExitError", "Runtime.OutOfMemory"),
    # A function's own error has the name of its class.
    *(name for name, _ in inspect.getmembers(errors, inspect.isclass)),
}


def check_machine(machine: Mapping[str, Any]) -> None:
    """Refuse a machine that Step Functions refuses, or that the double would run differently.

    Raises:
        Unknown: with what is wrong, and where.
    """
    repeated = [name for name, times in Counter(_state_names(machine)).items() if times > 1]
    if repeated:  # state names are unique in the whole machine, maps included
        raise Unknown(f"DUPLICATE_STATE_NAME: {', '.join(repeated)}")
    for level in _machines(machine):
        _check_fields("machine", level)
        _check_targets(level)
        for state in level["States"].values():
            _check_state(state)


def _machines(machine: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield the machine, then those of its maps."""
    yield machine
    for state in machine["States"].values():
        if "ItemProcessor" in state:
            yield from _machines(state["ItemProcessor"])


def _state_names(machine: Mapping[str, Any]) -> Iterator[str]:
    for level in _machines(machine):
        yield from level["States"]


def _check_state(state: Mapping[str, Any]) -> None:
    if state["Type"] not in FIELDS:
        raise Unknown(f"The double does not know states of type {state['Type']}.")
    _check_fields(state["Type"], state)
    for retrier in state.get("Retry", []):
        _check_fields("retrier", retrier)
        unknown = set(retrier["ErrorEquals"]) - ERRORS
        if unknown:
            raise Unknown(f"The double does not know the error names {', '.join(sorted(unknown))}.")
    for rule in state.get("Choices", []):
        _check_fields("rule", rule)
    _check_fields("ItemReader", state.get("ItemReader", {}))
    _check_fields("ReaderConfig", state.get("ItemReader", {}).get("ReaderConfig", {}))


def _check_fields(kind: str, given: Mapping[str, Any]) -> None:
    unknown = set(given) - FIELDS[kind]
    if unknown:
        raise Unknown(f"The double does not know the fields {', '.join(sorted(unknown))} of {kind}.")


def _check_targets(machine: Mapping[str, Any]) -> None:
    """Refuse a transition to a state that does not exist, and a state that no transition leads to."""
    states = machine["States"]
    reached: set[str] = set()
    left = [machine["StartAt"]]
    while left:
        name = left.pop()
        if name not in states:
            raise Unknown(f"MISSING_TRANSITION_TARGET: {name}")
        if name not in reached:
            reached.add(name)
            left += _following(states[name])
    if states.keys() - reached:
        raise Unknown(f"No transition leads to the states {', '.join(sorted(states.keys() - reached))}.")


def _following(state: Mapping[str, Any]) -> list[str]:
    """Return the names of the states that this one may lead to."""
    places = [state, *state.get("Choices", [])]
    return [place[field] for place in places for field in ("Next", "Default") if field in place]
