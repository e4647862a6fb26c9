"""Reference paths, payload templates and intrinsic functions of ASL that the project's state machine uses.

Any other is refused.
"""

import copy
import re
from collections.abc import Mapping
from typing import Any


class Unknown(AssertionError):
    """The double does not know this part of a machine, so a test with it would prove nothing."""


def resolve(template: Any, value: Any, context: Mapping[str, Any]) -> Any:
    """Return a payload template filled in; fields ending with `.$` are paths or intrinsic functions."""
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
    """Return the value of a path or an intrinsic function."""
    if expression.startswith("$"):
        return path(expression, value, context)
    call = re.fullmatch(r"States\.(\w+)\((.*)\)", expression)
    if call is None:
        raise Unknown(f"The double does not know the expression {expression}.")
    given = [
        _argument(text.strip(), value, context) for text in re.split(r",(?=(?:[^']*'[^']*')*[^']*$)", call[2])
    ]
    if call[1] == "Format":
        return re.sub(r"\{\}", lambda _: str(given.pop(1)), given[0])
    if call[1] == "JsonMerge" and given[2] is False:  # Step Functions takes no other value yet
        return {**given[0], **given[1]}
    raise Unknown(f"The double does not know the function States.{call[1]}.")


def path(expression: str, value: Any, context: Mapping[str, Any]) -> Any:
    """Return the value at a reference path; `$$.` starts in the context object."""
    steps = expression.split(".")
    found: Any = context if steps[0] == "$$" else value
    for step in steps[1:]:
        found = found[step]  # a missing field also ends an execution of Step Functions, with States.Runtime
    return copy.deepcopy(found)


def _argument(text: str, value: Any, context: Mapping[str, Any]) -> Any:
    if text.startswith("'"):
        return text[1:-1]
    if text in ("true", "false"):
        return text == "true"
    return path(text, value, context)
