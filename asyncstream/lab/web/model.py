"""`WebModel`: the content, latency and faults of the lab web's pages. Does no I/O.

They depend only on the seed and the page's number, not on the time or order of requests. So every variant of
a comparison gets the same pages, and the minimum time for them can be computed.
"""

from __future__ import annotations

import heapq
import json
import math
import zlib
from dataclasses import dataclass, replace
from hashlib import blake2b
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

from asyncstream.lab.web.server import RESET, Answer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from asyncstream.lab.web.server import Asked

PATH = "/pages/"
# Seconds, longer than any client waits for a page.
_FOR_EVER = 3600.0
# The faults of faulty pages. "busy" and "reset" affect only the first request.
FAULTS = ("busy", "reset", "slow", "missing", "stalled")


@dataclass(frozen=True, slots=True)
class WebModel:
    """Latency and faults of the pages.

    `latency` is the mean in seconds until a page starts. Latencies are spread log-normally by `sigma`, as on
    the real web: with 0.5, one page in twenty takes twice the mean. `faults` is the share of faulty pages.
    """

    latency: float = 0.0
    sigma: float = 0.5
    faults: float = 0.0
    rows: int = 10
    seed: int = 0

    def __post_init__(self) -> None:
        if not (self.latency >= 0 and self.sigma >= 0 and 0 <= self.faults <= 1 and self.rows >= 0):
            raise ValueError(f"{self}: values must not be negative, and faults must be from 0 to 1")

    @classmethod
    def averaging(cls, mean: float, count: int, sigma: float, seed: int) -> WebModel:
        """Return a model whose first `count` pages take exactly `mean` seconds on average."""
        drawn = cls(latency=1.0, sigma=sigma, seed=seed)
        average = sum(map(drawn.seconds, range(count))) / count
        return replace(drawn, latency=mean / average)

    def seconds(self, number: int) -> float:
        """Return the seconds until a page starts."""
        if not self.latency:
            return 0.0
        spread = self.sigma * NormalDist().inv_cdf(self._drawn("latency", number))
        slowness = 10 if self.fault(number) == "slow" else 1
        return self.latency * slowness * math.exp(spread - self.sigma**2 / 2)

    def fault(self, number: int) -> str:
        """Return the fault of a page, one of FAULTS, or an empty string."""
        if self._drawn("fault", number) >= self.faults:
            return ""
        return FAULTS[int(self._drawn("kind", number) * len(FAULTS))]

    def answer(self, asked: Asked) -> Answer:
        """Return the answer to a request."""
        text = asked.path.removeprefix(PATH)
        if text == asked.path or not (text.isascii() and text.isdigit()):
            return Answer.of(b"no such page", 404)
        number = int(text)
        body = json.dumps(rows_of_page(number, self.rows)).encode()
        etag = f'"{zlib.crc32(body):08x}"'
        headers = {"Content-Type": "application/json", "ETag": etag}
        half = body[: len(body) // 2]
        answer = Answer(200, headers, (body,), len(body))
        if asked.headers.get("if-none-match") == etag:
            answer = Answer(304, {"ETag": etag}, (), 0)
        match self.fault(number):
            case "missing":
                answer = Answer.of(b"no such page", 404)
            case "busy" if asked.nth == 1:
                answer = Answer.of(b"busy", 503)
            case "reset" if asked.nth == 1:
                answer = Answer(200, headers, (half, RESET), len(body))
            case "stalled":
                answer = Answer(200, headers, (half, _FOR_EVER), len(body))
        return answer._replace(delay=self.seconds(number))

    def _drawn(self, what: str, number: int) -> float:
        """Return a pseudo-random number in (0, 1), the same for the same arguments."""
        # Not a CRC, because the CRCs of neighbouring numbers differ in few bits.
        digest = blake2b(f"{self.seed} {what} {number}".encode(), digest_size=4).digest()
        return (int.from_bytes(digest) + 0.5) / 2**32


def rows_of_page(number: int, count: int = 10) -> list[dict[str, Any]]:
    """Return the rows of a page, which has no other content. `id` is unique over all pages."""
    return [
        {
            "id": number * count + row,
            "page": number,
            "name": f"item {row} of page {number}",
            "price": number % 97,
        }
        for row in range(count)
    ]


def least_seconds(pages: Sequence[float], at_once: int) -> float:
    """Return the minimum seconds for pages that start in order, each as soon as a slot is free.

    Args:
        pages: seconds per page, in the order of their starts.
        at_once: number of slots.
    """
    free_from = [0.0] * at_once
    for seconds in pages:
        heapq.heapreplace(free_from, free_from[0] + seconds)
    return max(free_from)


def page_urls(origins: Sequence[str], count: int) -> list[str]:
    """Return the URLs of the first `count` pages, distributed over the hosts."""
    return [f"{origins[number % len(origins)]}{PATH}{number}" for number in range(count)]
