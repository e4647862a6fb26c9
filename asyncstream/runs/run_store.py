"""`RunStore`: reads and writes the objects of a run."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from asyncstream.errors import InputError, SourceNotFound
from asyncstream.locations import S3Object, S3Prefix
from asyncstream.pipeline.config import TransferConfig
from asyncstream.pipeline.session import TransferSession
from asyncstream.runs.decoding import decode
from asyncstream.runs.descriptions import Description, decode_description
from asyncstream.runs.outcomes import OUTCOME_TYPE, BatchOutcome, decode_outcome
from asyncstream.runs.places import Run
from asyncstream.runs.rows import LINES_TYPE, Row, decode_rows, encode_rows
from asyncstream.units import MiB

# A batch of a minute has at most some 20,000 rows of 0.2 KB; a row has up to 4 KB.
MAX_OBJECT_BYTES = 64 * MiB

P = TypeVar("P")
# Returns the configuration with the time that is left now as its deadline.
Timed = Callable[[], TransferConfig]


class RunStore:
    """Reads and writes the objects of a run. They are at the end of the destination.

    Args:
        run: their places.
        session: both of its ends are that of the destination.
        timed: returns the configuration of each request.
    """

    def __init__(self, run: Run, session: TransferSession, timed: Timed) -> None:
        self.run = run
        self.session = session
        self._timed = timed

    def read_rows(self, number: int) -> Sequence[Row]:
        """Return the rows of a batch.

        Raises:
            SourceNotFound: there is no such batch.
            InputError: it is malformed.
        """
        place = self.run.batch(number)
        return decode_rows(self._read(place), place)

    def write_rows(self, place: S3Object, rows: Sequence[Row]) -> None:
        """Write a batch, or a list of uploads."""
        self._write(place, encode_rows(rows), LINES_TYPE)

    def read_uploads(self, number: int) -> Sequence[Row]:
        """Return the uploads of a list."""
        place = self.run.uploads(number)
        return decode_rows(self._read(place), place)

    def find_uploads(self, number: int) -> Sequence[Row] | None:
        """Return the uploads of a list; None if there is no such list."""
        place = self.run.uploads(number)
        content = self._find(place)
        return None if content is None else decode_rows(content, place)

    def read_outcome(self, number: int) -> BatchOutcome | None:
        """Return the outcome of a batch; None if it was not run.

        Raises:
            InputError: it is malformed, or of another batch.
        """
        for place in (self.run.done(number), self.run.left(number)):
            content = self._find(place)
            if content is not None:
                return _checked(decode_outcome(content, place), number, place)
        return None

    def write_outcome(self, outcome: BatchOutcome) -> None:
        """Write the outcome of a batch."""
        place = self.run.left(outcome.batch) if outcome.left else self.run.done(outcome.batch)
        self._write(place, msgspec.json.encode(outcome), OUTCOME_TYPE)

    def read_description(self) -> Description:
        """Return the description of the run.

        Raises:
            SourceNotFound: the run was not planned, or not to the end.
            InputError: it is malformed.
        """
        place = self.run.description
        content = self._find(place)
        if content is None:
            raise SourceNotFound(
                f"{self.run.uri} has no whole plan, because {place} does not exist: plan the run first, "
                "or name the place of another"
            )
        return decode_description(content, place)

    def is_described(self) -> bool:
        """Return whether the plan is whole, as its description shows."""
        return self._find(self.run.description) is not None

    def read_progress(self, kind: type[P]) -> P | None:
        """Return how far the plan is; None if it was not started.

        Raises:
            InputError: it is of another version of asyncstream.
        """
        content = self._find(self.run.progress)
        if content is None:
            return None
        try:
            return decode(msgspec.json.Decoder(kind).decode, content)
        except msgspec.DecodeError as error:
            raise InputError(f"{self.run.progress}: {error}: plan the run at another place") from None

    def write_progress(self, progress: Struct) -> None:
        """Write how far the plan is."""
        self.write_json(self.run.progress, progress)

    def list_done(self) -> frozenset[int]:
        """Return the numbers of the batches that are done."""
        return self._list(self.run.done_prefix)

    def list_left(self) -> frozenset[int]:
        """Return the numbers of the batches of which rows are left, or were left before they were done."""
        return self._list(self.run.left_prefix)

    def _list(self, prefix: S3Prefix) -> frozenset[int]:
        keys = (place.key for place in self.session.list_objects(prefix, self._timed()))
        return frozenset(int(number) for number in map(_number, keys) if number)

    def write_todo(self, numbers: Iterable[int]) -> None:
        """Write the list of batches that a Map reads: an event of the function for each."""
        events = [{"batch": self.run.batch(number).uri} for number in numbers]
        self.write_json(self.run.todo, events)

    def write_json(self, place: S3Object, value: Any) -> None:
        """Write a value as JSON."""
        self._write(place, msgspec.json.encode(value), OUTCOME_TYPE)

    def _find(self, place: S3Object) -> bytes | None:
        try:
            return self._read(place)
        except SourceNotFound:
            return None

    def _read(self, place: S3Object) -> bytes:
        return self.session.read(place, MAX_OBJECT_BYTES, self._timed())

    def _write(self, place: S3Object, content: bytes, content_type: str) -> None:
        self.session.write(place, content, content_type, self._timed())


def _checked(outcome: BatchOutcome, number: int, place: S3Object) -> BatchOutcome:
    """Return an outcome; it says itself where the next one is written."""
    if outcome.batch != number:
        raise InputError(
            f"{place} is the outcome of batch {outcome.batch}: delete it, and run the batch again"
        )
    return outcome


def _number(key: str) -> str:
    """Return the number in the name of an outcome; empty for another object."""
    name = key.rpartition("/")[2].removesuffix(".json")
    return name if name.isascii() and name.isdecimal() else ""
