"""Fault injection: the effect of each kind of fault on a request.

A fault wraps the pieces of the request's body or the slices of the reply's content. So requests without a
fault cost nothing more.
"""

from __future__ import annotations

import fcntl
import os
import select
import socket
import struct
import termios
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NoReturn, TypeAlias

from asyncstream.lab.s3.content import Slice
from asyncstream.lab.s3.lab_replies import Reply, S3Error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from asyncstream.lab.s3.content import Content
    from asyncstream.lab.s3.faults import Fault, Kind
    from asyncstream.lab.s3.operations import Call

    Run: TypeAlias = Callable[[Call], Reply]

SLOW_STEP_SECONDS = 0.05
# A reset waits this long for sent bytes to arrive. A client that reads is slow only on a busy machine.
FLUSH_SECONDS = 5.0
CUT_SECONDS = 0.2  # wait before a socket is shut down in both directions
GONE_SECONDS = 30.0  # wait for its thread after that


class ConnectionCutError(OSError):
    """A fault has ended the connection. The serving thread closes the socket."""


def apply_fault(fault: Fault, run: Run, call: Call, connected: socket.socket) -> Reply:
    """Apply a fault to a request: run its operation or not, and disturb its body, reply or connection.

    Raises:
        S3Error: the error reply of the operation or the fault.
        OSError: the caller must close the connection.
    """
    return EFFECTS[fault.kind](_Site(fault, run, call, connected))


@dataclass(frozen=True, slots=True)
class _Site:
    """The request and connection of a fault."""

    fault: Fault
    run: Run
    call: Call
    connected: socket.socket

    def wait(self, seconds: float) -> None:
        """Wait, but stop if the client closes, unless its FIN is delayed behind a full window.

        Raises:
            ConnectionCutError: the client closed the connection.
        """
        waiting = select.poll()
        waiting.register(self.connected.fileno(), select.POLLRDHUP)  # reported even before unread bytes
        if waiting.poll(seconds * 1000):
            raise ConnectionCutError("the client closed the connection")

    def flush(self) -> None:
        """Wait until sent bytes have arrived, as a reset discards them, or until a client does not read."""
        deadline = time.monotonic() + FLUSH_SECONDS
        while time.monotonic() < deadline:
            unsent = fcntl.ioctl(self.connected.fileno(), termios.TIOCOUTQ, struct.pack("i", 0))
            if not any(unsent):
                return
            self.wait(0.002)

    def reset(self) -> NoReturn:
        """Reset the connection."""
        reset_on_close(self.connected)
        raise ConnectionCutError("reset by a fault")

    def position(self, size: int) -> int:
        """Return the number of bytes of a body before the fault, at most all but the last one."""
        return max(0, min(int(size * self.fault.at), size - 1))


def reset_on_close(connected: socket.socket) -> None:
    """Make a later close of the socket reset the connection."""
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def _refuse(site: _Site) -> Reply:
    fault = site.fault
    headers = {} if fault.retry_after is None else {"Retry-After": str(fault.retry_after)}
    raise S3Error(fault.code, "The lab S3 refused by a fault rule", status=fault.status, headers=headers)


def _reset(site: _Site) -> Reply:
    site.reset()


def _reset_body(site: _Site) -> Reply:
    def strike() -> None:
        site.flush()
        site.reset()

    return _in_the_middle(site, strike)


def _truncate(site: _Site) -> Reply:
    def strike() -> None:
        raise ConnectionCutError("truncated by a fault")

    reply = site.run(site.call)
    return _interrupted_reply(site, reply, strike) if reply.content and reply.length else reply


def _stall(site: _Site) -> Reply:
    return _in_the_middle(site, lambda: site.wait(site.fault.seconds))


def _slow(site: _Site) -> Reply:
    rate = site.fault.bytes_per_second

    def slowly(pieces: Iterator[memoryview]) -> Iterator[memoryview]:
        for piece in pieces:
            site.wait(len(piece) / rate)
            yield piece

    site.call.body.interference = slowly
    reply = site.run(site.call)
    return replace(reply, content=_SlowContent(reply.content, rate, site.wait)) if reply.content else reply


def _wrong_byte(site: _Site) -> Reply:
    def corrupted(pieces: Iterator[memoryview]) -> Iterator[memoryview]:
        left = site.position(site.call.body.payload_length)
        for piece in pieces:
            if 0 <= left < len(piece):
                piece[left] ^= 0xFF
            left -= len(piece)
            yield piece

    site.call.body.interference = corrupted
    reply = site.run(site.call)
    if not (reply.content and reply.length):
        return reply
    return replace(reply, content=_WrongByteContent(reply.content, reply.start + site.position(reply.length)))


def _error_in_200(site: _Site) -> Reply:
    site.call.body.read()  # the whole body, so that the connection stays usable
    raise S3Error("InternalError", "We encountered an internal error. Please try again.", status=200)


def _lost_reply(site: _Site) -> Reply:
    with suppress(S3Error):  # an error reply is lost, too
        site.run(site.call)
    site.reset()


def _overwrite_source(site: _Site) -> Reply:
    call = site.call

    def strike() -> None:
        call.store.overwrite(call.bucket, call.key)

    reply = site.run(call)
    if reply.content and reply.length > 1:
        return _interrupted_reply(site, reply, strike)
    if reply.content:
        strike()  # The reply is already fixed, so to the client the change happens after it.
    return reply


EFFECTS: dict[Kind, Callable[[_Site], Reply]] = {
    "refuse": _refuse,
    "reset": _reset,
    "reset-body": _reset_body,
    "truncate": _truncate,
    "stall": _stall,
    "slow": _slow,
    "wrong-byte": _wrong_byte,
    "error-in-200": _error_in_200,
    "lost-reply": _lost_reply,
    "overwrite-source": _overwrite_source,
}


def _in_the_middle(site: _Site, strike: Callable[[], None]) -> Reply:
    """Run the operation, and call `strike` once: within the body read or sent, or before the reply."""
    struck = False

    def interrupted(pieces: Iterator[memoryview]) -> Iterator[memoryview]:
        nonlocal struck
        left = site.position(site.call.body.payload_length)
        for piece in pieces:
            if not struck and left < len(piece):
                yield piece[:left]
                struck = True
                strike()
                yield piece[left:]
            else:
                left -= len(piece)
                yield piece
        if not struck:  # an empty body
            struck = True
            strike()

    site.call.body.interference = interrupted
    try:
        reply = site.run(site.call)
    except S3Error:
        if not struck:
            strike()
        raise
    if reply.content and reply.length:
        return _interrupted_reply(site, reply, strike)
    if not struck:
        strike()
    return reply


def _interrupted_reply(site: _Site, reply: Reply, strike: Callable[[], None]) -> Reply:
    assert reply.content is not None  # noqa: S101 -- for the type checker: the callers have checked
    position = reply.start + site.position(reply.length)
    return replace(reply, content=_InterruptedContent(reply.content, position, strike))


@dataclass(frozen=True, slots=True)
class _InterruptedContent:
    """Content that calls `strike` at a position, after the bytes before it have been sent."""

    content: Content
    position: int
    strike: Callable[[], None]

    def slices(self, start: int, stop: int) -> Iterator[Slice]:
        yield from self.content.slices(start, self.position)
        self.strike()
        yield from self.content.slices(self.position, stop)


@dataclass(frozen=True, slots=True)
class _WrongByteContent:
    """Content with one byte changed."""

    content: Content
    position: int

    def slices(self, start: int, stop: int) -> Iterator[Slice]:
        yield from self.content.slices(start, self.position)
        for part in self.content.slices(self.position, self.position + 1):
            (byte,) = os.pread(part.descriptor, 1, part.offset)
            with open(os.memfd_create("lab-s3-wrong-byte"), "wb", buffering=0) as file:  # noqa: PTH123 -- no path
                file.write(bytes([byte ^ 0xFF]))
                yield Slice(file.fileno(), 0, 1)
        yield from self.content.slices(self.position + 1, stop)


@dataclass(frozen=True, slots=True)
class _SlowContent:
    """Content that is sent slowly, in small steps."""

    content: Content
    rate: float
    wait: Callable[[float], None]

    def slices(self, start: int, stop: int) -> Iterator[Slice]:
        step = max(1, int(self.rate * SLOW_STEP_SECONDS))
        for first in range(start, stop, step):
            last = min(first + step, stop)
            self.wait((last - first) / self.rate)
            yield from self.content.slices(first, last)


class OpenConnections:
    """The sockets with S3 requests, so that `cut` can reset all of them."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._open: set[socket.socket] = set()

    def add(self, connected: socket.socket) -> None:
        """Add a socket."""
        with self._changed:
            self._open.add(connected)

    def close(self, connected: socket.socket) -> None:
        """Close a socket, whether it was added or not."""
        with self._changed:  # another connection may reuse a closed descriptor at once
            self._open.discard(connected)
            connected.close()
            self._changed.notify_all()

    def cut(self) -> int:
        """Make each connection's thread reset it, and return the number of connections."""
        with self._changed:
            cut = set(self._open)
        # SHUT_RD sends nothing to the client and ends each thread's read. The client first notices the close.
        # A thread that sends to a client that does not read notices only SHUT_RDWR.
        for how, seconds in ((socket.SHUT_RD, CUT_SECONDS), (socket.SHUT_RDWR, GONE_SECONDS)):
            with self._changed:
                for connected in cut & self._open:
                    reset_on_close(connected)
                    with suppress(OSError):  # the client closed first
                        # Not SSLSocket.shutdown, which is not safe from other threads.
                        socket.socket.shutdown(connected, how)
                self._changed.wait_for(lambda: not cut & self._open, seconds)
        return len(cut)
