"""`Hosts`: the connections of the most recently used hosts.

Connections are kept for the next page from the same host. A Lambda may have 1,024 open files, and a gathering
more hosts. So the connections of the least recently used hosts are closed, unless they are in use.
"""

from collections import Counter
from collections.abc import Callable
from typing import Generic, TypeVar

from asyncstream.locations.urls import Url

# The most unused hosts whose connections are kept.
MAX_KEPT = 100
K = TypeVar("K")


class Hosts(Generic[K]):
    """The values kept for hosts, such as connection pools. Not thread-safe.

    Args:
        make: makes the value for a host from any of its URLs.
        most: the most values kept in addition to those in use. Default: 100.
    """

    def __init__(self, make: Callable[[Url], K], most: int = MAX_KEPT) -> None:
        self._make = make
        self._most = most
        self._users: Counter[str] = Counter()
        # Ordered by the last use.
        self._kept: dict[str, K] = {}

    def take(self, url: Url) -> K:
        """Return the value of a URL's host, making it if necessary. It is in use until `give_back`."""
        origin = url.origin
        kept = self._kept.pop(origin) if origin in self._kept else self._make(url)
        self._kept[origin] = kept
        self._users[origin] += 1
        return kept

    def give_back(self, url: Url) -> K | None:
        """End one use of a URL's host; return a value that the caller must close, or None."""
        origin = url.origin
        self._users[origin] -= 1
        if not self._users[origin]:
            del self._users[origin]
        if len(self._kept) - len(self._users) <= self._most:
            return None
        return self._kept.pop(next(kept for kept in self._kept if kept not in self._users))

    def take_out(self) -> list[K]:
        """Remove and return all values; the caller closes them."""
        kept = list(self._kept.values())
        self._kept.clear()
        return kept
