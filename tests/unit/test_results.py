"""The totals of a report."""

import pytest
from msgspec.structs import replace

from asyncstream.errors import ServiceBusy, SourceNotFound
from asyncstream.locations import S3Object
from asyncstream.pipeline.continuation import Continuation
from asyncstream.pipeline.jobs import Job
from asyncstream.pipeline.results import MOST_CAUSES, FileResult, FileResults, TransferReport


def result(key: str, size: int, error: Exception | None = None) -> FileResult:
    at = S3Object("bucket", key)
    return FileResult(at, at, "failed" if error else "copied", size, None, 1, 1, 0.0, error)


def report(*files: FileResult) -> TransferReport:
    return TransferReport("threads", FileResults.of(files), 1.0, 4, 1000, {})


def test_bytes_are_those_of_all_files() -> None:
    assert report(result("a", 5), result("b", 7)).bytes == 12


def test_unverified_copies_lack_the_destinations_checksum() -> None:
    vouched = replace(result("a", 5), write_verified="CRC64NVME")
    silent = result("b", 5)

    assert report(vouched, silent, result("c", 0, ServiceBusy("c"))).unverified == [silent]


def test_failures_are_raised_together_and_only_if_there_are_any() -> None:
    report(result("a", 5)).raise_for_failures()
    errors = [SourceNotFound("b"), ServiceBusy("c")]
    failed = [result("b", 0, errors[0]), result("c", 0, errors[1])]
    mixed = report(failed[0], result("a", 5), failed[1])

    assert mixed.failed == failed
    with pytest.raises(ExceptionGroup, match="2 of 3 files failed") as raised:
        mixed.raise_for_failures()
    assert list(raised.value.exceptions) == errors


def test_results_are_the_same_when_they_are_looked_at() -> None:
    left = Continuation(upload_id="u", etag='"e"', size=9, first=5, step=4)
    at = S3Object("bucket", "a", "version")
    files = [
        FileResult(at, at, "copied", 5, '"e"', 2, 3, 0.25, None, "CRC32", "CRC64NVME", "why", None, 7),
        FileResult(at, at, "pending", 0, None, 0, 0, 1.5, continuation=left),
        FileResult(at, at, "pending", 0, None, 0, 0, 0.0),
        result("b", 0, ServiceBusy("b")),
        replace(result("c", 1), status="skipped"),
    ]
    packed = FileResults.of(files)

    assert packed == files
    assert packed[-2:] == files[-2:]
    assert [packed[-1], *packed.of_status("pending")] == [files[-1], *files[1:3]]
    with pytest.raises(IndexError):
        packed[5]


def test_pending_files_keep_their_continuations() -> None:
    left = Continuation(upload_id="u", etag='"e"', size=9, first=5, step=4)
    jobs = [Job(S3Object("raw", key), S3Object("clean", key), continuation=left) for key in "abc"]
    results = FileResults(jobs)
    results.put(0, FileResult(jobs[0].source, jobs[0].destination, "copied", 9, None, 1, 1, 0.0))
    assert not results.complete

    results.end_from(1)

    assert results.complete
    assert [file.continuation for file in results] == [None, left, left]
    assert results.number_of("pending") == 2


def test_only_the_first_thousand_failures_keep_their_causes() -> None:
    at = S3Object("bucket", "a")
    results = FileResults([Job(at, at)] * (MOST_CAUSES + 1))
    for position in range(len(results)):
        error = SourceNotFound(str(position))
        error.__cause__ = KeyError(position)
        results.put(position, FileResult(at, at, "failed", 0, None, 0, 1, 0.0, error))

    kept = [file.error.__cause__ is not None for file in results.of_status("failed") if file.error]
    assert kept == [True] * MOST_CAUSES + [False]
