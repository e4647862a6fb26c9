"""`Functions`: the functions of a comparison, and how to configure, invoke and read them.

`sandboxed.py` has the functions in the sandbox, `deployed.py` those of a deployed stack.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from asyncstream.errors import AsyncstreamError
from asyncstream.lab.compare.sdk_errors import one_line_errors
from asyncstream.lab.compare.variants import Variant
from asyncstream.lab.report.measurement import Failure, Run

# This variable's value changes with each run, so that Lambda starts each run in a new environment.
RUN_VARIABLE = "COMPARISON_RUN"
# Statuses of successful replies. The reference for pages has no status.
SUCCEEDED = (None, "copied", "stored")


class Functions(Protocol):
    """A function for each variant."""

    @property
    def limits(self) -> str:
        """How memory and CPU of the functions are limited."""

    def invoke(self, variant: Variant, memory_mb: int | None, event: Mapping[str, Any]) -> Run | Failure:
        """Invoke the variant's function in a new environment of this size (MB) and measure it."""

    def with_traces(self, runs: Sequence[Run | Failure]) -> tuple[list[Run | Failure], str | None]:
        """Return the runs with their late traces, and the reason if traces are missing."""


def configure(client: Any, name: str, **settings: Any) -> None:
    """Change a function's settings, and wait until they apply.

    Raises:
        AsyncstreamError: the change failed.
    """
    with one_line_errors(AsyncstreamError, f"the function {name} cannot be configured"):
        updated = client.get_waiter("function_updated_v2")
        updated.wait(FunctionName=name)  # Lambda refuses a change during another one
        client.update_function_configuration(FunctionName=name, **settings)
        updated.wait(FunctionName=name)


def invoke(client: Any, name: str, event: Mapping[str, Any]) -> tuple[Any, Mapping[str, Any], str | None]:
    """Invoke a function and wait for its end. Return Lambda's reply, its payload, and the failure or None.

    Raises:
        AsyncstreamError: the function could not be invoked.
    """
    with one_line_errors(AsyncstreamError, f"the function {name} cannot be invoked"):
        reply = client.invoke(FunctionName=name, LogType="Tail", Payload=json.dumps(event))
        payload = json.loads(reply["Payload"].read())
    return reply, payload, _error_line(payload) if "FunctionError" in reply else failure_in(payload)


def _error_line(payload: Mapping[str, Any]) -> str:
    """Return Lambda's error in one line: its type, and its message without the request ID."""
    message = re.sub(r"^RequestId: \S+ Error: ", "", payload.get("errorMessage", ""))
    return f"{payload.get('errorType', 'Unhandled')}: {message}"


def failure_in(reply: Mapping[str, Any]) -> str | None:
    """Return the failure in a handler's reply, or None."""
    if reply.get("status") in SUCCEEDED and not reply.get("error"):
        return None
    failures = reply.get("failures") or [{}]
    problem = reply.get("error") or failures[0].get("error") or {"type": reply["status"], "message": "?"}
    many = f" (and {len(failures) - 1:,} more)" if len(failures) > 1 else ""
    return f"{problem['type']}: {problem['message']}{many}"
