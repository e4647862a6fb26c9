"""When to retry a request: the table, and `Retrying`, the loop that applies it within a deadline.

Waits have full jitter: they are uniform in [0, min(max_delay, base_delay * 2**(attempt - 1))]. See the AWS
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
    ChecksumRefused,
    ConnectionClosed,
    CredentialsExpired,
    DeadlineExceeded,
    SlowDown,
)

T = TypeVar("T")


class RetryPolicy(Struct, frozen=True):
    """How often to try one request or part, and how long to wait between tries.

    Attributes:
        max_attempts: number of tries, including the first.
        base_delay: seconds; the upper bound of the first wait.
        max_delay: seconds; the upper bound of every wait, unless S3 asks for a longer one.
        max_wait: seconds; a request is given up if its waits would add up to more.
    """

    max_attempts: int = 4
    base_delay: float = 0.1
    max_delay: float = 5.0
    max_wait: float = 30.0


class Rule(Struct, frozen=True):
    """How one kind of error differs from the policy.

    Attributes:
        max_tries: upper limit of tries, if lower than `max_attempts`. Default: no limit.
        wait_factor: factor for the upper bound of each wait. Default: 1.
        free_retries: number of retries that are made immediately and not counted. Default: 0.
    """

    max_tries: int = sys.maxsize
    wait_factor: float = 1.0
    free_retries: int = 0


# The table: the first class that matches an error decides. An error that is not `retryable` is never retried.
RULES: tuple[tuple[type[AsyncstreamError], Rule], ...] = (
    # S3 scales a prefix within minutes, and until then wants fewer requests: wait longer.
    (SlowDown, Rule(wait_factor=4)),
    # Only the first bytes sent show that a connection is dead. The retry uses another connection.
    (ConnectionClosed, Rule(free_retries=1)),
    # The next try leaves the checksum out, or adds it.
    (ChecksumRefused, Rule(free_retries=1)),
    # The next try looks the credentials up again. If S3 refuses those too, more tries do not help.
    (CredentialsExpired, Rule(max_tries=2)),
    # Three mismatches in a row are not chance.
    (ChecksumMismatch, Rule(max_tries=3)),
    (AsyncstreamError, Rule()),
)


class Tries(Struct):
    """The failed tries of one request so far: counted ones, free ones, and seconds waited."""

    counted: int = 0
    free: int = 0
    waited: float = 0.0


def rule_for(error: AsyncstreamError) -> Rule:
    """Return the rule of the table for an error."""
    return next(rule for kind, rule in RULES if isinstance(error, kind))


def wait_before_retry(
    error: AsyncstreamError, tries: Tries, policy: RetryPolicy, jitter: float
) -> float | None:
    """Return the seconds to wait before the next try, or None to give up. Adds the failed try to `tries`.

    Args:
        error: the error that the last try raised.
        tries: the tries before it.
        policy: the limits of tries and waits.
        jitter: a random number in [0, 1).
    """
    rule = rule_for(error)
    if error.retryable and tries.free < rule.free_retries:
        tries.free += 1
        return 0.0
    tries.counted += 1
    if not error.retryable or tries.counted >= min(policy.max_attempts, rule.max_tries):
        return None
    bound = min(policy.max_delay, rule.wait_factor * policy.base_delay * 2.0 ** (tries.counted - 1))
    wait = max(jitter * bound, getattr(error, "retry_after", 0.0))
    if tries.waited + wait > policy.max_wait:
        return None
    tries.waited += wait
    return wait


# A function called before each wait, with the error of the last try and the seconds to wait.
OnRetry = Callable[[AsyncstreamError, float], None]


def ignore_retry(error: AsyncstreamError, wait: float) -> None:
    """Do nothing: the default of `on_retry`."""


class Retrying:
    """Retries requests as often as the policy and the deadline allow. Serves many requests at once.

    Args:
        policy: the limits of tries and waits.
        deadline: no try and no wait starts after it.
        sleep: the engine's `sleep`; takes seconds.
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
            on_retry: called for each failed try that is followed by another.
            left: returns the seconds until another limit than the deadline. No wait exceeds it.

        Raises:
            DeadlineExceeded: the deadline passed, or is before the next try. The message contains the error
                of the last try.
            AsyncstreamError: the error of the last try.
        """
        tries = Tries()
        last_error = ""
        while True:
            try:
                self.deadline.check()
                return await once()
            except DeadlineExceeded as error:
                if not last_error:
                    raise
                # The user can act on the error that was retried, not on the deadline that passed meanwhile.
                raise DeadlineExceeded(f"{error}, after: {last_error}") from error
            except AsyncstreamError as error:
                last_error = str(error)
                wait = self.wait_after(error, tries, left)
                if wait is None:
                    raise
                on_retry(error, wait)
            await self.sleep(wait)

    def wait_after(
        self, error: AsyncstreamError, tries: Tries, left: Callable[[], float] = NO_DEADLINE.left
    ) -> float | None:
        """Return the seconds to wait before the next try, or None to give up. Adds the failed try to `tries`.

        Args:
            error: the error of the last try.
            tries: the tries before it.
            left: see `run`.

        Raises:
            DeadlineExceeded: another try would be allowed, but the deadline is before it.
        """
        self.deadline.check_retry(error)
        wait = wait_before_retry(error, tries, self.policy, random.random())  # noqa: S311 - no secret
        if wait is None or wait >= left():
            return None
        self.deadline.check_retry(error, wait)
        return wait
