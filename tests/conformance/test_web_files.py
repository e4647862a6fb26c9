"""Files behind URLs as sources: read in ranges or in order, resumed, compared before they are visible."""

import hashlib
import itertools
from base64 import b64encode
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from asyncstream import FetchConfig, LocalFile, MiB, S3Object, SourceChanged, TransferReport, WebFile
from asyncstream.errors import (
    AccessDenied,
    AddressRefused,
    BodyUnreadable,
    ChecksumMismatch,
    InputError,
    PageFailed,
    SourceNotFound,
)
from asyncstream.lab.web import Answer
from tests.servers import Bucket, content
from tests.servers.web_file import WebPage

from .fixture_types import Copy, Serve, StopAfter
from .web.web_origins import ALLOWED, RawServer

WEB = FetchConfig(allowed_networks=ALLOWED)
SIZE = 12 * MiB

pytestmark = pytest.mark.parametrize("server", ["lab"], indirect=True)


@pytest.fixture
def download(copy: Copy, bucket: Bucket, serve: Serve) -> Any:
    """Copy a page to the object `copies/x`."""

    def download(page: Any, web: FetchConfig = WEB, **options: Any) -> TransferReport:
        expected = {name: options.pop(name) for name in ("size", "sha256") if name in options}
        url = serve(x=page).urls[0] + "/x?key=SECRET"
        return copy([(WebFile(url, **expected), S3Object(bucket.name, "copies/x"))], web=web, **options)

    return download


def _sha256(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize("multipart", [True, False])
def test_a_url_is_copied_to_an_object(download: Any, bucket: Bucket, ranges: bool, multipart: bool) -> None:
    page = WebPage(content(SIZE), ranges=ranges, headers={"Content-Type": "text/csv"})
    report = download(page, multipart=multipart)
    report.raise_for_failures()
    [file] = report.files
    assert bucket.get("copies/x") == page.body
    assert bucket.head("copies/x")["ContentType"] == "text/csv"
    assert file.bytes == SIZE
    assert file.parts == (3 if ranges and multipart else 1)
    assert file.write_verified == "CRC64NVME"
    assert report.requests["WebGet"] == len(page.asked) == file.parts
    assert all(headers["accept-encoding"] == "identity" for headers in page.asked)


def test_a_url_is_copied_to_a_file(copy: Copy, serve: Serve, tmp_path: Path) -> None:
    page = WebPage(content(SIZE))
    pair = WebFile(serve(x=page).urls[0] + "/x"), LocalFile(str(tmp_path / "deep" / "x"))
    copy([pair], web=WEB, multipart=True).raise_for_failures()
    assert (tmp_path / "deep" / "x").read_bytes() == page.body
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["x"]


@pytest.mark.parametrize("size", [0, 1000, SIZE])
def test_a_url_of_unknown_length_is_copied_in_parts(download: Any, bucket: Bucket, size: int) -> None:
    """One request is enough: its reply is read by the tasks that fill parts in memory."""
    page = WebPage(content(size), chunked=True, headers={"Content-Encoding": "br"})
    report = download(page)
    report.raise_for_failures()
    [file] = report.files
    assert bucket.get("copies/x") == page.body
    assert bucket.head("copies/x")["ContentEncoding"] == "br"
    assert (file.bytes, file.made, file.restarted) == (size, None, None)
    assert file.attempts == file.parts == (3 if size == SIZE else 1)
    assert len(page.asked) == 1


@pytest.mark.parametrize("etag", ['"v1"', ""])
@pytest.mark.parametrize("ranges", [True, False])
def test_a_broken_url_is_resumed_or_read_again(
    download: Any, bucket: Bucket, etag: str, ranges: bool
) -> None:
    page = WebPage(content(SIZE), etag=etag, ranges=ranges, breaks_after=7 * MiB)
    report = download(page)
    report.raise_for_failures()
    assert bucket.get("copies/x") == page.body
    resumed = page.asked[1]
    if etag:
        assert int(resumed["range"].removeprefix("bytes=").split("-")[0]) > 6 * MiB
        assert resumed["if-range"] == etag
    assert (report.files[0].restarted is not None) == (not etag)


def test_a_server_that_ignores_ranges_is_read_in_order(download: Any, bucket: Bucket) -> None:
    """It announces them. Each part would read the file from its start: the square of what there is."""
    page = WebPage(content(3 * SIZE), ranges=False, announces=True)
    report = download(page, multipart=True, max_concurrency=2)
    report.raise_for_failures()
    assert bucket.get("copies/x") == page.body
    assert report.files[0].parts == 1
    assert "sends the whole file instead" in (report.files[0].restarted or "")
    assert len(page.asked) <= 1 + 2 + 1


def test_a_broken_url_of_unknown_length_is_read_again(download: Any, bucket: Bucket) -> None:
    page = WebPage(content(SIZE), chunked=True, breaks_after=7 * MiB)
    report = download(page)
    report.raise_for_failures()
    assert bucket.get("copies/x") == page.body
    assert "broke off" in (report.files[0].restarted or "")
    assert bucket.uploads() == []


@pytest.mark.parametrize("ranges", [True, False])
def test_a_url_that_changes_meanwhile_fails(download: Any, bucket: Bucket, ranges: bool) -> None:
    page = WebPage(content(SIZE), ranges=ranges, breaks_after=7 * MiB)

    def answer(asked: Any) -> Answer:
        made = page(asked)
        page.etag, page.body = '"v2"', content(SIZE, 2)
        return made

    report = download(answer)
    assert isinstance(report.failed[0].error, SourceChanged)
    assert bucket.keys("copies/") == set()
    assert bucket.uploads() == []


@pytest.mark.parametrize("chunked", [True, False])
def test_a_wrong_sha256_is_never_visible(download: Any, bucket: Bucket, chunked: bool) -> None:
    page = WebPage(content(SIZE), chunked=chunked)
    report = download(page, sha256="0" * 64, multipart=True, verify="off")
    assert isinstance(report.failed[0].error, ChecksumMismatch)
    assert bucket.keys("copies/") == set()
    assert bucket.uploads() == []


@pytest.mark.parametrize("chunked", [True, False])
def test_an_expected_sha256_is_compared(download: Any, bucket: Bucket, chunked: bool) -> None:
    page = WebPage(content(SIZE), chunked=chunked)
    report = download(page, sha256=_sha256(page.body), size=SIZE, multipart=True)
    report.raise_for_failures()
    assert bucket.get("copies/x") == page.body
    assert report.files[0].read_verified == "SHA256"


def test_a_reply_longer_than_expected_is_not_read_to_its_end(download: Any, bucket: Bucket) -> None:
    """It may have no end."""
    report = download(Answer(200, {}, itertools.repeat(b"x" * 65536), None), size=SIZE)
    assert isinstance(report.failed[0].error, SourceChanged)
    assert bucket.uploads() == []


@pytest.mark.parametrize("chunked", [True, False])
def test_another_size_than_expected_fails(download: Any, bucket: Bucket, chunked: bool) -> None:
    report = download(WebPage(content(SIZE), chunked=chunked), size=SIZE - 1)
    assert isinstance(report.failed[0].error, SourceChanged)
    assert bucket.keys("copies/") == set()


def test_a_later_transfer_continues_a_url(
    copy: Copy, bucket: Bucket, serve: Serve, stop_after: StopAfter
) -> None:
    page = WebPage(content(22 * MiB))
    pair = WebFile(serve(x=page).urls[0] + "/x"), S3Object(bucket.name, "copies/x")
    first = stop_after(pair, 12 * MiB, web=WEB)
    assert [file.status for file in first.files] == ["pending"]
    page.asked.clear()
    report = copy([pair], continuations=first.continuations, multipart=True, web=WEB)
    report.raise_for_failures()
    assert bucket.get("copies/x") == page.body
    assert min(int(asked["range"].removeprefix("bytes=").split("-")[0]) for asked in page.asked) == 10 * MiB


def test_a_url_without_ranges_continues_from_its_start(
    copy: Copy, bucket: Bucket, serve: Serve, stop_after: StopAfter
) -> None:
    """Also if nothing identifies its version: there is nothing to continue then."""
    for etag in ('"v1"', ""):
        page = WebPage(content(SIZE), ranges=False, etag=etag)
        pair = WebFile(serve(x=page).urls[0] + "/x"), S3Object(bucket.name, "copies/x")
        first = stop_after(pair, 6 * MiB, web=WEB)
        assert [(file.status, file.error) for file in first.files] == [("pending", None)]
        report = copy([pair], continuations=first.continuations, multipart=True, web=WEB)
        report.raise_for_failures()
        assert bucket.get("copies/x") == page.body
        assert bucket.uploads() == []


_BODY = content(SIZE)
_DIGESTS = {
    "Repr-Digest": f"sha-256=:{b64encode(hashlib.sha256(_BODY).digest()).decode()}:",
    "Content-Digest": f"sha-512=:{b64encode(hashlib.sha512(_BODY).digest()).decode()}:",
    "Digest": f"SHA-256={b64encode(hashlib.sha256(_BODY).digest()).decode()}",
    "Content-MD5": b64encode(hashlib.md5(_BODY).digest()).decode(),
    "x-goog-hash": f"md5={b64encode(hashlib.md5(_BODY).digest()).decode()}",
}


@pytest.mark.parametrize("right", [True, False])
@pytest.mark.parametrize("name", _DIGESTS)
@pytest.mark.varied("name", engine="threads")
def test_digests_of_web_servers_are_compared(download: Any, bucket: Bucket, name: str, right: bool) -> None:
    body = _BODY if right else content(SIZE, "other")
    report = download(WebPage(body, headers={name: _DIGESTS[name]}), multipart=True)
    if right:
        report.raise_for_failures()
        assert report.files[0].read_verified in {"SHA256", "SHA512", "MD5"}
    else:
        assert isinstance(report.failed[0].error, ChecksumMismatch)
        assert bucket.keys("copies/") == set()
    assert bucket.uploads() == []


def test_an_unchanged_url_is_skipped(download: Any, copy: Copy, bucket: Bucket, serve: Serve) -> None:
    page = WebPage(content(1000))
    pair = WebFile(serve(x=page).urls[0] + "/x"), S3Object(bucket.name, "copies/x")
    statuses = [copy([pair], web=WEB, if_exists="skip").files[0].status for _ in range(2)]
    page.etag, page.body = '"v2"', content(1000, 2)
    statuses.append(copy([pair], web=WEB, if_exists="skip").files[0].status)
    assert statuses == ["copied", "skipped", "copied"]
    assert bucket.get("copies/x") == page.body


@pytest.mark.parametrize(
    ("status", "kind"),
    [(404, SourceNotFound), (410, SourceNotFound), (401, AccessDenied), (403, AccessDenied)],
)
@pytest.mark.varied("status", "kind", engine="threads")
def test_a_refused_url_says_why(download: Any, status: int, kind: type[Exception]) -> None:
    report = download(Answer.of(b"", status))
    error = report.failed[0].error
    assert isinstance(error, kind)
    assert "SECRET" not in f"{report!r}{error}"
    assert str(status) in str(error)


@pytest.mark.parametrize("later", [Answer.of(b"", 304), Answer.of(b"", 418), Answer.of(b"x", 206)])
@pytest.mark.parametrize("breaks_after", [7 * MiB, None])
def test_a_reply_without_the_file_ends_the_copy(
    download: Any, bucket: Bucket, later: Answer, breaks_after: int | None
) -> None:
    """Also while an SDK sends a part. It looks through the causes of the error, which must end."""
    page = WebPage(content(SIZE), breaks_after=breaks_after)
    report = download(lambda asked: page(asked) if breaks_after and not page.asked else later)
    assert isinstance(report.failed[0].error, PageFailed | BodyUnreadable)
    assert bucket.keys("copies/") == set()
    assert bucket.uploads() == []


def test_private_addresses_are_refused_for_files_too(download: Any) -> None:
    page = WebPage(b"x")
    report = download(page, FetchConfig())
    assert isinstance(report.failed[0].error, AddressRefused)
    assert page.asked == []


def test_keys_go_to_their_origin(download: Any, bucket: Bucket, serve: Serve, copy: Copy) -> None:
    page = WebPage(b"x")
    origin = serve(x=page)
    web = WEB.override({"headers": {origin.urls[0]: {"Authorization": "Bearer K"}}})
    copy([(WebFile(origin.urls[0] + "/x"), S3Object(bucket.name, "copies/x"))], web=web).raise_for_failures()
    assert page.asked[0]["authorization"] == "Bearer K"


def test_a_reply_that_ends_with_its_connection_needs_a_size(copy: Copy, bucket: Bucket) -> None:
    """It has neither a length nor chunks: a broken connection looks like its end."""
    body = content(SIZE)
    target = S3Object(bucket.name, "copies/x")

    def say(path: str) -> list[bytes]:
        return [b"HTTP/1.1 200 OK\r\n\r\n", body[:-1] if path == "/cut" else body]

    with closing(RawServer(say)) as server:
        url = server.url
        for pair, kind in (
            (WebFile(f"{url}/whole"), BodyUnreadable),
            (WebFile(f"{url}/cut", size=SIZE), SourceChanged),
        ):
            [file] = copy([(pair, target)], web=WEB).failed
            assert isinstance(file.error, kind), file.error
        assert bucket.keys("copies/") == set()
        copy([(WebFile(f"{url}/whole", size=SIZE), target)], web=WEB).raise_for_failures()
    assert bucket.get("copies/x") == body


def test_a_malformed_sha256_is_refused_before_any_request(bucket: Bucket) -> None:
    with pytest.raises(InputError, match="hexadecimal"):
        WebFile("https://example.com/x", sha256="x")
