"""A copy keeps the metadata of its source, unless the settings say otherwise."""

from datetime import UTC, datetime
from typing import Any

import pytest

from asyncstream import InputError, MiB
from tests.servers import Bucket, Capability, content
from tests.servers.raw_heads import head_raw, put_raw

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


UTF8 = {
    b"content-disposition": 'attachment; filename="Übersicht 概要.csv"'.encode(),
    b"cache-control": 'private="é"'.encode(),
    b"content-language": "ö".encode(),
    b"content-type": 'text/csv; header="ä"'.encode(),
}


@as_put_and_as_parts
def test_headers_in_utf8_arrive_as_the_same_bytes(
    copy: Copy, bucket: Bucket, pairs: Pairs, size: int
) -> None:
    put_raw(bucket, "file", content(size), UTF8)
    copy(pairs("file"), multipart=True).raise_for_failures()

    for key in ("file", "copies/file"):
        found = head_raw(bucket, key)
        assert {name: found[name] for name in UTF8} == UTF8


@as_put_and_as_parts
@pytest.mark.parametrize(
    ("name", "field"),
    [(b"content-disposition", "ContentDisposition"), (b"x-amz-meta-owner", "Metadata")],
)
def test_bytes_that_cannot_be_sent_are_an_error_before_a_write(
    copy: Copy, bucket: Bucket, pairs: Pairs, size: int, name: bytes, field: str
) -> None:
    """Latin-1 in a header; in user metadata, S3 takes only ASCII. `extra_args` can replace both."""
    put_raw(bucket, "file", content(size), {name: b"M\xfcller"})
    error = copy(pairs("file"), multipart=True).files[0].error
    assert isinstance(error, InputError)
    for said in (field, r"b'M\xfcller'", "extra_args"):
        assert said in str(error)
    assert bucket.keys() == {"file"}
    assert bucket.uploads() == []

    own: dict[str, Any] = {"Metadata": {"owner": "Mueller"}, "ContentDisposition": "attachment"}
    copy(pairs("file"), multipart=True, extra_args={field: own[field]}).raise_for_failures()
    assert head_raw(bucket, "copies/file")[name] in {b"Mueller", b"attachment"}


@pytest.mark.needs(Capability.MANY_HEADERS)
@pytest.mark.parametrize("number", [110, 1000])
def test_an_object_may_have_many_headers(copy: Copy, bucket: Bucket, pairs: Pairs, number: int) -> None:
    """2 KB of metadata. http.client accepts 100 headers, aiohttp 128."""
    letters = "abcdefghijklmnopqrstuvwxyz0123456789"
    names = [f"{first}{second}" for first in letters for second in letters][:number]
    put_raw(bucket, "file", b"1", {f"x-amz-meta-{name}".encode(): b"" for name in names})
    copy(pairs("file"), verify="after").raise_for_failures()
    copy(pairs("file"), if_exists="skip").raise_for_failures()

    kept = {name.decode() for name in head_raw(bucket, "copies/file")}
    assert kept >= {f"x-amz-meta-{name}" for name in names}
