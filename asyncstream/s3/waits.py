"""`Waits`: the time limits for the sockets of a blocking call."""

import math
from contextvars import ContextVar
from time import monotonic

from asyncstream.ports import TimeLeft

# A socket with a timeout of 0 would not wait at all, and would raise another error.
_SHORTEST = 0.001


class Waits:
    """Limits the time of one call. A socket's timeout alone limits each read, and a line may take many.

    Args:
        left: returns the seconds that the call may still take.
        stall_timeout: seconds for connecting, and for one read or write.
        patience: seconds for the reply, from the last byte of the request sent.
    """

    def __init__(self, left: TimeLeft, stall_timeout: float, patience: float = math.inf) -> None:
        self.left = left
        self._stall_timeout = stall_timeout
        self._patience = patience
        self._each = stall_timeout
        self._ends = self._reply_ends = math.inf

    def for_one(self) -> float:
        """Return the seconds that one attempt to connect, or one write, may take."""
        return max(_SHORTEST, min(self._stall_timeout, self.left()))

    def for_read(self) -> float:
        """Return the seconds that the next read of a socket may take.

        Raises:
            TimeoutError: the reads of this reply or chunk have taken too long together.
        """
        seconds = self._ends - monotonic()
        if seconds > self._each:  # not `min`, whose call costs noticeable CPU in reads of 16 KiB
            return self._each
        if seconds <= 0:
            raise TimeoutError("timed out")
        return seconds

    def start_sending(self) -> None:
        """Limit the reads before the whole request is sent: of 100 Continue, or a proxy's reply."""
        self._ends = monotonic() + self.for_one()

    def start_reply(self) -> None:
        """Limit the reads of the whole reply from now on: the request is sent."""
        now = monotonic()
        self._reply_ends = now + self._patience
        self._each, self._ends = math.inf, min(self._reply_ends, now + self.left())

    def start_chunk(self) -> None:
        """Limit each read of a body's chunk by the stall timeout, and all reads together by the time left."""
        self._ends = monotonic() + self.left()

    def reply_is_late(self) -> bool:
        """Whether the reply, and not the call as a whole, has taken too long."""
        return monotonic() >= self._reply_ends


# The limits of the call running on this thread. The SDK has no option for a single call.
waits: ContextVar[Waits] = ContextVar("waits")
