import io
from concurrent.futures import ThreadPoolExecutor

from asyncstream.cli.progress_bar import ProgressBar
from asyncstream.errors import ConnectionFailed
from asyncstream.locations import S3Object
from asyncstream.pipeline.progress import BytesMoved, FileFinished, FileStarted, PartRetried, Planned
from asyncstream.pipeline.results import FileResult

SOURCE, DESTINATION = S3Object("source", "a"), S3Object("destination", "a")


def finished() -> FileFinished:
    return FileFinished(FileResult(SOURCE, DESTINATION, "copied", 1000, '"e"', 1, 1, 0.1))


def test_bytes_are_counted_from_any_thread() -> None:
    bar = ProgressBar(io.StringIO())
    bar.on_event(Planned(1, 1000 * 64))
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: bar.on_event(BytesMoved(SOURCE, DESTINATION, 64)), range(1000)))
    bar.on_event(finished())
    task = bar._progress.tasks[0]
    assert task.completed == task.total == 64_000
    assert task.fields["files"] == "1/1 files"


def test_bytes_of_a_repeated_part_count_once() -> None:
    bar = ProgressBar(io.StringIO())
    bar.on_event(Planned(1, 1000))
    bar.on_event(FileStarted(SOURCE, DESTINATION, 1000))
    bar.on_event(BytesMoved(SOURCE, DESTINATION, 600))
    bar.on_event(PartRetried(SOURCE, DESTINATION, 600, 1, ConnectionFailed("reset")))
    bar.on_event(BytesMoved(SOURCE, DESTINATION, 1000))
    bar.on_event(finished())
    assert bar._progress.tasks[0].completed == 1000
