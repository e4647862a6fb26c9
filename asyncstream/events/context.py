"""Lambda's context object, and the deadline that follows from its remaining time. Does no I/O."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol, Self, TypeVar

from asyncstream.errors import DeadlineExceeded

# Seconds of the remaining time that are reserved for S3's last replies, the report and the reply: a quarter
# of it, within these bounds, so that an invocation of two seconds can move bytes for most of them. In a part
# of it, uploads are still created, completed and aborted: see `deadline.Deadline.ending`.
MIN_MARGIN, MAX_MARGIN = 0.5, 2.0


class LambdaContext(Protocol):
    """The part of Lambda's context object that is used."""

    @property
    def aws_request_id(self) -> str:
        """The invocation's id, to find its log by."""

    def get_remaining_time_in_millis(self) -> int:
        """Return the milliseconds until Lambda ends the invocation."""


# What `lambda_handler` returns. Unit tests may call it with None as the context.
Handler = Callable[[Any, LambdaContext | None], Any]


class _Timed(Protocol):
    """A configuration with a deadline in seconds."""

    @property
    def deadline(self) -> float | None:
        """The seconds until the deadline; None for no deadline."""

    def override(self, values: Mapping[str, Any]) -> Self:
        """Return a copy with some values replaced."""


Config = TypeVar("Config", bound=_Timed)


def within(config: Config, context: LambdaContext | None) -> Config:
    """Return the configuration with a deadline early enough to reply before Lambda ends the invocation.

    Without a context, as in a unit test, the configuration stays as it is.

    Raises:
        DeadlineExceeded: too little time is left to start.
    """
    if context is None:
        return config
    remaining = context.get_remaining_time_in_millis() / 1000
    left = remaining - min(max(remaining / 4, MIN_MARGIN), MAX_MARGIN)
    if left <= 0:
        raise DeadlineExceeded(f"less than {MIN_MARGIN:g} s of the invocation are left: nothing was started")
    if config.deadline is not None and config.deadline <= left:
        return config
    return config.override({"deadline": left})


def request_id(context: LambdaContext | None) -> str:
    """Return the invocation's id, to find its log by; "" without a context."""
    return "" if context is None else context.aws_request_id
