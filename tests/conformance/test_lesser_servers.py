"""Servers that lack a part of S3: each lack is met once, and then for the whole session."""

from collections.abc import Callable
from typing import Any

import pytest

from asyncstream import TransferReport
from asyncstream.checksum import CRC64NVME, Digests
from tests.conformance import CLIENTS
from tests.servers.listener import CONTINUE, RawReply
from tests.servers.odd_s3 import (
    COMPLETED,
    CREATED,
    NOT_FOUND,
    OK,
    PART,
    WRITTEN,
    OddS3,
    honest,
    page,
    part,
    reply,
)

Run = Callable[..., TransferReport]
pytestmark = pytest.mark.parametrize("engine", CLIENTS, indirect=True)

UPLOAD = CREATED.partition(b"\r\n\r\n")[2]
REFUSALS = {
    "400 InvalidArgument": reply("400 Bad Request", b"<Error><Code>InvalidArgument</Code></Error>"),
    "400 InvalidRequest": reply("400 Bad Request", b"<Error><Code>InvalidRequest</Code></Error>"),
    "501 NotImplemented": reply("501 Not Implemented", b"<Error><Code>NotImplemented</Code></Error>"),
}
refusals = pytest.mark.parametrize("refusal", REFUSALS.values(), ids=REFUSALS)


def refusing(header: str, refusal: bytes, otherwise: bytes = WRITTEN) -> Callable[[str], RawReply]:
    """Refuse requests with a header."""
    return lambda head: refusal if header in head else otherwise


@refusals
def test_a_small_put_goes_without_the_checksum_refused(run: Run, refusal: bytes) -> None:
    odd = OddS3(put=[refusing("x-amz-checksum-", refusal)])
    report = run(odd, verify="before")

    [file] = report.files
    assert (file.status, file.write_verified) == ("copied", None)
    assert report.downgrades == ["s3://clean does not check uploads: the bytes written were not compared"]
    assert odd.kinds.count("put") == 2


@refusals
def test_a_part_goes_without_the_checksum_refused(run: Run, refusal: bytes) -> None:
    """Only the last part is short enough to be sent with its checksum."""
    received = Digests([CRC64NVME])
    received.update(bytes(PART))
    checksum = received.checksums()[CRC64NVME].value
    odd = OddS3(
        get=[honest(PART + 5)],
        create=[reply(OK, UPLOAD, x_amz_checksum_algorithm=CRC64NVME)],
        part=[
            reply(OK, ETag='"w"', x_amz_checksum_crc64nvme=checksum),
            refusing("x-amz-checksum-", refusal),
        ],
    )
    [file] = run(odd, multipart=True, verify="before").files

    assert (file.status, file.parts, file.write_verified) == ("copied", 2, None)
    assert odd.kinds.count("part") == 3


@refusals
def test_an_upload_goes_without_the_kind_of_checksum_refused(run: Run, refusal: bytes) -> None:
    odd = OddS3(get=[honest(PART + 5)], create=[refusing("x-amz-checksum-algorithm", refusal, CREATED)])
    [file] = run(odd, multipart=True, verify="before").files

    assert file.status == "copied"
    assert odd.kinds.count("create") == 2


@refusals
def test_a_source_is_read_without_the_checksum_mode_refused(run: Run, refusal: bytes) -> None:
    whole = honest(5)
    odd = OddS3(get=[lambda head: refusal if "x-amz-checksum-mode" in head else whole(head)])
    report = run(odd, verify="after")

    [file] = report.files
    assert (file.status, file.read_verified) == ("copied", None)
    assert "s3://raw returns no checksums: the bytes read were not compared with one" in report.downgrades
    assert odd.kinds.count("get") == 2


def test_a_head_without_checksum_mode_is_asked_again(run: Run) -> None:
    """A reply to HEAD has no body with a code."""
    refused = reply("501 Not Implemented")
    odd = OddS3(head=[refusing("x-amz-checksum-mode", refused, NOT_FOUND)])

    assert run(odd, if_exists="skip").failed == []


def test_what_a_server_lacks_is_met_once(run: Run) -> None:
    odd = OddS3(
        list=[page(b"a", 5, b"true"), page(b"b", 5, b"false")],
        put=[refusing("x-amz-checksum-", REFUSALS["501 NotImplemented"])],
    )

    assert run(odd, listed=True, verify="before").failed == []
    assert odd.kinds.count("put") == 3


def test_parts_have_one_size(run: Run) -> None:
    """R2 refuses an upload whose parts, but for the last, differ. The size is known from the first reply."""
    size = 230 * 1024 * 1024
    asked: list[str] = []
    whole = honest(size)

    def get(head: str) -> RawReply:
        asked.append(head)
        return whole(head)

    odd = OddS3(get=[get])
    [file] = run(odd, multipart=True, part_size="auto", max_concurrency=1).files

    assert file.status == "copied"
    starts = sorted(int(head.partition("bytes=")[2].partition("-")[0]) for head in asked if "bytes=" in head)
    lengths = {following - start for start, following in zip([0, *starts], starts, strict=False)}
    assert len(lengths) == 1


@pytest.mark.parametrize(
    ("listed", "sent"),
    [
        ("e", '"e"'),
        ("&quot;e&quot;", "e"),
        ("W/&quot;e&quot;", '"e"'),
        ("W/&quot;e&quot;", 'W/"e"'),
        ("x", '"e"'),
    ],
    ids=["listed unquoted", "sent unquoted", "listed weak", "both weak", "another one listed"],
)
def test_an_etag_written_in_another_way_is_no_change(run: Run, listed: str, sent: str) -> None:
    def get(head: str) -> RawReply:
        wanted = head.partition("if-match: ")[2].partition("\r\n")[0]
        if wanted and wanted != '"e"':
            return reply("412 Precondition Failed", b"<Error><Code>PreconditionFailed</Code></Error>")
        return part(0, 5, 5, sent) if "range:" in head else reply(OK, bytes(5), ETag=sent)

    one = page(b"a", 5, b"false").replace(b"&quot;e&quot;", listed.encode())
    length = one.partition(b"\r\n\r\n")[2]
    odd = OddS3(list=[reply(OK, length)], get=[get])
    [file] = run(odd, listed=True).files

    assert (file.status, file.error) == ("copied", None)


def test_the_encoding_of_an_upload_is_not_kept(run: Run) -> None:
    puts: list[str] = []

    def put(head: str) -> bytes:
        puts.append(head)
        return WRITTEN

    odd = OddS3(get=[reply(OK, bytes(5), ETag='"e"', Content_Encoding="gzip,aws-chunked")], put=[put])

    assert run(odd).failed == []
    assert "content-encoding: gzip\r\n" in puts[0]


def test_an_upload_completes_on_a_server_without_checksums(run: Run) -> None:
    odd = OddS3(
        get=[honest(PART + 5)],
        complete=[refusing("x-amz-checksum-", REFUSALS["501 NotImplemented"], COMPLETED)],
    )

    assert run(odd, multipart=True, verify="before").failed == []


def test_an_expectation_that_fails_is_not_sent_again(run: Run) -> None:
    """Only the blocking engines expect 100 Continue."""
    odd = OddS3(get=[honest(2**20)])

    assert run(odd, interim=reply("417 Expectation Failed")).failed == []


def test_interim_replies_are_no_end(run: Run) -> None:
    processing = b"HTTP/1.1 102 Processing\r\nServer: busy\r\n\r\n"
    odd = OddS3(get=[honest(2**20)], put=[processing + WRITTEN])

    assert run(odd, interim=processing + CONTINUE).failed == []


def checksum_header(kind: str, size: int) -> dict[str, Any]:
    """The header with the checksum of zero bytes."""
    received = Digests([kind])
    received.update(bytes(size))
    return {f"x_amz_checksum_{kind.lower()}": received.checksums()[kind].value}


def declaring(kind: str) -> bytes:
    """A reply to GET with a source's checksum of 1 MiB of zero bytes."""
    return reply(OK, bytes(2**20), ETag='"e"', **checksum_header(kind, 2**20))


@refusals
def test_a_streamed_put_goes_without_the_checksum_refused(run: Run, refusal: bytes) -> None:
    odd = OddS3(get=[declaring("CRC32")], put=[refusing("x-amz-checksum-", refusal)])
    [file] = run(odd, verify="before", max_attempts=1).files

    assert (file.status, odd.kinds.count("put")) == ("copied", 2)


def test_a_refusal_for_another_reason_switches_no_checksum_off(run: Run) -> None:
    """It is raised as it is, and the next file is sent with its checksum again."""
    sent: list[bool] = []

    def put(head: str) -> RawReply:
        sent.append("x-amz-checksum-" in head)
        if "put /clean/a" in head:
            return REFUSALS["400 InvalidRequest"]
        return reply(OK, ETag='"w"', **checksum_header("CRC32", 2**20))

    odd = OddS3(
        list=[page(b"a", 2**20, b"true"), page(b"b", 2**20, b"false")], get=[declaring("CRC32")], put=[put]
    )
    report = run(odd, listed=True, verify="before")

    assert [file.status for file in report.files] == ["failed", "copied"]
    assert sent == [True, False, True]
    assert report.downgrades == []


def test_a_kind_of_checksum_that_is_refused_leaves_others(run: Run) -> None:
    """Some servers know CRC32 and not CRC64NVME."""
    unknown = "x-amz-checksum-algorithm"
    odd = OddS3(
        list=[page(b"a", PART + 5, b"true"), page(b"b", 2**20, b"false")],
        head=[reply(OK, length=PART + 5, ETag='"e"')],
        create=[refusing(unknown, REFUSALS["501 NotImplemented"], CREATED)],
        get=[lambda head: honest(PART + 5)(head) if "/raw/a" in head else declaring("CRC32")],
        put=[lambda head: WRITTEN if "x-amz-checksum-crc32" in head else REFUSALS["400 InvalidRequest"]],
    )

    assert run(odd, listed=True, verify="before", multipart=True).failed == []


def test_a_complete_that_knows_no_checksum_is_sent_without(run: Run) -> None:
    received = Digests([CRC64NVME])
    received.update(bytes(PART))
    odd = OddS3(
        get=[honest(PART)],
        create=[reply(OK, UPLOAD, x_amz_checksum_algorithm=CRC64NVME)],
        part=[reply(OK, ETag='"w"', x_amz_checksum_crc64nvme=received.checksums()[CRC64NVME].value)],
        complete=[refusing("x-amz-checksum-", REFUSALS["501 NotImplemented"], COMPLETED)],
    )

    assert run(odd, verify="before").failed == []
    assert odd.kinds.count("complete") == 2


def test_a_bad_request_to_one_head_is_no_lack(run: Run) -> None:
    odd = OddS3(
        list=[page(b"a", 5, b"true"), page(b"b", 5, b"false")],
        head=[reply("400 Bad Request"), NOT_FOUND],
        put=[reply(OK, ETag='"w"', **checksum_header(CRC64NVME, 5))],
    )
    report = run(odd, listed=True, if_exists="skip", verify="before")

    assert report.failed == []
    assert report.downgrades == []
