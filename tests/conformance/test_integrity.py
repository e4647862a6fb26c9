"""Bytes are compared with S3's own checksums: the source's as it is read, the destination's as it is written.

A source has a checksum of all its bytes, or a checksum of the checksums of its uploaded parts. A byte that
changes on the way here stays unnoticed in three cases; `read_verified` is then None:

- The source has no checksum.
- The source has only a hash (SHA1, SHA256) and is read in several ranges: the whole hash does not follow from
  the ranges' hashes.
- The source was uploaded in parts of different sizes: S3 does not say where they end.
"""

import io
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from asyncstream import KiB, MiB, S3Object, S3Prefix, TransferConfig
from asyncstream.errors import ChecksumMismatch
from asyncstream.lab.s3 import LabS3
from asyncstream.lab.s3.faults import Fault
from asyncstream.ports import TimeLeft, for_ever
from tests.servers import Bucket, content

from .faulty_transport import FaultyTransport
from .fixture_types import Copy, NewSession, Pairs, WrapTransport

Files = Callable[..., list[tuple[S3Object, S3Object]]]

on_the_lab = pytest.mark.parametrize("server", ["lab"], indirect=True)

CRCS = ["CRC64NVME", "CRC32", "CRC32C"]
HASHES = ["SHA1", "SHA256"]
NEWER = ["MD5", "SHA512", "XXHASH64", "XXHASH3", "XXHASH128"]  # S3 has them since 2026
SMALL = 1000  # the client sends it as bytes, with its checksum
MEDIUM = 1 * MiB
LARGE = 11 * MiB  # three parts in a multipart upload
SIZES = pytest.mark.parametrize(
    ("size", "multipart"),
    [(SMALL, False), (MEDIUM, False), (LARGE, True)],
    ids=["small PUT", "PUT", "multipart"],
)
# Cases in which the client can compare the bytes with the source's checksum.
COMPARED = pytest.mark.parametrize(
    ("kind", "size", "multipart"),
    [
        *((kind, size, False) for kind in [*CRCS, *HASHES] for size in [SMALL, MEDIUM]),
        *((kind, LARGE, True) for kind in CRCS),
    ],
)

# The pipeline computes checksums, in the same way for every engine.
of_any_kind = pytest.mark.varied("kind", engine="threads")


@pytest.fixture
def files(lab: LabS3, bucket: Bucket, pairs: Pairs) -> Files:
    """Declare a source with a checksum of the given kind: with `part_size`, of its parts' checksums."""

    def files(
        size: int, kind: str | None, name: str = "file", part_size: int | None = None
    ) -> list[tuple[S3Object, S3Object]]:
        lab.declare(bucket.name, [(name, size)], checksum=kind, part_size=part_size)
        return pairs(name)

    return files


def is_copied(lab: LabS3, bucket: Bucket, name: str = "file") -> bool:
    """Return whether the copy exists; assert that it equals the source."""
    lab.set_faults([])
    stored = lab.checksums(bucket.name)
    assert bucket.uploads() == []
    if (copy := stored.get(f"copies/{name}")) is None:
        return False
    source = stored[name]
    assert (copy.size, copy.crc64nvme) == (source.size, source.crc64nvme)
    return True


@on_the_lab
@SIZES
@pytest.mark.parametrize("kind", [*CRCS, *HASHES, None])
def test_a_result_tells_by_which_checksums_it_was_verified(
    copy: Copy, lab: LabS3, bucket: Bucket, files: Files, kind: str | None, size: int, multipart: bool
) -> None:
    report = copy(files(size, kind), multipart=multipart)
    report.raise_for_failures()
    [result] = report.files
    assert result.read_verified == (None if multipart and kind in HASHES else kind)
    # A single PUT sends the source's own checksum; parts and sources without a checksum get CRC64NVME.
    assert result.write_verified == ("CRC64NVME" if multipart or kind is None else kind)
    assert report.unverified == []
    assert result.restarted is None
    assert "HeadObject" not in report.requests
    assert is_copied(lab, bucket)


@on_the_lab
@SIZES
@pytest.mark.parametrize("kind", NEWER)
def test_newer_checksums_are_compared_and_not_declared(
    copy: Copy, lab: LabS3, bucket: Bucket, files: Files, kind: str, size: int, multipart: bool
) -> None:
    """The destination may be a server that does not know them."""
    report = copy(files(size, kind), multipart=multipart)
    report.raise_for_failures()
    assert report.files[0].read_verified == (None if multipart else kind)
    assert report.files[0].write_verified == "CRC64NVME"
    assert is_copied(lab, bucket)


@on_the_lab
@pytest.mark.parametrize("kind", NEWER)
def test_a_newer_checksum_of_other_bytes_is_a_mismatch(
    copy: Copy, lab: LabS3, bucket: Bucket, files: Files, kind: str
) -> None:
    pair = files(MEDIUM, kind)
    lab.set_faults([Fault("wrong-byte", "GetObject", at=0.2)])
    [result] = copy(pair).files
    assert isinstance(result.error, ChecksumMismatch)
    assert not is_copied(lab, bucket)


@on_the_lab
@COMPARED
@of_any_kind
def test_a_byte_changed_on_download_once_is_read_again(
    copy: Copy, lab: LabS3, bucket: Bucket, files: Files, kind: str, size: int, multipart: bool
) -> None:
    pair = files(size, kind)
    lab.set_faults([Fault("wrong-byte", "GetObject", times=[1], at=0.2)])
    report = copy(pair, multipart=multipart)
    report.raise_for_failures()
    assert lab.faults_struck() == [1]
    # The client cannot tell which part was wrong, so it reads all parts again.
    assert bool(report.files[0].restarted) == multipart
    assert report.files[0].attempts == (6 if multipart else 2)
    assert is_copied(lab, bucket)


@on_the_lab
@COMPARED
@of_any_kind
def test_wrong_bytes_on_every_download_never_become_visible(
    copy: Copy, lab: LabS3, bucket: Bucket, files: Files, kind: str, size: int, multipart: bool
) -> None:
    """The file fails with a checksum mismatch."""
    pair = files(size, kind)
    lab.set_faults([Fault("wrong-byte", "GetObject", at=0.2)])
    [result] = copy(pair, multipart=multipart).files
    assert isinstance(result.error, ChecksumMismatch)
    assert result.read_verified is None
    assert "visible" not in str(result.error)
    assert not is_copied(lab, bucket)


@on_the_lab
@SIZES
@pytest.mark.parametrize("kind", [*CRCS, *HASHES, None])
@pytest.mark.parametrize("times", [[1], None], ids=["once", "always"])
@of_any_kind
def test_a_wrong_byte_on_upload_is_caught_before_it_is_visible(
    copy: Copy,
    lab: LabS3,
    bucket: Bucket,
    files: Files,
    kind: str | None,
    size: int,
    multipart: bool,
    times: list[int] | None,
) -> None:
    """The source's checksum does not matter."""
    pair = files(size, kind)
    faults = [Fault("wrong-byte", operation, times=times) for operation in ("PutObject", "UploadPart")]
    lab.set_faults(faults)
    [result] = copy(pair, multipart=multipart).files
    assert sum(lab.faults_struck()) >= 1
    assert is_copied(lab, bucket) == (times is not None)
    if times is None:
        assert isinstance(result.error, ChecksumMismatch)
        assert "visible" not in str(result.error)
        assert result.write_verified is None
    else:
        assert result.error is None
        assert result.restarted is None  # only that part is sent again
        assert result.write_verified is not None


@on_the_lab
@pytest.mark.parametrize("kind", ["CRC32", "SHA256"])
def test_a_body_resumed_over_a_new_connection_is_compared_whole(
    copy: Copy, lab: LabS3, bucket: Bucket, files: Files, kind: str
) -> None:
    """The connection breaks, and the bytes over the next connection have a wrong byte."""
    pair = files(MEDIUM, kind)
    lab.set_faults([Fault("truncate", "GetObject", times=[1]), Fault("wrong-byte", "GetObject", times=[2])])
    report = copy(pair)
    report.raise_for_failures()
    assert lab.faults_struck() == [1, 1]
    assert report.files[0].attempts == 3
    assert report.files[0].read_verified == kind
    assert is_copied(lab, bucket)


@on_the_lab
def test_verify_after_says_that_a_wrong_copy_is_visible(
    copy: Copy, lab: LabS3, bucket: Bucket, files: Files
) -> None:
    """A byte is changed on every upload."""
    pair = files(MEDIUM, None)
    lab.set_faults([Fault("wrong-byte", "PutObject")])
    [result] = copy(pair, verify="after").files
    lab.set_faults([])
    assert isinstance(result.error, ChecksumMismatch)
    assert f"s3://{bucket.name}/copies/file" in str(result.error)
    assert "It is visible until it is overwritten" in str(result.error)
    stored = lab.checksums(bucket.name)
    assert stored["copies/file"].crc64nvme != stored["file"].crc64nvme


@on_the_lab
def test_verify_after_overwrites_a_wrong_copy(copy: Copy, lab: LabS3, bucket: Bucket, files: Files) -> None:
    """A byte is changed on the first upload."""
    pair = files(MEDIUM, None)
    lab.set_faults([Fault("wrong-byte", "PutObject", times=[1])])
    report = copy(pair, verify="after")
    report.raise_for_failures()
    assert report.files[0].write_verified == "CRC64NVME"
    assert is_copied(lab, bucket)


# A source uploaded in parts. The copy reads one range, or three of 5, 5 and 1 MiB that end elsewhere.
UPLOADED = pytest.mark.parametrize(
    ("kind", "part_size", "multipart"),
    [
        *((kind, 3 * MiB, False) for kind in ["CRC32", "SHA256"]),
        *(("CRC32", part_size, True) for part_size in [700 * KiB, 3 * MiB, 8 * MiB]),
    ],
)


@on_the_lab
@pytest.mark.parametrize("multipart", [False, True])
def test_a_boto3_upload_is_compared_with_its_part_checksums(
    copy: Copy, lab: LabS3, bucket: Bucket, pairs: Pairs, multipart: bool
) -> None:
    """boto3 uploads parts of 8 MiB each by default."""
    bucket.client.upload_fileobj(io.BytesIO(content(19 * MiB)), bucket.name, "file")
    told = bucket.client.head_object(Bucket=bucket.name, Key="file", ChecksumMode="ENABLED")
    assert (told["ChecksumType"], told["ChecksumCRC32"][-2:]) == ("COMPOSITE", "-3")

    report = copy(pairs("file"), multipart=multipart)
    report.raise_for_failures()
    [result] = report.files
    assert (result.read_verified, result.write_verified) == ("CRC32", "CRC64NVME")
    assert report.requests["HeadObject"] == 2  # the sizes of the last part and of the first
    assert is_copied(lab, bucket)


@on_the_lab
@UPLOADED
def test_a_multipart_source_is_compared_with_its_part_checksums(
    copy: Copy, lab: LabS3, bucket: Bucket, files: Files, kind: str, part_size: int, multipart: bool
) -> None:
    report = copy(files(LARGE, kind, part_size=part_size), multipart=multipart)
    report.raise_for_failures()
    [result] = report.files
    assert (result.read_verified, result.write_verified) == (kind, "CRC64NVME")
    assert result.restarted is None
    assert is_copied(lab, bucket)


@on_the_lab
@pytest.mark.parametrize("multipart", [False, True])
def test_a_multipart_source_read_wrong_once_is_read_again(
    copy: Copy, lab: LabS3, bucket: Bucket, files: Files, multipart: bool
) -> None:
    """One byte is changed on the first download."""
    pair = files(LARGE, "CRC32", part_size=3 * MiB)
    lab.set_faults([Fault("wrong-byte", "GetObject", times=[1], at=0.2)])
    report = copy(pair, multipart=multipart)
    report.raise_for_failures()
    assert lab.faults_struck() == [1]
    assert bool(report.files[0].restarted) == multipart
    assert report.files[0].read_verified == "CRC32"
    assert is_copied(lab, bucket)


@on_the_lab
@pytest.mark.parametrize("multipart", [False, True])
@pytest.mark.parametrize("verify", ["before", "after"])
def test_a_multipart_source_always_read_wrong_is_never_visible(
    copy: Copy, lab: LabS3, bucket: Bucket, files: Files, multipart: bool, verify: str
) -> None:
    """A byte is changed on every download, and the file fails with a checksum mismatch."""
    pair = files(LARGE, "CRC32", part_size=3 * MiB)
    lab.set_faults([Fault("wrong-byte", "GetObject", at=0.2)])
    [result] = copy(pair, multipart=multipart, verify=verify).files
    assert isinstance(result.error, ChecksumMismatch)
    assert "visible" not in str(result.error)
    assert not is_copied(lab, bucket)


@on_the_lab
def test_a_listed_multipart_source_is_asked_for_its_checksum(
    copy: Copy, lab: LabS3, bucket: Bucket, files: Files
) -> None:
    """A HEAD asks for it before the parts are read.

    With a known size, the reply to the first range has no checksum.
    """
    files(LARGE, "CRC32", part_size=3 * MiB, name="in/file")
    prefixes = [(S3Prefix(bucket.name, "in/"), S3Prefix(bucket.name, "copies/in/"))]
    report = copy(prefixes, multipart=True)
    report.raise_for_failures()
    assert report.files[0].read_verified == "CRC32"
    assert report.requests["HeadObject"] == 3
    assert is_copied(lab, bucket, "in/file")


@on_the_lab
@pytest.mark.parametrize("multipart", [False, True])
@pytest.mark.parametrize("sizes", [(6, 7, 5), (6, 5, 6, 5)], ids=str)
def test_a_source_of_unequal_parts_is_copied_unverified(
    copy: Copy, lab: LabS3, bucket: Bucket, pairs: Pairs, multipart: bool, sizes: tuple[int, ...]
) -> None:
    """This includes 6 + 7 + 5 MiB: as many parts as if all were as large as the first."""
    where = {"Bucket": bucket.name, "Key": "file"}
    where["UploadId"] = bucket.client.create_multipart_upload(**where, ChecksumAlgorithm="CRC32")["UploadId"]
    parts = []
    for number, size in enumerate(sizes, 1):
        reply = bucket.client.upload_part(**where, PartNumber=number, Body=content(size * MiB))
        told = {name: reply[name] for name in ("ETag", "ChecksumCRC32")}
        parts.append({"PartNumber": number, **told})
    bucket.client.complete_multipart_upload(**where, MultipartUpload={"Parts": parts})

    report = copy(pairs("file"), multipart=multipart)
    report.raise_for_failures()
    [result] = report.files
    assert (result.read_verified, result.write_verified) == (None, "CRC64NVME")
    assert is_copied(lab, bucket)


class RecordingTransport(FaultyTransport):
    """Records each request."""

    faults = ()
    asked: list[tuple[str, dict[str, Any]]]

    async def call(
        self, operation: str, params: Mapping[str, Any], region: str | None, left: TimeLeft = for_ever
    ) -> dict[str, Any]:
        self.asked.append((operation, {**params, "Body": None}))
        return await super().call(operation, params, region, left)


@pytest.fixture
def asked(wrap_transport: WrapTransport) -> list[tuple[str, dict[str, Any]]]:
    RecordingTransport.asked = []
    wrap_transport(RecordingTransport)
    return RecordingTransport.asked


@on_the_lab
@SIZES
def test_unverified_no_question_is_asked_and_no_checksum_sent(
    new_session: NewSession,
    asked: list[tuple[str, dict[str, Any]]],
    lab: LabS3,
    bucket: Bucket,
    files: Files,
    size: int,
    multipart: bool,
) -> None:
    config = TransferConfig(verify="off", multipart=multipart, part_size=5 * MiB)
    report = new_session().transfer(files(size, "CRC64NVME"), config)
    report.raise_for_failures()
    assert "HeadObject" not in report.requests
    assert [name for _, params in asked for name in params if "Checksum" in name] == []
    assert (report.files[0].read_verified, report.files[0].write_verified) == (None, None)
    assert is_copied(lab, bucket)


@on_the_lab
@pytest.mark.parametrize("size", [SMALL, MEDIUM])
def test_a_checksum_of_parts_is_not_sent_as_one_of_the_whole(
    new_session: NewSession,
    asked: list[tuple[str, dict[str, Any]]],
    lab: LabS3,
    bucket: Bucket,
    files: Files,
    size: int,
) -> None:
    pair = files(size, "CRC32", part_size=400 * KiB)
    report = new_session().transfer(pair, TransferConfig(verify="after"))
    report.raise_for_failures()
    [put] = [params for operation, params in asked if operation == "PutObject"]
    assert "ChecksumCRC32" not in put
    assert report.files[0].read_verified == "CRC32"
    assert is_copied(lab, bucket)


@on_the_lab
@pytest.mark.parametrize(
    ("size", "verify", "writes"),
    [
        (128 * KiB, "before", ["PutObject"]),
        (128 * KiB + 1, "before", ["CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload"]),
        (128 * KiB + 1, "after", ["PutObject"]),
        (128 * KiB + 1, "off", ["PutObject"]),
    ],
)
def test_without_a_source_checksum_complete_shows_the_copy(
    new_session: NewSession,
    lab: LabS3,
    bucket: Bucket,
    files: Files,
    size: int,
    verify: Any,
    writes: list[str],
) -> None:
    """A small file needs one PutObject, and so does a file that is not verified before it is visible."""
    report = new_session().transfer(files(size, None), TransferConfig(verify=verify))
    report.raise_for_failures()
    assert report.requests == dict.fromkeys(["GetObject", *writes], 1)
    assert report.files[0].read_verified is None
    assert report.files[0].write_verified == (None if verify == "off" else "CRC64NVME")
    assert is_copied(lab, bucket)


@on_the_lab
@SIZES
@pytest.mark.parametrize("kind", ["CRC64NVME", None])
def test_a_copy_to_a_store_without_checksums_is_unverified(
    new_session: NewSession,
    lab: LabS3,
    bucket: Bucket,
    files: Files,
    kind: str | None,
    size: int,
    multipart: bool,
) -> None:
    """The copy succeeds, and its result says so.

    A byte changed on the way there stays unnoticed: only the connection protects it.
    """
    old = f"{bucket.name}-old"
    lab.create_bucket(old, keep=False, checksums=False)
    [(source, _)] = files(size, kind)
    config = TransferConfig(multipart=multipart, part_size=5 * MiB)
    report = new_session().transfer([(source, S3Object(old, "copy"))], config)
    report.raise_for_failures()
    assert report.unverified == list(report.files)
    assert report.files[0].read_verified == kind
    assert lab.checksums(old)["copy"].crc64nvme == lab.checksums(bucket.name)["file"].crc64nvme


@on_the_lab
def test_that_a_destination_verifies_nothing_is_learned_once(
    new_session: NewSession, lab: LabS3, bucket: Bucket, files: Files
) -> None:
    old = f"{bucket.name}-old"
    lab.create_bucket(old, keep=False, checksums=False)
    [(source, _)] = files(MEDIUM, None)
    session = new_session()
    sent = []
    for name in ("first", "second"):
        report = session.transfer([(source, S3Object(old, name))])
        report.raise_for_failures()
        sent.append(report.requests)
    assert sent[0]["CompleteMultipartUpload"] == 1
    assert sent[1] == {"GetObject": 1, "PutObject": 1}


@pytest.mark.parametrize("server", ["moto", "rclone"], indirect=True)
@pytest.mark.parametrize("multipart", [False, True])
def test_servers_without_crc64nvme_get_unverified_copies(
    new_session: NewSession, bucket: Bucket, pairs: Pairs, multipart: bool
) -> None:
    """The report lists them as unverified."""
    body = content(6 * MiB)
    bucket.put("file", body)
    session = new_session()
    config = TransferConfig(multipart=multipart, part_size=5 * MiB)
    sent = []
    for _ in range(2):
        report = session.transfer(pairs("file"), config)
        report.raise_for_failures()
        assert report.unverified == list(report.files)
        assert bucket.get("copies/file") == body
        sent.append(report.requests)
    assert multipart or sent[1] == {"GetObject": 1, "PutObject": 1}
    assert bucket.uploads() == []


@pytest.mark.parametrize("server", ["moto", "rclone"], indirect=True)
@pytest.mark.parametrize("multipart", [False, True])
def test_servers_that_hide_part_sizes_get_unverified_copies(
    copy: Copy, bucket: Bucket, pairs: Pairs, multipart: bool
) -> None:
    body = content(9 * MiB)
    bucket.client.upload_fileobj(io.BytesIO(body), bucket.name, "file")
    report = copy(pairs("file"), multipart=multipart)
    report.raise_for_failures()
    assert report.files[0].read_verified is None
    assert bucket.get("copies/file") == body
