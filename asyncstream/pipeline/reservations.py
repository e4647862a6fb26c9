"""What tasks reserve before they start: slots, parts of a transform's output, and what transforms hold.

Used by the coordinator in `pipeline.py`, and by it alone: so no lock. A slot and a part are reserved for a
task; the memory that a file's transform holds is reserved from the file's Begin to the end of its output.

Files in progress keep that memory from part to part. If they left less than a part takes, they would wait for
one another for ever. So no file begins that leaves less than the smallest part, and a part is no larger than
what they leave. A file learns only from its head, or from what it becomes, that it needs more: it then gives
everything back and begins again with as much as it needs, in one reservation. A connection that stayed open
meanwhile would time out, and a file that kept what it has while it waits for more is half of a deadlock.
"""

from collections import deque

from asyncstream.pipeline.budget import MemoryBudget
from asyncstream.pipeline.parts import PartMover
from asyncstream.pipeline.tasks import Begin, FileInProgress, FillPart, SendPart, Task


class Reservations:
    """Reserve and release the bytes of tasks and files.

    Args:
        budget: what they are reserved from.
        slot_bytes: bytes that one task in flight costs.
        mover: tells what a part takes, and what a transform holds.

    Attributes:
        budget: as given.
    """

    def __init__(self, budget: MemoryBudget, slot_bytes: int, mover: PartMover) -> None:
        self.budget = budget
        self._slot_bytes = slot_bytes
        self._mover = mover
        self._held = 0  # bytes of the transforms of all files

    def reserve(self, task: Task | None) -> tuple[int, int] | None:
        """Reserve for a task that is to start; None stands for the Begin of the next job.

        Returns:
            Bytes of the part that it fills, and bytes that the transform of its file holds; None: they do not
            fit now.
        """
        memory = self._memory_for(task)
        if memory and self._held + memory > self._mover.most_memory:
            return None
        room = self._room_for(task, self.budget.limit - self._slot_bytes - self._held - memory)
        if not self.budget.reserve(self._slot_bytes + room + memory):
            return None
        if memory:
            self._held += memory
            # Of parts that were sent the memory is kept for the next, and no longer reserved.
            self._mover.keep(self.budget.limit - self.budget.reserved)
        return room, memory

    def release_slot(self) -> None:
        """Release the slot of a task that has ended."""
        self.budget.release(self._slot_bytes)

    def release_room(self, task: Task) -> None:
        """Release the part that a task filled or sent."""
        self.budget.release(task.room)

    def release_memory(self, file: FileInProgress) -> None:
        """Release what the transform of a file held, when it has ended; once or more often."""
        self.budget.release(file.memory)
        self._held -= file.memory
        file.memory = 0

    def _memory_for(self, task: Task | None) -> int:
        if task is None:
            return self._mover.memory
        return task.memory if isinstance(task, Begin) else 0

    def _room_for(self, task: Task | None, most: int) -> int:
        if task is None or isinstance(task, Begin):
            return min(self._mover.output_part_size(1), most)
        return min(self._mover.output_part_size(task.number), most) if isinstance(task, FillPart) else 0


def bring_forward_what_frees_memory(ready: deque[Task]) -> bool:
    """Have a task go before the first, which waits for memory; whether there was one.

    Parts wait to be sent where S3 has asked for fewer requests, so that not every slot is used. A file that
    begins again may wait for memory that files in progress hold until they end.
    """
    begins = bool(ready) and isinstance(ready[0], Begin)
    if not begins and not (ready and isinstance(ready[0], FillPart)):
        return False
    for task in ready:
        if isinstance(task, SendPart) or (begins and not isinstance(task, Begin)):
            ready.remove(task)
            ready.appendleft(task)
            return True
    return False
