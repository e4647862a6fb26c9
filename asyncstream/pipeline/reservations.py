"""What tasks reserve before they start: slots, parts of a transform's output, and what transforms hold.

The coordinator alone reserves and releases: so no lock. A slot and a part are reserved for a task; the memory
that a file's transform holds is reserved from the file's Begin to the end of its output.

Files in progress keep that memory from part to part. If they held so much that no part fitted, they would
deadlock. So a file opens only if the smallest part still fits afterwards, and a part is at most as large as
the memory left. A file may learn from its first bytes, or later, that its transform needs more memory. It
then releases everything and opens again with all it needs, in one reservation: a connection kept open during
the wait would time out, and a file that keeps its memory while it waits for more is half of a deadlock.
"""

from asyncstream.pipeline.tasks import Needs


class Reservations:
    """The bytes that tasks and files have reserved, which never exceed the limit.

    Args:
        limit: bytes that may be reserved at the same time.
        slot_bytes: bytes that one task in flight costs.
        max_memory: bytes that the transforms of all files may hold.

    Attributes:
        free: bytes that are not reserved.
        peak: the most bytes that were reserved at the same time.
    """

    def __init__(self, limit: int, slot_bytes: int, max_memory: int) -> None:
        self.free = limit
        self.peak = 0
        self._limit = limit
        self._slot_bytes = slot_bytes
        self._max_memory = max_memory
        self._transform_bytes = 0  # bytes of the transforms of all files

    def reserve(self, needs: Needs) -> Needs | None:
        """Reserve a slot and what a task needs.

        Returns:
            The reservation, whose `part_bytes` may be smaller than requested; None if it does not fit now.
        """
        transforms = self._transform_bytes + needs.transform_bytes
        part = min(needs.part_bytes, self._limit - self._slot_bytes - transforms)
        size = self._slot_bytes + part + needs.transform_bytes
        if size > self.free or (needs.transform_bytes and transforms > self._max_memory):
            return None
        self.free -= size
        self.peak = max(self.peak, self._limit - self.free)
        self._transform_bytes = transforms
        return Needs(part, needs.transform_bytes)

    def release_slot(self) -> None:
        """Release the slot of a task that has ended."""
        self.release(self._slot_bytes, 0)

    def release(self, part_bytes: int, transform_bytes: int) -> None:
        """Release bytes of slots and parts, and of transforms, that are no longer held."""
        reserved = self._limit - self.free
        parts = reserved - self._transform_bytes
        if not (0 <= part_bytes <= parts and 0 <= transform_bytes <= self._transform_bytes):
            raise ValueError(f"release of {part_bytes} + {transform_bytes} bytes with {reserved} reserved")
        self.free += part_bytes + transform_bytes
        self._transform_bytes -= transform_bytes
