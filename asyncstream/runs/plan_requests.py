"""`PlanRequest`: what a plan is asked for, and how files become rows. Does no I/O."""

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct, field

from asyncstream.errors import InputError
from asyncstream.locations import MOST_RANGES, Lines, S3Object, S3Prefix, ZipEntries
from asyncstream.runs.costs import Cost, Speeds
from asyncstream.runs.descriptions import SourceKind
from asyncstream.runs.pages import SHORT_KEY, Found
from asyncstream.runs.rows import LineRanges, Row
from asyncstream.runs.unzipping import Entries, folder_of, is_archive

# Step Functions developer guide, "Distributed Map": concurrent child executions.
MOST_FUNCTIONS = 10_000
# Ranges of a text share a row up to this many bytes: a file alone takes over half a minute from there on.
_ROW_OF_LINES = 1_500_000_000
# AWS Lambda developer guide, "Configure Lambda function memory": the least. Less holds no Python with an SDK.
LEAST_MEMORY_MB = 128


class PlanRequest(Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """What a plan is asked for.

    Attributes:
        source: `s3://bucket/prefix`; an object for kinds other than "prefix".
        destination: the prefix that files are copied to. The rest of a source's key, after `strip`, follows.
        kind: what the source is; see `SourceKind`.
        settings: settings of `TransferConfig` for the batches.
        functions: the most workers at once.
        speeds: how fast a worker is.
        strip: the start of sources' keys that `destination` replaces. Default: that of a "prefix", else
            nothing.
        version_id: the version of a "zip" or "lines" object; empty for the current one.
        select: which files of a "zip"; see `ZipEntries`.
        encoding: the encoding of names in a "zip" that are not marked as UTF-8.
        as_gzip: whether to make gzip files of a "zip" without inflating.
        unpack: whether objects whose names end with `.zip` are unpacked.
        ranges: the number of ranges of "lines"; 0: chosen by the size of the text.
        header: whether each range of "lines" starts with the first line of the text.
        join: `s3://bucket/key` that the ranges of "lines" are put together to; empty: they stay apart.
        copy_parts: whether S3 copies the parts of giant files itself, so that no bytes pass. It takes
            s3:GetObject by the role of the destination, and all places on one server.
    """

    source: str
    destination: str
    kind: SourceKind = "prefix"
    settings: Mapping[str, Any] = {}
    functions: Annotated[int, Meta(ge=1, le=MOST_FUNCTIONS)] = 50
    speeds: Speeds = field(default_factory=Speeds)
    strip: str | None = None
    version_id: str = ""
    select: Annotated[str, Meta(min_length=1)] = "*"
    encoding: str = ""
    as_gzip: bool = False
    unpack: bool = False
    ranges: Annotated[int, Meta(ge=0, le=MOST_RANGES)] = 0
    header: bool = False
    join: str = ""
    copy_parts: bool = False

    @property
    def place(self) -> S3Prefix | S3Object | ZipEntries:
        """What is read to plan.

        Raises:
            InputError: a text is malformed.
        """
        if self.kind == "prefix":
            return S3Prefix.from_uri(self.source)
        place = S3Object.from_uri(self.source, self.version_id or None)
        if self.kind == "zip":
            return ZipEntries(place, self.select, self.encoding or None, self.as_gzip)
        return place

    @property
    def folder(self) -> S3Prefix:
        """The prefix that files are copied to.

        Raises:
            InputError: the text is malformed.
        """
        return S3Prefix.from_uri(self.destination)

    @property
    def stripped(self) -> str:
        """The start of sources' keys that the destination replaces."""
        if self.strip is not None:
            return self.strip
        return S3Prefix.from_uri(self.source).prefix if self.kind == "prefix" else ""

    @property
    def cuts(self) -> bool:
        """Whether giant files are cut into ranges: the output of a transform has no known size."""
        return not self.settings.get("transform")

    def check(self) -> None:
        """Check what the types do not: a request need not come from JSON, where msgspec checks the bounds.

        Raises:
            InputError: a number is out of bounds, or a field is for another kind.
        """
        for name, value, least, most in (
            ("functions", self.functions, 1, MOST_FUNCTIONS),
            ("memory", self.speeds.memory_mb, LEAST_MEMORY_MB, None),
            ("concurrency", self.speeds.slots, 1, None),
            ("ranges", self.ranges, 0, MOST_RANGES),
        ):
            if value < least:
                raise InputError(f"{name}={value:,} must be at least {least:,}")
            if most is not None and value > most:
                raise InputError(f"{name}={value:,} must be at most {most:,}")
        for name in ("join", "header", "ranges"):
            if getattr(self, name) and self.kind != "lines":
                raise InputError(
                    f"`{name}` is for the ranges of a text, and {self.source} is of kind {self.kind}"
                )

    def same_as(self, other: "PlanRequest") -> bool:
        """Whether both ask for the same batches."""
        return msgspec.json.encode(self, order="sorted") == msgspec.json.encode(other, order="sorted")


class RowMaker:
    """Makes the rows of files.

    Args:
        asked: what the plan is asked for.
    """

    def __init__(self, asked: PlanRequest) -> None:
        self._folder = asked.folder
        self._strip = asked.stripped
        self._unpack = asked.unpack and asked.kind != "zip"

    def make(self, found: Found) -> Row:
        """Return the row of a file, or of some files of an archive.

        Raises:
            InputError: a file has no destination: its key does not start as all keys should, or is all that
                is stripped.
        """
        if found.entries is not None:
            return self._archive(found, self._folder.uri, Entries.from_selection(found.entries))
        if self._unpack and not found.destination and is_archive(found.key):
            folder = folder_of(found.source, S3Prefix(found.bucket, self._strip), self._folder)
            return self._archive(found, folder.uri, Entries())
        destination = found.destination or self._rebased(found)
        return Row(found.uri, destination, found.size, found.etag, found.version_id)

    def _archive(self, found: Found, folder: str, entries: Entries) -> Row:
        return Row(found.uri, folder, None, found.etag, found.version_id, entries=entries)

    def _rebased(self, found: Found) -> str:
        if not found.key.startswith(self._strip) or (found.key == self._strip and not self._folder.prefix):
            raise InputError(
                f"{found.uri} has no destination: its key does not start with {self._strip!r}, and the list "
                "names none"
            )
        destination = f"{self._folder.uri}{found.key[len(self._strip) :]}"
        if len(destination) > SHORT_KEY or destination.endswith("//"):
            S3Object.from_uri(destination)  # raises if the key is too long
        return destination


def rows_of_lines(asked: PlanRequest, size: int, etag: str) -> list[tuple[Row, Cost, int]]:
    """Return the rows of a text, with what each costs, and its number of ranges.

    Without a given number, a range takes about ten seconds of one connection.
    """
    count = asked.ranges or max(1, min(MOST_RANGES, -(-size // int(10 * asked.speeds.stream_mb * 1_000_000))))
    step = max(1, min(count, _ROW_OF_LINES * count // max(size, 1)))
    rows = []
    for first in range(0, count, step):
        last = min(first + step, count) - 1
        only = str(first) if first == last else f"{first}-{last}"
        ranges = last - first + 1
        row = Row(
            asked.source,
            asked.folder.uri,
            size,
            etag,
            asked.version_id,
            lines=LineRanges(count, only, asked.header),
        )
        rows.append((row, asked.speeds.lines_cost(size * ranges // count, ranges), ranges))
    Lines(S3Object.from_uri(asked.source), count, asked.header)  # raises if it cannot be cut like this
    return rows
