"""The faults, and which of them a request meets. Pure: by seed and request, whenever the request comes."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Sequence

Side = Literal["request", "reply"]
# Name, and on which side it is played. "pauses" and "is late" wait, then go on; "drips" goes on byte by byte.
FAULTS: dict[str, Side] = {
    "request reset": "request",
    "request closed": "request",
    "request stalls": "request",
    "request pauses": "request",
    "request drips": "request",
    "request bit flipped": "request",  # in the body
    "request bytes repeated": "request",  # in the body
    "503, not done": "request",  # answered from the head, and closed
    "500, not done": "request",
    "HTML 200, not done": "request",
    "reply closed": "reply",
    "reply reset": "reply",
    "reply half-closed": "reply",
    "reply stalls": "reply",
    "reply pauses": "reply",
    "reply drips": "reply",
    "reply swallowed": "reply",  # from a byte on; the connection stays
    "reply bytes lost": "reply",  # in a GET's body, as the next two
    "reply bytes repeated": "reply",
    "reply bit flipped": "reply",
    "reply is late": "reply",  # before its first byte
    "reply lost": "reply",  # reset before its first byte; the server has done what was asked
    "503, done": "reply",  # in place of the reply
    "500, done": "reply",
    "HTML 200, done": "reply",
    "empty 200, done": "reply",
    "cut in digits": "reply",  # within the value of Content-Length
    "line dropped": "reply",  # ETag, Content-Length, Content-Range, UploadId
}
# Faults that change bytes of the object, and whether the client reads or writes them. No length betrays them:
# the client receives and sends as many bytes as it expects.
DAMAGES: dict[str, str] = {
    "request bit flipped": "write",
    "request bytes repeated": "write",
    "reply bytes lost": "read",
    "reply bytes repeated": "read",
    "reply bit flipped": "read",
}


@dataclass(frozen=True)
class Fault:
    """One fault as it is played.

    Attributes:
        name: in `FAULTS`.
        part: of the message that it strikes.
        fraction: how far into that part.
        seconds: of a pause.
        interval: seconds between bytes that drip.
        interim: whether it already strikes a 100 Continue.
    """

    name: str
    part: Literal["head", "body"]
    fraction: float
    seconds: float
    interval: float
    interim: bool

    @property
    def side(self) -> Side:
        """Which message it strikes."""
        return FAULTS[self.name]

    def offset(self, head: int, body: int) -> int | None:
        """Return the byte that it strikes, given the bytes of head and body; None: it strikes none."""
        if self.name in DAMAGES and not body:
            return None
        if body and (self.part == "body" or self.name in DAMAGES):
            return head + int(self.fraction * body)
        return int(self.fraction * head)


def fault_for(seed: int, request: str, number: int, rate: float, names: Sequence[str]) -> Fault | None:
    """Return the fault that a request meets, if it meets one.

    Args:
        seed: of the run.
        request: what is asked, the same for every try of it.
        number: of the try.
        rate: the share of requests that meet one.
        names: of the faults to choose from.
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
