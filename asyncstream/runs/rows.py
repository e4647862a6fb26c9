"""`Row`: a line of a batch. Does no I/O."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from asyncstream.errors import InputError
from asyncstream.locations import Lines, S3Object, S3Prefix, rebased
from asyncstream.pipeline.continuation import Continuation
from asyncstream.pipeline.pairs import Pair
from asyncstream.runs.decoding import decode
from asyncstream.runs.unzipping import Entries, continuations_of

LINES_TYPE = "application/x-ndjson"


class LineRanges(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Ranges of the lines of a text; see `Lines`.

    Attributes:
        ranges: the number of ranges that the text is cut into.
        only: the numbers of the ranges to make, such as "7,90-99".
        header: whether the first line is put at the start of each range.
        csv: whether the text is a CSV, so that quotes are counted.
        started: where to continue ranges that an earlier run of the batch has started, by name.
    """

    ranges: Annotated[int, Meta(ge=1)]
    only: str
    header: bool = False
    csv: bool = False
    started: Mapping[str, Continuation] = {}

    def of(self, text: S3Object, size: int | None, etag: str) -> Lines:
        """Return these ranges of a text: of one version, if its size and its ETag are known.

        Raises:
            InputError: a number is out of bounds, or `only` is malformed.
        """
        known = size is not None and etag != ""
        version = (size, etag) if known else (None, "")
        return Lines(text, self.ranges, self.header, self.only, self.csv, *version)


class Row(Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """One file of a batch, or parts of a giant file, or files in an archive, or lines of a text.

    Attributes:
        source: `s3://bucket/key`.
        destination: `s3://bucket/key`; a prefix for `entries` and `lines`.
        size: bytes of the source; None if unknown.
        etag: the source's ETag, with its quotes; empty if unknown.
        version_id: the version to read; empty for the current one.
        continuation: the upload of a giant file, whose `only` names the parts to move.
        entries: which files of the source, a ZIP archive, to unpack.
        lines: which lines of the source, a text, to copy.
    """

    source: str
    destination: str
    size: int | None = None
    etag: str = ""
    version_id: str = ""
    continuation: Continuation | None = None
    entries: Entries | None = None
    lines: LineRanges | None = None

    @property
    def place(self) -> S3Object:
        """The object that is read."""
        return S3Object.from_uri(self.source, self.version_id or None)

    @property
    def pair(self) -> Pair:
        """Source and destination, as a transfer takes them.

        Raises:
            InputError: a text is malformed, or fields contradict each other.
        """
        if (self.continuation is not None) + (self.entries is not None) + (self.lines is not None) > 1:
            raise InputError("a row has at most one of `continuation`, `entries` and `lines`")
        if self.entries is not None:
            return self.entries.of(self.place), S3Prefix.from_uri(self.destination)
        if self.lines is not None:
            return self.lines.of(self.place, self.size, self.etag), S3Prefix.from_uri(self.destination)
        return self.place, S3Object.from_uri(self.destination)

    @property
    def continuations(self) -> dict[Any, Continuation]:
        """Where to continue the file, or files of the archive or the text, by source and destination.

        Raises:
            InputError: see `pair`; or the name of a file cannot become a key.
        """
        pair = self.pair
        if self.lines is None:
            return continuations_of(pair, self.continuation, self.entries)
        source, folder = pair
        assert isinstance(source, Lines) and isinstance(folder, S3Prefix)  # noqa: S101, PT018 - as `pair` says
        return {
            (source.item(name), folder.item(rebased(name, source, folder))): each
            for name, each in self.lines.started.items()
        }


def encode_rows(rows: Iterable[Row]) -> bytes:
    """Return rows as JSON Lines."""
    return b"".join(msgspec.json.encode(row) + b"\n" for row in rows)


_decoder = msgspec.json.Decoder(Row)


def decode_rows(content: bytes, name: object) -> Sequence[Row]:
    """Return the rows of JSON Lines.

    Raises:
        InputError: a line is not a row; the message names it.
    """
    rows = []
    for number, line in enumerate(content.splitlines(), 1):
        try:
            rows.append(decode(_decoder.decode, line))
        except msgspec.DecodeError as error:
            raise InputError(f"{name}, line {number}: {error}: plan the run again") from None
    return rows
