"""`Sender`: sends one message and plays its fault at the byte where it strikes."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from . import messages
from .faults import DAMAGES

if TYPE_CHECKING:
    from .faults import Fault

# Faults that always strike at the first byte.
_BEFORE = frozenset({"reply is late", "reply lost"})
# Requests that carry the bytes of an object.
_OBJECTS = frozenset({"GetObject", "PutObject", "UploadPart"})


@dataclass
class Exchange:
    """A request, and the fault that it or its reply meets."""

    operation: str
    name: str
    method: bytes
    fault: Fault | None

    @property
    def about(self) -> tuple[str, str]:
        """The operation and the bucket."""
        operation, bucket, *_ = *self.name.split(), ""
        return operation, bucket


class Over(Exception):
    """The fault or a peer ended the connection."""


class Conversation(Protocol):
    """The connection that a message belongs to."""

    def note(self, exchange: Exchange, where: str) -> None:
        """Record that an exchange's fault struck."""

    def wait(self, seconds: float | None = None) -> None:
        """Wait for that many seconds, or until the connection ends, which raises Over."""

    def end(self, *, reset: bool = False) -> None:
        """Close the connection."""


class Sender:
    """Sends one message, and plays its fault at the byte where it strikes."""

    def __init__(
        self,
        conversation: Conversation,
        out: socket.socket,
        exchange: Exchange,
        fault: Fault | None,
        head: int,
        body: int,
    ) -> None:
        self._conversation = conversation
        self._out = out
        self._exchange = exchange
        self._fault = fault
        self._at = None
        if fault is not None and fault.name in _BEFORE:
            self._at = 0
        elif fault is not None and (fault.name not in DAMAGES or exchange.operation in _OBJECTS):
            self._at = fault.offset(head, body)
        self._sent = 0
        self._dripping = 0.0
        self._swallowing = False

    def send(self, data: bytes) -> None:
        """Send the next bytes of the message.

        Over: the fault ended the connection.
            Over: the fault has ended the connection.
        """
        if not data:
            return
        if self._fault is not None and self._fault.name == "cut in digits" and not self._sent:
            self._at = messages.within_digits(data, self._fault.fraction)
        at = self._at
        if at is None or self._fault is None or not self._sent <= at < self._sent + len(data):
            self._write(data)
            return
        before, rest = data[: at - self._sent], data[at - self._sent :]
        self._write(before)
        self._at = None
        self._conversation.note(self._exchange, f"byte {at}")
        self._write(self._strike(rest, self._fault))

    def _write(self, data: bytes) -> None:
        self._sent += len(data)
        if self._swallowing:
            return
        if not self._dripping:
            self._out.sendall(data)
            return
        for byte in data:
            self._out.sendall(bytes((byte,)))
            self._conversation.wait(self._dripping)

    def _strike(self, rest: bytes, fault: Fault) -> bytes:
        """Play the fault; return the rest of the bytes that is then sent."""
        action = fault.name.partition(" ")[2]
        match action:
            case "reset" | "lost":
                self._conversation.end(reset=True)
                raise Over
            case "closed" | "in digits":
                self._conversation.end()
                raise Over
            case "half-closed":
                self._out.shutdown(socket.SHUT_WR)
                self._swallowing = True
            case "stalls":
                self._conversation.wait()
            case "pauses" | "is late":
                self._conversation.wait(fault.seconds)
            case "drips":
                self._dripping = fault.interval
            case "swallowed":
                self._swallowing = True
            case _:
                return _damaged(rest, fault)
        return rest


def _damaged(rest: bytes, fault: Fault) -> bytes:
    """Return the bytes that are sent in place of the rest of a message."""
    if fault.name.endswith("bit flipped"):
        return bytes((rest[0] ^ 1 << int(fault.fraction * 1000) % 8,)) + rest[1:]
    return rest[:64] + rest if fault.name.endswith("bytes repeated") else rest[64:]
