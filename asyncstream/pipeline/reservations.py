"""What tasks reserve before they start: slots, parts of a transform's output, and what transforms hold.

The coordinator alone reserves and releases: so no lock. A slot and a part are reserved for a task; the memory
that a file's transform holds is reserved from the file's Begin to the end of its output.

Files in progress keep that memory from part to part. If they left less than a part takes, they would wait for
one another for ever. So no file opens that leaves less than the smallest part, and a part is no larger than
what is left. A file may learn from its first bytes, or later, that its transform needs more memory. It then
releases everything and opens again with all it needs, in one reservation: a connection kept open during the
wait would time out, and a file that keeps its memory while it waits for more is half of a deadlock.
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
        self._held = 0  # bytes of the transforms of all files

    def reserve(self, needs: Needs) -> Needs | None:
        """Reserve a slot and what a task needs.

        Returns:
            What was reserved, of the part perhaps less than it needs; None: it does not fit now.
        """
        held = self._held + needs.transform_bytes
        part = min(needs.part_bytes, self._limit - self._slot_bytes - held)
        size = self._slot_bytes + part + needs.transform_bytes
        if size > self.free or (needs.transform_bytes and held > self._max_memory):
            return None
        self.free -= size
        self.peak = max(self.peak, self._limit - self.free)
        self._held = held
        return Needs(part, needs.transform_bytes)

    def release_slot(self) -> None:
        """Release the slot of a task that has ended."""
        self.release(self._slot_bytes, 0)

    def release(self, part: int, memory: int) -> None:
        """Release bytes of parts and of memory that a file no longer holds."""
        if not 0 <= part + memory <= self._limit - self.free:
            raise ValueError(f"release of {part} + {memory} bytes with {self._limit - self.free} reserved")
        self.free += part + memory
        self._held -= memory
