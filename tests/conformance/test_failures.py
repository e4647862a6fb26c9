"""A file that fails reports why, leaves nothing behind, and does not stop other files."""

import pytest

from asyncstream import (
    AccessDenied,
    BucketNotFound,
    Event,
    MiB,
    S3Object,
    S3Prefix,
    SourceChanged,
    SourceNotFound,
)
from asyncstream.pipeline.progress import BytesMoved, FileStarted
from tests.places import key_of
from tests.servers import Bucket, Capability, content

from .fixture_types import Copy, NewSession, Pairs

LARGE = 6 * MiB  # two parts


def test_every_file_has_one_result_in_the_order_given(copy: Copy, bucket: Bucket, pairs: Pairs) -> None:
    """Failed files keep their place among the copied ones."""
    for key in ("first", "last"):
        bucket.put(key, content(100, key))
    lost = (S3Object(bucket.name, "last"), S3Object("no-such-bucket", "a"))
    report = copy([*pairs("first", "missing"), lost, *pairs("last")])
    assert [result.status for result in report.files] == ["copied", "failed", "failed", "copied"]
    assert [key_of(result.source) for result in report.files] == ["first", "missing", "last", "last"]
    assert report.failed == list(report.files[1:3])
    assert report.bytes == 200
    assert bucket.keys("copies/") == {"copies/first", "copies/last"}
    with pytest.raises(ExceptionGroup, match="2 of 4 files failed") as raised:
        report.raise_for_failures()
    assert [type(error) for error in raised.value.exceptions] == [SourceNotFound, BucketNotFound]


@pytest.mark.parametrize("multipart", [False, True])
def test_a_missing_source_is_named(copy: Copy, bucket: Bucket, pairs: Pairs, multipart: bool) -> None:
    [result] = copy(pairs("no such key"), multipart=multipart).files
    assert isinstance(result.error, SourceNotFound)
    assert f"s3://{bucket.name}/no such key" in str(result.error)
    assert result.bytes == 0
    assert result.etag is None


@pytest.mark.parametrize("size", [100, LARGE], ids=["put", "multipart"])
def test_a_missing_destination_bucket_is_named(copy: Copy, bucket: Bucket, size: int) -> None:
    bucket.put("file", content(size))
    [result] = copy([(S3Object(bucket.name, "file"), S3Object("no-such-bucket", "a"))], multipart=True).files
    assert isinstance(result.error, BucketNotFound)
    assert "no-such-bucket" in str(result.error)


@pytest.mark.needs(Capability.DENIES_ACCESS)
def test_a_denied_source_names_key_and_permission(
    new_session: NewSession, monkeypatch: pytest.MonkeyPatch, bucket: Bucket, pairs: Pairs
) -> None:
    bucket.put("file", b"x")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIADENIED")
    [result] = new_session().transfer(pairs("file")).files
    assert isinstance(result.error, AccessDenied)
    assert f"s3://{bucket.name}/file" in str(result.error)
    assert "s3:GetObject" in str(result.error)


@pytest.mark.needs(Capability.DENIES_ACCESS)
def test_a_denied_listing_names_bucket_and_permission(
    new_session: NewSession, monkeypatch: pytest.MonkeyPatch, bucket: Bucket
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIADENIED")
    files = [(S3Prefix(bucket.name, "in/"), S3Prefix(bucket.name, "copies/"))]
    with pytest.raises(AccessDenied, match=rf"s3://{bucket.name}/in/.*s3:ListBucket"):
        new_session().transfer(files)


@pytest.mark.parametrize("max_concurrency", [3, 1])
@pytest.mark.varied("max_concurrency", server="lab")
def test_an_overwritten_source_fails_and_no_mix_of_both_is_kept(
    copy: Copy, bucket: Bucket, pairs: Pairs, max_concurrency: int
) -> None:
    """The new object has the same size, so only its ETag differs."""
    for key in ("before", "overwritten", "after"):
        bucket.put(key, content(LARGE, key))

    def overwrite(event: Event) -> None:
        if isinstance(event, FileStarted) and key_of(event.source) == "overwritten":
            bucket.put("overwritten", content(LARGE, "other bytes"))

    report = copy(
        pairs("before", "overwritten", "after"), overwrite, multipart=True, max_concurrency=max_concurrency
    )
    error = report.files[1].error
    assert isinstance(error, SourceChanged)
    assert f"s3://{bucket.name}/overwritten" in str(error)
    assert bucket.keys("copies/") == {"copies/before", "copies/after"}
    assert bucket.uploads() == []
    for key in ("before", "after"):
        assert bucket.get(f"copies/{key}") == content(LARGE, key)


def test_a_source_deleted_mid_transfer_fails_and_leaves_nothing(
    copy: Copy, bucket: Bucket, pairs: Pairs
) -> None:
    bucket.put("file", content(LARGE))

    def delete(event: Event) -> None:
        if isinstance(event, FileStarted):
            bucket.client.delete_object(Bucket=bucket.name, Key="file")

    [result] = copy(pairs("file"), delete, multipart=True, max_concurrency=1).files
    assert isinstance(result.error, SourceNotFound)
    assert bucket.keys() == set()
    assert bucket.uploads() == []


@pytest.mark.parametrize("size", [LARGE, 100], ids=["multipart", "put"])
@pytest.mark.varied("size", server="lab")
def test_a_callback_that_raises_fails_only_the_file_of_its_event(
    copy: Copy, bucket: Bucket, pairs: Pairs, size: int
) -> None:
    for key in ("poison", "good"):
        bucket.put(key, content(size, key))

    def raise_once(event: Event) -> None:
        if isinstance(event, BytesMoved) and key_of(event.source) == "poison":
            raise KeyError("a bug of the caller's")

    report = copy(pairs("poison", "good"), raise_once, multipart=True)
    assert isinstance(report.files[0].error, KeyError)
    assert bucket.keys("copies/") == {"copies/good"}
    assert bucket.get("copies/good") == content(size, "good")
    assert bucket.uploads() == []
