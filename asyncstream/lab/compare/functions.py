"""`Functions`: what a comparison invokes, and how their replies are read.

Those in the sandbox are in `sandboxed.py`, those of a deployed stack in `deployed.py`.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from asyncstream.errors import AsyncstreamError
from asyncstream.lab.compare.sdk_errors import said_in_one_line
from asyncstream.lab.compare.variants import Variant
from asyncstream.lab.report.measurement import Failure, Run

# A variable whose value changes from run to run, so that Lambda begins each in a new environment.
RUN_VARIABLE = "COMPARISON_RUN"
# Statuses of replies that tell of no failure; the reference to gather pages has none.
SUCCEEDED = (None, "copied", "stored")


class Functions(Protocol):
    """A function for each variant; `limits` tells how they are held to their size."""

    @property
    def limits(self) -> str:
        """How the functions are held to their size."""

    def invoke(self, variant: Variant, memory_mb: int | None, event: Mapping[str, Any]) -> Run | Failure:
        """Invoke the variant's function in a new environment of that size; what was measured, or failed."""

    def with_traces(self, runs: Sequence[Run | Failure]) -> tuple[list[Run | Failure], str | None]:
        """The runs with the traces that could not be had before; and why some are missing, if some are."""


def configure(client: Any, name: str, **settings: Any) -> None:
    """Change a function's settings, and wait until they are in force.

    Raises:
        AsyncstreamError: that failed.
    """
    with said_in_one_line(AsyncstreamError, f"the function {name} cannot be configured"):
        updated = client.get_waiter("function_updated_v2")
        updated.wait(FunctionName=name)  # Lambda refuses a change while it makes another
        client.update_function_configuration(FunctionName=name, **settings)
        updated.wait(FunctionName=name)


def invoke(client: Any, name: str, event: Mapping[str, Any]) -> tuple[Any, Mapping[str, Any], str | None]:
    """Invoke a function and wait for its end: Lambda's reply, the payload, and what went wrong.

    Raises:
        AsyncstreamError: it could not be invoked.
    """
    with said_in_one_line(AsyncstreamError, f"the function {name} cannot be invoked"):
        reply = client.invoke(FunctionName=name, LogType="Tail", Payload=json.dumps(event))
        payload = json.loads(reply["Payload"].read())
    return reply, payload, _told(payload) if "FunctionError" in reply else failure_in(payload)


def _told(payload: Mapping[str, Any]) -> str:
    """Lambda's error in one line: its type, and its message without the request's id."""
    message = re.sub(r"^RequestId: \S+ Error: ", "", payload.get("errorMessage", ""))
    return f"{payload.get('errorType', 'Unhandled')}: {message}"


def failure_in(reply: Mapping[str, Any]) -> str | None:
    """What a handler's reply says went wrong, if something did."""
    if reply.get("status") in SUCCEEDED and not reply.get("error"):
        return None
    failures = reply.get("failures") or [{}]
    problem = reply.get("error") or failures[0].get("error") or {"type": reply["status"], "message": "?"}
    many = f" (and {len(failures) - 1:,} more)" if len(failures) > 1 else ""
    return f"{problem['type']}: {problem['message']}{many}"
