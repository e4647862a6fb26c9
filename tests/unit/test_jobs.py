"""What to copy is checked before any I/O."""

from typing import Any

import pytest

from asyncstream.errors import InputError, NothingToTransfer
from asyncstream.jobs import checked, distinct, of_listing
from asyncstream.locations import S3Object, S3Prefix
from asyncstream.ports import ListedObject
from asyncstream.tasks import Job

A, B, C = (S3Object("bucket", key) for key in "abc")


def test_pairs_of_objects_and_of_prefixes_pass_in_their_order() -> None:
    pairs = [(A, B), (S3Prefix("bucket", "x/"), S3Prefix("other")), (A, C)]

    assert checked(iter(pairs)) == pairs


def test_an_empty_list_is_nothing_to_transfer() -> None:
    with pytest.raises(NothingToTransfer, match="list of files is empty"):
        checked(iter([]))


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        (A, "give a pair of a source and a destination"),
        ("s3://bucket/a", "give a pair"),
        ([A, B], "give a pair"),
        ((A,), "give a pair"),
        ((A, B, C), "give a pair"),
        (("s3://bucket/a", "s3://bucket/b"), "give two S3Objects, or two S3Prefixes"),
        ((A, S3Prefix("bucket", "x/")), "give two S3Objects, or two S3Prefixes"),
        ((S3Prefix("bucket"), B), "give two S3Objects, or two S3Prefixes"),
        ((B, B), "source and destination are the same, s3://bucket/b"),
        ((S3Prefix("x-y"), S3Prefix("x-y")), "source and destination are the same, s3://x-y/"),
        ((A, S3Object("bucket", "d", "v1")), r"a destination cannot name a version .*s3://bucket/d"),
        ((B, C), "the destination s3://bucket/c is named twice"),
    ],
)
def test_a_pair_that_cannot_be_copied_is_told_by_its_position(pair: Any, message: str) -> None:
    with pytest.raises(InputError, match=rf"files\[1\].*{message}"):
        checked([(A, C), pair])


def test_two_prefixes_may_be_merged_into_one() -> None:
    merged = [(S3Prefix("old"), S3Prefix("all", "x/")), (S3Prefix("new"), S3Prefix("all", "x/"))]
    assert checked(merged) == merged


def test_an_old_version_may_be_written_back_onto_its_key() -> None:
    restored = [(S3Object("bucket", "a", "v1"), S3Object("bucket", "a"))]
    assert checked(restored) == restored


def test_a_listing_becomes_jobs_with_its_sizes_and_etags() -> None:
    listed = [ListedObject("in/x", 5, '"1"'), ListedObject("in/y/in/z", 0, '"2"')]

    assert of_listing(listed, S3Prefix("raw", "in/"), S3Prefix("clean", "out/")) == [
        Job(S3Object("raw", "in/x"), S3Object("clean", "out/x"), 5, '"1"'),
        Job(S3Object("raw", "in/y/in/z"), S3Object("clean", "out/y/in/z"), 0, '"2"'),
    ]


def test_an_empty_listing_is_nothing_to_transfer() -> None:
    with pytest.raises(NothingToTransfer, match="nothing is stored under s3://raw/in/"):
        of_listing([], S3Prefix("raw", "in/"), S3Prefix("clean"))


def test_a_key_that_would_come_to_be_empty_is_refused_naming_its_source() -> None:
    """The folder marker that the console makes, copied to the top of a bucket."""
    with pytest.raises(InputError, match="s3://raw/in/"):
        of_listing([ListedObject("in/", 0, '"0"')], S3Prefix("raw", "in/"), S3Prefix("clean"))


def test_jobs_to_different_places_pass() -> None:
    jobs = [Job(A, B), Job(A, C)]

    assert distinct(jobs) is jobs


def test_two_sources_of_one_destination_are_both_named() -> None:
    with pytest.raises(
        InputError, match="s3://bucket/a and s3://bucket/b would both be written to s3://bucket/c"
    ):
        distinct([Job(A, C), Job(B, C)])
