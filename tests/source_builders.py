"""Sources of plans for tests: a bucket in memory that lists page by page, and S3's inventories."""

import csv
import gzip
import io
import json
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from hashlib import md5
from typing import Any
from urllib.parse import quote_plus

from asyncstream.locations import S3Prefix
from asyncstream.objects import ListedObject
from asyncstream.pipeline.context import Ends
from asyncstream.ports import Engine
from asyncstream.runs.descriptions import SourceKind
from asyncstream.runs.pages import Found, Page, Position
from asyncstream.runs.sources import SourcePlace, read_pages

SCHEMA = "Bucket, Key, VersionId, IsLatest, IsDeleteMarker, Size, ETag, StorageClass"


async def read_some(
    ends: Ends,
    engine: Engine,
    kind: SourceKind,
    place: SourcePlace,
    position: Position | None = None,
    most: float = float("inf"),
    **options: int,
) -> list[Page]:
    """Return the next pages, at most so many."""
    found: list[Page] = []
    async with aclosing(read_pages(ends, engine, kind, place, position, **options)) as pages:
        async for page in pages:
            found.append(page)
            if len(found) >= most:
                break
    return found


async def read_with_stops(
    ends: Ends, engine: Engine, kind: SourceKind, place: SourcePlace, stops: Sequence[int], **options: int
) -> list[Page]:
    """Return all pages, read by generators that stop after so many pages and continue from the position.

    The last number counts again and again.
    """
    found: list[Page] = []
    position: Position | None = None
    for most in [*stops, *[stops[-1]] * 100_000]:
        pages = await read_some(ends, engine, kind, place, position, most, **options)
        found += pages
        if len(pages) < most:
            return found
        position = json.loads(json.dumps(pages[-1].position))
    raise AssertionError("the pages do not end")


def found_in(pages: Iterable[Page]) -> list[Found]:
    return [found for page in pages for found in page.found]


def left_out_of(pages: Iterable[Page]) -> dict[str, int]:
    reasons = {reason for page in pages for reason in page.left_out}
    return {reason: sum(page.left_out.get(reason, 0) for page in pages) for reason in reasons}


class ListedBucket:
    """Keys that are listed page by page.

    Args:
        keys: the keys; those that end with a slash are empty.
        length: keys of a page.
        pause: awaited before each reply.
        overlap: keys that a page repeats from the page before.
        ignores_after: whether it lists from the first key each time.
    """

    def __init__(
        self,
        keys: Iterable[str],
        length: int,
        pause: Callable[[], Awaitable[None]] | None = None,
        overlap: int = 0,
        *,
        ignores_after: bool = False,
    ) -> None:
        self.keys = sorted(keys)
        self.asked = 0
        self.peak = 0
        self._in_flight = 0
        self._length = length
        self._pause = pause
        self._overlap = overlap
        self._ignores_after = ignores_after

    async def list_after(
        self, prefix: S3Prefix, after: str, token: str | None
    ) -> tuple[list[ListedObject], str | None]:
        await self._wait()
        start_after = "" if self._ignores_after else after
        keys = [key for key in self.keys if key.startswith(prefix.prefix)]
        start = sum(key <= start_after for key in keys) if token is None else int(token)
        stop = start + self._length
        page = keys[max(0, start - self._overlap) if token else start : stop]
        return [_listed(key) for key in page], str(stop) if stop < len(keys) else None

    async def list_folders(self, prefix: S3Prefix, after: str) -> list[str]:
        await self._wait()
        start = len(prefix.prefix)
        under = [key for key in self.keys if key.startswith(prefix.prefix) and key > after]
        return sorted({key[: key.index("/", start) + 1] for key in under if "/" in key[start:]})[:1000]

    async def _wait(self) -> None:
        self.asked += 1
        self._in_flight += 1
        self.peak = max(self.peak, self._in_flight)
        try:
            if self._pause is not None:
                await self._pause()
        finally:  # also if it is cancelled
            self._in_flight -= 1


def _listed(key: str) -> ListedObject:
    return ListedObject(key, int(not key.endswith("/")), f'"{key}"')


def inventory_csv(rows: Iterable[Sequence[object]]) -> bytes:
    """Return rows as a file of an inventory: all fields in quotes, compressed."""
    text = io.StringIO()
    csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows(rows)
    return gzip.compress(text.getvalue().encode())


def inventory_row(key: str, bucket: str = "raw", **fields: str) -> list[str]:
    """Return a row of `SCHEMA`."""
    usual = {
        "Bucket": bucket,
        "Key": quote_plus(key, safe="/"),
        "VersionId": "v1",
        "IsLatest": "true",
        "IsDeleteMarker": "false",
        "Size": "7",
        "ETag": "d41d8",
        "StorageClass": "STANDARD",
    }
    row = usual | fields
    return [row[name] for name in SCHEMA.split(", ")]


def inventory(
    files: Mapping[str, bytes], bucket: str, changed: Mapping[str, Any] | None = None, repeat: int = 1
) -> bytes:
    """Return the manifest of these files, each so many times (S3 user guide, "Inventory list")."""
    manifest = {
        "sourceBucket": "raw",
        "destinationBucket": f"arn:aws:s3:::{bucket}",
        "version": "2016-11-30",
        "creationTimestamp": "1514944800000",
        "fileFormat": "CSV",
        "fileSchema": SCHEMA,
        "files": [
            {"key": key, "size": len(content), "MD5checksum": md5(content).hexdigest()}
            for key, content in files.items()
        ]
        * repeat,
    }
    return json.dumps({**manifest, **(changed or {})}).encode()
