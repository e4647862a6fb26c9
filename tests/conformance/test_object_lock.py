"""Buckets with Object Lock refuse uploads without a checksum. Streamed bodies send theirs as a trailer."""

from collections.abc import Callable, Iterator

import pytest

from asyncstream import KiB, MiB, S3Error, TransferReport
from asyncstream.lab.s3 import Fault, LabS3
from tests.servers import Bucket, Capability, S3Server, content
from tests.servers.listener import RawReply
from tests.servers.odd_s3 import CREATED, PART, WRITTEN, OddS3, honest, page, reply

from . import CLIENTS
from .fixture_types import Copy, Pairs

Run = Callable[..., TransferReport]
LOCK = {"ObjectLockLegalHoldStatus": "OFF"}
as_put_and_as_parts = pytest.mark.parametrize("size", [MiB + 1, 6 * MiB], ids=["put", "multipart"])


def retries(report: TransferReport) -> int:
    return sum(file.attempts - file.parts for file in report.files)


@pytest.fixture
def bucket(server: S3Server) -> Iterator[Bucket]:
    """A bucket with Object Lock. The lab's refuses uploads without a checksum, moto's does not."""
    other = server.new_bucket()
    server.client.create_bucket(Bucket=f"{other.name}-locked", ObjectLockEnabledForBucket=True)
    other.name += "-locked"
    yield other
    other.empty()


@pytest.mark.needs(Capability.OBJECT_LOCK)
@as_put_and_as_parts
def test_a_locked_bucket_gets_what_it_demands(copy: Copy, bucket: Bucket, pairs: Pairs, size: int) -> None:
    """Settings of Object Lock tell that a checksum is demanded. `verify="off"` computes no other one."""
    whole = content(size)
    bucket.put("file", whole, ContentEncoding="gzip", ChecksumAlgorithm="CRC32")
    report = copy(pairs("file"), multipart=True, extra_args=LOCK, verify="off")

    report.raise_for_failures()
    assert retries(report) == 0
    assert bucket.get("copies/file") == whole
    assert bucket.head("copies/file")["ContentEncoding"] == "gzip"


on_lab = pytest.mark.parametrize("server", ["lab"], indirect=True)


@on_lab
@pytest.mark.parametrize("verify", ["before", "after", "off"])
@as_put_and_as_parts
def test_the_demand_is_learned_by_one_refusal(
    copy: Copy, lab: LabS3, server: S3Server, bucket: Bucket, pairs: Pairs, size: int, verify: str
) -> None:
    """The sources have no checksum that a PUT could declare."""
    lab.declare(bucket.name, [("a", size), ("b", size)], checksum=None)
    with server.counted() as seen:
        report = copy(pairs("a", "b"), multipart=True, verify=verify, max_concurrency=1, max_attempts=1)

    report.raise_for_failures()
    stored = {name: found[:2] for name, found in lab.checksums(bucket.name).items()}
    assert [stored[f"copies/{name}"] for name in ("a", "b")] == [stored["a"], stored["b"]]
    assert retries(report) == 1
    assert seen["PutObject"] + seen["UploadPart"] == 1 + sum(file.parts for file in report.files)
    assert {file.write_verified for file in report.files} == {None if verify == "off" else "CRC64NVME"}


@on_lab
@as_put_and_as_parts
def test_the_server_compares_the_trailer(
    copy: Copy, lab: LabS3, bucket: Bucket, pairs: Pairs, size: int
) -> None:
    """Without verification, only the trailer can show that a byte changed on its way."""
    bucket.put("file", content(size), ChecksumAlgorithm="CRC32")
    operation = "PutObject" if size < PART else "UploadPart"
    lab.set_faults([Fault("wrong-byte", operation, times=[1])])
    report = copy(pairs("file"), multipart=True, verify="off", extra_args=LOCK)

    report.raise_for_failures()
    assert (lab.faults_struck(), retries(report)) == ([1], 1)
    assert bucket.get("copies/file") == content(size)


def refusal(kind: str) -> bytes:
    """The reply of AWS."""
    demand = f"Content-MD5 OR x-amz-checksum- HTTP header is required for {kind} requests"
    return refused(f"{demand} with Object Lock parameters")


def refused(message: str) -> bytes:
    body = f"<Error><Code>InvalidRequest</Code><Message>{message}</Message></Error>"
    return reply("400 Bad Request", body.encode())


class Locked:
    """Answers uploads as a bucket with Object Lock does, and keeps their heads."""

    def __init__(self, kind: str) -> None:
        self.heads: list[str] = []
        self._refusal = refusal(kind)

    def __call__(self, head: str) -> RawReply:
        self.heads.append(head)
        return WRITTEN if "x-amz-checksum-" in head else self._refusal


def trailer_headers(size: int, length: int) -> list[str]:
    return [
        "x-amz-trailer: x-amz-checksum-crc64nvme\r\n",
        f"x-amz-decoded-content-length: {size}\r\n",
        "x-amz-content-sha256: streaming-unsigned-payload-trailer\r\n",
        f"content-length: {length}\r\n",
    ]


def test_a_streamed_put_has_its_checksum_as_a_trailer(run: Run) -> None:
    """One chunk, one trailer. The second file's PUT has it at once."""
    put = Locked("Put Object")
    gzipped = reply("200 OK", bytes(MiB), ETag='"e"', Content_Encoding="gzip")
    odd = OddS3(list=[page(b"a", MiB, b"true"), page(b"b", MiB, b"false")], get=[gzipped], put=[put])
    report = run(odd, listed=True)

    assert report.failed == []
    first, *others = put.heads
    assert "content-encoding: gzip\r\n" in first
    assert len(others) == 2
    framing = len("100000\r\n") + len("\r\n0\r\nx-amz-checksum-crc64nvme:") + 12 + len("\r\n\r\n")
    for head in others:
        assert "content-encoding: gzip,aws-chunked\r\n" in head
        assert [each for each in trailer_headers(MiB, MiB + framing) if each not in head] == []


def test_a_part_has_its_checksum_as_a_trailer(run: Run) -> None:
    """Parts in flight may all be refused before the first refusal is read. The last part is sent at once."""
    put = Locked("Put Part")
    odd = OddS3(get=[honest(2 * PART + 5)], create=[CREATED], part=[put])
    [file] = run(odd, multipart=True, max_concurrency=3).files

    assert (file.status, file.parts) == ("copied", 3)
    streamed = [head for head in put.heads if "x-amz-trailer" in head]
    assert [head.count("content-encoding: aws-chunked\r\n") for head in streamed] == [1, 1]
    assert sum("\r\nx-amz-checksum-crc64nvme: " in head for head in put.heads) == 1


@pytest.mark.parametrize("engine", CLIENTS, indirect=True)
def test_a_small_put_is_sent_again_with_its_checksum(run: Run) -> None:
    put = Locked("Put Object")
    report = run(OddS3(put=[put]), max_attempts=1)

    assert (report.failed, retries(report)) == ([], 0)
    assert ["x-amz-checksum-crc64nvme" in head for head in put.heads] == [False, True]


@pytest.mark.parametrize("engine", CLIENTS, indirect=True)
def test_a_transform_has_its_checksum_as_a_trailer(run: Run) -> None:
    put = Locked("Put Part")
    odd = OddS3(get=[honest(2 * PART)], part=[put])
    report = run(odd, transform="tests.conformance.test_object_lock:as_it_is")

    assert report.failed == []
    assert sum("x-amz-trailer" in head for head in put.heads) == 2


def as_it_is(chunk: bytes) -> bytes:
    """Return the bytes unchanged."""
    return chunk


@pytest.mark.parametrize("engine", CLIENTS, indirect=True)
@pytest.mark.parametrize("size", [5, 256 * KiB])
def test_a_server_that_takes_no_checksum_is_named(run: Run, size: int) -> None:
    """It is asked once more, and not again and again."""
    odd = OddS3(get=[honest(size)], put=[refusal("Put Object")])
    [file] = run(odd, max_attempts=1).failed

    assert isinstance(file.error, S3Error)
    assert "with Object Lock parameters" in str(file.error)
    notes = getattr(file.error, "__notes__", [])
    assert [("x-amz-trailer" in note, "https" in note) for note in notes] == [(True, True)] * (size > 5)
    assert odd.kinds.count("put") == 2


@pytest.mark.parametrize("engine", CLIENTS, indirect=True)
def test_another_refusal_adds_no_trailer(run: Run) -> None:
    odd = OddS3(get=[honest(MiB)], put=[refused("The storage class is not valid")])

    assert len(run(odd).failed) == 1
    assert odd.kinds.count("put") == 1
