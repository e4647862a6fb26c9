"""Requests as parameters: their contents, and which user settings each takes."""

from typing import Any

import boto3
import botocore.session
import pytest

from asyncstream.checksum import CRC64NVME, KINDS, Checksum
from asyncstream.locations import S3Object, S3Prefix
from asyncstream.objects import ByteRange, CompletedPart, MultipartUpload
from asyncstream.pipeline.extra_args import EXTRA_ARGS
from asyncstream.s3 import requests

SOURCE = S3Object("raw", "a")
TARGET = S3Object("clean", "b")
PINNED = S3Object("raw", "a", "v")
UPLOAD = MultipartUpload(TARGET, "id")
WHOLE = Checksum(CRC64NVME, "rosUhgp5mIg=")
PARTS = [CompletedPart(1, '"x"', 7, {}), CompletedPart(2, '"y"', 5, {})]
LISTED = {"MultipartUpload": {"Parts": [{"PartNumber": 1, "ETag": '"x"'}, {"PartNumber": 2, "ETag": '"y"'}]}}
UPLOAD_FIELDS = {"Bucket": "clean", "Key": "b", "UploadId": "id"}

# One value for every setting that users may set.
EXTRA = {name: f"the {name}" for name in EXTRA_ARGS}
OWN_OF_SOURCE = {"CopySourceSSECustomerAlgorithm", "CopySourceSSECustomerKey"}


@pytest.mark.parametrize(
    ("range_", "etag", "version", "more"),
    [
        (None, None, None, {}),
        (ByteRange(5, 10), None, None, {"Range": "bytes=5-9"}),
        (None, '"e"', None, {"IfMatch": '"e"'}),
        (ByteRange(0, 1), '"e"', "v1", {"Range": "bytes=0-0", "IfMatch": '"e"', "VersionId": "v1"}),
    ],
)
def test_a_get_names_range_pin_and_version_where_there_are_any(
    range_: ByteRange | None, etag: str | None, version: str | None, more: dict[str, str]
) -> None:
    source = S3Object("raw", "a", version)

    assert requests.get_object_params(source, range_, etag, {}) == {"Bucket": "raw", "Key": "a"} | more


def test_a_get_has_only_the_sources_own_settings() -> None:
    """It has them by S3's names, and none of the destination's."""
    assert requests.get_object_params(SOURCE, None, None, EXTRA) == {
        "Bucket": "raw",
        "Key": "a",
        "SSECustomerAlgorithm": "the CopySourceSSECustomerAlgorithm",
        "SSECustomerKey": "the CopySourceSSECustomerKey",
        "RequestPayer": "the RequestPayer",
    }


@pytest.mark.parametrize(
    ("asked", "about"),
    [
        (requests.head_source_params(PINNED, '"e"', EXTRA), {}),
        (requests.head_part_params(PINNED, '"e"', 7, EXTRA), {"PartNumber": 7}),
    ],
)
def test_a_head_of_a_source_is_pinned_and_has_its_settings(
    asked: dict[str, Any], about: dict[str, Any]
) -> None:
    assert asked == about | {
        "Bucket": "raw",
        "Key": "a",
        "VersionId": "v",
        "IfMatch": '"e"',
        "SSECustomerAlgorithm": "the CopySourceSSECustomerAlgorithm",
        "SSECustomerKey": "the CopySourceSSECustomerKey",
        "RequestPayer": "the RequestPayer",
    }


def test_a_head_of_what_was_written_takes_what_every_write_needs() -> None:
    asked = requests.head_target_params(TARGET, EXTRA)

    assert asked == {"Bucket": "clean", "Key": "b"} | EVERY_WRITE


@pytest.mark.parametrize("kind", KINDS)
def test_a_checksum_is_the_parameter_named_by_its_kind(kind: str) -> None:
    assert requests.checksum_params(Checksum(kind, "abc=")) == {f"Checksum{kind}": "abc="}
    assert requests.checksum_params(None) == {}


def test_a_new_object_takes_every_setting_but_the_sources_own() -> None:
    params = requests.new_object_params(TARGET, {}, None, EXTRA)

    assert params == {"Bucket": "clean", "Key": "b"} | {
        name: f"the {name}" for name in EXTRA_ARGS - OWN_OF_SOURCE
    }


def test_the_users_settings_override_what_is_kept_of_the_source() -> None:
    kept = {"ContentType": "text/csv", "CacheControl": "no-store"}

    params = requests.new_object_params(TARGET, kept, None, {"ContentType": "text/plain"})

    assert (params["ContentType"], params["CacheControl"]) == ("text/plain", "no-store")


EVERY_WRITE = {
    name: f"the {name}"
    for name in ("ExpectedBucketOwner", "RequestPayer", "SSECustomerAlgorithm", "SSECustomerKey")
}


def test_a_part_takes_what_every_write_needs() -> None:
    assert requests.upload_part_params(UPLOAD, 3, EXTRA) == UPLOAD_FIELDS | {"PartNumber": 3} | EVERY_WRITE


def test_complete_lists_the_parts_as_given() -> None:
    """It has the settings that every write needs."""
    assert requests.complete_upload_params(UPLOAD, PARTS, EXTRA) == UPLOAD_FIELDS | EVERY_WRITE | LISTED


def test_complete_declares_the_checksum_and_size_to_compare() -> None:
    """They are those of the whole object."""
    assert requests.whole_checksum_params(PARTS, None) == {}
    assert requests.whole_checksum_params(PARTS, WHOLE) == {
        "ChecksumCRC64NVME": WHOLE.value,
        "ChecksumType": "FULL_OBJECT",
        "MpuObjectSize": 12,
    }


def test_abort_takes_owner_and_payer_only() -> None:
    assert requests.abort_upload_params(UPLOAD, EXTRA) == UPLOAD_FIELDS | {
        "ExpectedBucketOwner": "the ExpectedBucketOwner",
        "RequestPayer": "the RequestPayer",
    }


@pytest.mark.parametrize(("after", "more"), [(None, {}), (7, {"PartNumberMarker": 7})])
def test_parts_are_listed_after_the_last_one_known(after: int | None, more: dict[str, int]) -> None:
    assert requests.list_parts_params(UPLOAD, after, {}) == UPLOAD_FIELDS | more


@pytest.mark.parametrize("key", ["a key of 32 characters, or so", b"a key of 32 bytes, or so \xff\x00"])
def test_list_parts_has_the_headers_of_other_requests(key: str | bytes) -> None:
    """botocore encodes a customer's key for other requests, but not for a listing."""
    extra = EXTRA | {"SSECustomerKey": key}
    client = boto3.client("s3", aws_access_key_id="a", aws_secret_access_key="b", region_name="eu-west-1")
    headers = []

    def keep(params: dict[str, Any], **_: Any) -> None:
        headers.append(
            {name: value for name, value in params["headers"].items() if name.startswith("x-amz-")}
        )
        raise InterruptedError

    client.meta.events.register("before-call.s3", keep)
    for send, params in [
        (client.upload_part, requests.upload_part_params(UPLOAD, 1, extra)),
        (client.list_parts, requests.list_parts_params(UPLOAD, 7, extra)),
    ]:
        with pytest.raises(InterruptedError):
            send(**params)

    assert headers[0] == headers[1]
    assert "x-amz-server-side-encryption-customer-key-MD5" in headers[0]


@pytest.mark.parametrize(("token", "more"), [(None, {}), ("t", {"ContinuationToken": "t"})])
def test_a_page_is_asked_with_its_token_and_the_payer(token: str | None, more: dict[str, str]) -> None:
    asked = requests.list_page_params(S3Prefix("raw", "in/"), token, EXTRA)

    assert asked == {"Bucket": "raw", "Prefix": "in/", "RequestPayer": "the RequestPayer"} | more


@pytest.mark.parametrize(
    ("operation", "params"),
    [
        ("GetObject", requests.get_object_params(PINNED, ByteRange(0, 1), '"e"', EXTRA)),
        ("GetObject", requests.get_object_params(PINNED, None, '"e"', EXTRA)),
        ("HeadObject", requests.head_source_params(PINNED, '"e"', EXTRA)),
        ("HeadObject", requests.head_part_params(PINNED, '"e"', 1, EXTRA)),
        ("HeadObject", requests.head_target_params(TARGET, EXTRA)),
        *(
            (
                "PutObject",
                requests.new_object_params(TARGET, {}, None, EXTRA)
                | requests.checksum_params(Checksum(kind, "x")),
            )
            for kind in KINDS
        ),
        (
            "CreateMultipartUpload",
            requests.new_object_params(TARGET, {}, None, EXTRA) | requests.verified_upload_params(CRC64NVME),
        ),
        ("UploadPart", requests.upload_part_params(UPLOAD, 1, EXTRA) | requests.checksum_params(WHOLE)),
        (
            "CompleteMultipartUpload",
            requests.complete_upload_params(UPLOAD, [], EXTRA) | requests.whole_checksum_params([], WHOLE),
        ),
        ("AbortMultipartUpload", requests.abort_upload_params(UPLOAD, EXTRA)),
        ("ListObjectsV2", requests.list_page_params(S3Prefix("raw"), "t", EXTRA)),
        ("ListObjectsV2", requests.list_page_params(S3Prefix("raw"), None, EXTRA, after="a", delimiter="/")),
        ("ListParts", requests.list_parts_params(UPLOAD, 7, EXTRA)),
    ],
)
def test_every_parameter_is_one_of_the_operation(operation: str, params: dict[str, Any]) -> None:
    """Clients do not validate parameters: botocore would silently drop an unknown one."""
    s3_model = botocore.session.get_session().get_service_model("s3")

    assert set(params) <= set(s3_model.operation_model(operation).input_shape.members)
