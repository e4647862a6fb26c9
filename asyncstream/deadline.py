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


class Notice:
    """A notice that the process ends soon, as by SIGTERM: the deadlines that have it come at once.

    A signal handler may give it while a transfer runs.

    Args:
        clock: returns seconds that never go backwards, as `time.monotonic`.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.end = math.inf

    def give(self) -> None:
        """Give the notice. A second one changes nothing."""
        self.end = min(self.end, self._clock())

    @property
    def given(self) -> bool:
        """Whether it was given."""
        return self.end < math.inf


class Deadline:
    """The point in time after which no more bytes are moved.

    Args:
        seconds: seconds from now until the deadline. None: no deadline.
        clock: returns seconds that never go backwards, as `time.monotonic`.
        pauses: whether files unfinished at the deadline stay pending instead of failing. Default: no.
        notice: brings the deadline forward when it is given. Its clock is the same.
    """

    def __init__(
        self,
        seconds: float | None,
        clock: Callable[[], float],
        *,
        pauses: bool = False,
        notice: Notice | None = None,
    ) -> None:
        self.seconds = seconds
        self.now = clock
        self.pauses = pauses
        self._notice = notice
        self._end = math.inf if seconds is None else clock() + seconds

    def left(self) -> float:
        """Return the seconds until the deadline, negative after it; infinity without one."""
        end = self._end if self._notice is None else min(self._end, self._notice.end)
        return end - self.now()

    def left_for_replies(self) -> float:
        """Return the seconds until requests must end. They get a moment more, for S3 to confirm parts."""
        return max(self.left(), 0.0) + REPLY_SECONDS

    def left_for_uploads(self) -> float:
        """Return the seconds that requests to create, complete or abort an upload may still take."""
        seconds = math.inf if self.seconds is None else self.seconds
        return self.left() + min(max(seconds / 4, MIN_ENDING), MAX_ENDING)

    def check(self) -> None:
        """Raise DeadlineExceeded if the deadline has passed."""
        if self.left() <= 0:
            raise self.exceeded()

    def exceeded(self) -> DeadlineExceeded:
        """Return the error of work that the deadline has stopped."""
        return DeadlineExceeded(f"{self._named} passed before the work was done")

    def check_retry(self, error: AsyncstreamError, seconds: float = 0.0) -> None:
        """Raise DeadlineExceeded if the error is retryable, but the deadline is within `seconds` from now."""
        if error.retryable and self.left() <= seconds:
            raise DeadlineExceeded(f"{self._named} comes before the next try, after: {error}") from error

    @property
    def _named(self) -> str:
        if self._notice is not None and self._notice.given:
            return "the notice that the process ends"
        return f"the deadline of {self.seconds:g} s"


NO_DEADLINE = Deadline(None, time.monotonic)
