"""Which error replies are taken for a page of something between, and which for a reply of S3."""

from typing import Any

import botocore.exceptions as sdk
import pytest

from asyncstream import errors
from asyncstream.errors import AsyncstreamError
from asyncstream.s3.answered_by import FIRST_WORDS, first_words
from asyncstream.s3.failures import convert_error

PAGE = b"<!DOCTYPE html><html><head><style>b {}</style></head><body><b>Blocked</b> by IT</body></html>"
HTML = {"content-type": "text/html; charset=utf-8"}
FROM_S3 = {"x-amz-request-id": "1"}


def refusal(operation: str, status: int, code: str, headers: dict[str, str], body: bytes = b"") -> Any:
    metadata = {"HTTPStatusCode": status, "HTTPHeaders": headers, FIRST_WORDS: body}
    return sdk.ClientError({"Error": {"Code": code, "Message": ""}, "ResponseMetadata": metadata}, operation)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (refusal("GetObject", 403, "", HTML, PAGE), errors.S3Error),
        (refusal("GetObject", 403, "403", {}, b"denied by policy 7"), errors.S3Error),
        (refusal("GetObject", 403, "403", {}, b'{"message":"Forbidden"}'), errors.S3Error),
        (refusal("GetObject", 404, "404", HTML, PAGE), errors.S3Error),
        (refusal("GetObject", 407, "407", {}, PAGE), errors.ConfigError),
        (refusal("GetObject", 429, "429", {}, PAGE), errors.SlowDown),
        (refusal("GetObject", 502, "502", {}, PAGE), errors.ServiceBusy),
        (refusal("HeadObject", 403, "403", HTML), errors.S3Error),
        # These are replies of S3, or of a server that imitates it.
        (
            refusal("GetObject", 403, "AccessDenied", FROM_S3, b"<Error><Code>AccessDenied"),
            errors.AccessDenied,
        ),
        (refusal("GetObject", 403, "403", {}, b"<?xml?><Error></Error>"), errors.AccessDenied),
        (refusal("GetObject", 403, "403", {}), errors.AccessDenied),
        (refusal("GetObject", 404, "404", {}, b"404 page not found"), errors.SourceNotFound),
        (refusal("HeadObject", 403, "403", HTML | FROM_S3), errors.AccessDenied),
        (refusal("HeadObject", 403, "403", {"content-type": "application/xml"}), errors.AccessDenied),
        (refusal("HeadObject", 404, "404", HTML), errors.SourceNotFound),
    ],
)
def test_a_page_is_told_from_a_reply_of_s3(error: Any, expected: type[AsyncstreamError]) -> None:
    found = convert_error(error, error.operation_name, {"Bucket": "raw", "Key": "a"})

    assert type(found) is expected
    assert ("something between" in str(found)) == (
        expected not in {errors.AccessDenied, errors.ConfigError, errors.SourceNotFound}
    )


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (PAGE, "Blocked by IT"),
        (b"<html><script>let a = '<b>'", "<html><script>let a = '<b>'"),
        (b"denied\n by  policy", "denied by policy"),
        (b"\xff" * 3, "\ufffd" * 3),
        (b"a " * 900, ("a " * 50)),
    ],
)
def test_the_first_words_of_a_page_have_no_tags(body: bytes, words: str) -> None:
    assert first_words(body) == words
