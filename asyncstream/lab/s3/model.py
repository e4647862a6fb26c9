"""The network between client and S3: the model, and the clocks that hold transfers to it.

Time is virtual: a clock tells when the bytes asked of it may have gone through, and the caller sleeps until
then. Reading the time and sleeping are injected, so the whole model runs in tests without waiting.
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
QUANTUM = 256 * 1024  # what a connection may ask for at once: small enough to share a card fairly
CREDIT_SECONDS = 0.020  # how much lost time can be made up for: more than sleep overshoots, less than shows


@dataclass(frozen=True, slots=True)
class NetworkModel:
    """Bytes per second of a connection and of the client's card (each way), and seconds to the first byte.

    A rate of None is no limit. `jitter` makes a request up to that fraction slower or faster; how much is
    drawn from the seed and the request itself: the same work meets the same delays in whatever order.
    """

    connection_rate: float | None = None
    card_rate: float | None = None
    first_byte: float = 0.0
    jitter: float = 0.0
    seed: int = 0

    @classmethod
    def parse(cls, text: str, seed: int = 0) -> NetworkModel:
        """Read "53/90/25": MB/s a connection, MB/s the card, ms to the first byte; 0 is no limit.

        A fourth number is the jitter in percent; "off" is no model at all.
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
    """Bytes through one bottleneck, one after the other, at a rate."""

    def __init__(self, rate: float, now: float) -> None:
        self.rate = rate
        self._next = now
        self._lock = threading.Lock()  # a card's clock is shared by all connections

    def reserve(self, size: int, now: float) -> float:
        """Take `size` bytes' time; return when they are through."""
        with self._lock:
            self._next = max(self._next, now - CREDIT_SECONDS) + size / self.rate
            return self._next


class Pace:
    """One direction of one request: waits as long as its bytes need."""

    def __init__(self, clocks: Sequence[RateClock], now: Callable[[], float], sleep: Callable[[float], None]):
        self._clocks = clocks
        self._now = now
        self._sleep = sleep
        self.quantum = QUANTUM if clocks else 1 << 30

    def wait(self, size: int) -> None:
        """Return when `size` more bytes may have gone through."""
        if not self._clocks:
            return
        now = self._now()
        through = max(clock.reserve(size, now) for clock in self._clocks)
        if through > now:
            self._sleep(through - now)


class Network:
    """The model at work: the card's two clocks, and every request's own delay and connection clocks."""

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
        """Return the factor by which this request is slower than the model says: 1 without jitter."""
        if not self.model.jitter:
            return 1.0
        # An upload id is random: the same part of the same file must be as slow in the next run.
        query = sorted(item for item in request.query.items() if item[0] != "uploadId")
        identity = f"{request.method} {request.path} {query}"
        with self._lock:
            self._occurrences[identity] += 1
            nth = self._occurrences[identity]
        drawn = zlib.crc32(f"{self.model.seed} {nth} {identity}".encode()) / 0xFFFF_FFFF
        return 1 + self.model.jitter * (2 * drawn - 1)

    def wait_for_first_byte(self, slowness: float) -> None:
        """Wait as long as S3 takes to answer."""
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
