"""What tasks reserve before they start: slots, parts of a transform's output, and what transforms hold.

The coordinator alone reserves and releases: so no lock. A slot and a part are reserved for a task; the memory
that a file's transform holds is reserved from the file's Begin to the end of its output.

Files in progress keep that memory from part to part. If they left less than a part takes, they would wait for
one another for ever. So no file opens that leaves less than the smallest part, and a part is no larger than
what is left. A file may learn from its first bytes, or later, that its transform needs more memory. It then
releases everything and opens again with all it needs, in one reservation: a connection kept open during the
wait would time out, and a file that keeps its memory while it waits for more is half of a deadlock.
"""

from asyncstream.pipeline.budget import MemoryBudget
from asyncstream.pipeline.tasks import Needs


class Reservations:
    """Reserve and release the bytes of tasks and files.

    Args:
        budget: what they are reserved from.
        slot_bytes: bytes that one task in flight costs.
        most_memory: bytes that the transforms of all files may hold.

    Attributes:
        budget: as given.
    """

    def __init__(self, budget: MemoryBudget, slot_bytes: int, most_memory: int) -> None:
        self.budget = budget
        self._slot_bytes = slot_bytes
        self._most_memory = most_memory
        self._held = 0  # bytes of the transforms of all files

    @property
    def free(self) -> int:
        """Bytes that are not reserved."""
        return self.budget.limit - self.budget.reserved

    def reserve(self, needs: Needs) -> Needs | None:
        """Reserve a slot and what a task needs.

        Returns:
            What was reserved, of the part perhaps less than it needs; None: it does not fit now.
        """
        held = self._held + needs.memory
        if needs.memory and held > self._most_memory:
            return None
        part = min(needs.part, self.budget.limit - self._slot_bytes - held)
        if not self.budget.reserve(self._slot_bytes + part + needs.memory):
            return None
        self._held = held
        return Needs(part, needs.memory)

    def release_slot(self) -> None:
        """Release the slot of a task that has ended."""
        self.budget.release(self._slot_bytes)

    def release(self, part: int, memory: int) -> None:
        """Release bytes of parts and of memory that a file no longer holds."""
        self.budget.release(part + memory)
        self._held -= memory
