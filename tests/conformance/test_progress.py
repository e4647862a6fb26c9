"""The events that `on_event` receives are the same with every engine."""

from asyncstream import Event, MiB, S3Prefix
from asyncstream.locations import SourceFile
from asyncstream.pipeline.progress import BytesMoved, FileFinished, FileStarted, PartRetried, Planned
from tests.places import key_of
from tests.servers import Bucket, content

from .faulty_transport import UploadBroken
from .fixture_types import Copy, Pairs

SIZES = {"empty": 0, "small": 1000, "large": 7 * MiB}


def test_each_file_reports_its_start_its_bytes_and_its_result(
    copy: Copy, bucket: Bucket, pairs: Pairs
) -> None:
    """The events come in this order."""
    for key, size in SIZES.items():
        bucket.put(key, content(size))
    events: list[Event] = []
    report = copy(pairs(*SIZES), events.append, multipart=True, max_concurrency=3)
    report.raise_for_failures()
    assert events[0] == Planned(files=3, bytes=None)
    of_files = [event for event in events[1:] if not isinstance(event, Planned)]
    for result in report.files:
        key, size = key_of(result.source), SIZES[key_of(result.source)]
        started, *moved, finished = [event for event in of_files if key_of(_source(event)) == key]
        assert started == FileStarted(result.source, result.destination, size)
        bytes_moved = [event for event in moved if type(event) is BytesMoved]
        assert bytes_moved == moved
        assert {event.destination for event in bytes_moved} <= {result.destination}
        assert sum(event.bytes for event in bytes_moved) == size
        assert finished == FileFinished(result)


def test_what_a_listing_told_is_planned_with_its_bytes(copy: Copy, bucket: Bucket) -> None:
    for key, size in SIZES.items():
        bucket.put(f"in/{key}", content(size))
    events: list[Event] = []
    copy([(S3Prefix(bucket.name, "in/"), S3Prefix(bucket.name, "copies/"))], events.append)
    assert events[0] == Planned(files=3, bytes=sum(SIZES.values()))


def test_a_file_that_fails_is_told_finished_once(copy: Copy, pairs: Pairs) -> None:
    events: list[Event] = []
    report = copy(pairs("missing"), events.append)
    assert events == [Planned(files=1, bytes=None), FileFinished(report.files[0])]


def test_the_bytes_of_a_restarted_part_are_taken_back(
    copy_with_faults: Copy, bucket: Bucket, pairs: Pairs
) -> None:
    bucket.put("large", content(SIZES["large"]))
    events: list[Event] = []
    report = copy_with_faults(
        pairs("large"), UploadBroken("UploadPart", times=[2]), on_event=events.append, multipart=True
    )
    report.raise_for_failures()
    moved, retried = (
        sum(event.bytes for event in events if type(event) is kind) for kind in (BytesMoved, PartRetried)
    )
    assert retried > 0
    assert moved - retried == SIZES["large"]


def _source(event: FileStarted | BytesMoved | PartRetried | FileFinished) -> SourceFile:
    return event.result.source if isinstance(event, FileFinished) else event.source
