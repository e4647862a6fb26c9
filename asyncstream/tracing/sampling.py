"""Choose which spans of a large transfer are sent. Does no I/O.

X-Ray keeps 500 KB of a trace, or 100 KB if it is sent slowly (AWS X-Ray endpoints and quotas), and drops the
rest. All spans of a small transfer are sent. For a large transfer, a sample spread over all of it is sent.
"""

from collections import Counter

# Bytes for all spans except the root. The rest of the 100 KB is for the root, which is sent when it starts
# and when it ends.
MAX_BYTES = 90_000
# Bytes reserved for each sampled span that has not ended, so that no span loses its parent.
RESERVED_BYTES = 1_500
# All branches of a name are sent if their expected number is at most this.
ALL_OF = 100
# How many branches of a name are sent if their expected number is larger.
SPREAD = 40
# If the number is not known: send the first ones, and later so many each time their number doubles.
FIRST = 40
A_DOUBLING = 4


class Sampler:
    """Chooses the sample of one trace. Not thread-safe."""

    def __init__(self) -> None:
        self._expected: dict[str, int] = {}
        self._seen: Counter[str] = Counter()
        self._taken: Counter[str] = Counter()
        self._open = 0
        self._bytes = 0

    def expect(self, name: str, count: int) -> None:
        """Announce that `count` spans of this name will follow."""
        self._expected[name] = count

    def takes(self, name: str) -> bool:
        """Count the next span of this name, and return whether to send it."""
        index = self._seen[name]
        self._seen[name] += 1
        if not self.has_room or not in_sample(index, self._expected.get(name)):
            return False
        self.reserve(name)
        return True

    def reserve(self, name: str) -> None:
        """Add a span to the sample and reserve bytes for it."""
        self._taken[name] += 1
        self._open += 1

    @property
    def has_room(self) -> bool:
        """Whether there are bytes left for another span."""
        return self._bytes + self._open * RESERVED_BYTES < MAX_BYTES

    def end(self) -> None:
        """Release the bytes reserved for a sampled span that has ended and will now be sent."""
        self._open -= 1

    def spend(self, size: int) -> None:
        """Count the bytes of a span that was sent."""
        self._bytes += size

    def sample_sizes(self) -> dict[str, str]:
        """Return the sample's size ("40 of 900") by span name, for names whose spans are not all sent."""
        return {
            name: f"{self._taken[name]} of {seen}"
            for name, seen in self._seen.items()
            if self._taken[name] < seen
        }


def in_sample(index: int, expected: int | None) -> bool:
    """Return whether a span belongs to the sample.

    Args:
        index: its number among the spans of the same name, from 0.
        expected: the number of spans of that name; None if it is not known.
    """
    if expected is None:
        if index < FIRST:
            return True
        step = (FIRST // A_DOUBLING) << ((index // FIRST).bit_length() - 1)
        return index % step == 0
    return expected <= ALL_OF or index * SPREAD // expected != (index - 1) * SPREAD // expected
