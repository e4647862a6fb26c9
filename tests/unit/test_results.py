"""What a report adds up."""

import pytest
from msgspec.structs import replace

from asyncstream.errors import ServiceBusy, SourceNotFound
from asyncstream.locations import S3Object
from asyncstream.results import FileResult, TransferReport


def result(key: str, size: int, error: Exception | None = None) -> FileResult:
    at = S3Object("bucket", key)
    return FileResult(at, at, "failed" if error else "copied", size, None, 1, 1, 0.0, error)


def report(*files: FileResult) -> TransferReport:
    return TransferReport("threads", files, 1.0, 4, 1000, {})


def test_bytes_are_those_of_all_files() -> None:
    assert report(result("a", 5), result("b", 7)).bytes == 12


def test_the_unverified_are_those_copied_without_the_destinations_word() -> None:
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
