"""An account with few concurrent functions, in which a Map runs its children in virtual time.

Each child invokes the function once, which holds one of the account's slots for a given time. If no slot is
free, Lambda throttles the invocation, and the child waits as the machine's retriers say (`asl_retry.py`).
"""

import heapq
import itertools
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from .asl_retry import Retries

THROTTLED = "Lambda.TooManyRequestsException"


@dataclass
class Ended:
    """The result of a finished run.

    Attributes:
        succeeded, failed: numbers of children.
        simulated_seconds: virtual time from the start of the first child to the end of the last.
        throttled: number of invocations that Lambda refused.
    """

    succeeded: int = 0
    failed: int = 0
    simulated_seconds: float = 0.0
    throttled: int = 0


class Account:
    """An account in which nothing runs yet.

    Args:
        slots: functions that may run at once.
        seconds: how long an invocation runs.
        seed: seed of the waits that full jitter draws.
    """

    def __init__(self, slots: int, seconds: float, seed: int) -> None:
        self._free = slots
        self._seconds = seconds
        self._random = random.Random(seed)
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._now = 0.0
        self._left = 0
        self._ended = Ended()

    def run(self, task: Mapping[str, Any], children: int, at_once: int) -> Ended:
        """Run a Map whose children each run this Task, `at_once` at a time."""
        self._left = children
        for _ in range(min(children, at_once)):
            self._start(task)
        while self._due:
            self._now, _, happen = heapq.heappop(self._due)
            happen()
        self._ended.simulated_seconds = self._now
        return self._ended

    def _start(self, task: Mapping[str, Any]) -> None:
        """Start the next child, if one is left."""
        if self._left:
            self._left -= 1
            retries = Retries(task, lambda longest: self._random.uniform(0, longest))
            self._after(0, lambda: self._invoke(task, retries))

    def _invoke(self, task: Mapping[str, Any], retries: Retries) -> None:
        if self._free:
            self._free -= 1
            self._after(self._seconds, lambda: self._succeed(task))
            return
        self._ended.throttled += 1
        wait = retries.next_wait(THROTTLED)
        if wait is None:
            self._ended.failed += 1
            self._start(task)
        else:
            self._after(wait, lambda: self._invoke(task, retries))

    def _succeed(self, task: Mapping[str, Any]) -> None:
        self._free += 1
        self._ended.succeeded += 1
        self._start(task)

    def _after(self, seconds: float, happen: Callable[[], None]) -> None:
        heapq.heappush(self._due, (self._now + seconds, next(self._order), happen))
