"""The contents of replies: ranges, pins, kept headers, listings."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncstream.checksum import CRC64NVME, KINDS, Checksum, Composite
from asyncstream.errors import S3Error, SourceChanged
from asyncstream.locations import S3Object, S3Prefix
from asyncstream.objects import ByteRange, CompletedPart, ListedObject, MultipartUpload, Stored
from asyncstream.s3 import listings
from asyncstream.s3.replies import (
    attributes,
    check_extent,
    check_pinned,
    checksum,
    composite,
    extent,
    parts,
    source_changed,
    stored,
)

SOURCE = S3Object("raw", "a")


@given(st.integers(0, 10**14), st.integers(1, 10**14), st.integers(0, 10**14))
def test_a_ranged_reply_gives_its_half_open_range_and_the_size(start: int, length: int, more: int) -> None:
    size = start + length + more
    reply = {"ContentRange": f"bytes {start}-{start + length - 1}/{size}", "ContentLength": length}

    assert extent(reply, SOURCE) == (ByteRange(start, start + length), size)


@pytest.mark.parametrize("size", [0, 7])
def test_a_reply_without_range_is_the_whole(size: int) -> None:
    assert extent({"ContentLength": size}, SOURCE) == (ByteRange(0, size), size)


@pytest.mark.parametrize(
    "header", ["bytes */100", "bytes 0-9/*", "items 0-9/100", "bytes 0-9/100, 20-29/100"]
)
def test_a_range_that_cannot_be_read_is_quoted(header: str) -> None:
    with pytest.raises(S3Error, match=r"s3://raw/a.*unreadable") as raised:
        extent({"ContentRange": header}, SOURCE)
    assert repr(header) in str(raised.value)


@pytest.mark.parametrize(
    ("found", "wanted", "size"),
    [
        (ByteRange(0, 100), None, 100),
        (ByteRange(10, 20), ByteRange(10, 20), 100),
        (ByteRange(0, 7), ByteRange(0, 50), 7),  # the size was unknown
    ],
)
def test_the_bytes_asked_for_or_all_there_are_of_them_pass(
    found: ByteRange, wanted: ByteRange | None, size: int
) -> None:
    check_extent(found, wanted, size, SOURCE)


@pytest.mark.parametrize(
    ("found", "wanted"),
    [
        (ByteRange(0, 100), ByteRange(10, 20)),  # the range was ignored
        (ByteRange(10, 15), ByteRange(10, 20)),  # cut
        (ByteRange(11, 20), ByteRange(10, 20)),  # shifted
    ],
)
def test_other_bytes_than_those_asked_for_are_refused(found: ByteRange, wanted: ByteRange) -> None:
    with pytest.raises(S3Error, match=f"asked for bytes=10-19 .* {found.start}-{found.stop - 1} of 100"):
        check_extent(found, wanted, 100, SOURCE)


@pytest.mark.parametrize("pin", [None, '"1"'])
def test_the_etag_asked_for_or_the_first_seen_is_the_pin(pin: str | None) -> None:
    assert check_pinned({"ETag": '"1"'}, SOURCE, pin) == '"1"'


def test_another_etag_means_that_the_source_was_overwritten() -> None:
    with pytest.raises(SourceChanged, match=r's3://raw/a was overwritten .*its ETag was "1", now "2"'):
        check_pinned({"ETag": '"2"'}, SOURCE, '"1"')


def test_a_changed_source_may_not_have_a_new_etag() -> None:
    assert str(source_changed(SOURCE, '"1"')).endswith('its ETag was "1"')


def test_a_copy_keeps_content_headers_and_metadata() -> None:
    """Headers that are absent or empty are left out."""
    kept = {"ContentType": "text/csv", "ContentEncoding": "gzip", "Metadata": {"a": "b"}}
    dropped = {
        "CacheControl": "",
        "StorageClass": "GLACIER",
        "ServerSideEncryption": "aws:kms",
        "ETag": '"1"',
    }

    assert attributes(kept | dropped) == kept


@pytest.mark.parametrize(
    ("header", "kept"),
    [
        ("Fri, 21 Nov 2025 10:00:00 GMT", {"Expires": datetime(2025, 11, 21, 10, tzinfo=UTC)}),
        ("0", {}),
        ("never", {}),
    ],
)
def test_an_expiry_is_kept_if_it_is_a_date(header: str, kept: dict[str, datetime]) -> None:
    assert attributes({"Expires": header}) == kept


@pytest.mark.parametrize("kind", KINDS)
def test_a_whole_objects_checksum_is_read_for_every_kind(kind: str) -> None:
    assert checksum({f"Checksum{kind}": "abc=", "ChecksumType": "FULL_OBJECT"}) == Checksum(kind, "abc=")


def test_a_checksum_that_the_sdk_does_not_know_is_read_from_its_header() -> None:
    headers = {"x-amz-checksum-xxhash3": "LQaABTjTlMI=", "x-amz-checksum-later": "abc="}

    assert checksum({"ResponseMetadata": {"HTTPHeaders": headers}}) == Checksum("XXHASH3", "LQaABTjTlMI=")
    assert checksum({"ResponseMetadata": {"HTTPHeaders": {"x-amz-checksum-later": "abc="}}}) is None


@pytest.mark.parametrize("reply", [{}, {"ChecksumCRC32": ""}, {"ChecksumCRC32C": "abc=-3"}])
def test_a_checksum_of_parts_checksums_is_none_of_the_whole(reply: dict[str, str]) -> None:
    """It depends on where the parts were cut."""
    assert checksum(reply) is None


@pytest.mark.parametrize("kind", KINDS)
def test_an_unmarked_checksum_of_an_upload_is_not_trusted(kind: str) -> None:
    """moto returns the checksum of the parts' checksums as if it were that of all bytes."""
    unmarked = {f"Checksum{kind}": "value", "ETag": '"0123-2"'}
    known = Checksum(kind, "value")

    assert checksum(unmarked) == (known if kind == CRC64NVME else None)
    assert checksum(unmarked | {"ChecksumType": "FULL_OBJECT"}) == known


def test_the_best_checksum_that_is_not_of_parts_is_taken() -> None:
    reply = {"ChecksumSHA1": "s", "ChecksumCRC32": "c", "ChecksumCRC64NVME": "n-2"}

    assert checksum(reply) == Checksum("CRC32", "c")


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != CRC64NVME])
@pytest.mark.parametrize("parts", [1, 3, 10_000])
def test_a_composite_checksum_has_the_number_of_parts(kind: str, parts: int) -> None:
    found = composite({f"Checksum{kind}": f"+/c=-{parts}", "ChecksumType": "COMPOSITE"})

    assert found == Composite(kind, f"+/c=-{parts}")
    assert found.parts == parts


@pytest.mark.parametrize("value", ["", "abc=", "abc=-", "abc=-0", "abc=-x", "abc=-3-3", "-3", "abc=-100000"])
def test_a_value_that_is_not_composite_is_none(value: str) -> None:
    assert composite({"ChecksumCRC32": value}) is None


def test_a_head_returns_size_etag_and_checksum() -> None:
    reply = {"ContentLength": "12", "ETag": '"1"'}

    assert stored(reply | {"ChecksumCRC32": "abc="}, SOURCE) == Stored(12, '"1"', Checksum("CRC32", "abc="))
    composite_object = Stored(12, '"1"', None, composite=Composite("CRC32", "abc=-2"))
    assert stored(reply | {"ChecksumCRC32": "abc=-2"}, SOURCE) == composite_object


@pytest.mark.parametrize(
    ("reply", "page"),
    [
        ({"IsTruncated": False}, ([], None)),
        (
            {
                "IsTruncated": True,
                "Contents": [{"Key": "a", "Size": 5, "ETag": '"1"', "StorageClass": "STANDARD"}],
                "NextContinuationToken": "t",
            },
            ([ListedObject("a", 5, '"1"')], "t"),
        ),
    ],
)
def test_a_page_is_its_objects_and_the_next_ones_token(reply: dict[str, Any], page: tuple[Any, ...]) -> None:
    assert listings.objects(reply, S3Prefix("raw", "")) == page


UPLOAD = MultipartUpload(S3Object("clean", "b"), "id")
UPLOAD_FIELDS = {"UploadId": "id"}
LISTED = [CompletedPart(number, f'"{number}"', 5, {}) for number in range(10)]


def row(number: int) -> dict[str, Any]:
    return {"PartNumber": number, "ETag": f'"{number}"', "Size": 5}


@pytest.mark.parametrize(
    ("reply", "after", "page"),
    [
        ({"IsTruncated": False, "NextPartNumberMarker": 0}, None, ([], None)),
        ({"Parts": [row(7), row(8)]}, 7, ([LISTED[7], LISTED[8]], None)),  # rclone's reply
        (
            {
                "IsTruncated": True,
                "Parts": [row(3) | {"ChecksumCRC64NVME": "abc="}],
                "NextPartNumberMarker": 3,
            },
            2,
            ([CompletedPart(3, '"3"', 5, {CRC64NVME: Checksum(CRC64NVME, "abc=")})], 3),
        ),
        (
            {"IsTruncated": False, "Parts": [row(1) | {"ETag": "1"}, row(9)]},
            None,
            ([LISTED[1], LISTED[9]], None),
        ),
    ],
)
def test_a_page_is_its_parts_and_the_next_ones_number(
    reply: dict[str, Any], after: int | None, page: tuple[Any, ...]
) -> None:
    assert parts(UPLOAD_FIELDS | reply, UPLOAD, after) == page


@pytest.mark.parametrize(
    ("reply", "expected_message"),
    [
        ({"UploadId": None}, "no UploadId"),
        ({"IsTruncated": True}, "no NextPartNumberMarker"),
        ({"IsTruncated": True, "NextPartNumberMarker": 7}, "do not end"),
        ({"IsTruncated": True, "NextPartNumberMarker": 6}, "do not end"),
        ({"IsTruncated": True, "NextPartNumberMarker": 10_001}, "do not end"),
        ({"IsTruncated": False, "Parts": [row(6)]}, "out of order"),
        ({"IsTruncated": False, "Parts": [row(9), row(8)]}, "out of order"),
        ({"IsTruncated": False, "Parts": [row(8), row(8)]}, "out of order"),
        ({"IsTruncated": False, "Parts": [{"PartNumber": 8, "Size": 5}]}, "no ETag"),
        ({"IsTruncated": False, "Parts": [{"PartNumber": 8, "ETag": "x"}]}, "no Size"),
        ({"IsTruncated": False, "Parts": [{"ETag": "x", "Size": 5}]}, "no PartNumber"),
    ],
)
def test_odd_pages_of_parts_are_refused(reply: dict[str, Any], expected_message: str) -> None:
    with pytest.raises(S3Error, match=rf"parts of upload id of s3://clean/b.*{expected_message}"):
        parts(UPLOAD_FIELDS | reply, UPLOAD, 7)
