"""Copies with the tags of their sources, if `copy_tags` is set."""

from collections.abc import Callable
from typing import Any

import pytest

from asyncstream import AccessDenied, MiB, S3Object, TransferReport
from tests.servers import Bucket, Capability, content
from tests.servers.odd_s3 import OddS3, reply

from . import CLIENTS
from .fixture_types import Copy, Pairs

# What S3 allows in a tag, with every character that means something else in a query.
TAGS = {"team a+b": "x=y +z", "Größe": "42 m²/s", "path": "a/b:c@d_e-f.g", "empty": ""}
on_any = pytest.mark.needs(Capability.TAGS)
as_put_and_as_parts = pytest.mark.parametrize("size", [10, 5 * MiB + 1], ids=["put", "multipart"])


def tag(bucket: Bucket, key: str, tags: dict[str, str], **version: str) -> None:
    rows = [{"Key": name, "Value": value} for name, value in tags.items()]
    bucket.client.put_object_tagging(Bucket=bucket.name, Key=key, Tagging={"TagSet": rows}, **version)


def tags_of(bucket: Bucket, key: str) -> dict[str, str]:
    reply = bucket.client.get_object_tagging(Bucket=bucket.name, Key=key)
    return {row["Key"]: row["Value"] for row in reply["TagSet"]}


@on_any
@as_put_and_as_parts
def test_a_copy_gets_the_tags_of_its_source(copy: Copy, bucket: Bucket, pairs: Pairs, size: int) -> None:
    """Also if a transform makes it."""
    bucket.put("file", content(size))
    tag(bucket, "file", TAGS)
    for settings in ({}, {"transform": lambda chunk: chunk}):
        report = copy(pairs("file"), multipart=True, copy_tags=True, **settings)
        report.raise_for_failures()
        assert tags_of(bucket, "copies/file") == TAGS
        assert report.requests["GetObjectTagging"] == 1


@on_any
@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, {}),
        ({"copy_tags": True, "extra_args": {"Tagging": "own=1"}}, {"own": "1"}),
    ],
    ids=["not asked", "own"],
)
def test_no_tags_are_read_that_are_not_copied(
    copy: Copy, bucket: Bucket, pairs: Pairs, settings: dict[str, Any], expected: dict[str, str]
) -> None:
    bucket.put("file", b"1")
    tag(bucket, "file", TAGS)
    report = copy(pairs("file"), **settings)
    report.raise_for_failures()
    assert tags_of(bucket, "copies/file") == expected
    assert "GetObjectTagging" not in report.requests


@on_any
def test_a_source_without_tags_is_copied_without(copy: Copy, bucket: Bucket, pairs: Pairs) -> None:
    bucket.put("file", b"1")
    copy(pairs("file"), copy_tags=True).raise_for_failures()
    assert tags_of(bucket, "copies/file") == {}


@pytest.mark.needs(Capability.TAGS, Capability.VERSIONS)
def test_the_tags_are_those_of_the_version_named(copy: Copy, bucket: Bucket) -> None:
    bucket.client.put_bucket_versioning(Bucket=bucket.name, VersioningConfiguration={"Status": "Enabled"})
    first = bucket.put("file", b"1")
    tag(bucket, "file", {"of": "first"}, VersionId=first)
    tag(bucket, "file", {"of": "second"}, VersionId=bucket.put("file", b"2"))
    source = S3Object(bucket.name, "file", version_id=first)
    copy([(source, S3Object(bucket.name, "copy"))], copy_tags=True).raise_for_failures()
    assert tags_of(bucket, "copy") == {"of": "first"}


Run = Callable[..., TransferReport]
DENIED = reply("403 Forbidden", b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>")
TAGGED = reply("200 OK", b"<Tagging><TagSet><Tag><Key>a</Key><Value>b</Value></Tag></TagSet></Tagging>")


@pytest.mark.parametrize(
    ("answers", "permission"),
    [
        ({"tags": [DENIED]}, "s3:GetObjectTagging"),
        ({"tags": [TAGGED], "put": [DENIED]}, "s3:PutObjectTagging"),
    ],
    ids=["read", "written"],
)
def test_the_permission_that_tags_lack_is_named(run: Run, answers: dict[str, Any], permission: str) -> None:
    """A copy without its tags would be a silent loss, so the file fails."""
    [file] = run(OddS3(**answers), copy_tags=True).failed

    assert isinstance(file.error, AccessDenied)
    assert permission in str(file.error)


@pytest.mark.parametrize("engine", CLIENTS, indirect=True)
def test_a_reply_that_has_no_list_of_tags_is_no_empty_list(run: Run) -> None:
    [file] = run(
        OddS3(tags=[reply("200 OK", b"<html>Sign in</html>")]), copy_tags=True, max_attempts=1
    ).failed

    assert "TagSet" in str(file.error)
