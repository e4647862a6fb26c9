"""Requests as parameters: what is asked, and which of the user's settings go where."""

from typing import Any

import botocore.session
import pytest

from asyncstream.extra_args import EXTRA_ARGS
from asyncstream.locations import S3Object, S3Prefix
from asyncstream.plan import ByteRange
from asyncstream.ports import CompletedPart, MultipartUpload
from asyncstream.s3 import requests
from asyncstream.s3.operations import METHODS

SOURCE = S3Object("raw", "a")
TARGET = S3Object("clean", "b")
UPLOAD = MultipartUpload(TARGET, "id")
OF_UPLOAD = {"Bucket": "clean", "Key": "b", "UploadId": "id"}

# One value each of all that users may set.
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

    assert requests.get_object(source, range_, etag, {}) == {"Bucket": "raw", "Key": "a"} | more


def test_a_get_takes_the_sources_own_settings_by_s3s_names_and_none_of_the_destinations() -> None:
    assert requests.get_object(SOURCE, None, None, EXTRA) == {
        "Bucket": "raw",
        "Key": "a",
        "SSECustomerAlgorithm": "the CopySourceSSECustomerAlgorithm",
        "SSECustomerKey": "the CopySourceSSECustomerKey",
        "RequestPayer": "the RequestPayer",
    }


def test_a_new_object_takes_every_setting_but_the_sources_own() -> None:
    params = requests.new_object(TARGET, {}, EXTRA)

    assert params == {"Bucket": "clean", "Key": "b"} | {
        name: f"the {name}" for name in EXTRA_ARGS - OWN_OF_SOURCE
    }


def test_the_users_settings_override_what_is_kept_of_the_source() -> None:
    kept = {"ContentType": "text/csv", "CacheControl": "no-store"}

    params = requests.new_object(TARGET, kept, {"ContentType": "text/plain"})

    assert (params["ContentType"], params["CacheControl"]) == ("text/plain", "no-store")


EVERY_WRITE = {
    name: f"the {name}"
    for name in ("ExpectedBucketOwner", "RequestPayer", "SSECustomerAlgorithm", "SSECustomerKey")
}


def test_a_part_takes_what_every_write_needs() -> None:
    assert requests.upload_part(UPLOAD, 3, EXTRA) == OF_UPLOAD | {"PartNumber": 3} | EVERY_WRITE


def test_complete_lists_the_parts_as_given_and_takes_what_every_write_needs() -> None:
    parts = [CompletedPart(1, '"x"'), CompletedPart(2, '"y"')]

    assert requests.complete_upload(UPLOAD, parts, EXTRA) == OF_UPLOAD | EVERY_WRITE | {
        "MultipartUpload": {"Parts": [{"PartNumber": 1, "ETag": '"x"'}, {"PartNumber": 2, "ETag": '"y"'}]}
    }


def test_abort_takes_owner_and_payer_only() -> None:
    assert requests.abort_upload(UPLOAD, EXTRA) == OF_UPLOAD | {
        "ExpectedBucketOwner": "the ExpectedBucketOwner",
        "RequestPayer": "the RequestPayer",
    }


@pytest.mark.parametrize(("token", "more"), [(None, {}), ("t", {"ContinuationToken": "t"})])
def test_a_page_is_asked_with_its_token_and_the_payer(token: str | None, more: dict[str, str]) -> None:
    asked = requests.list_page(S3Prefix("raw", "in/"), token, EXTRA)

    assert asked == {"Bucket": "raw", "Prefix": "in/", "RequestPayer": "the RequestPayer"} | more


@pytest.mark.parametrize(
    ("operation", "params"),
    [
        ("GetObject", requests.get_object(S3Object("raw", "a", "v"), ByteRange(0, 1), '"e"', EXTRA)),
        ("PutObject", requests.new_object(TARGET, {}, EXTRA)),
        ("CreateMultipartUpload", requests.new_object(TARGET, {}, EXTRA)),
        ("UploadPart", requests.upload_part(UPLOAD, 1, EXTRA)),
        ("CompleteMultipartUpload", requests.complete_upload(UPLOAD, [], EXTRA)),
        ("AbortMultipartUpload", requests.abort_upload(UPLOAD, EXTRA)),
        ("ListObjectsV2", requests.list_page(S3Prefix("raw"), "t", EXTRA)),
    ],
)
def test_every_parameter_is_one_of_the_operation(operation: str, params: dict[str, Any]) -> None:
    """botocore is told not to validate them: it would drop an unknown one without a word."""
    s3_model = botocore.session.get_session().get_service_model("s3")

    assert set(params) <= set(s3_model.operation_model(operation).input_shape.members)
    assert METHODS.keys() <= set(s3_model.operation_names)
