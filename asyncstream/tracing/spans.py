"""Spans as they are recorded: the work of one transfer or mapping as a tree.

Every span names its parent itself: nothing asks which span is current. So it does not matter on which
thread or task a span begins and ends, and what interleaves with it.

Spans that may become many are *branches*: sent on their own as soon as they end, and sampled. All others
are sent within their parent. One thread opens and ends branches (the coordinator's); the children of a
branch belong to whoever does its work, and have ended before it does.
"""

import os
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, NamedTuple, Protocol, Self

from asyncstream.errors import told
from asyncstream.ports import Annotation
from asyncstream.tracing.sampling import Sampler
from asyncstream.tracing.summary import Summary

# Tries of one part, each with its GET, body and PUT, would make a document of any size.
MOST_CHILDREN = 12


class Failed(NamedTuple):
    """What ended a span early: the class of an exception, and what it says."""

    kind: str
    message: str


class Sender(Protocol):
    """Where spans go."""

    def send(self, span: "RecordedSpan") -> int:
        """Send a span and its children, ended or in progress; the bytes that took."""


class Recording:
    """One trace: its root, and what is known of all its spans.

    Args:
        name: of the root.
        sender: where spans go.
        clock: seconds, monotonic.
        now: seconds since the epoch at this moment. Later times are reckoned from it by `clock`: so no
            span leaves its parent when the system's time is set.
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
        # In the order they were opened, which is that of parents before children.
        self._open: dict[RecordedSpan, None] = {}
        self.root = RecordedSpan(self, None, name, annotations)
        # Told now, so that a trace has its root although the process may be killed.
        sender.send(self.root)

    def time(self) -> float:
        """Seconds since the epoch."""
        return self._offset + self._clock()

    def expect(self, name: str, count: int) -> None:
        """So many branches of this name will be opened: the sample can be spread evenly over them."""
        self._sampler.expect(name, count)

    def branch(self, parent: "RecordedSpan", name: str, annotations: dict[str, Annotation]) -> "RecordedSpan":
        """A new branch; its children are sent if it is in the sample."""
        sampled = parent.sampled and self._sampler.takes(name)
        span = RecordedSpan(self, parent, name, annotations, is_branch=True, sampled=sampled)
        self._open[span] = None
        return span

    def settle(self, span: "RecordedSpan") -> None:
        """Count a span, and send it if it is one to be sent."""
        if span is self.root:
            self._end_root()
            return
        self._summary.add(span.name, span.seconds)
        if not span.is_branch:
            return
        del self._open[span]
        if not span.sampled and span.error is not None and self._sampler.has_room:
            self._take(span)  # what failed is worth more than what is like a hundred others
        if not span.sampled:
            return
        self._sampler.end()
        if not self._sampler.has_room:
            span.children.clear()
        self._sampler.spend(self._sender.send(span))

    def _take(self, span: "RecordedSpan") -> None:
        """Have a span in the sample after all, and with it those that it is in."""
        missing: RecordedSpan | None = span
        while missing is not None and not missing.sampled:
            missing.sampled = True
            self._sampler.reserve(missing.name)
            missing = missing.parent

    def _end_root(self) -> None:
        for span in reversed(list(self._open)):
            span.finish(self.root.error)
        self.root.metadata["summary"] = self._summary.rows()
        self.root.metadata["sampled"] = self._sampler.told()
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
        # In words: a kept exception would keep its frames, and with them the buffers of what failed.
        self.error: Failed | None = None
        # X-Ray's form of an id: 16 hexadecimal digits.
        self.id = os.urandom(8).hex()
        self._recording = recording

    @property
    def seconds(self) -> float:
        """How long it took, once it has ended."""
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
        if len(self.children) < MOST_CHILDREN:
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
        self.finish(None if error is None else Failed(type(error).__name__, told(error)))

    def finish(self, error: Failed | None) -> None:
        """End it, once."""
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
    """The span of a transfer that is not traced: every span within it is this one."""

    def expect(self, name: str, count: int) -> None:
        """Nothing."""

    def branch(self, name: str, **annotations: Annotation) -> Self:
        """Itself."""
        return self

    def child(self, name: str, **annotations: Annotation) -> Self:
        """Itself."""
        return self

    def annotate(self, **annotations: Annotation) -> None:
        """Nothing."""

    def stop(self) -> None:
        """Nothing."""

    def end(self, error: BaseException | None = None) -> None:
        """Nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None


UNTRACED = _Untraced()
