"""Files of every size at which behaviour changes arrive byte by byte."""

from collections.abc import Mapping
from typing import Any

import pytest

from asyncstream import FileResult, KiB, MiB
from tests.places import key_of
from tests.servers import Bucket, Capability, content

from .fixture_types import Copy, Pairs

CHUNK = 64 * KiB
PART = 5 * MiB

SMALL = {
    "empty": 0,
    "one-byte": 1,
    "chunk-less-one": CHUNK - 1,
    "one-chunk": CHUNK,
    "chunk-and-one": CHUNK + 1,
}
OF_PARTS = {
    "two-parts-and-one": 2 * PART + 1,
    "part-less-one": PART - 1,
    "one-part": PART,
    "part-and-one": PART + 1,
    "two-parts-less-one": 2 * PART - 1,
    "two-parts": 2 * PART,
}


# The pipeline decides by size, and engines read bodies of each size in their own way; servers do not.
on_any_server = pytest.mark.varied("size", server="lab")


def sizes(named: Mapping[str, int]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("size", named.values(), ids=named)


def copied(copy: Copy, bucket: Bucket, pairs: Pairs, size: int, **settings: Any) -> FileResult:
    """Copy one file, compare its bytes, and return its result."""
    body = content(size)
    bucket.put("file", body)
    report = copy(pairs("file"), chunk_size=CHUNK, part_size=PART, **settings)
    report.raise_for_failures()
    assert bucket.get("copies/file") == body
    [result] = report.files
    assert (result.status, result.bytes) == ("copied", size)
    assert report.bytes == size
    return result


@sizes({"two-parts-and-one": 2 * PART + 1} | SMALL)
@on_any_server
def test_without_multipart_a_file_of_any_size_is_one_upload(
    copy: Copy, bucket: Bucket, pairs: Pairs, size: int
) -> None:
    result = copied(copy, bucket, pairs, size, multipart=False)
    assert (result.parts, result.attempts) == (1, 1)


@sizes(OF_PARTS | SMALL)
@on_any_server
def test_with_multipart_a_file_has_one_upload_per_part(
    copy: Copy, bucket: Bucket, pairs: Pairs, size: int
) -> None:
    result = copied(copy, bucket, pairs, size, multipart=True)
    expected = max(1, -(-size // PART))
    assert (result.parts, result.attempts) == (expected, expected)


@pytest.mark.parametrize(
    "size",
    [1, pytest.param(PART + 1, marks=pytest.mark.needs(Capability.ETAG_OF_MULTIPART))],
    ids=["put", "multipart"],
)
def test_the_result_tells_the_copys_etag(copy: Copy, bucket: Bucket, pairs: Pairs, size: int) -> None:
    result = copied(copy, bucket, pairs, size, multipart=True)
    assert result.etag == bucket.head("copies/file")["ETag"]


@pytest.mark.parametrize("max_concurrency", [10, 3, 1])
@pytest.mark.varied("max_concurrency", server="lab")
def test_files_of_all_sizes_copied_at_once_do_not_mix(
    copy: Copy, bucket: Bucket, pairs: Pairs, max_concurrency: int
) -> None:
    bodies = {f"file-{size}": content(size) for size in [PART + 1, *SMALL.values(), 2 * PART + 1, 2 * MiB]}
    bodies |= {f"small-{number}": content(1 + number, number) for number in range(10)}
    for key, body in bodies.items():
        bucket.put(key, body)
    report = copy(pairs(*bodies), multipart=True, max_concurrency=max_concurrency)
    report.raise_for_failures()
    assert [key_of(result.source) for result in report.files] == list(bodies)
    assert [result.bytes for result in report.files] == [len(body) for body in bodies.values()]
    assert {key: bucket.get(f"copies/{key}") == body for key, body in bodies.items()} == dict.fromkeys(
        bodies, True
    )
