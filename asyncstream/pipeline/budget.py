"""The memory limit: how many slots fit, how many are used, and how much a transform gets.

The transport states how many bytes a part in flight costs.
"""

from asyncstream.errors import ConfigError


def slots_within(memory_limit: int, slot_bytes: int, max_concurrency: int) -> int:
    """Return how many parts may be in flight: `min(max_concurrency, memory_limit // slot_bytes)`.

    Args:
        memory_limit: bytes for all parts in flight together.
        slot_bytes: bytes that one part in flight costs.
        max_concurrency: the most parts in flight, for any memory limit.

    Raises:
        ConfigError: not even one slot fits.
    """
    slots = min(max_concurrency, memory_limit // slot_bytes)
    if slots < 1:
        raise ConfigError(
            f"memory_limit of {memory_limit} bytes is too small: one part in flight takes {slot_bytes} "
            "bytes here. Raise memory_limit, or lower chunk_size if the engine is not asyncio."
        )
    return slots


def more_memory(needs: int, had: int, usual: int, most: int) -> int | None:
    """Return the bytes to reserve for a file whose transform needs more; None if it had as much as possible.

    From the second time on, the result is at least double the last reservation. So a file of many compressed
    members, each with a larger window than the one before, restarts few times. If the transform needs more
    than `most`, the result is `most`: a file may end before it fills its window.

    Args:
        needs: bytes that the transform asks for.
        had: bytes that were reserved.
        usual: bytes that are first reserved for a file.
        most: bytes that the transforms of all files may hold.
    """
    if had >= min(needs, most):
        return None
    return min(needs if had <= usual else max(needs, 2 * had), most)


class SlotLimit:
    """The number of slots to use: fewer while S3 asks for fewer requests, then more again, one by one.

    It increases additively and decreases multiplicatively (RFC 5681), by tasks instead of packets.
    """

    def __init__(self, slots: int) -> None:
        self.allowed = slots
        self._slots = slots
        self._until_more = 0
        self._spared = 0

    def ended(self, slowed: bool) -> None:
        """Adjust the number after a task has ended. `slowed`: S3 asked that task to slow down."""
        if self._spared:
            # The task started before the last decrease, so it says nothing about the slots in use now.
            self._spared -= 1
        elif slowed:
            self._spared = self.allowed - 1
            self.allowed = self._until_more = max(1, self.allowed // 2)
        elif self.allowed < self._slots:
            self._until_more -= 1
            if self._until_more <= 0:
                self.allowed += 1
                self._until_more = self.allowed
