"""Which spans of a large transfer are sent. Pure.

X-Ray keeps 500 KB of a trace, 100 KB if it is sent slowly (AWS X-Ray endpoints and quotas), and drops what
is over. A small transfer is sent whole. Of a large one some spans are, spread over all of it.
"""

from collections import Counter

# Of the 100 KB; what is left over is for the root, which is sent at its begin and at its end.
MOST_BYTES = 90_000
# Kept free for each span that is in the sample and has not ended: so that none loses its parent.
RESERVED_BYTES = 1_500
# A branch of which there are no more than this many is sent every time.
ALL_OF = 100
# How many are sent of those whose number is known and larger.
SPREAD = 40
# Of those whose number is not known the first are sent, then so many of each doubling of their number.
FIRST = 40
A_DOUBLING = 4


class Sampler:
    """Decides for one trace; for one thread."""

    def __init__(self) -> None:
        self._expected: dict[str, int] = {}
        self._seen: Counter[str] = Counter()
        self._taken: Counter[str] = Counter()
        self._open = 0
        self._bytes = 0

    def expect(self, name: str, count: int) -> None:
        """So many spans of this name will come."""
        self._expected[name] = count

    def takes(self, name: str) -> bool:
        """Whether the next span of this name is to be sent."""
        index = self._seen[name]
        self._seen[name] += 1
        if not self.has_room or not in_sample(index, self._expected.get(name)):
            return False
        self.reserve(name)
        return True

    def reserve(self, name: str) -> None:
        """Take a span into the sample, whatever its number."""
        self._taken[name] += 1
        self._open += 1

    @property
    def has_room(self) -> bool:
        """Whether the trace may grow."""
        return self._bytes + self._open * RESERVED_BYTES < MOST_BYTES

    def end(self) -> None:
        """One in the sample ends, and is about to be sent."""
        self._open -= 1

    def spend(self, size: int) -> None:
        """So many bytes were sent."""
        self._bytes += size

    def told(self) -> dict[str, str]:
        """Of each name, how many of how many are in the sample, where not all are."""
        return {
            name: f"{self._taken[name]} of {seen}"
            for name, seen in self._seen.items()
            if self._taken[name] < seen
        }


def in_sample(index: int, expected: int | None) -> bool:
    """Whether a span is sent, given its number among its like, from 0.

    Args:
        index: its number.
        expected: how many there will be in all; None if that is not known.
    """
    if expected is None:
        if index < FIRST:
            return True
        step = (FIRST // A_DOUBLING) << ((index // FIRST).bit_length() - 1)
        return index % step == 0
    return expected <= ALL_OF or index * SPREAD // expected != (index - 1) * SPREAD // expected
