"""When to try a request again: the table, and `Retrying`, the loop that follows it within a deadline.

Full jitter: the wait is uniform in [0, min(max_delay, base_delay * 2**(attempt - 1))], see the AWS
Architecture Blog, "Exponential Backoff And Jitter".
"""

import random
import sys
from collections.abc import Awaitable, Callable
from typing import TypeVar

from msgspec import Struct

from asyncstream.deadline import NO_DEADLINE, Deadline
from asyncstream.errors import (
    AsyncstreamError,
    ChecksumMismatch,
    ConnectionClosed,
    CredentialsExpired,
    DeadlineExceeded,
    SlowDown,
)

T = TypeVar("T")


class RetryPolicy(Struct, frozen=True):
    """How often and how patiently one request or part is tried.

    Attributes:
        max_attempts: tries in all, the first included.
        base_delay: seconds; the upper bound of the first wait.
        max_delay: seconds; no wait is longer, unless S3 asks for it.
        max_wait: seconds waited in all; what would take longer is given up.
    """

    max_attempts: int = 4
    base_delay: float = 0.1
    max_delay: float = 5.0
    max_wait: float = 30.0


class Rule(Struct, frozen=True):
    """What one kind of error differs in from the policy.

    Attributes:
        most: tries that make sense, where those are fewer than `max_attempts`.
        patience: factor of the wait's bound.
        free: tries that are made at once, and not counted.
    """

    most: int = sys.maxsize
    patience: float = 1.0
    free: int = 0


# The table: the first class that matches an error decides. An error that is not `retryable` is never retried.
RULES: tuple[tuple[type[AsyncstreamError], Rule], ...] = (
    # S3 scales a prefix within minutes, and until then wants fewer requests: patience, not persistence.
    (SlowDown, Rule(patience=4)),
    # Found out by the first bytes sent over it; the next connection is another one.
    (ConnectionClosed, Rule(free=1)),
    # The next try looks the credentials up again: if they are refused then, more tries do not help.
    (CredentialsExpired, Rule(most=2)),
    # Not by chance three times in a row.
    (ChecksumMismatch, Rule(most=3)),
    (AsyncstreamError, Rule()),
)


class Tries(Struct):
    """What was done of one request so far: tries counted, tries that were free, seconds waited."""

    counted: int = 0
    free: int = 0
    waited: float = 0.0


def rule_for(error: AsyncstreamError) -> Rule:
    """The row of the table that an error falls under."""
    return next(rule for kind, rule in RULES if isinstance(error, kind))


def wait_before_retry(
    error: AsyncstreamError, tries: Tries, policy: RetryPolicy, jitter: float
) -> float | None:
    """Seconds to wait before the next try, or None to give up; counts the try that failed.

    Args:
        error: what the last try raised.
        tries: before it.
        policy: the bounds.
        jitter: a random number in [0, 1).
    """
    rule = rule_for(error)
    if error.retryable and tries.free < rule.free:
        tries.free += 1
        return 0.0
    tries.counted += 1
    if not error.retryable or tries.counted >= min(policy.max_attempts, rule.most):
        return None
    bound = min(policy.max_delay, rule.patience * policy.base_delay * 2.0 ** (tries.counted - 1))
    wait = max(jitter * bound, getattr(error, "retry_after", 0.0))
    if tries.waited + wait > policy.max_wait:
        return None
    tries.waited += wait
    return wait


# Called before each wait, with the error of the last try and the seconds to wait.
OnRetry = Callable[[AsyncstreamError, float], None]


def ignore_retry(error: AsyncstreamError, wait: float) -> None:
    """Do nothing: the hook of a request whose retries are not counted."""


class Retrying:
    """Repeats requests as often as policy and deadline allow. Serves many requests at once.

    Args:
        policy: the bounds.
        deadline: no try and no wait starts after it.
        sleep: the engine's; takes seconds.
    """

    def __init__(
        self, policy: RetryPolicy, deadline: Deadline, sleep: Callable[[float], Awaitable[None]]
    ) -> None:
        self.policy = policy
        self.deadline = deadline
        self.sleep = sleep

    async def run(
        self,
        once: Callable[[], Awaitable[T]],
        on_retry: OnRetry = ignore_retry,
        left: Callable[[], float] = NO_DEADLINE.left,
    ) -> T:
        """Return the result of the first try that succeeds.

        Args:
            once: makes one try.
            on_retry: counts or reports the tries that are followed by another one.
            left: seconds until another bound than the deadline; a longer wait is not started.

        Raises:
            DeadlineExceeded: the deadline passed, or comes before the next try. The message has the error of
                the last try.
            AsyncstreamError: of the last try.
        """
        tries = Tries()
        before = ""
        while True:
            try:
                self.deadline.check()
                return await once()
            except DeadlineExceeded as error:
                if not before:
                    raise
                # The user can act on what took the time, not on the time itself.
                raise DeadlineExceeded(f"{error}, after: {before}") from error
            except AsyncstreamError as error:
                before = str(error)
                wait = self.wait_after(error, tries, left)
                if wait is None:
                    raise
                on_retry(error, wait)
            await self.sleep(wait)

    def wait_after(
        self, error: AsyncstreamError, tries: Tries, left: Callable[[], float] = NO_DEADLINE.left
    ) -> float | None:
        """Return the seconds to wait before the next try, or None to give up; count the try that failed.

        Args:
            error: of the last try.
            tries: before it.
            left: as for `run`.

        Raises:
            DeadlineExceeded: only the deadline forbids another try.
        """
        self.deadline.check_retry(error)
        wait = wait_before_retry(error, tries, self.policy, random.random())  # noqa: S311 - no secret
        if wait is None or wait >= left():
            return None
        self.deadline.check_retry(error, wait)
        return wait
