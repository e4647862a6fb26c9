"""Copies of all objects under a prefix."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import pytest

from asyncstream import (
    BucketNotFound,
    InputError,
    MiB,
    NothingToTransfer,
    S3Object,
    S3Prefix,
)
from tests.places import key_of
from tests.servers import Bucket, Capability, LabServer, S3Server, content

from .fixture_types import Copy, NewSession

MANY = [f"many/{number:05d}" for number in range(1001)]  # S3 never lists more than 1,000 at once


def test_the_rest_of_each_key_is_kept_under_the_new_prefix(
    copy: Copy, bucket: Bucket, other_bucket: Bucket
) -> None:
    sizes = {"in/a": 0, "in/b/c": 10, "in/large": 5 * MiB + 1, "inside": 4, "out/a": 5}
    for key, size in sizes.items():
        bucket.put(key, content(size, key))
    report = copy([(S3Prefix(bucket.name, "in/"), S3Prefix(other_bucket.name, "new/"))], multipart=True)
    report.raise_for_failures()
    copied = {key: size for key, size in sizes.items() if key.startswith("in/")}
    assert other_bucket.keys() == {key.replace("in/", "new/") for key in copied}
    for key, size in copied.items():
        assert other_bucket.get(key.replace("in/", "new/")) == content(size, key)


@pytest.mark.needs(Capability.KEYS_OF_ANY_PATH)
def test_folder_markers_are_counted_and_not_copied(copy: Copy, bucket: Bucket, other_bucket: Bucket) -> None:
    """Consoles create `in/`, whose copy would have no key at the top of a bucket, and `in/sub/`."""
    sizes = {"in/": 0, "in/empty": 0, "in/sub/": 0, "in/sub/a": 10, "in/with-content/": 3}
    for key, size in sizes.items():
        bucket.put(key, content(size, key))
    report = copy([(S3Prefix(bucket.name, "in/"), S3Prefix(other_bucket.name))])
    report.raise_for_failures()

    assert other_bucket.keys() == {"empty", "sub/a", "with-content/"}
    assert (len(report.files), report.folder_markers) == (3, 2)


def test_a_whole_bucket_is_copied_by_the_empty_prefix(
    copy: Copy, bucket: Bucket, other_bucket: Bucket
) -> None:
    for key in ("a", "b/c"):
        bucket.put(key, content(10, key))
    copy([(S3Prefix(bucket.name), S3Prefix(other_bucket.name))]).raise_for_failures()
    assert {key: other_bucket.get(key) for key in sorted(other_bucket.keys())} == {
        key: content(10, key) for key in ("a", "b/c")
    }


def test_prefixes_and_objects_mix_in_the_order_given(
    copy: Copy, bucket: Bucket, other_bucket: Bucket
) -> None:
    for key in ("p/1", "p/2", "single"):
        bucket.put(key, b"x")
    single = (S3Object(bucket.name, "single"), S3Object(other_bucket.name, "single"))
    prefix = (S3Prefix(bucket.name, "p/"), S3Prefix(other_bucket.name, "p/"))
    report = copy([single, prefix])
    report.raise_for_failures()
    assert [key_of(result.source) for result in report.files] == ["single", "p/1", "p/2"]


@pytest.fixture(scope="session")
def bucket_of_many() -> Callable[[S3Server], Bucket]:
    """Return a bucket per server with more keys than a page holds; filled once, as that takes seconds."""

    @cache
    def bucket_of_many(server: S3Server) -> Bucket:
        bucket = server.new_bucket()
        if isinstance(server, LabServer):
            server.lab.declare(bucket.name, [(key, 0) for key in MANY])
            return bucket
        bucket.put(MANY[0], b"")  # alone: rclone fails if two requests create a directory at once
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda key: bucket.put(key, b""), MANY[1:]))
        return bucket

    return bucket_of_many


def test_a_listing_of_several_pages_is_read_to_its_end(
    server: S3Server, bucket_of_many: Callable[[S3Server], Bucket], new_session: NewSession
) -> None:
    bucket = bucket_of_many(server)
    session = new_session()
    with server.counted() as seen:
        jobs = session.plan([(S3Prefix(bucket.name, "many/"), S3Prefix(bucket.name, "copies/"))])
    assert [key_of(job.source) for job in jobs] == MANY
    assert {job.size for job in jobs} == {0}
    assert seen == {"ListObjectsV2": 2}


def test_nothing_under_the_prefix_is_an_error_that_names_it(copy: Copy, bucket: Bucket) -> None:
    bucket.put("another", b"x")
    with pytest.raises(NothingToTransfer, match=f"s3://{bucket.name}/none/"):
        copy([(S3Prefix(bucket.name, "none/"), S3Prefix(bucket.name, "copies/"))])


def test_a_missing_bucket_to_list_is_an_error_that_names_it(copy: Copy, bucket: Bucket) -> None:
    with pytest.raises(BucketNotFound, match="no-such-bucket"):
        copy([(S3Prefix("no-such-bucket"), S3Prefix(bucket.name, "copies/"))])


def test_two_sources_of_one_destination_fail_before_any_copy(
    copy: Copy, server: S3Server, bucket: Bucket
) -> None:
    for key in ("a/x", "b/x"):
        bucket.put(key, b"x")
    listed = (S3Prefix(bucket.name, "a/"), S3Prefix(bucket.name, "copies/"))
    named = (S3Object(bucket.name, "b/x"), S3Object(bucket.name, "copies/x"))
    with server.counted() as seen, pytest.raises(InputError, match="copies/x"):
        copy([listed, named])
    assert seen == {"ListObjectsV2": 1}
