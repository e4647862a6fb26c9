"""When to try again: the decision, and the one loop that follows it; used by `parts.py` and `session.py`.

Full jitter: the wait is uniform in [0, min(max_delay, base_delay * 2**(attempt - 1))], see the AWS
Architecture Blog, "Exponential Backoff And Jitter".
"""

import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from msgspec import Struct

from asyncstream.errors import AsyncstreamError

T = TypeVar("T")


class RetryPolicy(Struct, frozen=True):
    """How often and how patiently one request or part is tried.

    Attributes:
        max_attempts: tries in all, the first included.
        base_delay: seconds; the upper bound of the first wait.
        max_delay: seconds; no wait is longer.
    """

    max_attempts: int = 4
    base_delay: float = 0.1
    max_delay: float = 5.0


def wait_before_retry(
    error: AsyncstreamError, attempt: int, policy: RetryPolicy, jitter: float
) -> float | None:
    """Seconds to wait before the next try, or None to give up.

    Args:
        error: what the last try raised.
        attempt: which try that was, from 1.
        policy: the bounds.
        jitter: a random number in [0, 1).
    """
    if not error.retryable or attempt >= policy.max_attempts:
        return None
    return jitter * min(policy.max_delay, policy.base_delay * 2.0 ** (attempt - 1))


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
        AsyncstreamError: of the last try.
    """
    attempt = 1
    while True:
        try:
            return await once()
        except AsyncstreamError as error:
            wait = wait_before_retry(error, attempt, policy, random.random())  # noqa: S311 - no secret
            if wait is None or wait >= left():
                raise
            tell(error)
        await sleep(wait)
        attempt += 1
