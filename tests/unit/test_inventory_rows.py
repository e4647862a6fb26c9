"""Rows of an S3 Inventory: the object each names, or the reason to leave it out."""

from typing import Any

import pytest

from asyncstream.errors import InputError
from asyncstream.locations import S3Object
from asyncstream.runs.pages import LeftOut
from asyncstream.runs.sources.inventory_rows import read_row

BARE = {"Bucket": "raw", "Key": "in/a"}


@pytest.mark.parametrize(
    ("fields", "left_out"),
    [
        ({"IsDeleteMarker": "true", "IsLatest": "true"}, LeftOut.DELETE_MARKER),
        ({"IsDeleteMarker": "true", "IsLatest": "false"}, LeftOut.DELETE_MARKER),
        ({"IsDeleteMarker": True}, LeftOut.DELETE_MARKER),
        ({"IsDeleteMarker": "false", "IsLatest": "false"}, LeftOut.OLDER_VERSION),
        ({"IsLatest": "false", "StorageClass": "GLACIER"}, LeftOut.OLDER_VERSION),
        ({"IsLatest": False}, LeftOut.OLDER_VERSION),
        ({"IsLatest": "FALSE"}, LeftOut.OLDER_VERSION),
        ({"StorageClass": "GLACIER"}, LeftOut.ARCHIVED),
        ({"StorageClass": "DEEP_ARCHIVE"}, LeftOut.ARCHIVED),
        ({"IntelligentTieringAccessTier": "ARCHIVE"}, LeftOut.ARCHIVED),
        ({"IntelligentTieringAccessTier": "ARCHIVE_ACCESS"}, LeftOut.ARCHIVED),
        ({"IntelligentTieringAccessTier": "DEEP_ARCHIVE"}, LeftOut.ARCHIVED),
        ({"IntelligentTieringAccessTier": "DEEP_ARCHIVE_ACCESS"}, LeftOut.ARCHIVED),
        ({"Key": "in/", "Size": "0"}, LeftOut.FOLDER_MARKER),
        ({"Key": "in%2F", "Size": "0"}, LeftOut.FOLDER_MARKER),
    ],
)
def test_what_cannot_be_read_is_left_out_with_a_reason(fields: Any, left_out: LeftOut) -> None:
    assert read_row(BARE | fields) is left_out


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"IsLatest": "true", "IsDeleteMarker": "false", "VersionId": "v1", "Size": "0"},
        {"IsLatest": True, "IsDeleteMarker": False},
        {"IsLatest": "", "IsDeleteMarker": "", "StorageClass": "", "IntelligentTieringAccessTier": ""},
        {
            "IsLatest": None,
            "IsDeleteMarker": None,
            "StorageClass": None,
            "IntelligentTieringAccessTier": None,
        },
        {"StorageClass": "GLACIER_IR"},
        {"StorageClass": "INTELLIGENT_TIERING", "IntelligentTieringAccessTier": "ARCHIVE_INSTANT_ACCESS"},
        {"Size": 7, "NewFieldOfS3": ["?"]},
    ],
)
def test_the_current_version_of_what_can_be_read_is_named(fields: Any) -> None:
    assert read_row(BARE | fields) == S3Object("raw", "in/a")


@pytest.mark.parametrize(
    ("key", "decoded"),
    [("in/%C3%A4+%2B%25.csv", "in/ä +%.csv"), ("in/%22%5C%2C", 'in/"\\,'), ("folder/", "folder/")],
)
def test_a_key_is_decoded(key: str, decoded: str) -> None:
    assert read_row({"Bucket": "raw", "Key": key}) == S3Object("raw", decoded)


@pytest.mark.parametrize(
    ("row", "expected_message"),
    [
        ("raw,in/a", "'raw,in/a', not an object with its fields"),
        (None, "None, not an object"),
        ({"Bucket": "raw"}, "no Bucket or no Key among Bucket: "),
        ({"bucket": "raw", "key": "in/a"}, "among bucket, key: "),
        (BARE | {"Key": ""}, "no Key"),
        (BARE | {"Key": 7}, "Key 7, which is not a text"),
        (BARE | {"Key": "%FF"}, "not UTF-8"),
        (BARE | {"Key": "a" * 1025}, "1025 bytes"),
        (BARE | {"Bucket": "?"}, "not a bucket name"),
        (BARE | {"IsLatest": "yes"}, "IsLatest 'yes': S3 writes true or false"),
        (BARE | {"IsLatest": 1}, "IsLatest 1: "),
        (BARE | {"IsDeleteMarker": ["true"]}, "IsDeleteMarker a value of type list"),
        (BARE | {"StorageClass": 3}, "StorageClass 3, which is not a text"),
    ],
)
def test_a_row_that_s3_would_not_write_is_refused(row: Any, expected_message: str) -> None:
    with pytest.raises(InputError) as refused:
        read_row(row)
    assert expected_message in str(refused.value)


def test_an_error_repeats_no_long_value() -> None:
    with pytest.raises(InputError) as refused:
        read_row(BARE | {"IsLatest": "x" * 10_000})
    assert len(str(refused.value)) < 300
