"""An invocation's event and context, as the tests of the Lambda functions make them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from asyncstream import MiB

PART = 5 * MiB
BIG = 12 * MiB  # three parts of 5 MiB

# See the fixture of this name.
Invoke = Callable[..., dict[str, Any]]


@dataclass(frozen=True)
class Context:
    """What the handlers use of Lambda's context object."""

    milliseconds: int
    aws_request_id: str = "8476a536-e9f4-11e8-9739-2dfe598c3fcd"

    def get_remaining_time_in_millis(self) -> int:
        return self.milliseconds


def files_of(source: str, target: str, *keys: str) -> list[dict[str, str]]:
    """An event's files: each key to the same key."""
    return [{"source": f"s3://{source}/{key}", "destination": f"s3://{target}/{key}"} for key in keys]
