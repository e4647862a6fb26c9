"""The faults, and which fault a request meets. Pure: it depends on seed and request, not on time."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Sequence

Side = Literal["request", "reply"]
# By name, the message that a fault strikes. "pauses" and "is late" wait, then continue; "drips" continues
# byte by byte.
FAULTS: dict[str, Side] = {
    "request reset": "request",
    "request closed": "request",
    "request stalls": "request",
    "request pauses": "request",
    "request drips": "request",
    "request bit flipped": "request",  # in the body
    "request bytes repeated": "request",  # in the body
    "503, not done": "request",  # answered after the head, and closed
    "500, not done": "request",
    "HTML 200, not done": "request",
    "reply closed": "reply",
    "reply reset": "reply",
    "reply half-closed": "reply",
    "reply stalls": "reply",
    "reply pauses": "reply",
    "reply drips": "reply",
    "reply swallowed": "reply",  # from some byte on; the connection stays open
    "reply bytes lost": "reply",  # in a GET's body, like the next two
    "reply bytes repeated": "reply",
    "reply bit flipped": "reply",
    "reply is late": "reply",  # waits before its first byte
    "reply lost": "reply",  # reset before its first byte, after the server did the work
    "503, done": "reply",  # in place of the reply
    "500, done": "reply",
    "HTML 200, done": "reply",
    "empty 200, done": "reply",
    "cut in digits": "reply",  # inside the value of Content-Length
    "line dropped": "reply",  # ETag, Content-Length, Content-Range, UploadId
}
# Faults that change bytes of the object, and whether the client reads or writes these bytes. The length does
# not reveal them: the client receives and sends as many bytes as it expects.
DAMAGES: dict[str, str] = {
    "request bit flipped": "write",
    "request bytes repeated": "write",
    "reply bytes lost": "read",
    "reply bytes repeated": "read",
    "reply bit flipped": "read",
}


@dataclass(frozen=True)
class Fault:
    """One fault and how it is played.

    Attributes:
        name: a name in `FAULTS`.
        part: the part of the message that it strikes.
        fraction: how far into that part it strikes.
        seconds: length of a pause.
        interval: seconds between bytes that drip.
        interim: whether it can already strike a 100 Continue.
    """

    name: str
    part: Literal["head", "body"]
    fraction: float
    seconds: float
    interval: float
    interim: bool

    @property
    def side(self) -> Side:
        """The message that the fault strikes."""
        return FAULTS[self.name]

    def offset(self, head: int, body: int) -> int | None:
        """Return the byte that the fault strikes in a message with these sizes; None if it strikes none."""
        if self.name in DAMAGES and not body:
            return None
        if body and (self.part == "body" or self.name in DAMAGES):
            return head + int(self.fraction * body)
        return int(self.fraction * head)


def fault_for(seed: int, request: str, number: int, rate: float, names: Sequence[str]) -> Fault | None:
    """Return the fault that a request meets, or None.

    Args:
        seed: the run's seed.
        request: the request's name, the same for every try.
        number: the number of the try.
        rate: the share of requests that meet a fault.
        names: the faults to choose from.
    """
    draw = random.Random(f"{seed} {request} {number}")
    if draw.random() >= rate:
        return None
    return Fault(
        name=draw.choice(names),
        part=draw.choice(("head", "body")),
        fraction=draw.choice((0.0, draw.random(), draw.random(), draw.random(), 0.999999)),
        seconds=draw.uniform(0.2, 2.0),
        interval=draw.uniform(0.05, 0.2),
        interim=draw.random() < 0.15,
    )
