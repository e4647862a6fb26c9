"""`Description`: what a run is, in `run.json`; and `Totals`, what a plan counts. Does no I/O."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from asyncstream.errors import InputError
from asyncstream.runs.costs import FREE, Cost
from asyncstream.runs.decoding import decode

# What a plan is made of: all objects under a prefix, the manifest of an S3 Inventory, a list of files, a ZIP
# archive, or one text to cut at line ends.
SourceKind = Literal["prefix", "inventory", "jsonl", "csv", "zip", "lines"]
FORMAT = 1
MOST_PACES = 256
# With a minute each, one worker takes 19 years.
MOST_BATCHES = 10_000_000
_Number = Annotated[int, Meta(ge=0, le=MOST_BATCHES)]


class Totals(Struct, kw_only=True, omit_defaults=True):
    """What a plan has counted so far.

    Attributes:
        files: files, each giant file once; an archive's files each.
        bytes: bytes of all of them; for files of unknown size, a guess.
        largest: bytes of the largest.
        left_out: objects that are not copied, by reason: see `pages.LeftOut`.
        batches: number of batches.
        giants: files that are cut into ranges.
        ranges: the ranges of all giants.
        puts: files that are one PUT.
        uploads: files that are an upload of parts, giants among them.
        parts: the parts of all these uploads.
        gets: GET requests of all files.
        upload_lists: number of the objects `uploads/000000.jsonl`.
        source_lists: LIST requests by which the plan read its source.
        source_gets: GET requests by which it did.
        seconds: seconds of one worker that all batches take, by the model of `costs.py`.
        cost: what all batches cost, by the same model.
        longest: seconds of the longest batch.
        pace: batches in order, a few together: their number, and their seconds.
        pace_step: the number of batches that are counted together, except for the last ones.
    """

    files: int = 0
    bytes: int = 0
    largest: int = 0
    left_out: dict[str, int] = {}
    batches: _Number = 0
    giants: int = 0
    ranges: int = 0
    puts: int = 0
    uploads: int = 0
    parts: int = 0
    gets: int = 0
    upload_lists: _Number = 0
    source_lists: int = 0
    source_gets: int = 0
    seconds: float = 0.0
    cost: Cost = FREE
    longest: float = 0.0
    pace: list[tuple[int, float]] = []
    pace_step: int = 1

    def count_batch(self, cost: Cost, seconds: float) -> None:
        """Count a batch that is closed."""
        self.batches += 1
        self.seconds += seconds
        self.cost = self.cost + cost
        self.longest = max(self.longest, seconds)
        count, taken = self.pace[-1] if self.pace else (self.pace_step, 0.0)
        if count < self.pace_step:
            self.pace[-1] = count + 1, taken + seconds
            return
        self.pace.append((1, seconds))
        if len(self.pace) > MOST_PACES:
            self._halve_paces()

    def _halve_paces(self) -> None:
        """Count two neighbours as one, so that the totals of any plan are small."""
        pairs = zip(self.pace[::2], self.pace[1::2], strict=False)
        odd = self.pace[-1:] if len(self.pace) % 2 else []
        self.pace = [(one[0] + two[0], one[1] + two[1]) for one, two in pairs] + odd
        self.pace_step *= 2


class Description(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A run whose plan is whole.

    Attributes:
        format: the format of the run's objects.
        source: what was planned, as it was given.
        destination: the prefix or object that it is copied to.
        kind: see `SourceKind`.
        settings: settings of `TransferConfig` for all batches, beside those of the workers.
        totals: what the plan has counted.
        join: `s3://bucket/key`: the ranges of a text are put together here at the end; empty: they are not.
        header: whether each range of the text has its first line.
    """

    format: int = FORMAT
    source: str
    destination: str
    kind: SourceKind = "prefix"
    settings: Mapping[str, Any] = {}
    totals: Totals
    join: str = ""
    header: bool = False


_decoder = msgspec.json.Decoder(Description)


def decode_description(content: bytes, name: object) -> Description:
    """Return the description of a run.

    Raises:
        InputError: it is not one, or of another version of asyncstream.
    """
    try:
        found = decode(_decoder.decode, content)
    except msgspec.DecodeError as error:
        raise InputError(f"{name} does not describe a run: {error}") from None
    if found.format != FORMAT:
        raise InputError(
            f"{name} has the format {found.format}, and this version reads {FORMAT}: plan the run again"
        )
    return found
