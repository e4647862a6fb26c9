"""Replies of S3 that are incomplete or contradict each other: the file fails, and no copy remains."""

from collections.abc import Callable
from datetime import timedelta

import pytest

from asyncstream import S3Prefix, TransferReport, TransferSession
from asyncstream.checksum import multipart_etag
from asyncstream.engines import EngineName
from asyncstream.errors import DestinationExists, ReplyIncomplete, S3Error, SourceChanged
from tests.conformance import CLIENTS
from tests.places import key_of
from tests.servers.listener import Scripted
from tests.servers.odd_s3 import (
    COMPLETED,
    CREATED,
    GONE,
    OK,
    PART,
    STILL_THERE,
    TOKEN,
    OddS3,
    ReplyScript,
    honest,
    page,
    part,
    reply,
)

pytestmark = pytest.mark.loops

Run = Callable[..., TransferReport]


def test_a_206_that_says_not_which_bytes_is_refused(run: Run) -> None:
    odd = OddS3(get=[reply("206 Partial Content", bytes(1000), ETag='"e"')])
    [failed] = run(odd).failed

    assert isinstance(failed.error, S3Error)
    assert "Content-Range" in str(failed.error)
    assert "put" not in odd.kinds


def test_another_range_than_asked_for_is_refused(run: Run) -> None:
    odd = OddS3(get=[part(5, 10, 10)])
    [failed] = run(odd).failed

    assert isinstance(failed.error, S3Error)
    assert "put" not in odd.kinds


def test_a_size_that_shrinks_between_parts_is_no_copy(run: Run) -> None:
    odd = OddS3(get=[honest(3 * PART), honest(2 * PART)])
    [failed] = run(odd, multipart=True, max_attempts=1).failed

    assert isinstance(failed.error, SourceChanged)
    assert "complete" not in odd.kinds
    assert odd.kinds[-1] == "abort"


def test_a_size_other_than_the_listings_is_no_copy(run: Run) -> None:
    odd = OddS3(list=[page(b"a", 10, b"false", b"")])
    [failed] = run(odd, listed=True).failed

    assert isinstance(failed.error, SourceChanged)
    assert "put" not in odd.kinds


def test_a_size_other_than_heads_is_no_copy(run: Run) -> None:
    odd = OddS3(
        list=[page(b"a", 2 * PART, b"false", b"")],
        get=[honest(2 * PART)],
        head=[reply(OK, length=PART, ETag='"e"')],
    )
    [failed] = run(odd, listed=True, verify="after", multipart=True).failed

    assert isinstance(failed.error, SourceChanged)
    assert "create" not in odd.kinds


@pytest.mark.parametrize(
    ("pages", "told"),
    [
        ([page(b"a", token=b"")], "NextContinuationToken"),
        ([page(b"a"), page(b"b"), page(b"c")], "does not advance"),
        ([page(b"a"), page(b"b", token=TOKEN.replace(b"t<", b"u<")), page(b"a")], "does not advance"),
        ([reply(OK, b"<html><body>Welcome</body></html>")], "IsTruncated.*Welcome"),
        ([reply(OK)], "IsTruncated"),
    ],
    ids=["no token", "one token for ever", "pages in a circle", "HTML", "nothing"],
)
def test_a_listing_without_an_end_copies_nothing(run: Run, pages: list[bytes], told: str) -> None:
    odd = OddS3(list=pages)
    with pytest.raises(S3Error, match=told):
        run(odd, listed=True, max_attempts=1)
    assert set(odd.kinds) == {"list"}


def test_a_token_after_the_end_is_not_followed(run: Run) -> None:
    odd = OddS3(list=[page(b"a", truncated=b"false")])

    assert run(odd, listed=True).failed == []
    assert odd.kinds.count("list") == 1


def test_a_key_on_two_pages_is_copied_once(run: Run) -> None:
    other = TOKEN.replace(b"t<", b"u<")
    pages = [page(b"a"), page(b"b", token=other), page(b"c", truncated=b"false", token=b"")]
    twice = pages[1].replace(b"</ListBucketResult>", b"")
    row = b"<Contents><Key>a</Key><Size>5</Size><ETag>&quot;e&quot;</ETag></Contents></ListBucketResult>"
    body = twice.partition(b"\r\n\r\n")[2] + row
    odd = OddS3(list=[pages[0], reply(OK, body), pages[2]])

    report = run(odd, listed=True)

    assert [key_of(file.source) for file in report.files] == ["a", "b", "c"]
    assert report.failed == []


MD5 = '"0123456789abcdef0123456789abcdef"'
HTML = reply(OK, b"<html><body>Welcome to the hotel</body></html>")


@pytest.mark.parametrize("answer", [reply(OK), HTML], ids=["nothing", "HTML"])
@pytest.mark.parametrize(
    ("kind", "missing", "settings"),
    [
        ("put", "ETag", {}),
        ("create", "UploadId", {"multipart": True}),
        ("part", "ETag", {"multipart": True}),
    ],
)
def test_a_write_that_is_not_confirmed_fails_with_its_reply(
    run: Run, kind: str, missing: str, settings: dict[str, bool], answer: bytes
) -> None:
    answers: dict[str, ReplyScript] = {"get": [honest(2 * PART if settings else 5)], kind: [answer]}
    odd = OddS3(**answers)
    [failed] = run(odd, **settings).failed

    assert isinstance(failed.error, ReplyIncomplete)
    assert missing in str(failed.error)
    assert "s3://clean/b" in str(failed.error)
    assert "200" in str(failed.error)
    assert ("Welcome" in str(failed.error)) == (answer is HTML)


@pytest.mark.parametrize("kind", ["create", "complete"])
@pytest.mark.parametrize(
    "cut",
    [
        b"Content-Length: 100\r\n\r\n",
        b"Content-Length: 100\r\n\r\n  <Comp",
        b"Transfer-Encoding: chunked\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n3\r\n   \r\n",
        b"\r\n",
    ],
    ids=["length", "within the length", "chunked", "within the chunks", "to the end"],
)
@pytest.mark.varied("cut", engine=CLIENTS)
def test_a_document_that_is_cut_is_asked_for_again(run: Run, kind: str, cut: bytes) -> None:
    usual = {"create": CREATED, "complete": COMPLETED}[kind]
    there = reply("404 Not Found", b"<Error><Code>NoSuchKey</Code></Error>")
    cut_then_usual = [b"HTTP/1.1 200 OK\r\n" + cut, usual]
    answers: dict[str, ReplyScript] = {"get": [honest(2 * PART)], kind: cut_then_usual, "parts": [there]}
    odd = OddS3(**answers)
    [result] = run(odd, multipart=True, complete_timeout=1.0).files

    assert result.error is None
    assert odd.kinds.count(kind) == 2


def test_a_complete_whose_reply_is_cut_is_looked_up(run: Run) -> None:
    etag = multipart_etag([MD5, MD5])
    odd = OddS3(
        get=[honest(2 * PART)],
        part=[reply(OK, ETag=MD5)],
        complete=[b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n \r\n"],
        parts=[STILL_THERE, STILL_THERE, GONE],
        head=[reply(OK, length=2 * PART, ETag=str(etag))],
    )
    [result] = run(odd, multipart=True).files

    assert (result.error, result.etag) == (None, etag)
    assert odd.kinds.count("complete") == 1
    assert odd.kinds[-4:] == ["parts", "parts", "parts", "head"]


def test_an_upload_whose_id_was_lost_is_told(run: Run) -> None:
    listed = (
        b"<Upload><Key>b</Key><UploadId>lost-1</UploadId><Initiated>2026-11-29T00:00:00Z</Initiated></Upload>"
    )
    odd = OddS3(
        get=[honest(2 * PART)],
        create=[b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n", CREATED],
        uploads=[reply(OK, b"<R><IsTruncated>false</IsTruncated>" + listed + b"</R>")],
    )
    [result] = run(odd, multipart=True).files

    assert result.error is None
    assert "lost-1" in str(result.upload_left)


def test_a_complete_without_an_etag_fails_with_its_reply(run: Run) -> None:
    odd = OddS3(get=[honest(2 * PART)], complete=[HTML], parts=[STILL_THERE])
    [failed] = run(odd, multipart=True).failed

    assert "CompleteMultipartUpload" in str(failed.error)
    assert "Welcome" in str(failed.error)


def test_what_is_there_is_seen_without_if_none_match(run: Run) -> None:
    """Some servers ignore the header and would overwrite."""
    odd = OddS3(head=[reply(OK, length=7, ETag='"there"')])
    [failed] = run(odd, if_exists="fail").failed

    assert isinstance(failed.error, DestinationExists)
    assert odd.kinds == ["head"]


def test_who_may_not_look_leaves_it_to_the_server(run: Run) -> None:
    """S3 denies the HEAD of a role that may only write; If-None-Match then protects the destination."""
    odd = OddS3(head=[reply("403 Forbidden")])

    assert run(odd, if_exists="fail").failed == []
    assert odd.kinds == ["head", "get", "put"]


UPLOADS = (
    b"<ListMultipartUploadsResult><IsTruncated>true</IsTruncated><NextKeyMarker>%s</NextKeyMarker>"
    b"<NextUploadIdMarker>u</NextUploadIdMarker></ListMultipartUploadsResult>"
)


@pytest.mark.parametrize("markers", [[b"a"], [b"a", b"b", b"a"]])
def test_uploads_without_an_end_are_refused(
    engine: EngineName, credentials: None, markers: list[bytes]
) -> None:
    odd = OddS3(uploads=[reply(OK, UPLOADS % marker) for marker in markers])
    with (
        Scripted(odd) as server,
        TransferSession(engine, endpoint_url=server.url) as session,
        pytest.raises(S3Error, match="does not end"),
    ):
        session.stale_uploads(S3Prefix("raw", ""), timedelta(days=1))


@pytest.mark.parametrize("missing", ["ETag", "Content-Length"])
def test_a_head_that_leaves_something_out_is_an_error_of_ours(run: Run, missing: str) -> None:
    whole = reply(OK, length=7, ETag='"there"')
    cut = b"\r\n".join(line for line in whole.split(b"\r\n") if not line.startswith(missing.encode()))
    [failed] = run(OddS3(head=[cut]), if_exists="skip").failed

    assert isinstance(failed.error, S3Error)
    assert "s3://clean/b" in str(failed.error)
