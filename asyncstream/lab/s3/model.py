"""The network between client and S3: the model, and the clocks that pace transfers.

A clock computes when bytes have passed, and the caller sleeps until then. Time and sleep are injected, so
tests of the model do not wait.
"""

from __future__ import annotations

import re
import threading
import time
import zlib
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from asyncstream.lab.s3.http import Request

MB = 1_000_000
# The most bytes that a connection reserves at a time: few enough for connections to share a card fairly.
QUANTUM = 256 * 1024
# The most lost time that a clock catches up: more than `sleep` overshoots, less than is visible in results.
CREDIT_SECONDS = 0.020


@dataclass(frozen=True, slots=True)
class NetworkModel:
    """The speed of the network between a client and S3.

    Attributes:
        connection_rate: bytes per second of one connection. None: no limit.
        card_rate: bytes per second of the client's network card, in each direction. None: no limit.
        first_byte: seconds from a request to the first byte of its reply.
        jitter: the fraction by which a request may be slower or faster.
        seed: determines, together with the request, how much slower or faster it is. So the same work has the
            same delays in any order.
    """

    connection_rate: float | None = None
    card_rate: float | None = None
    first_byte: float = 0.0
    jitter: float = 0.0
    seed: int = 0

    @classmethod
    def parse(cls, text: str, seed: int = 0) -> NetworkModel:
        """Parse "53/90/25": MB/s per connection, MB/s of the card, ms to the first byte. 0 means no limit.

        A fourth number is the jitter in percent. "off" means no model.

        Raises:
            ValueError: the text is not a network model.
        """
        if text == "off":
            return cls(seed=seed)
        if not re.fullmatch(r"\d+(\.\d+)?(/\d+(\.\d+)?){2,3}", text):
            raise ValueError(f'network model {text!r}: expected "off" or numbers such as "53/90/25"')
        connection, card, first_byte, jitter = (float(number) for number in f"{text}/0".split("/")[:4])
        if jitter >= 100:
            raise ValueError(f"network model {text!r}: jitter must be below 100 %")
        return cls(connection * MB or None, card * MB or None, first_byte / 1000, jitter / 100, seed)


class RateClock:
    """A bottleneck through which bytes pass one after the other at a rate."""

    def __init__(self, rate: float, now: float) -> None:
        self.rate = rate
        self._next = now
        self._lock = threading.Lock()  # all connections share a card's clock

    def reserve(self, size: int, now: float) -> float:
        """Reserve the time for `size` bytes, and return when they have passed."""
        with self._lock:
            self._next = max(self._next, now - CREDIT_SECONDS) + size / self.rate
            return self._next


class Pace:
    """Paces one direction of one request."""

    def __init__(self, clocks: Sequence[RateClock], now: Callable[[], float], sleep: Callable[[float], None]):
        self._clocks = clocks
        self._now = now
        self._sleep = sleep
        self.quantum = QUANTUM if clocks else 1 << 30

    def wait(self, size: int) -> None:
        """Wait until `size` more bytes have passed."""
        if not self._clocks:
            return
        now = self._now()
        through = max(clock.reserve(size, now) for clock in self._clocks)
        if through > now:
            self._sleep(through - now)


class Network:
    """Applies the model: the card's two clocks, and each request's delay and connection clocks."""

    def __init__(
        self,
        model: NetworkModel,
        now: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.model = model
        self._now = now
        self._sleep = sleep
        self._occurrences: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._inbound = [RateClock(model.card_rate, now())] if model.card_rate else []
        self._outbound = [RateClock(model.card_rate, now())] if model.card_rate else []

    def slowness(self, request: Request) -> float:
        """Return the factor by which this request is slower than the model. It is 1 without jitter."""
        if not self.model.jitter:
            return 1.0
        # Without the upload ID, which is random: the same part must be as slow in the next run.
        query = sorted(item for item in request.query.items() if item[0] != "uploadId")
        identity = f"{request.method} {request.path} {query}"
        with self._lock:
            self._occurrences[identity] += 1
            nth = self._occurrences[identity]
        drawn = zlib.crc32(f"{self.model.seed} {nth} {identity}".encode()) / 0xFFFF_FFFF
        return 1 + self.model.jitter * (2 * drawn - 1)

    def wait_for_first_byte(self, slowness: float) -> None:
        """Wait for the model's time to the first byte."""
        if self.model.first_byte:
            self._sleep(self.model.first_byte * slowness)

    def inbound(self, slowness: float) -> Pace:
        """Return the pace of a request's body."""
        return self._pace(self._inbound, slowness)

    def outbound(self, slowness: float) -> Pace:
        """Return the pace of a reply's body."""
        return self._pace(self._outbound, slowness)

    def _pace(self, card: list[RateClock], slowness: float) -> Pace:
        rate = self.model.connection_rate
        own = [RateClock(rate / slowness, self._now())] if rate else []
        return Pace([*own, *card], self._now, self._sleep)
