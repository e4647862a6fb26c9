"""`CallLimits`: the time limits of a blocking call, which its sockets apply. Also a limit of the kernel."""

import math
import socket
from contextvars import ContextVar
from time import monotonic
from typing import Any

from asyncstream.ports import TimeLeft

# A socket with a timeout of 0 would not wait at all, and would raise another error.
_SHORTEST = 0.001


class CallLimits:
    """Limits the time of one call: a socket's own timeout limits a single read, and a line may take many.

    Args:
        left: returns the seconds that the call may still take.
        stall_timeout: the most seconds for connecting, and for one read or write.
        patience: the most seconds for the reply, from the last byte of the request sent. Default: no limit.

    Attributes:
        expects: whether the request was sent with Expect: 100-continue.
    """

    def __init__(self, left: TimeLeft, stall_timeout: float, patience: float = math.inf) -> None:
        self.left = left
        self.expects = False
        self._stall_timeout = stall_timeout
        self._patience = patience
        self._one_read = stall_timeout
        self._reads_end = self._reply_end = math.inf

    def to_connect_or_write(self) -> float:
        """Return the seconds that one attempt to connect, or one write, may take."""
        return max(_SHORTEST, min(self._stall_timeout, self.left()))

    def to_read(self) -> float:
        """Return the seconds that the next read of a socket may take.

        Raises:
            TimeoutError: the reads of this reply or chunk have taken too long together.
        """
        seconds = self._reads_end - monotonic()
        if seconds > self._one_read:  # not `min`, whose call costs noticeable CPU in reads of 16 KiB
            return self._one_read
        if seconds <= 0:
            raise TimeoutError("timed out")
        return seconds

    def start_sending(self) -> None:
        """Limit the reads before the whole request is sent: of 100 Continue, or a proxy's reply."""
        self._reads_end = monotonic() + self.to_connect_or_write()

    def start_reply(self) -> None:
        """Limit the reads of the whole reply from now on: the request is sent."""
        now = monotonic()
        self._reply_end = now + self._patience
        self._one_read, self._reads_end = math.inf, min(self._reply_end, now + self.left())

    def start_chunk(self) -> None:
        """Limit each read of a body's chunk by the stall timeout, and all reads together by the time left."""
        self._reads_end = monotonic() + self.left()

    def reply_is_late(self) -> bool:
        """Whether the reply has taken longer than `patience`."""
        return monotonic() >= self._reply_end


def limit_sending(connected: Any, seconds: float) -> bool:
    """Let the kernel break a connection if its peer acknowledges no byte for so long.

    Returns whether the kernel can: those of macOS and Windows have no such option.
    """
    if not hasattr(socket, "TCP_USER_TIMEOUT"):
        return False
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(seconds * 1000))
    return True


# The limits of the call running on this thread. The SDK has no option for a single call.
call_limits: ContextVar[CallLimits] = ContextVar("call_limits")
