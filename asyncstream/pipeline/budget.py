"""The memory cap as arithmetic: how many slots fit, are used and what is reserved.

A part in flight costs a stated number of bytes, told by the transport that moves it. Reserving happens
before work starts and in plan order, by one owner: so no lock, and no deadlock.
"""

from asyncstream.errors import ConfigError


def slots_within(memory_limit: int, slot_bytes: int, max_concurrency: int) -> int:
    """How many parts may be in flight: `min(max_concurrency, memory_limit // slot_bytes)`.

    Args:
        memory_limit: bytes for all parts in flight together.
        slot_bytes: bytes one part in flight costs.
        max_concurrency: the most parts in flight, however much memory there is.

    Raises:
        ConfigError: not even one slot fits.
    """
    slots = min(max_concurrency, memory_limit // slot_bytes)
    if slots < 1:
        raise ConfigError(
            f"memory_limit of {memory_limit} bytes is too small: one part in flight takes {slot_bytes} "
            "bytes here. Raise memory_limit, or lower chunk_size where the engine is not asyncio."
        )
    return slots


def more_memory(needs: int, had: int, usual: int, most: int) -> int | None:
    """Return the bytes to reserve for a file whose transform needs more than it had; None: it had all.

    From the second time on at least the double of what it had: then a file put together of many, each with a
    larger window than the one before, begins few times. If there is less than it needs, all there is: a file
    may end before it fills its window.

    Args:
        needs: bytes that the transform asks for.
        had: bytes that were reserved.
        usual: bytes that are reserved for a file at first.
        most: bytes that the transforms of all files may hold.
    """
    if had >= min(needs, most):
        return None
    return min(needs if had <= usual else max(needs, 2 * had), most)


class SlotLimit:
    """How many of the slots are used: fewer while S3 asks for fewer requests, then more again, one by one.

    Additive increase, multiplicative decrease (RFC 5681), by tasks instead of packets.
    """

    def __init__(self, slots: int) -> None:
        self.allowed = slots
        self._slots = slots
        self._until_more = 0
        self._spared = 0

    def ended(self, slowed: bool) -> None:
        """A task has ended; `slowed`: S3 had asked it to slow down."""
        if self._spared:
            # It began before the last cut took effect: what it met says nothing of the slots that are left.
            self._spared -= 1
        elif slowed:
            self._spared = self.allowed - 1
            self.allowed = self._until_more = max(1, self.allowed // 2)
        elif self.allowed < self._slots:
            self._until_more -= 1
            if self._until_more <= 0:
                self.allowed += 1
                self._until_more = self.allowed


class MemoryBudget:
    """Bytes that may be reserved at once. Not thread-safe: the coordinator is its one owner."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.reserved = 0
        self.peak = 0

    def reserve(self, size: int) -> bool:
        """Take `size` bytes if they fit under the limit; say whether they did."""
        if self.reserved + size > self.limit:
            return False
        self.reserved += size
        self.peak = max(self.peak, self.reserved)
        return True

    def release(self, size: int) -> None:
        """Give back `size` bytes that were reserved."""
        if not 0 <= size <= self.reserved:
            raise ValueError(f"release of {size} bytes with {self.reserved} reserved")
        self.reserved -= size
