"""A copy keeps the metadata of its source, unless the settings say otherwise."""

from datetime import UTC, datetime
from typing import Any

import pytest

from asyncstream import MiB
from tests.servers import Bucket, Capability, content

from .fixture_types import Copy, Pairs

KEPT = {
    "ContentType": "text/csv; charset=utf-8",
    "ContentEncoding": "gzip",
    "ContentDisposition": 'attachment; filename="sales of May.csv"',
    "ContentLanguage": "de-CH",
    "CacheControl": "private, max-age=60",
    "Metadata": {"owner": "team a, team b", "with-dashes": "1"},
}

as_put_and_as_parts = pytest.mark.parametrize("size", [10, 5 * MiB + 1], ids=["put", "multipart"])


def head_of_copy(copy: Copy, bucket: Bucket, pairs: Pairs, size: int, **settings: Any) -> dict[str, Any]:
    report = copy(pairs("file"), multipart=True, **settings)
    report.raise_for_failures()
    assert (report.files[0].parts == 1) == (size <= 5 * MiB)
    return bucket.head("copies/file")


@as_put_and_as_parts
def test_headers_and_user_metadata_are_kept(copy: Copy, bucket: Bucket, pairs: Pairs, size: int) -> None:
    bucket.put("file", content(size), **KEPT)
    head = head_of_copy(copy, bucket, pairs, size)
    assert {name: head[name] for name in KEPT} == KEPT


@pytest.mark.needs(Capability.KEEPS_EXPIRES)
@as_put_and_as_parts
def test_expires_is_kept(copy: Copy, bucket: Bucket, pairs: Pairs, size: int) -> None:
    expires = datetime(2031, 10, 21, 7, 28, tzinfo=UTC)
    bucket.put("file", content(size), Expires=expires)
    assert head_of_copy(copy, bucket, pairs, size)["Expires"] == expires


@as_put_and_as_parts
def test_extra_args_override_what_is_kept_and_leave_the_rest(
    copy: Copy, bucket: Bucket, pairs: Pairs, size: int
) -> None:
    bucket.put("file", content(size), **KEPT)
    own = {"ContentType": "application/json", "Metadata": {"of": "the copy"}}
    head = head_of_copy(copy, bucket, pairs, size, extra_args=own)
    expected = KEPT | own
    assert {name: head[name] for name in expected} == expected


@pytest.mark.needs(Capability.STORAGE_CLASSES)
@as_put_and_as_parts
def test_extra_args_set_what_a_source_has_not(copy: Copy, bucket: Bucket, pairs: Pairs, size: int) -> None:
    bucket.put("file", content(size))
    head = head_of_copy(copy, bucket, pairs, size, extra_args={"StorageClass": "STANDARD_IA"})
    assert head["StorageClass"] == "STANDARD_IA"


@pytest.mark.needs(Capability.STORAGE_CLASSES)
def test_the_sources_storage_class_is_not_kept(copy: Copy, bucket: Bucket, pairs: Pairs) -> None:
    bucket.put("file", b"1", StorageClass="STANDARD_IA")
    assert head_of_copy(copy, bucket, pairs, 1).get("StorageClass", "STANDARD") == "STANDARD"
