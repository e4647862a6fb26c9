"""Buckets in another region than the client's: S3 refuses with several codes, some without the region."""

import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import pytest

from asyncstream import S3Object, TransferConfig, TransferReport, TransferSession
from asyncstream.engines import EngineName
from asyncstream.errors import AccessDenied, S3Error

REGION = "eu-west-1"
HEADER = ("x-amz-bucket-region", REGION)


class RegionalS3(BaseHTTPRequestHandler):
    """Answers requests signed for its region; refuses all others as the test says."""

    protocol_version = "HTTP/1.1"
    refusal: ClassVar[tuple[int, str]]
    tells: ClassVar[bool]
    head_bucket: ClassVar[tuple[int, bool]]
    asked: ClassVar[list[str]]
    bad_heads: ClassVar[bool]

    def answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        signed = re.search(r"Credential=[^/]+/\d+/([^/]+)/", self.headers["Authorization"])
        assert signed
        self.asked.append(f"{self.command} {self.path.partition('?')[0]} {signed[1]}")
        if signed[1] != REGION:
            self.refuse()
            return
        if self.bad_heads and self.command == "HEAD":
            self.send_response(400)
            self.send_header(*HEADER)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(404 if self.command == "HEAD" else 200)
        self.send_header("ETag", '"e"')
        content = b"bytes" if self.command == "GET" else b""
        self.send_header("Content-Length", str(len(content)))
        if self.headers["Range"]:
            self.send_header("Content-Range", "bytes 0-4/5")
        self.end_headers()
        self.wfile.write(content)

    def refuse(self) -> None:
        (status, code), told = self.refusal, self.tells
        if self.command == "HEAD" and self.path.count("/") == 1:
            status, told = self.head_bucket
        body = f"<Error><Code>{code}</Code><Message>elsewhere</Message></Error>".encode()
        self.send_response(status)
        if told:
            self.send_header(*HEADER)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_HEAD = do_PUT = answer  # noqa: N815

    def log_message(self, *args: object) -> None:
        """Log nothing."""


@pytest.fixture
def endpoint(credentials: None) -> Iterator[str]:
    RegionalS3.asked, RegionalS3.bad_heads = [], False
    RegionalS3.head_bucket = (400, True)
    with ThreadingHTTPServer(("127.0.0.1", 0), RegionalS3) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def copy_one(engine: EngineName, endpoint: str, **settings: Any) -> TransferReport:
    with TransferSession(engine, endpoint_url=endpoint) as session:
        pair = (S3Object("raw", "a"), S3Object("clean", "b"))
        return session.transfer([pair], TransferConfig(retry_base_delay=0.001, **settings))


@pytest.mark.parametrize("tells", [True, False])
@pytest.mark.parametrize(
    "refusal",
    [(301, "PermanentRedirect"), (307, "TemporaryRedirect"), (400, "IllegalLocationConstraintException")],
)
def test_a_bucket_is_copied_from_and_to_its_own_region(
    engine: EngineName, endpoint: str, refusal: tuple[int, str], tells: bool
) -> None:
    RegionalS3.refusal, RegionalS3.tells = refusal, tells

    report = copy_one(engine, endpoint)

    assert report.failed == []
    assert RegionalS3.asked[-1] == f"PUT /clean/b {REGION}"
    refused = [each for each in RegionalS3.asked if each.endswith("us-east-1")]
    located = [] if tells else ["HEAD /raw us-east-1"]
    assert refused[: 1 + len(located)] == ["GET /raw/a us-east-1", *located]


def test_a_head_that_is_a_bad_request_tells_the_region(engine: EngineName, endpoint: str) -> None:
    RegionalS3.refusal, RegionalS3.tells = (400, "AuthorizationHeaderMalformed"), True

    report = copy_one(engine, endpoint, if_exists="skip")

    assert report.failed == []
    assert "HEAD /clean/b us-east-1" in RegionalS3.asked
    assert f"HEAD /clean/b {REGION}" in RegionalS3.asked


def test_a_head_that_stays_a_bad_request_is_an_error(engine: EngineName, endpoint: str) -> None:
    """S3 also answers 400 to a HEAD in the right region, if the customer's own key encrypts the object."""
    RegionalS3.refusal, RegionalS3.tells, RegionalS3.bad_heads = (307, "TemporaryRedirect"), True, True

    [failed] = copy_one(engine, endpoint, if_exists="skip").failed

    assert type(failed.error) is S3Error
    assert "HEAD of s3://clean/b: S3 answered 400" in str(failed.error)
    assert RegionalS3.asked == ["HEAD /clean/b us-east-1", f"HEAD /clean/b {REGION}"]


def test_a_bucket_that_may_not_be_listed_tells_its_region(engine: EngineName, endpoint: str) -> None:
    RegionalS3.refusal, RegionalS3.tells = (400, "IllegalLocationConstraintException"), False
    RegionalS3.head_bucket = (403, True)

    assert copy_one(engine, endpoint).failed == []


@pytest.mark.parametrize(("status", "error"), [(403, AccessDenied), (400, S3Error)])
def test_a_region_that_is_told_by_no_reply_is_an_error(
    engine: EngineName, endpoint: str, status: int, error: type[Exception]
) -> None:
    RegionalS3.refusal, RegionalS3.tells = (400, "IllegalLocationConstraintException"), False
    RegionalS3.head_bucket = (status, False)

    [failed] = copy_one(engine, endpoint).failed

    assert type(failed.error) is error
    assert RegionalS3.asked == ["GET /raw/a us-east-1", "HEAD /raw us-east-1"]
