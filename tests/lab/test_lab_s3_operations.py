"""S3's operations, called with boto3 over http and https."""

import io
from base64 import b64encode
from collections.abc import Callable
from contextlib import closing
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from asyncstream.lab.s3 import LabS3
from asyncstream.lab.s3.checksums import crc64nvme, encoded_crc64nvme
from asyncstream.lab.s3.lab_replies import S3Error
from asyncstream.lab.s3.operations import parse_range

MIB = 1024 * 1024

ODD_KEYS = [
    "plain",
    "with space",
    " leading and trailing ",
    "plus+plus",
    "percent%41%",
    "question?mark=1&x",
    "hash#tag",
    "ünï/cödé/✓",
    "/leading",
    "//two//and//more//",
    "up/../over/./here",
    "..",
    "quote'\"<&>",
    "tab\there",
]


def checksum(data: bytes) -> str:
    return encoded_crc64nvme(crc64nvme(memoryview(data)))


def failure(call: Callable[..., Any], *args: Any, **kwargs: Any) -> dict[str, Any]:
    with pytest.raises(ClientError) as caught:
        call(*args, **kwargs)
    return dict(caught.value.response)


def code(call: Callable[..., Any], *args: Any, **kwargs: Any) -> str:
    return str(failure(call, *args, **kwargs)["Error"]["Code"])


@pytest.mark.parametrize("key", ODD_KEYS)
def test_any_key_comes_back_as_it_was_put(s3: Any, lab: LabS3, kept: str, key: str) -> None:
    s3.put_object(Bucket=kept, Key=key, Body=key.encode())
    assert s3.get_object(Bucket=kept, Key=key)["Body"].read() == key.encode()
    assert [found["Key"] for found in s3.list_objects_v2(Bucket=kept)["Contents"]] == [key]
    assert list(lab.checksums(kept)) == [key]
    s3.delete_objects(Bucket=kept, Delete={"Objects": [{"Key": key}]})
    assert s3.list_objects_v2(Bucket=kept)["KeyCount"] == 0


def test_metadata_is_kept_and_returned(s3: Any, kept: str) -> None:
    fields = {
        "ContentType": "text/csv",
        "ContentEncoding": "gzip",
        "ContentDisposition": 'attachment; filename="a.csv"',
        "ContentLanguage": "de",
        "CacheControl": "no-cache",
        "Metadata": {"origin": "there", "n": "1"},
    }
    s3.put_object(Bucket=kept, Key="k", Body=b"x", **fields)
    upload = s3.create_multipart_upload(Bucket=kept, Key="m", **fields)["UploadId"]
    part = s3.upload_part(Bucket=kept, Key="m", UploadId=upload, PartNumber=1, Body=b"x")
    parts = {"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
    s3.complete_multipart_upload(Bucket=kept, Key="m", UploadId=upload, MultipartUpload=parts)
    for key in ("k", "m"):
        for reply in (s3.head_object(Bucket=kept, Key=key), s3.get_object(Bucket=kept, Key=key)):
            assert {name: reply[name] for name in fields} == fields


@pytest.mark.parametrize(
    ("header", "selected"),
    [
        ("bytes=0-0", (0, 1)),
        ("bytes=2-5", (2, 6)),
        ("bytes=7-", (7, 10)),
        ("bytes=7-99", (7, 10)),
        ("bytes=-3", (7, 10)),
        ("bytes=-99", (0, 10)),
        ("bytes=5-2", None),
        ("bytes=0-1,3-4", None),
        ("lines=0-1", None),
        ("", None),
    ],
)
def test_a_range_selects_bytes_or_is_ignored(header: str, selected: tuple[int, ...] | None) -> None:
    assert parse_range(header, 10) == selected


@pytest.mark.parametrize(
    ("header", "size"), [("bytes=10-", 10), ("bytes=-0", 10), ("bytes=0-", 0), ("bytes=-5", 0)]
)
def test_a_range_beyond_the_object_is_refused_with_its_size(header: str, size: int) -> None:
    with pytest.raises(S3Error) as caught:
        parse_range(header, size)
    assert caught.value.elements["ActualObjectSize"] == size


def test_a_ranged_get_is_partial_content(s3: Any, kept: str) -> None:
    s3.put_object(Bucket=kept, Key="k", Body=b"0123456789")
    reply = s3.get_object(Bucket=kept, Key="k", Range="bytes=3-5")
    assert reply["Body"].read() == b"345"
    assert reply["ContentRange"] == "bytes 3-5/10"
    assert reply["ContentLength"] == 3
    assert reply["ResponseMetadata"]["HTTPStatusCode"] == 206


def test_a_range_of_an_empty_object_is_416(s3: Any, kept: str) -> None:
    s3.put_object(Bucket=kept, Key="k", Body=b"")
    reply = failure(s3.get_object, Bucket=kept, Key="k", Range="bytes=0-")
    assert reply["ResponseMetadata"]["HTTPStatusCode"] == 416
    assert reply["Error"]["Code"] == "InvalidRange"
    assert reply["Error"]["ActualObjectSize"] == "0"


def test_conditions_on_reading(s3: Any, kept: str) -> None:
    etag = s3.put_object(Bucket=kept, Key="k", Body=b"x")["ETag"]
    assert s3.get_object(Bucket=kept, Key="k", IfMatch=etag)["Body"].read() == b"x"
    assert code(s3.get_object, Bucket=kept, Key="k", IfMatch='"other"') == "PreconditionFailed"
    assert code(s3.get_object, Bucket=kept, Key="k", IfNoneMatch=etag) == "304"
    assert code(s3.head_object, Bucket=kept, Key="k", IfMatch='"other"') == "412"


def test_conditions_on_writing(s3: Any, kept: str) -> None:
    etag = s3.put_object(Bucket=kept, Key="k", Body=b"x", IfNoneMatch="*")["ETag"]
    assert code(s3.put_object, Bucket=kept, Key="k", Body=b"y", IfNoneMatch="*") == "PreconditionFailed"
    assert code(s3.put_object, Bucket=kept, Key="k", Body=b"y", IfMatch='"other"') == "PreconditionFailed"
    assert code(s3.put_object, Bucket=kept, Key="new", Body=b"y", IfMatch=etag) == "NoSuchKey"
    s3.put_object(Bucket=kept, Key="k", Body=b"z", IfMatch=etag)
    assert s3.get_object(Bucket=kept, Key="k")["Body"].read() == b"z"


def test_objects_have_the_null_version(s3: Any, kept: str) -> None:
    s3.put_object(Bucket=kept, Key="k", Body=b"x")
    assert s3.get_object(Bucket=kept, Key="k", VersionId="null")["Body"].read() == b"x"
    assert code(s3.get_object, Bucket=kept, Key="k", VersionId="abc") == "NoSuchVersion"


@pytest.mark.parametrize("algorithm", ["CRC32", "SHA1", "SHA256"])
def test_the_sdk_s_checksums_are_verified_in_header_and_trailer(s3: Any, kept: str, algorithm: str) -> None:
    """Over https botocore sends checksums as a trailer of an aws-chunked body, over http as a header."""
    body = b"hello" * 1000
    reply = s3.put_object(Bucket=kept, Key="k", Body=io.BytesIO(body), ChecksumAlgorithm=algorithm)
    assert reply[f"Checksum{algorithm}"]
    assert "ChecksumCRC64NVME" not in reply  # an object has only the checksum that it was sent with
    found = s3.get_object(Bucket=kept, Key="k")
    assert found["Body"].read() == body
    assert "ContentEncoding" not in found


@pytest.mark.parametrize(
    ("name", "length"),
    [
        ("ChecksumCRC32", 4),
        ("ChecksumCRC32C", 4),
        ("ChecksumSHA1", 20),
        ("ChecksumSHA256", 32),
        ("ChecksumCRC64NVME", 8),
    ],
)
def test_a_wrong_checksum_is_a_bad_digest_and_nothing_is_stored(
    s3: Any, kept: str, name: str, length: int
) -> None:
    wrong = {name: b64encode(b"\1" * length).decode()}
    assert code(s3.put_object, Bucket=kept, Key="k", Body=b"x", **wrong) == "BadDigest"
    assert code(s3.head_object, Bucket=kept, Key="k") == "404"


def test_the_stored_checksum_is_returned_only_if_asked_for(
    client_arguments: Callable[..., dict[str, Any]], kept: str
) -> None:
    quiet = client_arguments(response_checksum_validation="when_required")
    with closing(boto3.session.Session().client("s3", **quiet)) as s3:
        s3.put_object(Bucket=kept, Key="k", Body=b"hello", ChecksumCRC64NVME=checksum(b"hello"))
        assert "ChecksumCRC64NVME" not in s3.head_object(Bucket=kept, Key="k")
        fields = s3.head_object(Bucket=kept, Key="k", ChecksumMode="ENABLED")
    assert fields["ChecksumCRC64NVME"] == checksum(b"hello")
    assert fields["ChecksumType"] == "FULL_OBJECT"


@pytest.mark.parametrize(
    ("operation", "arguments", "expected"),
    [
        ("get_object", {"Key": "none"}, "NoSuchKey"),
        ("head_object", {"Key": "none"}, "404"),
        ("upload_part", {"Key": "k", "UploadId": "x", "PartNumber": 1, "Body": b"x" * MIB}, "NoSuchUpload"),
        ("list_parts", {"Key": "k", "UploadId": "x"}, "NoSuchUpload"),
        ("abort_multipart_upload", {"Key": "k", "UploadId": "x"}, "NoSuchUpload"),
        ("put_object", {"Key": "k" * 1025, "Body": b"x"}, "KeyTooLongError"),
        ("get_object", {"Key": "\x01"}, "NoSuchKey"),
    ],
)
def test_what_does_not_exist_has_s3_s_own_error(
    s3: Any, kept: str, operation: str, arguments: dict[str, Any], expected: str
) -> None:
    assert code(getattr(s3, operation), Bucket=kept, **arguments) == expected


def test_a_missing_bucket_has_s3_s_own_error(s3: Any) -> None:
    assert code(s3.list_objects_v2, Bucket="nowhere") == "NoSuchBucket"
    assert code(s3.head_bucket, Bucket="nowhere") == "404"
    assert code(s3.put_object, Bucket="nowhere", Key="k", Body=b"x" * MIB) == "NoSuchBucket"


@pytest.mark.parametrize(
    ("operation", "arguments", "name"),
    [
        ("copy_object", {"Key": "k", "CopySource": "a/b"}, "CopyObject"),
        ("get_object_tagging", {"Key": "k"}, "GET key ?tagging"),
        ("get_bucket_acl", {}, "GET bucket ?acl"),
    ],
)
def test_an_unknown_operation_is_named_as_not_implemented(
    s3: Any, kept: str, operation: str, arguments: dict[str, Any], name: str
) -> None:
    reply = failure(getattr(s3, operation), Bucket=kept, **arguments)
    assert reply["ResponseMetadata"]["HTTPStatusCode"] == 501
    assert reply["Error"]["Code"] == "NotImplemented"
    assert reply["Error"]["Operation"] == name


def test_one_access_key_is_denied_everything(
    client_arguments: Callable[..., dict[str, Any]], kept: str
) -> None:
    denied = {**client_arguments(), "aws_access_key_id": "AKIADENIED"}
    with closing(boto3.session.Session().client("s3", **denied)) as s3:
        assert code(s3.list_objects_v2, Bucket=kept) == "AccessDenied"
        assert code(s3.put_object, Bucket=kept, Key="k", Body=b"x" * MIB) == "AccessDenied"
        assert code(s3.head_object, Bucket=kept, Key="k") == "403"


def test_buckets_come_and_go(s3: Any) -> None:
    s3.create_bucket(Bucket="of-its-own")
    assert code(s3.create_bucket, Bucket="of-its-own") == "BucketAlreadyOwnedByYou"
    assert code(s3.create_bucket, Bucket="..bad..") == "InvalidBucketName"
    assert "of-its-own" in [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]]
    assert s3.get_bucket_location(Bucket="of-its-own")["LocationConstraint"] is None
    assert s3.head_bucket(Bucket="of-its-own")["BucketRegion"] == "us-east-1"
    s3.put_object(Bucket="of-its-own", Key="k", Body=b"kept")
    assert s3.get_object(Bucket="of-its-own", Key="k")["Body"].read() == b"kept"
    assert code(s3.delete_bucket, Bucket="of-its-own") == "BucketNotEmpty"
    s3.delete_object(Bucket="of-its-own", Key="k")
    s3.delete_bucket(Bucket="of-its-own")
    assert code(s3.head_bucket, Bucket="of-its-own") == "404"


def test_a_listing_goes_on_page_by_page(s3: Any, lab: LabS3, discarding: str) -> None:
    keys = lab.declare_many(discarding, "dir one/+é/", 25, 10)
    lab.declare(discarding, [("other", 5)])
    pages = s3.get_paginator("list_objects_v2").paginate(
        Bucket=discarding, Prefix="dir one/", PaginationConfig={"PageSize": 10}
    )
    found = [entry for page in pages for entry in page["Contents"]]
    assert [entry["Key"] for entry in found] == keys
    assert {entry["Size"] for entry in found} == {10}
    assert {entry["ETag"] for entry in found} == {
        each.etag for each in lab.checksums(discarding, "dir").values()
    }


def test_a_listing_groups_by_delimiter_and_starts_after_a_key(s3: Any, lab: LabS3, discarding: str) -> None:
    lab.declare(discarding, [(key, 1) for key in ("a", "b/1", "b/2", "c/1", "d")])
    reply = s3.list_objects_v2(Bucket=discarding, Delimiter="/", StartAfter="a")
    assert [entry["Key"] for entry in reply["Contents"]] == ["d"]
    assert [entry["Prefix"] for entry in reply["CommonPrefixes"]] == ["b/", "c/"]
    assert code(s3.list_objects_v2, Bucket=discarding, ContinuationToken="é") == "InvalidArgument"


def start_upload(
    s3: Any, bucket: str, *sizes: int, **created: Any
) -> tuple[dict[str, str], bytes, list[dict[str, Any]]]:
    upload = s3.create_multipart_upload(Bucket=bucket, Key="m", **created)["UploadId"]
    target = {"Bucket": bucket, "Key": "m", "UploadId": upload}
    bodies = [bytes([number]) * size for number, size in enumerate(sizes, 1)]
    replies = [s3.upload_part(**target, PartNumber=n, Body=body) for n, body in enumerate(bodies, 1)]
    return target, b"".join(bodies), [{"PartNumber": n, "ETag": r["ETag"]} for n, r in enumerate(replies, 1)]


def test_a_multipart_upload_is_verified_end_to_end(s3: Any, kept: str) -> None:
    full = {"ChecksumAlgorithm": "CRC64NVME", "ChecksumType": "FULL_OBJECT"}
    upload = s3.create_multipart_upload(Bucket=kept, Key="m", **full)["UploadId"]
    target = {"Bucket": kept, "Key": "m", "UploadId": upload}
    bodies = [b"a" * 5 * MIB, b"b" * 100]
    parts = []
    for number, body in enumerate(bodies, 1):
        reply = s3.upload_part(**target, PartNumber=number, Body=body, ChecksumCRC64NVME=checksum(body))
        assert reply["ChecksumCRC64NVME"] == checksum(body)
        parts.append({"PartNumber": number, "ETag": reply["ETag"], "ChecksumCRC64NVME": checksum(body)})
    complete = {**target, "MultipartUpload": {"Parts": parts}, "ChecksumType": "FULL_OBJECT"}
    whole = b"".join(bodies)
    wrong = checksum(b"something else")
    assert code(s3.complete_multipart_upload, **complete, ChecksumCRC64NVME=wrong) == "BadDigest"
    assert code(s3.complete_multipart_upload, **complete, MpuObjectSize=1) == "InvalidRequest"
    reply = s3.complete_multipart_upload(
        **complete, ChecksumCRC64NVME=checksum(whole), MpuObjectSize=len(whole)
    )
    assert reply["ChecksumCRC64NVME"] == checksum(whole)
    assert reply["ETag"].endswith('-2"')
    assert s3.get_object(Bucket=kept, Key="m")["Body"].read() == whole
    middle = s3.get_object(Bucket=kept, Key="m", Range=f"bytes={5 * MIB - 2}-{5 * MIB + 1}")
    assert middle["Body"].read() == b"aabb"


def test_complete_refuses_wrong_parts(s3: Any, kept: str) -> None:
    target, _, parts = start_upload(s3, kept, 5 * MIB, 10, 10)

    def refusal(chosen: list[dict[str, Any]]) -> str:
        return code(s3.complete_multipart_upload, **target, MultipartUpload={"Parts": chosen})

    assert refusal([parts[1], parts[0]]) == "InvalidPartOrder"
    assert refusal([parts[0], parts[0]]) == "InvalidPartOrder"
    assert refusal([parts[0], {"PartNumber": 2, "ETag": '"wrong"'}]) == "InvalidPart"
    assert refusal([parts[0], {"PartNumber": 9, "ETag": parts[0]["ETag"]}]) == "InvalidPart"
    assert refusal([parts[0], {**parts[1], "ChecksumCRC64NVME": "AAAA"}]) == "InvalidPart"
    assert refusal(parts) == "EntityTooSmall"
    assert refusal([]) == "MalformedXML"
    s3.complete_multipart_upload(**target, MultipartUpload={"Parts": [parts[0], parts[2]]})
    assert refusal(parts) == "NoSuchUpload"


def test_complete_obeys_if_none_match(s3: Any, kept: str) -> None:
    target, _, parts = start_upload(s3, kept, 10)
    s3.put_object(Bucket=kept, Key="m", Body=b"first")
    complete = {**target, "MultipartUpload": {"Parts": parts}}
    assert code(s3.complete_multipart_upload, **complete, IfNoneMatch="*") == "PreconditionFailed"
    s3.delete_object(Bucket=kept, Key="m")
    s3.complete_multipart_upload(**complete, IfNoneMatch="*")


def test_uploads_in_progress_can_be_listed_and_aborted(s3: Any, kept: str) -> None:
    target, _, _ = start_upload(s3, kept, 10, 20, 30)
    listed = s3.list_parts(**target, MaxParts=2)
    assert [(part["PartNumber"], part["Size"]) for part in listed["Parts"]] == [(1, 10), (2, 20)]
    assert listed["IsTruncated"]
    rest = s3.list_parts(**target, PartNumberMarker=listed["NextPartNumberMarker"])
    assert [part["PartNumber"] for part in rest["Parts"]] == [3]
    assert [u["UploadId"] for u in s3.list_multipart_uploads(Bucket=kept)["Uploads"]] == [target["UploadId"]]
    s3.abort_multipart_upload(**target)
    assert "Uploads" not in s3.list_multipart_uploads(Bucket=kept)
    assert code(s3.upload_part, **target, PartNumber=1, Body=b"late") == "NoSuchUpload"


def test_discarding_a_prefix_counts_its_uploads(s3: Any, lab: LabS3, kept: str) -> None:
    for key in ("old/1", "old/2", "older"):
        s3.put_object(Bucket=kept, Key=key, Body=b"x")
        s3.create_multipart_upload(Bucket=kept, Key=key)
    assert [lab.discard(kept, "old/"), lab.discard(kept, "old/")] == [2, 0]
    assert list(lab.checksums(kept)) == ["older"]
    assert [upload["Key"] for upload in s3.list_multipart_uploads(Bucket=kept)["Uploads"]] == ["older"]


def test_part_numbers_have_bounds(s3: Any, kept: str) -> None:
    target, _, _ = start_upload(s3, kept)
    assert code(s3.upload_part, **target, PartNumber=10_001, Body=b"") == "InvalidArgument"


def test_the_sdk_s_own_transfers_work(s3: Any, kept: str) -> None:
    body = bytes(range(256)) * (20 * MIB // 256)
    s3.upload_fileobj(io.BytesIO(body), kept, "k")
    found = io.BytesIO()
    s3.download_fileobj(kept, "k", found)
    assert found.getvalue() == body


def test_a_discarded_copy_is_verified_and_can_even_be_read(s3: Any, lab: LabS3, discarding: str) -> None:
    lab.declare(discarding, [("source", 3_000_000)])
    body = s3.get_object(Bucket=discarding, Key="source")["Body"].read()
    s3.put_object(Bucket=discarding, Key="copy", Body=body, ContentType="text/plain")
    found = lab.checksums(discarding)
    assert found["copy"][:2] == found["source"][:2] == (3_000_000, checksum(body))
    assert found["copy"].headers["Content-Type"] == "text/plain"
    assert s3.get_object(Bucket=discarding, Key="copy")["Body"].read() == body


def test_other_discarded_content_says_that_it_is_gone(s3: Any, discarding: str) -> None:
    s3.put_object(Bucket=discarding, Key="k", Body=b"something")
    assert s3.head_object(Bucket=discarding, Key="k")["ContentLength"] == 9
    reply = failure(s3.get_object, Bucket=discarding, Key="k")
    assert reply["Error"]["Code"] == "ContentDiscarded"
    assert reply["ResponseMetadata"]["HTTPStatusCode"] == 410


def test_a_part_is_copied_from_a_range(s3: Any, kept: str) -> None:
    """Only of an object over 5 MiB, and of the version that If-Match names."""
    body = bytes(range(256)) * (6 * MIB // 256)
    etag = s3.put_object(Bucket=kept, Key="large", Body=body)["ETag"]
    s3.put_object(Bucket=kept, Key="small", Body=b"small")
    upload = {"Bucket": kept, "Key": "k", "PartNumber": 1}
    upload["UploadId"] = s3.create_multipart_upload(Bucket=kept, Key="k")["UploadId"]
    source = {"Bucket": kept, "Key": "large"}
    copied = s3.upload_part_copy(
        **upload, CopySource=source, CopySourceRange="bytes=100-5999999", CopySourceIfMatch=etag
    )["CopyPartResult"]
    assert copied["ChecksumCRC64NVME"] == checksum(body[100:6_000_000])
    s3.complete_multipart_upload(
        Bucket=kept,
        Key="k",
        UploadId=upload["UploadId"],
        MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": copied["ETag"]}]},
    )
    assert s3.get_object(Bucket=kept, Key="k")["Body"].read() == body[100:6_000_000]


@pytest.mark.parametrize(
    ("key", "given", "error"),
    [
        ("large", {"CopySourceRange": "bytes=0-99999999"}, "InvalidRange"),
        ("small", {"CopySourceRange": "bytes=0-2"}, "InvalidRange"),
        ("large", {"CopySourceIfMatch": '"other"'}, "PreconditionFailed"),
        ("missing", {}, "NoSuchKey"),
    ],
)
def test_a_part_that_cannot_be_copied_is_refused(
    s3: Any, kept: str, key: str, given: dict[str, str], error: str
) -> None:
    s3.put_object(Bucket=kept, Key="large", Body=bytes(6 * MIB))
    s3.put_object(Bucket=kept, Key="small", Body=b"small")
    upload = s3.create_multipart_upload(Bucket=kept, Key="k")["UploadId"]
    source = {"Bucket": kept, "Key": key}
    asked = {"Bucket": kept, "Key": "k", "UploadId": upload, "PartNumber": 1, "CopySource": source}
    assert code(s3.upload_part_copy, **asked, **given) == error
