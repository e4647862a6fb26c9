"""URIs and names: keys stay verbatim, buckets are checked, and ARNs may replace buckets."""

from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from rich.pretty import pretty_repr

from asyncstream.errors import InputError
from asyncstream.locations import MAX_KEY_BYTES, S3Object, S3Prefix, WebFile, rebased

KEYS = st.text(st.characters(exclude_categories=["Cs"]), max_size=200)
ACCESS_POINTS = [
    "arn:aws:s3:us-west-2:123456789012:accesspoint/my-point",
    "arn:aws:s3::123456789012:accesspoint/mfzwi23gnjvgw.mrap",
    "arn:aws-us-gov:s3:us-gov-west-1:123456789012:accesspoint/my-point",
    "arn:aws:s3-object-lambda:us-east-1:123456789012:accesspoint/my-lambda",
    "arn:aws:s3-outposts:us-west-2:123456789012:outpost/op-01ac5d28a6a232904/accesspoint/my-point",
    "arn:aws:s3:us-west-2:123456789012:accesspoint:my-point",  # botocore accepts either separator
]
BUCKETS = st.sampled_from(
    ["abc", "my.bucket-1", "Legacy_Bucket", "a" * 63, "point-alias-s3alias", *ACCESS_POINTS]
)


@given(BUCKETS, KEYS)
def test_from_uri_reads_what_uri_writes(bucket: str, key: str) -> None:
    assume(len(key.encode()) <= MAX_KEY_BYTES)

    prefix = S3Prefix(bucket, key)
    assert S3Prefix.from_uri(prefix.uri) == prefix
    if key:
        object_ = S3Object(bucket, key)
        assert S3Object.from_uri(object_.uri) == object_


@pytest.mark.parametrize("arn", ACCESS_POINTS)
def test_an_arn_stands_where_a_bucket_does(arn: str) -> None:
    assert S3Object.from_uri(f"s3://{arn}/a/b.csv") == S3Object(arn, "a/b.csv")
    assert S3Prefix.from_uri(f"s3://{arn}") == S3Prefix(arn, "")


@pytest.mark.parametrize("key", ["a?b", "a#b", "a%20b", "a+b", "a b", "/a", "//", "a//b", "./../a", "é\n"])
def test_a_key_is_taken_verbatim(key: str) -> None:
    assert S3Object.from_uri(f"s3://bucket/{key}").key == key


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "bucket/key",
        "http://bucket/key",
        "s3:/bucket/key",
        "S3://bucket/key",
        "/tmp/file",
        " s3://bucket/key",
    ],
)
def test_what_is_no_s3_uri_is_refused_with_how_to_write_one(uri: str) -> None:
    for kind in (S3Object, S3Prefix):
        with pytest.raises(InputError, match="is not an S3 URI: write s3://bucket/key"):
            kind.from_uri(uri)


@pytest.mark.parametrize("uri", ["s3://bucket", "s3://bucket/"])
def test_a_bucket_is_no_object_but_a_prefix(uri: str) -> None:
    with pytest.raises(InputError, match=f"{uri}' names no object"):
        S3Object.from_uri(uri)
    assert S3Prefix.from_uri(uri) == S3Prefix("bucket")


@pytest.mark.parametrize(
    "bucket",
    ["", "ab", "-abc", "abc-", "a" * 256, "a b c", "bucket?", "büro", "arn:aws:sqs:::queue", "abc\n"],
)
def test_what_is_no_bucket_name_is_refused_by_name(bucket: str) -> None:
    for location in (S3Object, S3Prefix):
        with pytest.raises(InputError) as raised:
            location(bucket, "key")
        assert repr(bucket) in str(raised.value)


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("k" * 1025, "has 1025 bytes; S3 takes at most 1024"),
        ("é" * 513, "has 1026 bytes"),
        ("\ud800", "is not valid Unicode"),
        (b"key", "must be a string"),
        (None, "must be a string"),
    ],
)
def test_a_key_that_s3_does_not_take_is_refused(key: Any, message: str) -> None:
    for location in (S3Object, S3Prefix):
        with pytest.raises(InputError, match=message):
            location("bucket", key)


def test_an_object_without_a_key_is_refused() -> None:
    with pytest.raises(InputError, match="has no key"):
        S3Object("bucket", "")


def test_the_longest_key_is_allowed() -> None:
    assert S3Object("bucket", "é" * 512).key == "é" * 512


def test_a_version_is_shown_but_is_no_part_of_the_uri() -> None:
    versioned = S3Object.from_uri("s3://bucket/key", "v1")

    assert versioned.uri == "s3://bucket/key"
    assert str(versioned) == "s3://bucket/key (version v1)"
    assert str(S3Object("bucket", "key")) == str(S3Prefix("bucket", "key")) == "s3://bucket/key"


@given(KEYS.filter(bool), KEYS, KEYS)
def test_rebase_keeps_the_rest_of_the_key_once(rest: str, old: str, new: str) -> None:
    assume(len((new + rest).encode()) <= MAX_KEY_BYTES)

    assert rebased(old + rest, S3Prefix("raw", old), S3Prefix("clean", new)) == new + rest


def test_no_representation_of_a_url_shows_its_query() -> None:
    file = WebFile("https://example.com/x?key=SECRET#SECRET")
    for text in (str(file), repr(file), file.uri, pretty_repr(file)):
        assert "https://example.com/x" in text
        assert "SECRET" not in text
