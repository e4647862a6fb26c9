"""`Deadline`: how long work may still take."""

import math
import time
from collections.abc import Callable

from asyncstream.errors import AsyncstreamError, DeadlineExceeded

# Seconds that Lambda lets an ordinary function run at most: botocore 1.44.8 of 2026-11-20, model of Lambda,
# CreateFunction's Timeout. Older models say 900; the 5,400 there is for Lambda Managed Instances.
LONGEST_INVOCATION = 1800

# Seconds after the deadline in which replies to what was sent before it are still read.
REPLY_SECONDS = 0.25
# Seconds after the deadline in which uploads are still begun, ended and dropped: a quarter of the deadline,
# within these bounds. Lambda's time is up a third of the deadline after it: see `events/running.py`.
LEAST_ENDING, MOST_ENDING = 0.4, 1.5

# Seconds that work may take which cancellation must not cut short: creating or aborting an upload.
SHIELD_SECONDS = 15.0


class Deadline:
    """A point in time after which no byte moves.

    Args:
        seconds: from now; None: never.
        clock: seconds, monotonic.
        pauses: whether what is not done by then is left to be continued, instead of failing.
    """

    def __init__(self, seconds: float | None, clock: Callable[[], float], *, pauses: bool = False) -> None:
        self.seconds = seconds
        self.now = clock
        self.pauses = pauses
        self._end = None if seconds is None else clock() + seconds

    def left(self) -> float:
        """Seconds until the time is up."""
        return math.inf if self._end is None else self._end - self.now()

    def patience(self) -> float:
        """Seconds that what is under way may still be waited for: parts sent by then are confirmed."""
        return max(self.left(), 0.0) + REPLY_SECONDS

    def ending(self) -> float:
        """Seconds that the requests may take by which an upload is begun, ended or dropped."""
        if self.seconds is None:
            return math.inf
        return self.left() + min(max(self.seconds / 4, LEAST_ENDING), MOST_ENDING)

    def check(self) -> None:
        """Raise DeadlineExceeded when the time is up."""
        if self.left() <= 0:
            raise DeadlineExceeded(f"the deadline of {self.seconds:g} s passed before the work was done")

    def check_retry(self, error: AsyncstreamError, seconds: float = 0.0) -> None:
        """Raise DeadlineExceeded where only the time forbids another try, in so many seconds."""
        if error.retryable and self.left() <= seconds:
            raise DeadlineExceeded(
                f"the deadline of {self.seconds:g} s comes before the next try, after: {error}"
            ) from error


NO_DEADLINE = Deadline(None, time.monotonic)
