"""What a plan is made of, read in every engine: each file once, also if another process continues."""

import io
import json
import math
import zipfile
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import count
from typing import Any

import pytest

from asyncstream import S3Object, S3Prefix, SourceChanged, TransferConfig, ZipEntries
from asyncstream.engines import EngineName, open_engine
from asyncstream.lab.s3 import Fault, LabS3
from asyncstream.pipeline.clients import Clients
from asyncstream.pipeline.other_ends import add_other_ends
from asyncstream.runs.descriptions import SourceKind
from asyncstream.runs.pages import Found, Page, Position
from asyncstream.runs.sources import SourcePlace, archives
from asyncstream.s3.access import S3Access
from asyncstream.web import FetchConfig
from tests.servers import Bucket, S3Server
from tests.source_builders import found_in, inventory, inventory_csv, inventory_row, left_out_of, read_some

ON_BOTH = pytest.mark.parametrize("server", ["lab", "moto"], indirect=True)


# Reads the pages of a source, at most `most` in each session; the next one continues.
Read = Callable[..., list[Page]]
CONFIG = TransferConfig(retry_base_delay=0.001, retry_max_delay=0.001)


@pytest.fixture
def read(engine: EngineName, server: S3Server) -> Iterator[Read]:
    access = S3Access(endpoint_url=server.endpoint_url)
    opened = open_engine(engine)
    clients = Clients(opened, access, access)

    async def some(
        kind: SourceKind,
        place: SourcePlace,
        position: Position | None,
        most: float,
        options: Mapping[str, int],
    ) -> list[Page]:
        async with (
            clients.open(CONFIG) as of_s3,
            add_other_ends(of_s3, [place], opened, CONFIG, FetchConfig()) as ends,
        ):
            return await read_some(ends, opened, kind, place, position, most, **options)

    def read(
        kind: SourceKind,
        place: SourcePlace,
        most: float = math.inf,
        position: Position | None = None,
        sessions: float = math.inf,
        **options: int,
    ) -> list[Page]:
        found: list[Page] = []
        pages: list[Page] = []
        for session in count():
            position = json.loads(json.dumps(pages[-1].position if pages else position))
            pages = opened.run(partial(some, kind, place, position, most, options))
            found += pages
            if len(pages) < most or session + 1 == sessions:
                break
        return found

    yield read
    opened.run(clients.close)
    opened.close()


@pytest.fixture
def tree(bucket: Bucket) -> set[str]:
    """Store some files in folders of several levels; return their keys."""
    keys = {f"in/{folder}/{deep}/{number}" for folder in "abc" for deep in "xy" for number in range(3)}
    keys |= {"in/a", "in/a/top", "in/a0", "in/ä/ /+%", "in/z"}
    for key in keys | {"im/a", "in", "in/b/", "in/m/"}:
        bucket.put(key, b"" if key.endswith("/") else b"body")
    return keys


@ON_BOTH
@pytest.mark.parametrize("most", [1, 3, 10**6])
def test_each_object_under_a_prefix_is_found_once(
    read: Read, bucket: Bucket, tree: set[str], most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_small_pages(monkeypatch)
    pages = read("prefix", S3Prefix(bucket.name, "in/"), most, concurrency=4)

    assert sorted(found.key for found in found_in(pages)) == sorted(tree)
    assert left_out_of(pages) == {"folder_marker": 2}
    first = found_in(pages)[0]
    assert (first.bucket, first.size, first.etag[0]) == (bucket.name, 4, '"')


def with_small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask for pages of four keys, so that a small tree has many pages."""
    from asyncstream.s3 import requests  # noqa: PLC0415 - only here

    original = requests.list_page_params

    def few(*args: Any, **options: Any) -> dict[str, Any]:
        return original(*args, **options) | {"MaxKeys": 4}

    monkeypatch.setattr(requests, "list_page_params", few)


@ON_BOTH
def test_the_rows_of_an_inventory_are_found(read: Read, bucket: Bucket) -> None:
    files = {
        f"data/{file}.csv.gz": inventory_csv(
            inventory_row(f"in/{file}/{number} ä", IsLatest="true" if number % 3 else "false")
            for number in range(4_000)
        )
        for file in range(3)
    }
    for key, content in files.items():
        bucket.put(key, content)
    bucket.put("manifest.json", inventory(files, bucket.name))
    pages = read("inventory", S3Object(bucket.name, "manifest.json"), 1)

    expected = [f"in/{file}/{number} ä" for file in range(3) for number in range(4_000) if number % 3]
    assert [found.key for found in found_in(pages)] == expected
    assert left_out_of(pages) == {"older_version": 4_002}
    assert len(pages) > 6


@ON_BOTH
def test_the_lines_of_a_list_are_found(read: Read, bucket: Bucket) -> None:
    lines = [json.dumps({"source": f"s3://raw/in/{number}", "size": number}) for number in range(1, 2_500)]
    bucket.put("list.jsonl", "\n".join(lines).encode())
    pages = read("jsonl", S3Object(bucket.name, "list.jsonl"), 1)

    assert found_in(pages) == [Found("raw", f"in/{number}", number) for number in range(1, 2_500)]
    assert len(pages) >= 2


@ON_BOTH
def test_the_slices_of_an_archive_are_found(
    read: Read, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archives, "_SLICE_ROWS", 3)
    monkeypatch.setattr(archives, "PAGE_FILES", 2)
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(10):
            archive.writestr(f"{number}.txt", b"0" * number * 100)
    bucket.put("a.zip", content.getvalue())
    place = S3Object(bucket.name, "a.zip")
    pages = read("zip", ZipEntries(place), 1)

    found = found_in(pages)
    assert [each.files for each in found] == [3, 3, 3, 1]
    assert [each.size for each in found] == [300, 1_200, 2_100, 900]
    assert all(0 < each.packed < 60 for each in found)
    slices = [each.entries.slice for each in found if each.entries is not None]
    assert [each.first for each in slices if each is not None] == [0, 3, 6, 9]
    assert [page.share for page in pages] == [0.5, 1.0]


@ON_BOTH
def test_a_list_that_was_overwritten_is_not_continued(read: Read, bucket: Bucket) -> None:
    place = S3Object(bucket.name, "list.jsonl")
    line = b'{"source": "s3://raw/in/a"}\n'
    bucket.put("list.jsonl", line * 2_000)
    [page] = read("jsonl", place, 1, sessions=1)
    bucket.put("list.jsonl", line * 3_000)
    with pytest.raises(SourceChanged):
        read("jsonl", place, position=page.position)


@pytest.mark.parametrize("server", ["lab"], indirect=True)
@pytest.mark.parametrize("kind", ["refuse", "reset", "reset-body", "truncate"])
def test_a_broken_request_is_repeated(read: Read, bucket: Bucket, lab: LabS3, kind: str) -> None:
    lines = [json.dumps({"source": f"s3://raw/in/{number}"}) for number in range(5_000)]
    bucket.put("list.jsonl", "\n".join(lines).encode())
    lab.set_faults([Fault(kind, "GetObject", times=[1, 2])])  # type: ignore[arg-type]
    pages = read("jsonl", S3Object(bucket.name, "list.jsonl"))

    assert [found.key for found in found_in(pages)] == [f"in/{number}" for number in range(5_000)]
    assert lab.faults_struck() == [2]
