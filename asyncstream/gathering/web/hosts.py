"""`Hosts`: what is kept for each host, of the hosts asked last.

Connections are kept for the next page of their host. Of thousands of hosts that would be more open files than
a Lambda may have (1,024), so those of the hosts not asked for longest are closed, unless they are in use.
"""

from collections import Counter
from collections.abc import Callable
from typing import Generic, TypeVar

from asyncstream.gathering.web.urls import Url

# Hosts whose connections are kept though nobody uses them.
MOST_KEPT = 100
K = TypeVar("K")


class Hosts(Generic[K]):
    """Not for several threads at once.

    Args:
        make: makes what is kept, for any URL of the host.
        most: how many are kept beside those in use.
    """

    def __init__(self, make: Callable[[Url], K], most: int = MOST_KEPT) -> None:
        self._make = make
        self._most = most
        self._users: Counter[str] = Counter()
        # In the order in which they were last taken.
        self._kept: dict[str, K] = {}

    def take(self, url: Url) -> K:
        """What is kept of a URL's host, made if nothing is; in use until it is given back."""
        origin = url.origin
        kept = self._kept.pop(origin) if origin in self._kept else self._make(url)
        self._kept[origin] = kept
        self._users[origin] += 1
        return kept

    def give_back(self, url: Url) -> K | None:
        """What is to be closed, now that the host has a user less."""
        origin = url.origin
        self._users[origin] -= 1
        if not self._users[origin]:
            del self._users[origin]
        if len(self._kept) - len(self._users) <= self._most:
            return None
        return self._kept.pop(next(kept for kept in self._kept if kept not in self._users))

    def take_out(self) -> list[K]:
        """All that is kept, to be closed."""
        kept = list(self._kept.values())
        self._kept.clear()
        return kept
