"""When to try again: the table, and the one loop that follows it; used by the chunks, parts and `session.py`.

Full jitter: the wait is uniform in [0, min(max_delay, base_delay * 2**(attempt - 1))], see the AWS
Architecture Blog, "Exponential Backoff And Jitter".
"""

import random
import sys
from collections.abc import Awaitable, Callable
from typing import TypeVar

from msgspec import Struct

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


# The table: the first class that an error is of decides. Whatever is not `retryable` is never tried again.
RULES: tuple[tuple[type[AsyncstreamError], Rule], ...] = (
    # S3 scales a prefix within minutes, and until then wants fewer requests: patience, not persistence.
    (SlowDown, Rule(patience=4)),
    # Found out by the first bytes sent over it; the next connection is another one.
    (ConnectionClosed, Rule(free=1)),
    # Looked up anew in between: credentials that are then still refused are no matter of time.
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


def _tell_nobody(error: AsyncstreamError) -> None:
    """The `tell` of a request that nobody watches."""


async def repeat(
    once: Callable[[], Awaitable[T]],
    policy: RetryPolicy,
    sleep: Callable[[float], Awaitable[None]],
    left: Callable[[], float],
    tell: Callable[[AsyncstreamError], None] = _tell_nobody,
) -> T:
    """What `once` returns, tried as often as the policy allows.

    Args:
        once: one try.
        policy: the bounds.
        sleep: the engine's.
        left: seconds until the deadline; a wait that would outlast it is not begun.
        tell: called with each error that is followed by another try.

    Raises:
        DeadlineExceeded: of the last try, with what the one before it failed by.
        AsyncstreamError: of the last try.
    """
    tries = Tries()
    before = ""
    while True:
        try:
            return await once()
        except DeadlineExceeded as error:
            if not before:
                raise
            # What the time was lost by is what the reader can do something about.
            raise DeadlineExceeded(f"{error}, after: {before}") from error
        except AsyncstreamError as error:
            before = str(error)
            wait = wait_before_retry(error, tries, policy, random.random())  # noqa: S311 - no secret
            if wait is None or wait >= left():
                raise
            tell(error)
        await sleep(wait)
