"""One transfer opens an upload, others move its parts, and the last one completes it."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from msgspec.structs import replace

from asyncstream import MiB, S3Object, TransferConfig, TransferReport, TransferSession
from asyncstream.checksum import CRC64NVME, Digests
from asyncstream.errors import ChecksumMismatch, PartsMissing, SourceChanged, UploadGone
from asyncstream.lab.s3 import Fault, LabS3
from asyncstream.pipeline.continuation import Continuation
from asyncstream.pipeline.run import Step
from asyncstream.pipeline.shared_uploads import FinishTasks, OpenTasks
from tests.servers import Bucket, content

from .fixture_types import NewSession, Pairs

PART = 5 * MiB
FOUR_PARTS = content(3 * PART + 7, 1)
CONFIG = TransferConfig(at_deadline="pending", retry_base_delay=0.001, retry_max_delay=0.001)
OPEN = Step(tasks=partial(OpenTasks, part_length=lambda _: PART))
FINISH = Step(tasks=FinishTasks)
Pair = tuple[S3Object, S3Object]
# Copies these parts of the file `a`.
Move = Callable[..., TransferReport]


@pytest.fixture
def session(new_session: NewSession) -> TransferSession:
    return new_session()


@pytest.fixture
def pair(bucket: Bucket, pairs: Pairs) -> Pair:
    """A file of four parts, and where it is copied."""
    bucket.put("a", FOUR_PARTS)
    [pair] = pairs("a")
    return pair


def opened(session: TransferSession, pair: Pair) -> Continuation:
    report = session.transfer_step([pair], CONFIG, OPEN)
    [left] = report.continuations.values()
    return left


def move(session: TransferSession, pair: Pair, left: Continuation, first: int, last: int) -> TransferReport:
    given: dict[Any, Continuation] = {pair: replace(left, only=(first, last))}
    return session.transfer_step([pair], CONFIG, Step(), given)


def finish(session: TransferSession, pair: Pair, left: Continuation) -> TransferReport:
    return session.transfer_step([pair], CONFIG, FINISH, {pair: left})


def test_parts_of_several_transfers_become_one_object(
    session: TransferSession, bucket: Bucket, pair: Pair
) -> None:
    left = opened(session, pair)

    reports = [move(session, pair, left, *numbers) for numbers in ((3, 4), (1, 1), (2, 2))]

    assert [report.failed for report in reports] == [[], [], []]
    assert [report.bytes for report in reports] == [PART + 7, PART, PART]
    assert len(bucket.uploads()) == 1
    [result] = finish(session, pair, left).files
    assert (result.status, result.error) == ("copied", None)
    assert bucket.get("copies/a") == FOUR_PARTS
    assert bucket.uploads() == []


@pytest.mark.parametrize("server", ["lab"], indirect=True)
def test_the_whole_is_verified_at_both_ends(session: TransferSession, pair: Pair) -> None:
    left = opened(session, pair)
    move(session, pair, left, 1, 4)

    [result] = finish(session, pair, left).files

    assert result.read_verified == result.write_verified == "CRC32"


def test_parts_that_s3_has_are_not_sent_again(session: TransferSession, pair: Pair) -> None:
    """Also those of a transfer that was killed before it told of them."""
    left = opened(session, pair)
    move(session, pair, left, 2, 3)

    report = move(session, pair, left, 1, 4)

    assert (report.requests["ListParts"], report.requests["UploadPart"]) == (1, 2)
    assert report.count("copied") == 1


def test_missing_parts_are_named_and_can_follow(session: TransferSession, bucket: Bucket, pair: Pair) -> None:
    left = opened(session, pair)
    move(session, pair, left, 2, 2)

    [failed] = finish(session, pair, left).failed

    assert isinstance(failed.error, PartsMissing)
    assert "3 of 4 parts are missing, 1, 3-4" in str(failed.error)
    move(session, pair, left, 1, 4)
    assert finish(session, pair, left).count("copied") == 1
    assert bucket.get("copies/a") == FOUR_PARTS


def test_a_source_overwritten_meanwhile_leaves_nothing(
    session: TransferSession, bucket: Bucket, pair: Pair
) -> None:
    left = opened(session, pair)
    move(session, pair, left, 1, 2)
    bucket.put("a", content(len(FOUR_PARTS), 2))

    [moved] = move(session, pair, left, 3, 4).files
    uploads = len(bucket.uploads())
    [finished] = finish(session, pair, left).files

    assert isinstance(moved.error, SourceChanged)
    assert uploads == 1, "a transfer that moves parts does not abort the upload of others"
    assert isinstance(finished.error, SourceChanged)
    assert bucket.uploads() == []
    assert bucket.keys() == {"a"}


@pytest.mark.parametrize("server", ["lab", "moto"], indirect=True)
def test_finishing_twice_finds_the_object(session: TransferSession, bucket: Bucket, pair: Pair) -> None:
    left = opened(session, pair)
    move(session, pair, left, 1, 4)
    first, second = (finish(session, pair, left) for _ in range(2))

    assert [report.count("copied") for report in (first, second)] == [1, 1]
    bucket.put("copies/a", b"another")
    [failed] = finish(session, pair, left).failed
    assert isinstance(failed.error, UploadGone)
    assert bucket.get("copies/a") == b"another"


@pytest.mark.parametrize("server", ["lab"], indirect=True)
def test_wrong_parts_are_not_completed(session: TransferSession, bucket: Bucket, pair: Pair) -> None:
    """A transfer that is killed may have sent a part whose bytes it did not compare."""
    left = opened(session, pair)
    move(session, pair, left, 1, 3)
    bucket.client.upload_part(
        Bucket=bucket.name, Key="copies/a", UploadId=left.upload_id, PartNumber=4, Body=b"7 bytes"
    )

    [failed] = finish(session, pair, left).failed

    assert isinstance(failed.error, ChecksumMismatch)
    assert bucket.uploads() == []
    assert bucket.keys() == {"a"}


@pytest.mark.parametrize("server", ["lab"], indirect=True)
@pytest.mark.parametrize("kind", ["CRC32", CRC64NVME])
def test_the_upload_has_the_kind_of_the_source(
    session: TransferSession, bucket: Bucket, pairs: Pairs, kind: str
) -> None:
    digests = Digests([kind])
    digests.update(FOUR_PARTS)
    bucket.put("a", FOUR_PARTS, **{f"Checksum{kind}": digests.checksums()[kind].value})
    [pair] = pairs("a")
    left = opened(session, pair)
    move(session, pair, left, 1, 4)

    [result] = finish(session, pair, left).files

    assert left.kind == kind
    assert result.read_verified == result.write_verified == kind


@pytest.mark.parametrize("server", ["lab"], indirect=True)
def test_the_server_copies_parts_if_asked(session: TransferSession, bucket: Bucket, pair: Pair) -> None:
    left = replace(opened(session, pair), copies=True)

    report = move(session, pair, left, 1, 4)

    assert report.requests["UploadPartCopy"] == 4
    assert not {"GetObject", "UploadPart"} & report.requests.keys()
    [result] = finish(session, pair, left).files
    assert result.read_verified == "CRC32"
    assert bucket.get("copies/a") == FOUR_PARTS


@pytest.mark.parametrize("server", ["lab"], indirect=True)
def test_parts_are_sent_if_the_server_does_not_copy(
    lab: LabS3, session: TransferSession, bucket: Bucket, pair: Pair
) -> None:
    left = replace(opened(session, pair), copies=True)
    lab.set_faults([Fault("refuse", "UploadPartCopy", status=403, code="AccessDenied")])

    move(session, pair, left, 1, 4)
    finish(session, pair, left)

    assert bucket.get("copies/a") == FOUR_PARTS


def test_a_skipped_file_opens_no_upload(session: TransferSession, bucket: Bucket, pair: Pair) -> None:
    config = CONFIG.override({"if_exists": "skip"})
    session.transfer([pair], config)

    report = session.transfer_step([pair], config, OPEN)

    assert report.count("skipped") == 1
    assert bucket.uploads() == []
