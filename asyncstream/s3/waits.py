"""`Waits`: how long the sockets of a blocking call may wait."""

import math
from contextvars import ContextVar
from time import monotonic

from asyncstream.ports import TimeLeft

# A socket with a timeout of 0 would not wait at all, and fail in another way.
_SHORTEST = 0.001


class Waits:
    """Bounds what one call waits for: a timeout of a socket is per read, and a line may take many.

    Args:
        left: seconds that the call may still take.
        stall_timeout: seconds that a connection may take to be made, and one read or write.
        patience: seconds that the reply may take after the last byte of the request was sent.
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
            TimeoutError: the reads that it belongs to have taken too long together.
        """
        seconds = self._ends - monotonic()
        if seconds > self._each:  # in place of `min`, whose call is felt in reads of 16 KiB
            return self._each
        if seconds <= 0:
            raise TimeoutError("timed out")
        return seconds

    def start_sending(self) -> None:
        """Bound the reads of what a server says before the whole request is sent: 100 Continue, a tunnel."""
        self._ends = monotonic() + self.for_one()

    def start_reply(self) -> None:
        """Bound the reads of the whole reply from now on: the request is sent."""
        now = monotonic()
        self._reply_ends = now + self._patience
        self._each, self._ends = math.inf, min(self._reply_ends, now + self.left())

    def start_chunk(self) -> None:
        """Bound each read of a chunk of a body by the stall timeout, and all of them by the time left."""
        self._ends = monotonic() + self.left()

    def reply_is_late(self) -> bool:
        """Whether the reply took longer than it may, and not the call."""
        return monotonic() >= self._reply_ends


# Those of the call under way on this thread: no option of the SDK reaches a single call.
waits: ContextVar[Waits] = ContextVar("waits")
