"""Recorded spans: the work of one transfer or mapping as a tree.

Every span knows its parent, and there is no current span. So spans may start and end on any thread or task,
and interleave with others.

Spans that may be numerous are *branches*: they are sampled, and each is sent separately when it ends. All
other spans are sent within their parent. Only the coordinator's thread opens and ends branches. The thread or
task that does the work of a branch opens its children, which must end before the branch.
"""

import os
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, NamedTuple, Protocol, Self

from asyncstream.error_texts import full_message
from asyncstream.ports import Annotation
from asyncstream.tracing.sampling import Sampler
from asyncstream.tracing.summary import Summary

# The most children of a span. Many attempts of one part, each with GET, body and PUT, could make a huge
# document.
MAX_CHILDREN = 12


class Failed(NamedTuple):
    """The exception that ended a span: the name of its class, and its message."""

    kind: str
    message: str


class Sender(Protocol):
    """Sends spans to a tracing service."""

    def send(self, span: "RecordedSpan") -> int:
        """Send a span and its children, ended or in progress; return the bytes sent."""


class Recording:
    """One trace: its root span, the sample, and a summary of all spans.

    Args:
        name: the name of the root.
        sender: sends the spans.
        annotations: the annotations of the root.
        clock: returns monotonic seconds.
        now: returns seconds since the epoch; called once. All times are computed from it and `clock`, so a
            span stays within its parent if the system's time is set.
    """

    def __init__(
        self,
        name: str,
        sender: Sender,
        annotations: dict[str, Annotation],
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._sender = sender
        self._clock = clock
        self._offset = now() - clock()
        self._sampler = Sampler()
        self._summary = Summary()
        # In the order of opening, so parents precede their children.
        self._open: dict[RecordedSpan, None] = {}
        self.root = RecordedSpan(self, None, name, annotations)
        # Sent now, so that the trace has its root even if the process is killed.
        sender.send(self.root)

    def time(self) -> float:
        """Return the seconds since the epoch."""
        return self._offset + self._clock()

    def expect(self, name: str, count: int) -> None:
        """Announce `count` branches of this name, so that the sample can be spread evenly over them."""
        self._sampler.expect(name, count)

    def branch(self, parent: "RecordedSpan", name: str, annotations: dict[str, Annotation]) -> "RecordedSpan":
        """Open a branch. It is sent with its children if it is in the sample."""
        sampled = parent.sampled and self._sampler.takes(name)
        span = RecordedSpan(self, parent, name, annotations, is_branch=True, sampled=sampled)
        self._open[span] = None
        return span

    def settle(self, span: "RecordedSpan") -> None:
        """Add an ended span to the summary, and send it if it is the root or a sampled branch."""
        if span is self.root:
            self._end_root()
            return
        self._summary.add(span.name, span.seconds)
        if not span.is_branch:
            return
        del self._open[span]
        if not span.sampled and span.error is not None and self._sampler.has_room:
            self._take(span)  # a failed span is worth more than one of a hundred similar ones
        if not span.sampled:
            return
        self._sampler.end()
        if not self._sampler.has_room:
            span.children.clear()
        self._sampler.spend(self._sender.send(span))

    def _take(self, span: "RecordedSpan") -> None:
        """Add a span and its parents to the sample after all."""
        missing: RecordedSpan | None = span
        while missing is not None and not missing.sampled:
            missing.sampled = True
            self._sampler.reserve(missing.name)
            missing = missing.parent

    def _end_root(self) -> None:
        for span in reversed(list(self._open)):
            span.finish(self.root.error)
        self.root.metadata["summary"] = self._summary.rows()
        self.root.metadata["sampled"] = self._sampler.sample_sizes()
        self._sender.send(self.root)


class RecordedSpan:
    """See `ports.Span`."""

    def __init__(
        self,
        recording: Recording,
        parent: "RecordedSpan | None",
        name: str,
        annotations: dict[str, Annotation],
        *,
        is_branch: bool = False,
        sampled: bool = True,
    ) -> None:
        self.name = name
        self.parent = parent
        self.is_branch = is_branch
        self.sampled = sampled
        self.annotations = annotations
        self.metadata: dict[str, Any] = {}
        self.children: list[RecordedSpan] = []
        self.started = recording.time()
        self.ended: float | None = None
        self.stopped: float | None = None
        # As text: an exception would keep its frames alive, and with them the buffers of the failed work.
        self.error: Failed | None = None
        # X-Ray's form of an id: 16 hexadecimal digits.
        self.id = os.urandom(8).hex()
        self._recording = recording

    @property
    def seconds(self) -> float:
        """The duration of a span that has ended."""
        return (self.ended or self.started) - self.started

    def expect(self, name: str, count: int) -> None:
        """See `ports.Span`."""
        self._recording.expect(name, count)

    def branch(self, name: str, **annotations: Annotation) -> "RecordedSpan":
        """See `ports.Span`."""
        return self._recording.branch(self, name, annotations)

    def child(self, name: str, **annotations: Annotation) -> "RecordedSpan":
        """See `ports.Span`."""
        span = RecordedSpan(self._recording, self, name, annotations, sampled=self.sampled)
        if len(self.children) < MAX_CHILDREN:
            self.children.append(span)
        return span

    def annotate(self, **annotations: Annotation) -> None:
        """See `ports.Span`."""
        self.annotations.update(annotations)

    def stop(self) -> None:
        """See `ports.Span`."""
        self.stopped = self._recording.time()

    def end(self, error: BaseException | None = None) -> None:
        """See `ports.Span`."""
        self.finish(None if error is None else Failed(type(error).__name__, full_message(error)))

    def finish(self, error: Failed | None) -> None:
        """End the span; do nothing if it has already ended."""
        if self.ended is not None:
            return
        self.ended = self.stopped or self._recording.time()
        self.error = error
        self._recording.settle(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end(error)


class _Untraced:
    """The span of a transfer that is not traced. All its children are this same span."""

    def expect(self, name: str, count: int) -> None:
        """Do nothing."""

    def branch(self, name: str, **annotations: Annotation) -> Self:
        """Return this span."""
        return self

    def child(self, name: str, **annotations: Annotation) -> Self:
        """Return this span."""
        return self

    def annotate(self, **annotations: Annotation) -> None:
        """Do nothing."""

    def stop(self) -> None:
        """Do nothing."""

    def end(self, error: BaseException | None = None) -> None:
        """Do nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None


UNTRACED = _Untraced()
