"""The S3 store's checksums: which it sends, which it requests, and which servers have none."""

from collections.abc import Mapping
from typing import Any

import pytest
from msgspec.structs import replace

from asyncstream.checksum import CRC64NVME, Checksum, Composite
from asyncstream.engines.driver import drive
from asyncstream.errors import (
    AccessDenied,
    AsyncstreamError,
    CredentialsExpired,
    S3Error,
    SlowDown,
    SourceChanged,
    SourceNotFound,
)
from asyncstream.objects import ByteRange, CompletedPart, Stored, Written
from asyncstream.pipeline.body import BytesBody
from asyncstream.s3 import requests
from asyncstream.s3.regions import Learned
from asyncstream.s3.sending import SMALL_BODY

from .memory_store import checksum_of
from .test_s3_store import (
    CHUNK,
    CREATED,
    SOURCE,
    TARGET,
    UPLOAD,
    VERIFIED,
    MemoryTransport,
    got,
    store_over,
)

SMALL = b"x" * CHUNK
LARGE = b"x" * (CHUNK + 1)


def written(**more: str) -> MemoryTransport:
    return MemoryTransport(lambda *_: {"ETag": '"1"'} | more)


def checksums(params: Mapping[str, Any]) -> dict[str, str]:
    return {name: value for name, value in params.items() if name.startswith("Checksum")}


def test_a_small_body_carries_its_own_checksum() -> None:
    transport = written()
    store = store_over(transport)

    drive(store.put(TARGET, BytesBody(SMALL), {}, None))
    drive(store.upload_part(VERIFIED, 1, 0, BytesBody(SMALL)))

    own = {"ChecksumCRC64NVME": checksum_of(SMALL).value}
    assert [checksums(params) for _, params, _ in transport.asked] == [own, own]


@pytest.mark.parametrize("kind", [CRC64NVME, "CRC32", "SHA256"])
@pytest.mark.parametrize("content", [SMALL, LARGE])
def test_an_object_is_sent_with_its_sources_checksum(kind: str, content: bytes) -> None:
    """If the source has one, no other is sent: S3 accepts only one."""
    transport = written()

    drive(store_over(transport).put(TARGET, BytesBody(content), {}, Checksum(kind, "its own")))

    [(_, params, _)] = transport.asked
    assert checksums(params) == {f"Checksum{kind}": "its own"}


def test_a_body_not_in_hand_before_its_put_goes_without() -> None:
    transport = written()
    store = store_over(transport)

    drive(store.put(TARGET, BytesBody(LARGE), {}, None))

    assert checksums(transport.asked[0][1]) == {}
    assert [store.sent_at_once(TARGET, length) for length in (0, CHUNK, CHUNK + 1, SMALL_BODY)] == [
        True,
        True,
        False,
        False,
    ]


def test_what_s3_received_is_found_by_its_reply() -> None:
    reply = written(ChecksumCRC64NVME="abc=", ChecksumType="FULL_OBJECT")

    assert drive(store_over(reply).put(TARGET, BytesBody(LARGE), {}, None)) == Written(
        '"1"', Checksum(CRC64NVME, "abc=")
    )
    assert drive(store_over(written()).put(TARGET, BytesBody(LARGE), {}, None)) == Written('"1"', None)


@pytest.mark.parametrize("verify", [True, False])
def test_checksums_are_asked_for_only_if_wanted(verify: bool) -> None:
    """The request for the whole of a source asks for them."""
    transport = MemoryTransport(lambda *_: got() | {"ChecksumCRC32": "abc="})
    opened = drive(store_over(transport, verify=verify).open(SOURCE, None, None))

    assert ("ChecksumMode" in transport.asked[0][1]) == verify
    assert opened.checksum == Checksum("CRC32", "abc=")
    assert not opened.range_asked


def test_a_multipart_source_has_the_checksum_of_its_parts() -> None:
    transport = MemoryTransport(lambda *_: got() | {"ChecksumCRC32": "abc=-3"})

    opened = drive(store_over(transport).open(SOURCE, None, None))

    assert (opened.checksum, opened.composite) == (None, Composite("CRC32", "abc=-3"))


@pytest.mark.parametrize("value", ["abc=", "abc=-3"])
def test_a_checksum_shown_with_a_range_is_none_of_the_whole(value: str) -> None:
    transport = MemoryTransport(lambda *_: got(100, ByteRange(10, 20)) | {"ChecksumCRC32": value})

    opened = drive(store_over(transport).open(SOURCE, ByteRange(10, 20), None))

    assert (opened.checksum, opened.composite) == (None, None)
    assert opened.range_asked


HEAD = {"ContentLength": 12, "ETag": '"1"', "ChecksumCRC64NVME": "abc="}


def test_a_head_returns_what_a_source_or_a_destination_has() -> None:
    transport = MemoryTransport(lambda *_: HEAD)
    store = store_over(transport)
    there = Stored(12, '"1"', Checksum(CRC64NVME, "abc="))

    assert drive(store.head(SOURCE, '"1"')) == there
    assert drive(store.find(TARGET)) == there
    assert [(name, params["Bucket"], params.get("IfMatch")) for name, params, _ in transport.asked] == [
        ("HeadObject", "raw", '"1"'),
        ("HeadObject", "clean", None),
    ]


@pytest.mark.parametrize("refuses", [True, False], ids=["412", "If-Match ignored"])
def test_a_head_of_a_source_that_was_overwritten_says_so(refuses: bool) -> None:
    def answer(*_: object) -> dict[str, Any]:
        if refuses:
            raise S3Error("no", "412", 412)
        return HEAD

    with pytest.raises(SourceChanged):
        drive(store_over(MemoryTransport(answer)).head(SOURCE, '"of before"'))
    assert drive(store_over(MemoryTransport(answer)).part_size(SOURCE, '"of before"', 1)) is None


def test_the_size_of_a_part_is_asked_for_by_its_number() -> None:
    transport = MemoryTransport(lambda *_: HEAD)

    assert drive(store_over(transport).part_size(SOURCE, '"1"', 7)) == 12
    [(operation, params, _)] = transport.asked
    assert operation == "HeadObject"
    assert params == {"Bucket": "raw", "Key": "a", "IfMatch": '"1"', "PartNumber": 7}


@pytest.mark.parametrize(
    "error",
    [*(S3Error("no", str(n), n) for n in (400, 412, 416)), SourceNotFound("404"), AccessDenied("403")],
)
def test_a_server_without_part_numbers_gives_no_size(error: AsyncstreamError) -> None:
    def answer(*_: object) -> dict[str, Any]:
        raise error

    assert drive(store_over(MemoryTransport(answer)).part_size(SOURCE, '"1"', 1)) is None


def test_a_throttled_request_for_a_part_size_may_be_repeated() -> None:
    def answer(*_: object) -> dict[str, Any]:
        raise SlowDown("503")

    with pytest.raises(SlowDown):
        drive(store_over(MemoryTransport(answer)).part_size(SOURCE, '"1"', 1))


def test_a_missing_object_is_not_found_and_a_denied_one_fails() -> None:
    def missing(*_: object) -> dict[str, Any]:
        raise SourceNotFound("404")

    def denied(*_: object) -> dict[str, Any]:
        raise AccessDenied("403")

    assert drive(store_over(MemoryTransport(missing)).find(TARGET)) is None
    with pytest.raises(AccessDenied):
        drive(store_over(MemoryTransport(denied)).find(TARGET))


def asks_for_verification(params: Mapping[str, Any]) -> bool:
    return params.items() >= requests.verified_upload_params(CRC64NVME).items()


@pytest.mark.parametrize("echo", [{}, {"ChecksumAlgorithm": "CRC32"}])
def test_a_server_that_echoes_no_algorithm_is_asked_once(echo: dict[str, str]) -> None:
    transport = MemoryTransport(lambda *_: {"UploadId": "id"} | echo)
    learned = Learned()

    assert drive(store_over(transport, learned).create_upload(TARGET, {})) == UPLOAD
    assert drive(store_over(transport, learned).create_upload(TARGET, {})) == UPLOAD

    assert [asks_for_verification(params) for _, params, _ in transport.asked] == [True, False]
    assert learned.lacking == {(TARGET.bucket, CRC64NVME)}


@pytest.mark.parametrize("code", ["NotImplemented", "InvalidArgument", "InvalidRequest"])
def test_a_server_that_refuses_the_algorithm_gets_none(code: str) -> None:
    """Its uploads are created without one."""

    def answer(_: str, params: Mapping[str, Any], __: str | None) -> dict[str, Any]:
        if asks_for_verification(params):
            raise S3Error("unknown", code, 501)
        return {"UploadId": "id"}

    transport = MemoryTransport(answer)
    store = store_over(transport)

    assert drive(store.create_upload(TARGET, {})) == UPLOAD
    assert drive(store.create_upload(TARGET, {})) == UPLOAD
    assert [asks_for_verification(params) for _, params, _ in transport.asked] == [True, False, False]
    assert not store.verifies(TARGET)
    assert store.verifies(replace(TARGET, bucket="another-bucket"))


def test_an_upload_refused_either_way_teaches_nothing() -> None:
    """It is refused with the algorithm and without, so something else in the request was wrong."""

    def answer(*_: object) -> dict[str, Any]:
        raise S3Error("an unknown storage class", "InvalidArgument", 400)

    transport = MemoryTransport(answer)
    store = store_over(transport)

    with pytest.raises(S3Error):
        drive(store.create_upload(TARGET, {}))
    assert len(transport.asked) == 2
    assert store.verifies(TARGET)


def test_an_upload_refused_for_another_reason_is_not_repeated() -> None:
    def answer(*_: object) -> dict[str, Any]:
        raise S3Error("no", "Teapot", 418)

    transport = MemoryTransport(answer)
    with pytest.raises(S3Error):
        drive(store_over(transport).create_upload(TARGET, {}))
    assert len(transport.asked) == 1


@pytest.mark.parametrize("reply", [{}, {"ChecksumCRC32": "abc="}])
def test_a_server_that_checks_no_part_is_found_out_by_the_first(reply: dict[str, str]) -> None:
    """The server repeats the algorithm and does not return the checksum of a part."""
    answers = {"CreateMultipartUpload": CREATED, "UploadPart": {"ETag": '"p"'} | reply}
    transport = MemoryTransport(lambda operation, *_: answers[operation])
    store = store_over(transport)
    upload = drive(store.create_upload(TARGET, {}))
    assert upload == VERIFIED

    drive(store.upload_part(upload, 1, 0, BytesBody(LARGE)))

    assert not store.verifies(TARGET)
    assert drive(store.create_upload(TARGET, {})) == UPLOAD


def test_a_server_that_verifies_nothing_is_sent_no_checksums() -> None:
    transport = written()
    store = store_over(transport, Learned(lacking={(TARGET.bucket, CRC64NVME)}))

    drive(store.put(TARGET, BytesBody(SMALL), {}, None))
    drive(store.upload_part(UPLOAD, 1, 0, BytesBody(SMALL)))
    drive(store.complete_upload(UPLOAD, [CompletedPart(1, '"1"', CHUNK, {})], None))

    assert [checksums(params) for _, params, _ in transport.asked] == [{}, {}, {}]


def test_with_verification_off_an_upload_is_ordinary() -> None:
    transport = MemoryTransport(lambda *_: {"UploadId": "id"})
    store = store_over(transport, verify=False)

    assert drive(store.create_upload(TARGET, {})) == UPLOAD
    assert not asks_for_verification(transport.asked[0][1])
    assert store.verifies(TARGET)  # the store learned nothing


def test_expired_credentials_are_renewed_before_the_next_try() -> None:
    expired = CredentialsExpired("ExpiredToken")

    def answer(*_: object) -> dict[str, Any]:
        if len(transport.asked) == 1:
            raise expired
        return got()

    transport = MemoryTransport(answer)
    store = store_over(transport)

    with pytest.raises(CredentialsExpired) as raised:
        drive(store.open(SOURCE, None, None))
    assert raised.value is expired
    drive(store.open(SOURCE, None, None))
    assert [operation for operation, _, _ in transport.asked] == ["GetObject", "renew", "GetObject"]
