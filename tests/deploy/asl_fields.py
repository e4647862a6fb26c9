"""What the test double of Step Functions knows of ASL: fields, reference paths and intrinsic functions.

For `asl_machine.py`. It knows what the project's state machine uses, and refuses everything else: a field
that the double would overlook could not be tested by it.
"""

import copy
import re
from collections.abc import Mapping
from typing import Any

_COMMON = {"Type", "Comment", "Next", "End"}
FIELDS = {
    "machine": {"Comment", "StartAt", "States", "ProcessorConfig"},
    "Pass": _COMMON | {"Result", "ResultPath", "Parameters", "OutputPath"},
    "Choice": {"Type", "Choices", "Default"},
    "rule": {"Variable", "StringEquals", "NumericEquals", "NumericGreaterThan", "Next"},
    "Fail": {"Type", "Error", "Cause"},
    "Succeed": {"Type"},
    "Task": _COMMON | {"Resource", "Parameters", "OutputPath", "Retry"},
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
        "ItemSelector",
        "ItemBatcher",
        "MaxConcurrencyPath",
        "ToleratedFailurePercentagePath",
        "ItemProcessor",
        "ResultWriter",
    },
    "ItemReader": {"Resource", "Parameters", "ReaderConfig"},
    "ReaderConfig": {"InputType", "CSVHeaderLocation"},
    "ItemBatcher": {"MaxItemsPerBatchPath", "MaxInputBytesPerBatch"},
    "ResultWriter": {"Resource", "Parameters"},
}


class Unknown(AssertionError):
    """The double does not know this, so it proves nothing."""


def check(kind: str, given: Mapping[str, Any]) -> None:
    """Refuse fields that are not known of this kind of thing."""
    unknown = set(given) - FIELDS[kind]
    if unknown:
        raise Unknown(f"{kind} has {', '.join(sorted(unknown))}, which this double does not know")


def check_machine(machine: Mapping[str, Any]) -> None:
    """Refuse a machine that the double would run otherwise than Step Functions."""
    check("machine", machine)
    for state in machine["States"].values():
        if state["Type"] not in FIELDS:
            raise Unknown(f"a state of type {state['Type']}")
        check(state["Type"], state)
        for retrier in state.get("Retry", []):
            check("retrier", retrier)
        for rule in state.get("Choices", []):
            check("rule", rule)
        for name in ("ItemReader", "ItemBatcher", "ResultWriter"):
            check(name, state.get(name, {}))
        check("ReaderConfig", state.get("ItemReader", {}).get("ReaderConfig", {}))
        if "ItemProcessor" in state:
            check_machine(state["ItemProcessor"])


def resolve(template: Any, value: Any, context: Mapping[str, Any]) -> Any:
    """A payload template filled in: fields ending with `.$` are paths or intrinsic functions."""
    if isinstance(template, list):
        return [resolve(each, value, context) for each in template]
    if not isinstance(template, dict):
        return template
    filled = {}
    for name, each in template.items():
        if name.endswith(".$"):
            filled[name.removesuffix(".$")] = evaluate(each, value, context)
        else:
            filled[name] = resolve(each, value, context)
    return filled


def evaluate(expression: str, value: Any, context: Mapping[str, Any]) -> Any:
    """What a path or an intrinsic function stands for."""
    if expression.startswith("$"):
        return path(expression, value, context)
    call = re.fullmatch(r"States\.(\w+)\((.*)\)", expression)
    if call is None:
        raise Unknown(f"the expression {expression}")
    given = [
        _argument(text.strip(), value, context) for text in re.split(r",(?=(?:[^']*'[^']*')*[^']*$)", call[2])
    ]
    if call[1] == "Format":
        return re.sub(r"\{\}", lambda _: str(given.pop(1)), given[0])
    if call[1] == "JsonMerge" and given[2] is False:
        return {**given[0], **given[1]}
    raise Unknown(f"the function States.{call[1]}")


def path(expression: str, value: Any, context: Mapping[str, Any]) -> Any:
    """What a reference path points to; `$$.` begins in the context object."""
    steps = expression.split(".")
    found: Any = context if steps[0] == "$$" else value
    for step in steps[1:]:
        found = found[step]  # as Step Functions, which ends the execution with States.Runtime
    return copy.deepcopy(found)


def _argument(text: str, value: Any, context: Mapping[str, Any]) -> Any:
    if text.startswith("'"):
        return text[1:-1]
    if text in ("true", "false"):
        return text == "true"
    return path(text, value, context)
