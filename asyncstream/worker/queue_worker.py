"""`QueueWorker`: takes one message after the other from a queue, and runs its batch. See `endings.py`."""

import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Protocol, TypeVar

from msgspec import Struct

from asyncstream.errors import AsyncstreamError, ConfigError
from asyncstream.runs.outcomes import BatchOutcome
from asyncstream.runs.places import Run
from asyncstream.worker import endings
from asyncstream.worker.endings import Ending
from asyncstream.worker.messages import LONG_POLL, DeadLetters, Message, Queue, parse_body, plain
from asyncstream.worker.stopping import Interrupted, Stopping
from asyncstream.worker.visibility import KeptInvisible

T = TypeVar("T")
# A queue that fails so often in a row, over some three minutes, is given up.
MAX_FAILURES = 10
_LONGEST_WAIT = 30.0
# Without any wait, SQS asks only some of its servers, and may say that a queue is empty that is not.
_LAST_WAIT = 2
# SQS hides a message for up to twelve hours.
MAX_VISIBILITY = 43_200


class Batches(Protocol):
    """Runs batches."""

    def run(self, run: Run, number: int) -> BatchOutcome:
        """Move the files of a batch that are left, write its outcome, and return it."""

    def read_outcome(self, run: Run, number: int) -> BatchOutcome | None:
        """Return the outcome of a batch; None if it was not run."""


class WorkerSettings(Struct, frozen=True, kw_only=True):
    """How a worker works.

    Attributes:
        visibility: seconds for which a message is hidden, again and again while its batch runs; 1 to 43,200.
        most_receives: how often a message may be received without an outcome.
        only: the run whose batches are allowed; None: those of any run.
        until_empty: whether to end when the queue has no message, also none that another worker has, but
            those that this worker has left there; instead of waiting for ever.

    Raises:
        ConfigError: a number is outside its limits.
    """

    visibility: int = 120
    most_receives: int = 5
    only: Run | None = None
    until_empty: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.visibility <= MAX_VISIBILITY:
            raise ConfigError(
                f"a visibility of {self.visibility} s is not possible: give 1 to {MAX_VISIBILITY:,}"
            )
        if self.most_receives < 1:
            raise ConfigError(f"{self.most_receives} receives are not possible: give at least 1")

    @property
    def wait(self) -> int:
        """The seconds to wait for a message."""
        return _LAST_WAIT if self.until_empty else LONG_POLL


class QueueWorker:
    """Runs the batches that a queue names, until a signal comes.

    Args:
        queue: the queue.
        dead_letters: takes the messages that cannot be done; None: they stay in the queue.
        batches: runs a batch.
        stopping: the signals that end it.
        settings: how it works.
        say: prints a line for the user.
        sleep: waits so many seconds.
    """

    def __init__(
        self,
        *,
        queue: Queue,
        dead_letters: DeadLetters | None,
        batches: Batches,
        stopping: Stopping,
        settings: WorkerSettings,
        say: Callable[[str], None],
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._queue = queue
        self._dead_letters = dead_letters
        self._batches = batches
        self._stopping = stopping
        self._settings = settings
        self._say = say
        self._sleep = sleep
        self.ended: Counter[str] = Counter()
        self._left: set[str] = set()

    def work(self) -> None:
        """Work until a signal comes, or until the queue is empty if the settings say so.

        `ended` has the number of messages that ended in each way.

        Raises:
            AsyncstreamError: the queue cannot be read.
        """
        with suppress(Interrupted):
            while not self._stopping.given:
                message = self._receive()
                if message is not None:
                    self._take(message)
                elif self._settings.until_empty and self._count() <= len(self._left):
                    return

    def _receive(self) -> Message | None:
        return self._ask(lambda: self._queue.receive(self._settings.visibility, self._settings.wait))

    def _count(self) -> int:
        """Return the number of messages, also of those that other workers have: they may be killed."""
        return self._ask(self._queue.count)

    def _ask(self, ask: Callable[[], T]) -> T:
        failures = 0
        while True:
            try:
                with self._stopping.waiting():
                    return ask()
            except AsyncstreamError as error:
                failures += 1
                if not error.retryable or failures >= MAX_FAILURES:
                    raise
                self._say(f"the queue cannot be read, and this is tried again: {error}")
            with self._stopping.waiting():
                self._sleep(min(2.0**failures, _LONGEST_WAIT))

    def _take(self, message: Message) -> None:
        try:
            run, number = parse_body(message.body, self._settings.only)
        except AsyncstreamError as error:
            self._end(message, "", endings.of_error(error, message.receives, self._settings.most_receives))
            return
        hide = partial(self._queue.hide, message)
        with KeptInvisible(hide, self._settings.visibility, self._say) as kept:
            ending = self._run(message, run, number)
        if not kept.ours and ending != endings.DONE:
            ending = endings.TAKEN
        self._end(message, run.batch(number).uri, ending)

    def _run(self, message: Message, run: Run, number: int) -> Ending:
        """Run a batch until it is done or a signal comes, and return the ending of its message."""
        most = self._settings.most_receives
        try:
            if message.receives > most:
                too_often = endings.of_receives(
                    message.receives, most, self._batches.read_outcome(run, number)
                )
                if too_often is not None:
                    return too_often
            return endings.of_outcome(self._run_to_end(run, number))
        except AsyncstreamError as error:
            ending = endings.of_error(error, message.receives, most)
            # The notice may be the cause.
            return Ending("again", ending.reason) if self._stopping.given else ending

    def _run_to_end(self, run: Run, number: int) -> BatchOutcome:
        while True:
            outcome = self._batches.run(run, number)
            self._say(endings.progress(run.batch(number).uri, outcome))
            if not outcome.again or self._stopping.given:
                return outcome

    def _end(self, message: Message, batch: str, ending: Ending) -> None:
        """End a message. If its queue fails, the message comes again when its time is over."""
        name = batch or f"message {plain(message.body, 100)!r}"
        if ending.kind == "dead" and self._dead_letters is None:
            ending = Ending(
                "left", f"{ending.reason}; there is no queue for dead letters: name --dead-letters"
            )
        try:
            self._tell_queue(message, batch, ending)
        except AsyncstreamError as error:
            ending = Ending("left", f"{ending.kind} could not be told to the queue: {error}")
        self.ended[ending.kind] += 1
        if ending.kind == "left":
            self._left.add(message.body)
        else:
            self._left.discard(message.body)
        if ending.reason:
            self._say(f"{name}: {_TOLD[ending.kind]}: {ending.reason}")

    def _tell_queue(self, message: Message, batch: str, ending: Ending) -> None:
        if ending.kind == "again":
            self._queue.hide(message, 0)
        if ending.kind == "dead" and self._dead_letters is not None:
            # First, so that the message is in one of the queues at any moment.
            attributes = {"reason": ending.reason, "batch": plain(batch, len(batch))}
            self._dead_letters.send(message.body, {name: text for name, text in attributes.items() if text})
        if ending.kind in ("done", "dead"):
            self._queue.delete(message)


_TOLD = {
    "dead": "sent to the dead letters",
    "again": "visible again, for another worker",
    "left": "stays in the queue",
}
