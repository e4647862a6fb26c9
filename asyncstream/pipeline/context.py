"""What the tasks of one transfer work with, as one value instead of many parameters."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from asyncstream.deadline import Deadline
from asyncstream.locations import Folder, SourceFile, SourceFolder, TargetFile
from asyncstream.pipeline import progress
from asyncstream.pipeline.config import TransferConfig
from asyncstream.ports import Archives, Destination, Engine, Source
from asyncstream.retry import Retrying


class Ends(Struct, frozen=True):
    """Where one transfer reads and writes.

    Attributes:
        sources: what reads and lists each kind of place.
        destinations: what writes each kind of place.
        retrying: repeats the requests of both, within the deadline.
        one_server: whether both are on one server, so that an object of one name is one object.
        archives: the source of files in archives, if there are any.
        decoder_bytes: bytes of memory that a slot has for a decoder of archives; see `with_decoders`.
    """

    sources: Mapping[type, Source[Any, Any]]
    destinations: Mapping[type, Destination[Any, Any]]
    retrying: Retrying
    one_server: bool = True
    archives: Archives | None = None
    decoder_bytes: int = 0

    def with_decoders(self, room: int) -> "Ends":
        """Return these ends with memory for decoders in each slot, now that the archives are listed.

        The decoders may hold no more. A file that needs more fails by itself.

        Args:
            room: bytes that the largest decoder may take.
        """
        if self.archives is None:
            return self
        granted = max(0, min(self.archives.decoder_bytes, room))
        self.archives.allow(granted)
        return replace(self, decoder_bytes=granted)

    def source_of(self, place: SourceFile | SourceFolder) -> Source[Any, Any]:
        """Return what reads or lists a place."""
        return self.sources[type(place)]

    def destination_of(self, place: TargetFile | Folder) -> Destination[Any, Any]:
        """Return what writes a place, or lists its uploads."""
        return self.destinations[type(place)]

    @property
    def _each(self) -> list[Source[Any, Any] | Destination[Any, Any]]:
        return list(dict.fromkeys([*self.sources.values(), *self.destinations.values()]))

    @property
    def slot_bytes(self) -> int:
        """Bytes of memory that one part in flight costs: each transport counts a GET and a PUT."""
        return max(each.slot_bytes for each in self._each) + self.decoder_bytes

    @property
    def held(self) -> int:
        """Bytes of memory that listings of the sources keep."""
        return sum(each.held for each in set(self.sources.values()))

    @property
    def requests(self) -> Mapping[str, int]:
        """Requests sent so far to both, by operation."""
        return sum((Counter(each.requests) for each in self._each), Counter())

    @property
    def downgrades(self) -> list[str]:
        """What the servers of both lack, as sentences; each once."""
        return list(dict.fromkeys(sentence for each in self._each for sentence in each.downgrades))


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
