"""The S3 store over an in-memory transport: learned regions, pinned sources, sent bodies."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from asyncstream.checksum import CRC64NVME, Checksum, Digests
from asyncstream.deadline import Deadline
from asyncstream.engines.driver import drive
from asyncstream.errors import (
    AsyncstreamError,
    ConnectionFailed,
    DestinationExists,
    S3Error,
    SourceChanged,
    TruncatedBody,
    UploadGone,
    WrongRegion,
)
from asyncstream.locations import S3Object, S3Prefix
from asyncstream.objects import ByteRange, CompletedPart, ListedObject, MultipartUpload, Written
from asyncstream.pipeline.body import BytesBody
from asyncstream.ports import TimeLeft, for_ever
from asyncstream.s3 import requests
from asyncstream.s3.destination import S3Destination
from asyncstream.s3.regions import Learned
from asyncstream.s3.sending import SMALL_BODY
from asyncstream.s3.source import S3Source

SOURCE = S3Object("raw", "a")
TARGET = S3Object("clean", "b")
UPLOAD = MultipartUpload(TARGET, "id")
VERIFIED = MultipartUpload(TARGET, "id", verified=True)
CREATED = {"UploadId": "id", "ChecksumAlgorithm": CRC64NVME, "ChecksumType": "FULL_OBJECT"}
CHUNK = 8


class Stream:
    closed = False

    async def read(self) -> bytes:
        return b""

    async def close(self) -> None:
        self.closed = True


class MemoryTransport:
    """Answers from a function, and records the requests."""

    slot_bytes = 1000
    is_aws = False

    def __init__(self, answer: Callable[[str, Mapping[str, Any], str | None], dict[str, Any]]) -> None:
        self._answer = answer
        self.asked: list[tuple[str, Mapping[str, Any], str | None]] = []
        self.streams: list[Stream] = []

    async def call(
        self, operation: str, params: Mapping[str, Any], region: str | None, left: TimeLeft = for_ever
    ) -> dict[str, Any]:
        self.asked.append((operation, params, region))
        return self._answer(operation, params, region)

    def stream(self, body: Any, length: int, left: TimeLeft = for_ever) -> Stream:
        self.streams.append(Stream())
        return self.streams[-1]

    renewals = 0

    async def renew(self, renewals: int) -> None:
        self.asked.append(("renew", {}, None))

    async def close(self) -> None:
        """Nothing is open."""


class S3Ends(S3Source, S3Destination):
    """Both ends over one transport."""


def store_over(transport: MemoryTransport, learned: Learned | None = None, *, verify: bool = True) -> S3Ends:
    return S3Ends(transport, CHUNK, {}, learned or Learned(), verify=verify)


def got(size: int = 100, range_: ByteRange | None = None, etag: str = '"1"') -> dict[str, Any]:
    found = range_ or ByteRange(0, size)
    header = {"ContentRange": f"bytes {found.start}-{found.stop - 1}/{size}"} if range_ else {}
    return {"ETag": etag, "Body": object(), "ContentLength": found.length, "ContentType": "text/csv"} | header


def test_after_the_deadline_a_lost_complete_can_be_looked_up() -> None:
    """Complete ends early enough to leave time to look up its result and to abort the upload."""
    left: dict[str, float] = {}

    class Timed(MemoryTransport):
        async def call(
            self, operation: str, params: Mapping[str, Any], region: str | None, left_: TimeLeft = for_ever
        ) -> dict[str, Any]:
            left[operation] = left_()
            return {"ETag": '"1"', "ContentLength": 1, "UploadId": "id"}

    deadline = Deadline(4.0, lambda: 0.0)  # plus 0.25 s for replies, and 1 s for requests that end uploads
    store = S3Ends(Timed(lambda *_: {}), CHUNK, {}, Learned(), deadline=deadline)
    drive(store.complete_upload(UPLOAD, [], None))
    drive(store.list_parts(UPLOAD, None))
    drive(store.find(TARGET))
    drive(store.abort_upload(UPLOAD))

    later = dict.fromkeys(["ListParts", "AbortMultipartUpload"], 5.0)
    assert left == {"CompleteMultipartUpload": 4.25, "HeadObject": 4.25, **later}


def test_after_a_redirect_stores_ask_the_buckets_region() -> None:
    """Stores opened later ask it at once."""

    def answer(_: str, params: Mapping[str, Any], region: str | None) -> dict[str, Any]:
        if params["Bucket"] == "raw" and region != "eu-west-1":
            raise WrongRegion("elsewhere", "eu-west-1")
        return {"ETag": '"1"'} | got()

    transport = MemoryTransport(answer)
    learned = Learned()
    store = store_over(transport, learned)

    drive(store.open(SOURCE, None, None))
    drive(store.put(TARGET, BytesBody(b"x"), {}, None))
    drive(store_over(transport, learned).open(SOURCE, None, None))

    assert [(params["Bucket"], region) for _, params, region in transport.asked] == [
        ("raw", None),
        ("raw", "eu-west-1"),
        ("clean", None),  # each bucket has its own region
        ("raw", "eu-west-1"),
    ]


def test_a_streamed_body_for_the_wrong_region_is_restarted() -> None:
    """Its bytes are gone, so the part is retried from its start, and the retry knows the region."""

    def answer(_: str, __: Mapping[str, Any], region: str | None) -> dict[str, Any]:
        if region is None:
            raise WrongRegion("elsewhere", "eu-west-1")
        return {"ETag": '"1"'}

    transport = MemoryTransport(answer)
    store = store_over(transport)
    large = b"x" * (SMALL_BODY + 1)

    with pytest.raises(WrongRegion) as raised:
        drive(store.put(TARGET, BytesBody(large), {}, None))
    drive(store.put(TARGET, BytesBody(large), {}, None))

    assert raised.value.retryable
    assert [region for _, _, region in transport.asked] == [None, "eu-west-1"]


def test_requests_are_counted_by_operation_those_refused_too() -> None:
    def answer(operation: str, _: Mapping[str, Any], __: str | None) -> dict[str, Any]:
        if operation == "PutObject":
            raise ConnectionFailed("reset")
        return got()

    store = store_over(MemoryTransport(answer))
    drive(store.open(SOURCE, None, None))
    drive(store.open(SOURCE, None, None))
    with pytest.raises(ConnectionFailed):
        drive(store.put(TARGET, BytesBody(b""), {}, None))

    assert store.requests == {"GetObject": 2, "PutObject": 1}


def test_an_open_source_has_size_etag_range_and_attributes() -> None:
    transport = MemoryTransport(lambda *_: got(100, ByteRange(10, 20)))

    opened = drive(store_over(transport).open(SOURCE, ByteRange(10, 20), None))

    assert (opened.size, opened.etag, opened.range) == (100, '"1"', ByteRange(10, 20))
    assert opened.attributes == {"ContentType": "text/csv"}
    assert opened.stream is transport.streams[0]
    assert not transport.streams[0].closed


@pytest.mark.parametrize(
    ("reply", "error"),
    [(got(etag='"2"', range_=ByteRange(10, 20)), SourceChanged), (got(), S3Error)],
    ids=["If-Match ignored", "Range ignored"],
)
def test_a_reply_that_is_not_what_was_asked_for_is_closed(
    reply: dict[str, Any], error: type[Exception]
) -> None:
    transport = MemoryTransport(lambda *_: reply)

    with pytest.raises(error):
        drive(store_over(transport).open(SOURCE, ByteRange(10, 20), '"1"'))
    assert transport.streams[0].closed


def test_a_pin_that_s3_refuses_means_that_the_source_changed() -> None:
    refused = S3Error("no", "PreconditionFailed", 412)

    def answer(*_: object) -> dict[str, Any]:
        raise refused

    store = store_over(MemoryTransport(answer))

    with pytest.raises(SourceChanged, match=r's3://raw/a was overwritten.*"1"') as changed:
        drive(store.open(SOURCE, None, '"1"'))
    assert changed.value.__cause__ is refused
    with pytest.raises(S3Error) as unpinned:
        drive(store.open(SOURCE, None, None))
    assert unpinned.value is refused


class Body:
    """A body in chunks of four bytes, with the error that broke its source."""

    def __init__(self, length: int, error: Exception | None = None) -> None:
        self.length = length
        self.error = error
        self.digests = Digests([CRC64NVME])
        self._left = length

    async def next_chunk(self) -> bytes:
        size = min(4, self._left)
        self._left -= size
        self.digests.update(b"x" * size)
        return b"x" * size

    def check(self) -> None:
        """Do nothing: it is never stopped."""

    async def close(self) -> None:
        """Do nothing: there is no source."""


@pytest.mark.parametrize("length", [0, 3, CHUNK])
def test_a_body_that_fits_a_chunk_is_sent_as_bytes(length: int) -> None:
    transport = MemoryTransport(lambda *_: {"ETag": '"1"'})

    drive(store_over(transport).put(TARGET, Body(length), {}, None))

    [(_, params, _)] = transport.asked
    assert (params["Body"], params["ContentLength"]) == (b"x" * length, length)


def test_a_longer_body_is_handed_to_the_transport_unread() -> None:
    transport = MemoryTransport(lambda *_: {"ETag": '"1"'})
    body = Body(CHUNK + 1)

    drive(store_over(transport).upload_part(UPLOAD, 2, 0, body))

    [(operation, params, _)] = transport.asked
    assert (operation, params["PartNumber"]) == ("UploadPart", 2)
    assert params["Body"] is body
    assert params["ContentLength"] == CHUNK + 1


def test_a_broken_source_is_raised_in_place_of_the_sdks_error() -> None:
    wrapped = ConnectionFailed("the SDK's wrapping")
    broken = TruncatedBody("the source ended")

    def answer(*_: object) -> dict[str, Any]:
        raise wrapped

    with pytest.raises(TruncatedBody) as raised:
        drive(store_over(MemoryTransport(answer)).put(TARGET, Body(100, broken), {}, None))
    assert raised.value is broken
    assert broken.__cause__ is wrapped
    with pytest.raises(ConnectionFailed) as raised_own:
        drive(store_over(MemoryTransport(answer)).put(TARGET, Body(100), {}, None))
    assert raised_own.value is wrapped


def test_an_upload_from_its_creation_to_its_end() -> None:
    answers = {
        "CreateMultipartUpload": CREATED,
        "UploadPart": {"ETag": '"p"', "ChecksumCRC64NVME": "part"},
        "CompleteMultipartUpload": {"ETag": '"whole"', "ChecksumCRC64NVME": "whole"},
        "AbortMultipartUpload": {},
    }
    transport = MemoryTransport(lambda operation, *_: answers[operation])
    store = store_over(transport)

    assert drive(store.create_upload(TARGET, {})) == VERIFIED
    assert drive(store.upload_part(VERIFIED, 1, 0, Body(100))) == Written('"p"', Checksum(CRC64NVME, "part"))
    part = CompletedPart(1, '"p"', 100, {})
    whole = drive(store.complete_upload(VERIFIED, [part], Checksum(CRC64NVME, "whole")))
    assert whole == Written('"whole"', Checksum(CRC64NVME, "whole"))
    drive(store.abort_upload(UPLOAD))
    assert store.requests == dict.fromkeys(answers, 1)
    assert transport.asked[0][1].items() >= requests.verified_upload_params(CRC64NVME).items()
    assert transport.asked[2][1]["ChecksumCRC64NVME"] == "whole"
    assert store.verifies(TARGET)


def test_an_upload_that_is_gone_needs_no_abort() -> None:
    """The reply to an earlier abort was lost, or S3 had completed the upload."""

    def answer(*_: object) -> dict[str, Any]:
        raise UploadGone("gone", "NoSuchUpload", 404)

    drive(store_over(MemoryTransport(answer)).abort_upload(UPLOAD))


def test_an_abort_that_is_refused_is_an_error() -> None:
    def answer(*_: object) -> dict[str, Any]:
        raise S3Error("no", "Teapot", 418)

    with pytest.raises(AsyncstreamError):
        drive(store_over(MemoryTransport(answer)).abort_upload(UPLOAD))


@pytest.mark.parametrize("is_aws", [True, False])
def test_an_unproven_if_none_match_is_named_except_on_aws(is_aws: bool) -> None:
    refusals = [None, S3Error("exists", "PreconditionFailed", 412)]

    def answer(operation: str, params: Mapping[str, Any], region: str | None) -> dict[str, Any]:
        if params["IfNoneMatch"] == "*" and (refusal := refusals.pop(0)):
            raise refusal
        return {"ETag": '"1"', "ChecksumCRC64NVME": "x"}

    transport = MemoryTransport(answer)
    transport.is_aws = is_aws
    to = S3Destination(transport, CHUNK, {}, Learned(), create_only=True)
    drive(to.put(TARGET, BytesBody(b"abc"), {}, None))
    assert ["If-None-Match" in each for each in to.downgrades] == [True] * (not is_aws)
    with pytest.raises(DestinationExists):
        drive(to.put(TARGET, BytesBody(b"abc"), {}, None))
    assert to.downgrades == []


def test_a_page_of_a_listing() -> None:
    contents = [{"Key": "in/a", "Size": 1, "ETag": '"1"'}]
    reply = {"IsTruncated": True, "Contents": contents, "NextContinuationToken": "next"}
    transport = MemoryTransport(lambda *_: reply)

    page = drive(store_over(transport).list_page(S3Prefix("raw", "in/"), "this"))

    assert page == ([ListedObject("in/a", 1, '"1"')], "next")
    assert transport.asked[0][1]["ContinuationToken"] == "this"


def test_a_page_of_the_parts_of_an_upload() -> None:
    rows = [{"PartNumber": 8, "Size": 5, "ETag": '"8"', "ChecksumCRC64NVME": "abc="}]
    transport = MemoryTransport(
        lambda *_: {"UploadId": "id", "IsTruncated": True, "Parts": rows, "NextPartNumberMarker": 8},
    )

    page = drive(store_over(transport).list_parts(UPLOAD, 7))

    assert page == ([CompletedPart(8, '"8"', 5, {CRC64NVME: Checksum(CRC64NVME, "abc=")})], 8)
    assert transport.asked[0][1]["PartNumberMarker"] == 7
