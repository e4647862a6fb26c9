"""What Lambda tells of an invocation, and the deadline that its time makes. Pure."""

from collections.abc import Mapping
from typing import Any, Protocol, Self, TypeVar

from asyncstream.errors import DeadlineExceeded

# Seconds kept back of the time Lambda gives, for the last replies, the report and the reply: a quarter of
# it within these bounds, so that an invocation of two seconds has most of them to move bytes in. Uploads are
# begun and ended in some of it: see `chunks.Deadline.ending`.
LEAST_MARGIN, MOST_MARGIN = 0.5, 2.0


class LambdaContext(Protocol):
    """What is used of the context object Lambda passes."""

    @property
    def aws_request_id(self) -> str:
        """The invocation's id, by which its log is found."""

    def get_remaining_time_in_millis(self) -> int:
        """Milliseconds until Lambda ends the invocation."""


class _Timed(Protocol):
    """A configuration with a deadline in seconds."""

    @property
    def deadline(self) -> float | None:
        """Seconds, None: no end."""

    def override(self, values: Mapping[str, Any]) -> Self:
        """A copy with other values."""


Config = TypeVar("Config", bound=_Timed)


def within(config: Config, context: LambdaContext) -> Config:
    """The configuration with a deadline that lets the reply out before Lambda's time is up.

    Raises:
        DeadlineExceeded: there is no time left to begin in.
    """
    remaining = context.get_remaining_time_in_millis() / 1000
    left = remaining - min(max(remaining / 4, LEAST_MARGIN), MOST_MARGIN)
    if left <= 0:
        raise DeadlineExceeded(f"less than {LEAST_MARGIN:g} s of the invocation are left: nothing was begun")
    if config.deadline is not None and config.deadline <= left:
        return config
    return config.override({"deadline": left})
