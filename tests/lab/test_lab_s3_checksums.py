"""The checksum that an object keeps and returns: its own, one of all bytes or of the parts, or none."""

import hashlib
import zlib
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import boto3
import pytest
from awscrt.checksums import crc32c
from botocore.exceptions import ClientError

from asyncstream.lab.s3 import LabS3
from asyncstream.lab.s3.checksums import crc64nvme
from asyncstream.lab.server_process import LabError

MIB = 1024 * 1024
DIGESTS: dict[str, Callable[[bytes], bytes]] = {
    "CRC32": lambda data: zlib.crc32(data).to_bytes(4, "big"),
    "CRC32C": lambda data: crc32c(data).to_bytes(4, "big"),
    "CRC64NVME": lambda data: crc64nvme(memoryview(data)).to_bytes(8, "big"),
    "SHA1": lambda data: hashlib.sha1(data).digest(),
    "SHA256": lambda data: hashlib.sha256(data).digest(),
}
PARTS = [b"a" * 5 * MIB, b"b" * 1000]


def value(kind: str, data: bytes) -> str:
    return b64encode(DIGESTS[kind](data)).decode()


def checksum_fields(reply: dict[str, Any]) -> dict[str, str]:
    return {name: found for name, found in reply.items() if name.startswith("Checksum")}


@pytest.fixture(scope="session")
def quiet(client_arguments: Callable[..., dict[str, Any]]) -> Iterator[Any]:
    """Return a client that adds no checksums of its own."""
    settings = {
        "request_checksum_calculation": "when_required",
        "response_checksum_validation": "when_required",
    }
    with closing(boto3.session.Session().client("s3", **client_arguments(**settings))) as client:
        yield client


def create(s3: Any, bucket: str, **asked: str) -> dict[str, str]:
    upload = s3.create_multipart_upload(Bucket=bucket, Key="m", **asked)["UploadId"]
    return {"Bucket": bucket, "Key": "m", "UploadId": upload}


def send_parts(s3: Any, target: dict[str, str]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    replies = [s3.upload_part(**target, PartNumber=n, Body=body) for n, body in enumerate(PARTS, 1)]
    parts = [
        {"PartNumber": n, "ETag": reply["ETag"], **checksum_fields(reply)}
        for n, reply in enumerate(replies, 1)
    ]
    return {**target, "MultipartUpload": {"Parts": parts}}, parts


@pytest.mark.parametrize("kind", DIGESTS)
def test_an_object_keeps_the_one_checksum_it_came_with(quiet: Any, kept: str, kind: str) -> None:
    expected = {f"Checksum{kind}": value(kind, b"hello"), "ChecksumType": "FULL_OBJECT"}
    put = quiet.put_object(Bucket=kept, Key="k", Body=b"hello", **{f"Checksum{kind}": value(kind, b"hello")})
    assert checksum_fields(put) == expected
    for read in (quiet.get_object, quiet.head_object):
        assert checksum_fields(read(Bucket=kept, Key="k", ChecksumMode="ENABLED")) == expected
        assert checksum_fields(read(Bucket=kept, Key="k")) == {}
    assert (
        checksum_fields(quiet.get_object(Bucket=kept, Key="k", ChecksumMode="ENABLED", Range="bytes=0-1"))
        == {}
    )
    (listed,) = quiet.list_objects_v2(Bucket=kept)["Contents"]
    assert (listed["ChecksumAlgorithm"], listed["ChecksumType"]) == ([kind], "FULL_OBJECT")


def test_an_object_that_came_with_none_has_a_crc64nvme(quiet: Any, kept: str) -> None:
    put = quiet.put_object(Bucket=kept, Key="k", Body=b"hello")
    assert checksum_fields(put) == {
        "ChecksumCRC64NVME": value("CRC64NVME", b"hello"),
        "ChecksumType": "FULL_OBJECT",
    }


@pytest.mark.parametrize("kind", [*DIGESTS, None])
def test_declared_objects_have_the_kind_asked_for(
    lab: LabS3, quiet: Any, discarding: str, kind: str | None
) -> None:
    lab.declare(discarding, [("k", 2_500_000), ("empty", 0)], checksum=kind)
    for key in ("k", "empty"):
        reply = quiet.get_object(Bucket=discarding, Key=key, ChecksumMode="ENABLED")
        body = reply["Body"].read()
        expected = {f"Checksum{kind}": value(kind, body), "ChecksumType": "FULL_OBJECT"} if kind else {}
        assert checksum_fields(reply) == expected
    listed = quiet.list_objects_v2(Bucket=discarding)["Contents"]
    assert [each.get("ChecksumAlgorithm") for each in listed] == [[kind] if kind else None] * 2


def test_a_kind_that_s3_does_not_know_is_reported(lab: LabS3, discarding: str) -> None:
    with pytest.raises(LabError, match="CRC16"):
        lab.declare(discarding, [], checksum="CRC16")


@pytest.mark.parametrize("kind", ["CRC32", "CRC32C", "SHA1", "SHA256"])
def test_an_upload_s_checksum_is_one_of_its_parts_checksums(quiet: Any, kept: str, kind: str) -> None:
    target = create(quiet, kept, ChecksumAlgorithm=kind)
    complete, parts = send_parts(quiet, target)
    assert [part[f"Checksum{kind}"] for part in parts] == [value(kind, body) for body in PARTS]
    listed = quiet.list_parts(**target)["Parts"]
    assert [part[f"Checksum{kind}"] for part in listed] == [value(kind, body) for body in PARTS]
    joined = b"".join(b64decode(part[f"Checksum{kind}"]) for part in parts)
    expected = {f"Checksum{kind}": f"{value(kind, joined)}-2", "ChecksumType": "COMPOSITE"}
    wrong = {f"Checksum{kind}": value(kind, b"wrong")}
    with pytest.raises(ClientError, match="BadDigest"):
        quiet.complete_multipart_upload(**complete, **wrong)
    with pytest.raises(ClientError, match="same checksum mode"):
        quiet.complete_multipart_upload(**complete, ChecksumType="FULL_OBJECT")
    with pytest.raises(ClientError, match="InvalidPart"):
        quiet.complete_multipart_upload(**target, MultipartUpload={"Parts": [{**parts[0], **wrong}]})
    assert checksum_fields(quiet.complete_multipart_upload(**complete)) == expected
    assert checksum_fields(quiet.head_object(Bucket=kept, Key="m", ChecksumMode="ENABLED")) == expected


@pytest.mark.parametrize("kind", ["CRC32", "CRC32C", "CRC64NVME", None])
def test_an_upload_s_checksum_is_one_of_all_its_bytes(quiet: Any, kept: str, kind: str | None) -> None:
    asked = {"ChecksumAlgorithm": kind, "ChecksumType": "FULL_OBJECT"} if kind else {}
    kind = kind or "CRC64NVME"
    complete, _ = send_parts(quiet, create(quiet, kept, **asked))
    expected = {f"Checksum{kind}": value(kind, b"".join(PARTS)), "ChecksumType": "FULL_OBJECT"}
    assert checksum_fields(quiet.complete_multipart_upload(**complete, **expected)) == expected
    assert checksum_fields(quiet.head_object(Bucket=kept, Key="m", ChecksumMode="ENABLED")) == expected


@pytest.mark.parametrize(
    ("kind", "checksum_type", "echoed"),
    [
        ("SHA256", None, "COMPOSITE"),
        ("CRC32", None, "COMPOSITE"),
        ("CRC64NVME", None, "FULL_OBJECT"),
        ("CRC32C", "FULL_OBJECT", "FULL_OBJECT"),
        ("SHA256", "FULL_OBJECT", None),
        ("CRC64NVME", "COMPOSITE", None),
        ("MD4", None, None),
    ],
)
def test_an_upload_gets_its_checksum_s_type_or_is_refused(
    quiet: Any, kept: str, kind: str, checksum_type: str | None, echoed: str | None
) -> None:
    asked = {"ChecksumType": checksum_type} if checksum_type else {}
    if echoed is None:
        with pytest.raises(ClientError, match="InvalidRequest"):
            quiet.create_multipart_upload(Bucket=kept, Key="m", ChecksumAlgorithm=kind, **asked)
        return
    reply = quiet.create_multipart_upload(Bucket=kept, Key="m", ChecksumAlgorithm=kind, **asked)
    assert (reply["ChecksumAlgorithm"], reply["ChecksumType"]) == (kind, echoed)


def test_a_bucket_can_know_nothing_of_checksums(lab: LabS3, quiet: Any, kept: str) -> None:
    bucket = f"{kept}-older"
    lab.create_bucket(bucket, keep=True, checksums=False)
    lab.declare(bucket, [("declared", 1000)])
    wrong = {"ChecksumCRC64NVME": value("CRC64NVME", b"wrong")}
    assert checksum_fields(quiet.put_object(Bucket=bucket, Key="k", Body=b"hello", **wrong)) == {}
    upload = quiet.create_multipart_upload(
        Bucket=bucket, Key="m", ChecksumAlgorithm="CRC64NVME", ChecksumType="FULL_OBJECT"
    )
    assert checksum_fields(upload) == {}
    target = {"Bucket": bucket, "Key": "m", "UploadId": upload["UploadId"]}
    assert checksum_fields(quiet.upload_part(**target, PartNumber=3, Body=b"x", **wrong)) == {}
    complete, parts = send_parts(quiet, target)
    assert {name for part in parts for name in part} == {"PartNumber", "ETag"}
    assert {name for part in quiet.list_parts(**target)["Parts"] for name in checksum_fields(part)} == set()
    assert checksum_fields(quiet.complete_multipart_upload(**complete, **wrong)) == {}
    for key in ("declared", "k", "m"):
        assert checksum_fields(quiet.head_object(Bucket=bucket, Key=key, ChecksumMode="ENABLED")) == {}
    assert [
        name for each in quiet.list_objects_v2(Bucket=bucket)["Contents"] for name in checksum_fields(each)
    ] == []
    assert quiet.get_object(Bucket=bucket, Key="m")["Body"].read() == b"".join(PARTS)


def part_info(reply: dict[str, Any]) -> tuple[int, int, str | None, int | None]:
    headers = reply["ResponseMetadata"]["HTTPHeaders"]
    return (
        reply["ResponseMetadata"]["HTTPStatusCode"],
        reply["ContentLength"],
        headers.get("content-range"),
        reply.get("PartsCount"),
    )


@pytest.mark.parametrize("asked", [{"ChecksumAlgorithm": "CRC32"}, {}], ids=["COMPOSITE", "FULL_OBJECT"])
def test_a_part_that_an_object_was_uploaded_in_can_be_asked_for(
    quiet: Any, kept: str, asked: dict[str, Any]
) -> None:
    complete, _ = send_parts(quiet, create(quiet, kept, **asked))
    whole = quiet.complete_multipart_upload(**complete)
    size = sum(map(len, PARTS))
    for number, (body, ranged) in enumerate(
        zip(PARTS, [f"bytes 0-{5 * MIB - 1}/{size}", f"bytes {5 * MIB}-{size - 1}/{size}"], strict=True), 1
    ):
        where = {"Bucket": kept, "Key": "m", "PartNumber": number, "IfMatch": whole["ETag"]}
        head = quiet.head_object(**where, ChecksumMode="ENABLED")
        assert part_info(head) == (206, len(body), ranged, 2)
        assert head["ETag"] == whole["ETag"]
        kind = asked.get("ChecksumAlgorithm", "CRC64NVME")
        assert checksum_fields(head) == {
            f"Checksum{kind}": value(kind, body),
            "ChecksumType": whole["ChecksumType"],
        }
        assert checksum_fields(quiet.head_object(**where)) == {}
        got = quiet.get_object(**where)
        assert part_info(got) == part_info(head)
        assert got["Body"].read() == body
    assert "PartsCount" not in quiet.head_object(Bucket=kept, Key="m")


def test_what_was_uploaded_at_once_is_a_part_of_its_own(quiet: Any, kept: str) -> None:
    quiet.put_object(Bucket=kept, Key="k", Body=b"hello")
    quiet.put_object(Bucket=kept, Key="empty", Body=b"")
    assert part_info(quiet.head_object(Bucket=kept, Key="k", PartNumber=1)) == (206, 5, "bytes 0-4/5", None)
    assert part_info(quiet.head_object(Bucket=kept, Key="empty", PartNumber=1)) == (200, 0, None, None)


def test_parts_that_are_not_there_are_refused(quiet: Any, kept: str) -> None:
    quiet.put_object(Bucket=kept, Key="k", Body=b"hello")
    for number in (0, 2):
        with pytest.raises(ClientError, match="InvalidPartNumber"):
            quiet.get_object(Bucket=kept, Key="k", PartNumber=number)
    with pytest.raises(ClientError, match="416"):
        quiet.head_object(Bucket=kept, Key="k", PartNumber=2)
    with pytest.raises(ClientError, match="Cannot specify both Range header and partNumber"):
        quiet.get_object(Bucket=kept, Key="k", PartNumber=1, Range="bytes=0-1")


@pytest.mark.parametrize("kind", ["CRC32", "CRC32C", "SHA1", "SHA256"])
def test_declared_objects_can_have_been_uploaded_in_parts(
    lab: LabS3, quiet: Any, discarding: str, kind: str
) -> None:
    lab.declare(discarding, [("k", 2_500_000)], checksum=kind, part_size=MIB)
    body = quiet.get_object(Bucket=discarding, Key="k")["Body"].read()
    parts = [body[start : start + MIB] for start in range(0, len(body), MIB)]
    joined = b"".join(DIGESTS[kind](part) for part in parts)
    expected = {f"Checksum{kind}": f"{value(kind, joined)}-3", "ChecksumType": "COMPOSITE"}
    head = quiet.head_object(Bucket=discarding, Key="k", ChecksumMode="ENABLED")
    assert checksum_fields(head) == expected
    assert head["ETag"].endswith('-3"')
    last = quiet.head_object(Bucket=discarding, Key="k", ChecksumMode="ENABLED", PartNumber=3)
    assert part_info(last) == (206, len(parts[2]), f"bytes {2 * MIB}-2499999/2500000", 3)
    assert checksum_fields(last)[f"Checksum{kind}"] == value(kind, parts[2])


@pytest.mark.parametrize(("kind", "part_size"), [("CRC64NVME", MIB), (None, MIB), ("CRC32", 0)])
def test_a_checksum_of_parts_that_s3_does_not_have_is_reported(
    lab: LabS3, discarding: str, kind: str | None, part_size: int
) -> None:
    with pytest.raises(LabError, match="of parts"):
        lab.declare(discarding, [("k", 1)], checksum=kind, part_size=part_size)
