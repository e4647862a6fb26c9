"""The files that a transfer left, as pairs for the next one, and as rows of a direct reply."""

import json
from collections.abc import Collection

import msgspec

from asyncstream.events import direct_reply
from asyncstream.events.handler_replies import Invoked
from asyncstream.locations import S3Object, S3Prefix, ZipEntries
from asyncstream.pipeline.continuation import Continuation
from asyncstream.pipeline.jobs import Jobs
from asyncstream.pipeline.results import FileResult, FileResults, Status, TransferReport
from asyncstream.pipeline.unfinished import Left
from tests.zip_listings import listed, packed

ARCHIVE = S3Object("raw", "a.zip")
FOLDER = S3Prefix("clean", "out/")
NAMES = [f"{number:03d}" for number in range(100)]
PLAIN = [(S3Object("raw", name), S3Object("clean", name)) for name in "xyz"]
STARTED = Continuation(upload_id="u", etag='"e"', size=5, first=5, step=0)


def results_of(pending: Collection[str], started: Collection[str] = ()) -> FileResults:
    """Return the results of 100 files of an archive, and of three objects after them, by their names.

    The archive's files are not listed in the order of their rows.
    """
    jobs = Jobs([(ZipEntries(ARCHIVE), FOLDER), *PLAIN])
    jobs.add_listing(0, listed(packed(NAMES), ZipEntries(ARCHIVE)))
    for position in range(1, 4):
        jobs.add(position)
    results = FileResults(jobs)
    for position, job in enumerate(jobs):
        name = job.destination.uri.rpartition("/")[2]
        continuation = STARTED if name in started else None
        status: Status = "pending" if name in {*pending, *started} else "copied"
        results.put(position, FileResult(job.source, job.destination, status, continuation=continuation))
    return results


def test_the_files_of_an_archive_are_one_pair_and_started_objects_come_first() -> None:
    first, rest, last = results_of({*NAMES[20:50], "x"}, started={"007", "z"}).left("pending")

    assert first == Left(*PLAIN[2], STARTED)
    assert last == Left(*PLAIN[0])
    assert (rest.source.archive, rest.destination, rest.files) == (ARCHIVE, FOLDER, 31)
    assert rest.source.slice.rows == "7,20-49"
    assert (rest.continuation, rest.started) == (None, {"007": STARTED})


def test_files_that_failed_are_left_with_those_that_are_pending_if_asked_for() -> None:
    jobs = Jobs([(ZipEntries(ARCHIVE), FOLDER)])
    jobs.add_listing(0, listed(packed("abcd")))
    results = FileResults(jobs)
    for position, status in enumerate(("failed", "copied", "pending", "skipped")):
        file = FileResult(jobs[position].source, jobs[position].destination, status)  # type: ignore[arg-type]
        results.put(position, file)

    assert [each.source.slice.rows for each in results.left("pending", "failed")] == ["0,2"]
    assert [each.source.slice.rows for each in results.left("failed")] == ["0"]
    assert list(results.left()) == []


def test_a_reply_counts_all_files_of_an_archive_as_listed() -> None:
    report = TransferReport("threads", results_of({*NAMES[:50], "y"}), 1.0, 1, 1, {})
    reply = msgspec.to_builtins(direct_reply.reply_to(report, Invoked("id", 0.0)))

    assert [row["source"] for row in reply["pending"]] == ["s3://raw/a.zip", "s3://raw/y"]
    assert reply["pending"][0]["entries"]["slice"]["rows"] == "0-49"
    assert "pending_omitted" not in reply
    assert len(json.dumps(reply)) < 1_000
