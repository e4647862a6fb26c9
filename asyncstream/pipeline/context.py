"""What the tasks of one transfer work with, as one value instead of many parameters."""

from collections import Counter
from collections.abc import Mapping

from msgspec import Struct

from asyncstream.deadline import Deadline
from asyncstream.pipeline import progress
from asyncstream.pipeline.config import TransferConfig
from asyncstream.ports import Destination, Engine, Source
from asyncstream.retry import Retrying


class Ends(Struct, frozen=True):
    """Where one transfer reads and writes.

    Attributes:
        source: lists and reads objects.
        destination: writes objects.
        retrying: repeats the requests of both, within the deadline.
    """

    source: Source
    destination: Destination
    retrying: Retrying

    @property
    def slot_bytes(self) -> int:
        """Bytes of memory that one part in flight costs: each transport counts a GET and a PUT."""
        return max(self.source.slot_bytes, self.destination.slot_bytes)

    @property
    def requests(self) -> Mapping[str, int]:
        """Requests sent so far to both, by operation."""
        return Counter(self.source.requests) + Counter(self.destination.requests)

    @property
    def downgrades(self) -> list[str]:
        """What the servers of both lack, as sentences; each once."""
        return list(dict.fromkeys([*self.source.downgrades, *self.destination.downgrades]))


class TransferContext(Struct, frozen=True):
    """One transfer's surroundings.

    Attributes:
        ends: where objects are read and written.
        engine: runs tasks, sleeps, computes.
        config: the transfer's settings.
        on_event: the progress callback.
    """

    ends: Ends
    engine: Engine
    config: TransferConfig
    on_event: progress.OnEvent

    @property
    def deadline(self) -> Deadline:
        """After which nothing starts; its clock is the transfer's."""
        return self.ends.retrying.deadline
