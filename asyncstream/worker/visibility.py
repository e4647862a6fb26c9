"""`KeptInvisible`: hides a message from other workers for as long as its batch runs."""

import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

from asyncstream.errors import AsyncstreamError

# After a failure, so many tries fit into the time that is left.
_TRIES = 5


class KeptInvisible:
    """Hides a message again each time that half of its time is over, on a thread of its own.

    It stops when the message is no longer this worker's. A context manager, which joins the thread: a
    request that runs then ends by the time-outs of the queue's client.

    Args:
        hide: hides the message for so many seconds from now, and returns whether it is still this worker's.
        seconds: for how long the message is hidden each time.
        say: prints a line for the user.
    """

    def __init__(self, hide: Callable[[int], bool], seconds: int, say: Callable[[str], None]) -> None:
        self._hide = hide
        self._seconds = seconds
        self._say = say
        self._ended = threading.Event()
        # A daemon: an error that ends the process does not wait for it.
        self._thread = threading.Thread(target=self._keep, name="visibility", daemon=True)
        self.ours = True

    def __enter__(self) -> Self:
        """Start to keep the message hidden."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop. The message stays hidden for the rest of its time."""
        self._ended.set()
        self._thread.join()

    def _keep(self) -> None:
        half = self._seconds / 2
        wait = half
        while self.ours and not self._ended.wait(wait):
            try:
                self.ours = self._hide(self._seconds)
                wait = half
            except AsyncstreamError as error:
                self._say(f"a message could not be hidden for longer, and this is tried again: {error}")
                wait = half / _TRIES
