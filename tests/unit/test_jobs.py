"""Pairs of sources and destinations are checked before any I/O."""

import tracemalloc
from collections.abc import Sequence
from typing import Any

import pytest

from asyncstream.errors import InputError, NothingToTransfer
from asyncstream.locations import S3Object, S3Prefix
from asyncstream.objects import ListedObject
from asyncstream.pipeline.continuation import Continuation
from asyncstream.pipeline.jobs import Job, Jobs
from asyncstream.pipeline.pairs import Pair, check_pairs
from asyncstream.pipeline.results import FileResult, FileResults
from asyncstream.s3.access import S3Access, one_server

A, B, C = (S3Object("bucket", key) for key in "abc")


def test_pairs_of_objects_and_of_prefixes_pass_in_their_order() -> None:
    pairs: list[Pair] = [(A, B), (S3Prefix("bucket", "x/"), S3Prefix("other")), (A, C)]

    assert check_pairs(iter(pairs)) == pairs


def test_an_empty_list_is_nothing_to_transfer() -> None:
    with pytest.raises(NothingToTransfer, match="list of files is empty"):
        check_pairs(iter([]))


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
def test_a_pair_that_cannot_be_copied_is_found_by_its_position(pair: Any, message: str) -> None:
    with pytest.raises(InputError, match=rf"files\[1\].*{message}"):
        check_pairs([(A, C), pair])


def test_two_prefixes_may_be_merged_into_one() -> None:
    merged = [(S3Prefix("old"), S3Prefix("all", "x/")), (S3Prefix("new"), S3Prefix("all", "x/"))]
    assert check_pairs(merged) == merged


def test_an_old_version_may_be_written_back_onto_its_key() -> None:
    restored = [(S3Object("bucket", "a", "v1"), S3Object("bucket", "a"))]
    assert check_pairs(restored) == restored


def listed(*pairs: Pair, keys: Sequence[str]) -> Jobs:
    """Return jobs in which each pair of prefixes has the same keys."""
    jobs = Jobs(pairs)
    for position, (source, _) in enumerate(pairs):
        if not isinstance(source, S3Prefix):
            jobs.add(position)
            continue
        for key in keys:
            jobs.add_listed(position, ListedObject(source.prefix + key, len(key), f'"{key}"'))
    return jobs


def test_a_listing_becomes_jobs_with_its_sizes_and_etags() -> None:
    jobs = listed((A, B), (S3Prefix("raw", "in/"), S3Prefix("clean", "out/")), keys=["x", "y/in/z"])

    assert list(jobs) == [
        Job(A, B),
        Job(S3Object("raw", "in/x"), S3Object("clean", "out/x"), 1, '"x"'),
        Job(S3Object("raw", "in/y/in/z"), S3Object("clean", "out/y/in/z"), 6, '"y/in/z"'),
    ]
    assert jobs[1:] == [jobs[-2], jobs[-1]]
    assert (jobs.listed, jobs.bytes) == (2, 7)


def test_a_key_that_would_become_empty_is_refused() -> None:
    """The error names the source: here the console's folder marker, copied to the top of a bucket."""
    with pytest.raises(InputError, match="s3://raw/in/"):
        listed((S3Prefix("raw", "in/"), S3Prefix("clean")), keys=[""])


@pytest.mark.parametrize(
    "pairs",
    [
        [(S3Prefix("raw"), S3Prefix("clean"))],
        [(S3Prefix("raw"), S3Prefix("clean", "1/")), (S3Prefix("old"), S3Prefix("clean", "2/"))],
        [(S3Prefix("raw"), S3Prefix("clean", "x/")), (A, S3Object("clean", "x/other"))],
    ],
)
def test_files_to_different_places_pass(pairs: Sequence[Pair]) -> None:
    listed(*pairs, keys=["a", "b"]).check_distinct()


@pytest.mark.parametrize(
    "pairs",
    [
        [(S3Prefix("raw"), S3Prefix("clean")), (S3Prefix("old"), S3Prefix("clean"))],
        [(S3Prefix("raw"), S3Prefix("clean")), (S3Prefix("old", "x"), S3Prefix("clean", "b/"))],
        [(S3Prefix("raw"), S3Prefix("clean")), (S3Prefix("raw"), S3Prefix("clean"))],
        [(A, S3Object("clean", "b/a")), (S3Prefix("raw"), S3Prefix("clean"))],
    ],
)
def test_two_sources_of_one_destination_are_both_named(pairs: Sequence[Pair]) -> None:
    with pytest.raises(
        InputError, match=r"s3://\S+ and s3://\S+ would both be written to s3://clean/(a|b/a)$"
    ):
        listed(*pairs, keys=["a", "b/a"]).check_distinct()


def test_a_continuation_goes_to_its_file_and_to_no_other() -> None:
    jobs = listed((S3Prefix("raw"), S3Prefix("clean")), keys=["a", "b"])
    left = Continuation(upload_id="u", etag='"b"', size=9, first=5, step=4)

    jobs.add_continuations({(S3Object("raw", "b"), S3Object("clean", "b")): left})

    assert [job.continuation for job in jobs] == [None, left]
    with pytest.raises(InputError, match="a continuation of s3://bucket/a -> s3://bucket/b, which is not"):
        jobs.add_continuations({(A, B): left})


def test_a_listed_file_and_its_result_take_0_3_kb() -> None:
    """At most 0.3 KB per file; listing, jobs and results once took 0.75 KB."""
    pair = (S3Prefix("raw-bucket", "in/"), S3Prefix("clean-bucket", "out/"))
    count = 3_000
    tracemalloc.start()
    try:
        jobs = Jobs([pair])
        for number in range(count):
            key = f"in/year=2026/month=11/part-{number:06d}.parquet"
            jobs.add_listed(0, ListedObject(key, 10**6 + number, f'"{number:032x}"'))
        results = FileResults(jobs)
        for number, job in enumerate(jobs):
            ended = FileResult(
                job.source, job.destination, "copied", 10**6, job.etag, 1, 1, number / 7, None, "CRC64NVME"
            )
            results.put(number, ended)
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert held / count < 300
    assert held <= jobs.held < 1.2 * held


@pytest.mark.parametrize(
    ("source", "destination", "one"),
    [
        (None, "https://s3.eu-west-1.amazonaws.com", True),
        ("http://localhost:9000", "http://LOCALHOST:9000/", True),
        ("http://localhost:9000", "http://localhost:9001", False),
        (None, "http://localhost:9000", False),
    ],
)
def test_addresses_tell_whether_both_ends_are_one_server(
    source: str | None, destination: str, one: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends = S3Access(endpoint_url=source), S3Access(endpoint_url=destination)
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name, raising=False)
    assert one_server(*ends) == one
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", destination)
    assert one_server(*ends) == (one or source is None)
