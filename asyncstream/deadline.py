"""`Deadline`: how long work may still take."""

import math
import time
from collections.abc import Callable

from asyncstream.errors import AsyncstreamError, DeadlineExceeded

# The most seconds that an ordinary Lambda function may run: CreateFunction's Timeout in the Lambda model of
# botocore 1.44.8 of 2026-11-20. Older models say 900. The model's 5,400 is for Lambda Managed Instances.
LONGEST_INVOCATION = 1800

# Seconds after the deadline in which replies to requests sent before it are still read.
REPLY_SECONDS = 0.25
# Uploads may still be created, completed and aborted for a quarter of `seconds` after the deadline, within
# these bounds. That is less than the margin that `events/context.py` keeps before Lambda ends the invocation.
MIN_ENDING, MAX_ENDING = 0.4, 1.5

# Seconds for work that cancellation must not interrupt: creating or aborting an upload.
SHIELD_SECONDS = 15.0


class Deadline:
    """The point in time after which no more bytes are moved.

    Args:
        seconds: seconds from now until the deadline. None: no deadline.
        clock: returns seconds that never go backwards, as `time.monotonic`.
        pauses: whether files unfinished at the deadline stay pending instead of failing. Default: no.
    """

    def __init__(self, seconds: float | None, clock: Callable[[], float], *, pauses: bool = False) -> None:
        self.seconds = seconds
        self.now = clock
        self.pauses = pauses
        self._end = None if seconds is None else clock() + seconds

    def left(self) -> float:
        """Return the seconds until the deadline, negative after it; infinity without one."""
        return math.inf if self._end is None else self._end - self.now()

    def left_for_replies(self) -> float:
        """Return the seconds until requests must end. They get a moment more, for S3 to confirm parts."""
        return max(self.left(), 0.0) + REPLY_SECONDS

    def left_for_uploads(self) -> float:
        """Return the seconds that requests to create, complete or abort an upload may still take."""
        if self.seconds is None:
            return math.inf
        return self.left() + min(max(self.seconds / 4, MIN_ENDING), MAX_ENDING)

    def check(self) -> None:
        """Raise DeadlineExceeded if the deadline has passed."""
        if self.left() <= 0:
            raise self.exceeded()

    def exceeded(self) -> DeadlineExceeded:
        """Return the error of work that the deadline has stopped."""
        return DeadlineExceeded(f"the deadline of {self.seconds:g} s passed before the work was done")

    def check_retry(self, error: AsyncstreamError, seconds: float = 0.0) -> None:
        """Raise DeadlineExceeded if the error is retryable, but the deadline is within `seconds` from now."""
        if error.retryable and self.left() <= seconds:
            raise DeadlineExceeded(
                f"the deadline of {self.seconds:g} s comes before the next try, after: {error}"
            ) from error


NO_DEADLINE = Deadline(None, time.monotonic)
