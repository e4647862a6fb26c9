"""`Stopping`: SIGTERM and SIGINT end a worker, with a notice for the batch that runs."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any, Self

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Interrupted(BaseException):
    """A signal ends a wait. Not an Exception, so that no library takes it for a failed request."""


class Stopping:
    """Takes the signals that end a worker; a context manager, for the main thread.

    The first signal gives a notice and interrupts waiting. The second one ends the process at once.

    Args:
        give_notice: called by the first signal.
    """

    def __init__(self, give_notice: Callable[[], None]) -> None:
        self._give_notice = give_notice
        self._waiting = False
        self._earlier: dict[int, Any] = {}
        self.signal: int | None = None

    @property
    def given(self) -> bool:
        """Whether a signal came."""
        return self.signal is not None

    def __enter__(self) -> Self:
        """Take the signals, except those that the process ignores: shells start background jobs so."""
        for each in _SIGNALS:
            if signal.getsignal(each) is not signal.SIG_IGN:
                self._earlier[each] = signal.signal(each, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the signals back."""
        for each, earlier in self._earlier.items():
            signal.signal(each, earlier)

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Let a signal interrupt what runs within.

        A message that arrives at the same moment is lost to this worker, and becomes visible again when its
        time is over.

        Raises:
            Interrupted: a signal came, then or before.
        """
        self._waiting = True
        try:
            if self.given:
                raise Interrupted
            yield
        finally:
            self._waiting = False

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.given:
            # Not by the signal's default action: the kernel has none for the first process of a container.
            os._exit(128 + number)
        self.signal = number
        self._give_notice()
        if self._waiting:
            raise Interrupted
