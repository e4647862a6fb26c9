"""An S3 Inventory by its `manifest.json`: CSV in gzip, Parquet or ORC.

The files of an inventory are in the manifest's own bucket; a manifest that names another bucket is refused,
because a user who may read a manifest only should not make a plan read elsewhere. Rows may name any bucket:
a worker checks what it copies. Each file is compared with the MD5 that the manifest has of it, before its
last rows are found. ETags and sizes are those of the day of the inventory, and versions are not pinned: a
file is copied as it is now.
"""

import csv
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from hashlib import md5
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct, field

from asyncstream.errors import InputError, SourceChanged
from asyncstream.locations import S3Object
from asyncstream.pipeline import small_objects
from asyncstream.pipeline.context import Ends
from asyncstream.runs.decoding import decode
from asyncstream.runs.pages import Findings, Page, Position, decode_position, encode_position
from asyncstream.runs.sources.chunks import find_object, read_chunks
from asyncstream.runs.sources.inventory_rows import RowReader
from asyncstream.runs.sources.inventory_tables import read_table
from asyncstream.runs.sources.row_parsers import LineParser, read_findings
from asyncstream.units import MiB

# Bytes of a manifest: that of a billion objects has some 1,000 files of 200 bytes each.
_LARGEST_MANIFEST = 16 * MiB
_BUCKET_ARN = "arn:"


class InventoryFile(Struct, frozen=True):
    """A file of an inventory."""

    key: Annotated[str, Meta(min_length=1)]
    size: Annotated[int, Meta(ge=0)]
    md5: Annotated[str, Meta(pattern="^[0-9a-fA-F]{32}$")] = field(name="MD5checksum")


class Manifest(Struct, frozen=True, rename="camel"):
    """What is read of a manifest (S3 user guide, "Locating your inventory list").

    `file_schema` is a list of columns for CSV; Parquet and ORC files have a schema of their own.
    """

    destination_bucket: str
    file_format: Literal["CSV", "Parquet", "ORC"]
    file_schema: str
    files: Sequence[InventoryFile]


class _Position(Struct, forbid_unknown_fields=True):
    manifest: str = ""
    file: Annotated[int, Meta(ge=0)] = 0
    rows: Annotated[int, Meta(ge=0)] = 0


async def read_inventory(
    ends: Ends, place: S3Object, position: Position | None
) -> AsyncGenerator[Page, None]:
    """Yield the objects of an inventory. The file of the position is read again up to its row.

    Raises:
        InputError: the manifest or a row is malformed.
        CorruptInput: a file has another MD5 than the manifest says, or is damaged.
        SourceChanged: the manifest was overwritten since the position was written.
        ConfigError: the files are Parquet or ORC, and pyarrow is not installed.
    """
    start = decode_position(position, _Position)
    content = await small_objects.read(ends, place, _LARGEST_MANIFEST)
    version = md5(content, usedforsecurity=False).hexdigest()
    if start.manifest and start.manifest != version:
        raise SourceChanged(f"{place} was overwritten while it was planned: plan it again")
    manifest = read_manifest(content, place)
    whole = max(1, sum(file.size for file in manifest.files))
    before = sum(file.size for file in manifest.files[: start.file])
    for number, file in enumerate(manifest.files[start.file :], start.file):
        skip = start.rows if number == start.file else 0
        async with aclosing(_read_file(ends, place, manifest, file, skip)) as pieces:
            async for findings, rows, read in pieces:
                after = encode_position(_Position(version, number, rows))
                share = min(1.0, (before + read) / whole)
                yield Page(findings.found, findings.left_out, after, share)
        before += file.size


_decoder = msgspec.json.Decoder(Manifest)


def read_manifest(content: bytes, place: S3Object) -> Manifest:
    """Return a manifest.

    Raises:
        InputError: it is not one, or its files are in another bucket.
    """
    try:
        manifest = decode(_decoder.decode, content)
    except msgspec.DecodeError as error:
        raise InputError(
            f"{place} is not the manifest of an S3 Inventory: {error}: name its manifest.json"
        ) from None
    bucket = manifest.destination_bucket.rpartition(":")[2]
    # The name of an access point does not tell its bucket.
    if bucket != place.bucket and not place.bucket.startswith(_BUCKET_ARN):
        raise InputError(
            f"{place} names files in the bucket {bucket!r:.100}: read the manifest from there, "
            "or write the bucket that its files are in into its destinationBucket"
        )
    return manifest


async def _read_file(
    ends: Ends, manifest_place: S3Object, manifest: Manifest, file: InventoryFile, skip: int
) -> AsyncGenerator[tuple[Findings, int, int], None]:
    """Yield what is found, and the numbers of rows and bytes read so far."""
    place = S3Object(manifest_place.bucket, file.key)
    stored = await find_object(ends, place)
    if manifest.file_format != "CSV":
        async with aclosing(read_table(ends, place, stored, file.md5, manifest.file_format, skip)) as tables:
            async for found in tables:
                yield found
        return
    columns = [name.strip() for name in manifest.file_schema.split(",")]
    parser = _CsvLines(columns, place, skip)
    pieces = read_findings(read_chunks(ends, place, stored, file.md5), parser, skip)
    async with aclosing(pieces):
        async for findings, read in pieces:
            yield findings, parser.rows, read


class _CsvLines(LineParser):
    """Reads rows in CSV. No field has a line end: S3 percent-encodes keys."""

    def __init__(self, columns: Sequence[str], place: S3Object, skip: int) -> None:
        super().__init__(place, skip)
        self._reader = RowReader(columns, place, encoded=True)

    def parse(self, lines: Sequence[bytes], number: int, findings: Findings) -> None:
        """See `LineParser`."""
        try:
            rows = csv.reader(map(bytes.decode, lines), strict=True)
            count = self._reader.read(rows, number, findings)
        except (csv.Error, UnicodeDecodeError) as error:
            raise InputError(f"{self._name}, in rows from {number}: {error}: use another inventory") from None
        if count != len(lines):
            raise InputError(f"{self._name}, in rows from {number}: a quote is open: use another inventory")
