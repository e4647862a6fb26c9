"""What crosses between processes: errors and values are the same after pickle, as multiprocessing does it."""

import copy
import multiprocessing
import pickle
from collections import Counter
from typing import Any

import msgspec
import pytest

import asyncstream
from asyncstream import (
    BytesMoved,
    Continuation,
    FileFinished,
    FileResult,
    FileStarted,
    MiB,
    Outcome,
    PartRetried,
    Planned,
    S3Access,
    S3Object,
    S3Prefix,
    TransferConfig,
    TransferReport,
    error_texts,
    errors,
    gathering,
)
from asyncstream.checksum import Checksum
from asyncstream.errors import AsyncstreamError
from asyncstream.locations import Pack
from asyncstream.objects import ListedObject
from asyncstream.pipeline.continuation import PartRun
from asyncstream.pipeline.jobs import Jobs
from asyncstream.pipeline.results import FileResults
from tests.servers.base import GUARD_SECONDS

from .test_errors import ERRORS

SOURCE, TARGET = S3Object("raw", "a/1", "version"), S3Object("clean", "a/1")
CONTINUATION = Continuation(
    upload_id="u",
    etag='"e"',
    size=20 * MiB,
    first=5 * MiB,
    step=5 * MiB,
    checksum=Checksum("CRC64NVME", "AAAAAAAAAAA="),
    digests=("CRC64NVME",),
    runs=(PartRun(1, 2, 10 * MiB, {"CRC64NVME": "AAAAAAAAAAA="}),),
)
RESULT = FileResult(SOURCE, TARGET, "copied", 7, '"e"', parts=1, attempts=2, seconds=0.5)
ERROR = errors.S3Error("x", "Teapot", 418)
FAILED = FileResult(SOURCE, TARGET, "failed", error=ERROR)
RETRIED = PartRetried(SOURCE, TARGET, 7, 3, ERROR)
PENDING = FileResult(SOURCE, TARGET, "pending", continuation=CONTINUATION)
PAGE = gathering.PageResult("http://host/", "failed", error=errors.PageNotFound("x", 404))

VALUES: list[Any] = [
    asyncstream.LocalFile("/tmp/x"),
    asyncstream.LocalFolder("/tmp"),
    asyncstream.ZipEntry(asyncstream.LocalFile("a.zip"), "x"),
    asyncstream.ZipEntries(asyncstream.LocalFile("a.zip"), select="*.csv"),
    asyncstream.ZipSlice('"e"', 10, 100, 0, 1, 10),
    asyncstream.TarEntry(asyncstream.LocalFile("a.tar"), "x"),
    asyncstream.TarEntries(asyncstream.LocalFile("a.tar"), select="*.csv"),
    asyncstream.Lines(SOURCE, ranges=3, csv=True, size=3, etag='"e"'),
    asyncstream.Tar(TARGET),
    asyncstream.Zip(TARGET),
    asyncstream.Concat(TARGET, separator=b"\n"),
    Pack((SOURCE, asyncstream.LocalFile("x")), asyncstream.Tar(TARGET)),
    asyncstream.WebFile("https://example.com/x?key=k", size=3, sha256="0" * 64),
    SOURCE,
    S3Prefix("raw", "a/"),
    S3Access(),
    S3Access(region="eu-west-1", access_key_id="id", secret_access_key="secret", session_token="token"),
    S3Access(role_arn="arn:aws:iam::123456789012:role/reader", external_id="x", ca_bundle="ca.pem"),
    TransferConfig(),
    TransferConfig(memory_limit=64 * MiB, part_size=5 * MiB, deadline=3.5, transform="gunzip,zstd"),
    CONTINUATION,
    RESULT,
    PENDING,
    Outcome("item", 0, "value", None, 0.5),
    Planned(3, 100),
    FileStarted(SOURCE, TARGET, 7),
    BytesMoved(SOURCE, TARGET, 5),
    FileFinished(RESULT),
    gathering.FetchConfig(),
    gathering.DatabaseConfig(dsn="postgresql://user:secret@host/db"),
    gathering.GatherConfig(),
    gathering.GatherConfig(max_concurrency=3, deadline=2.0),
    gathering.Table(name="t", key=("id",), columns=("name",)),
    gathering.Page("http://a/", "http://b/", 200, {"x": "y"}, b"body", 1, 0),
    gathering.PageResult("http://host/", "stored", stored=3),
]


def pickled(value: Any, protocol: int = pickle.DEFAULT_PROTOCOL) -> Any:
    return pickle.loads(pickle.dumps(value, protocol))


def facts(error: BaseException | None) -> Any:
    assert error is not None
    return type(error), error.args, str(error), vars(error)


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("error", [error for error, _, _ in ERRORS], ids=lambda error: type(error).__name__)
def test_an_error_keeps_its_message_attributes_and_notes(error: AsyncstreamError, protocol: int) -> None:
    error = copy.copy(error)
    error.attempts = 3
    error.add_note("the upload u could not be aborted")
    again = pickled(error, protocol)
    assert facts(again) == facts(error)
    assert again.retryable == error.retryable
    assert error_texts.full_message(again) == "x; the upload u could not be aborted"


@pytest.mark.parametrize("error", [error for error, _, _ in ERRORS], ids=lambda error: type(error).__name__)
def test_an_error_can_be_copied(error: AsyncstreamError) -> None:
    assert facts(copy.copy(error)) == facts(error)
    assert facts(copy.deepcopy(error)) == facts(error)


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_a_value_equals_its_copy(value: Any) -> None:
    assert pickled(value) == value
    assert type(pickled(value)) is type(value)


def test_secrets_survive_and_stay_hidden() -> None:
    access = S3Access(access_key_id="id", secret_access_key="hidden")
    assert pickled(access).secret_access_key == "hidden"
    assert "hidden" not in repr(pickled(access))


@pytest.mark.parametrize("result", [FAILED, RETRIED, PAGE])
def test_a_result_keeps_its_error(result: Any) -> None:
    again = pickled(result)
    assert facts(again.error) == facts(result.error)
    assert msgspec.structs.replace(again, error=result.error) == result


def listed_jobs() -> Jobs:
    """Return the files of a transfer, as a report keeps them: one was named, and two were listed."""
    jobs = Jobs([(SOURCE, TARGET), (S3Prefix("raw", "a/"), S3Prefix("clean", "b/"))])
    jobs.add(0)
    for key in ("a/2", "a/3"):
        jobs.add_listed(1, ListedObject(key, 7, '"e"'))
    return jobs


def test_a_report_keeps_its_results_and_totals() -> None:
    jobs = listed_jobs()
    results = FileResults(jobs)
    results.put(0, RESULT)
    results.put(1, FileResult(jobs[1].source, jobs[1].destination, "failed", error=ERROR))
    results.put(2, FileResult(jobs[2].source, jobs[2].destination, "pending", continuation=CONTINUATION))
    report = TransferReport("threads", results, 1.5, 4, 64 * MiB, Counter({"GetObject": 3}))

    again = pickled(report)

    assert [file.status for file in again.files] == ["copied", "failed", "pending"]
    assert again.copied == report.copied
    assert again.continuations == report.continuations
    assert facts(again.failed[0].error) == facts(ERROR)
    assert (again.bytes, again.requests, again.slots) == (report.bytes, report.requests, report.slots)
    with pytest.raises(ExceptionGroup, match="1 of 3 files failed"):
        again.raise_for_failures()


def test_a_gathering_report_keeps_its_pages() -> None:
    report = gathering.GatherReport("threads", [PAGE], 1.0, 3, 64 * MiB, 0)
    again = pickled(report)
    assert facts(again.failed[0].error) == facts(PAGE.error)


def test_every_public_value_class_is_tested() -> None:
    public = {
        value
        for module in (asyncstream, gathering)
        for value in (getattr(module, name) for name in module.__all__)
        if isinstance(value, type) and issubclass(value, msgspec.Struct)
    }
    tested = {type(value) for value in [*VALUES, RETRIED]}
    assert public - tested == {TransferReport, gathering.GatherReport}


def raise_page_not_found(_: int) -> None:
    raise errors.PageNotFound("there is no such page", 404)


def test_an_error_leaves_the_worker_of_a_pool() -> None:
    """A pool whose worker sends an error that cannot be rebuilt waits for ever."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        waiting = pool.map_async(raise_page_not_found, [1])
        with pytest.raises(errors.PageNotFound, match="no such page") as caught:
            waiting.get(GUARD_SECONDS)
    assert caught.value.status == 404
