"""Events and contexts for invoking the Lambda functions."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from asyncstream import MiB

PART = 5 * MiB
BIG = 12 * MiB  # three parts of 5 MiB

# The type of the fixture `invoke`.
Invoke = Callable[..., dict[str, Any]]


@dataclass(frozen=True)
class Context:
    """The part of Lambda's context object that the handlers use."""

    milliseconds: int
    aws_request_id: str = "8476a536-e9f4-11e8-9739-2dfe598c3fcd"

    def get_remaining_time_in_millis(self) -> int:
        return self.milliseconds


def files_of(source: str, target: str, *keys: str) -> list[dict[str, str]]:
    """Return an event's files that copy each key to the same key."""
    return [{"source": f"s3://{source}/{key}", "destination": f"s3://{target}/{key}"} for key in keys]
