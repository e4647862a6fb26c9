"""Faults as a client sees them, over http and https."""

import hashlib
import http.client
import socket
import ssl
import threading
from base64 import b64encode
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest

from asyncstream.lab.s3 import Fault, LabS3
from asyncstream.lab.s3.checksums import crc64nvme, encoded_crc64nvme
from asyncstream.lab.server_process import LabError
from tests.servers.base import GUARD_SECONDS, until

SIZE = 1_000_000
BODY = bytes(range(250)) * (SIZE // 250)
CUT = (ConnectionResetError, BrokenPipeError, ssl.SSLEOFError, http.client.RemoteDisconnected)


class Reply:
    def __init__(self, found: http.client.HTTPResponse) -> None:
        self.status, self.headers = found.status, found.headers
        self.body = found.read()


class Client:
    """One connection that never retries."""

    def __init__(self, lab: LabS3, bucket: str) -> None:
        address = urlsplit(lab.endpoint_url).netloc
        self.bucket = bucket
        self.connection = (
            http.client.HTTPSConnection(
                address, timeout=GUARD_SECONDS, context=ssl.create_default_context(cafile=lab.ca_bundle)
            )
            if lab.ca_bundle
            else http.client.HTTPConnection(address, timeout=GUARD_SECONDS)
        )

    def start(
        self, method: str, target: str, body: bytes | None = None, **headers: str
    ) -> http.client.HTTPResponse:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.connection.request(method, f"/{self.bucket}/{target}", body, named)
        return self.connection.getresponse()

    def ask(self, method: str, target: str, body: bytes | None = None, **headers: str) -> Reply:
        return Reply(self.start(method, target, body, **headers))


@pytest.fixture
def client(lab: LabS3, kept: str) -> Iterator[Client]:
    made = Client(lab, kept)
    with closing(made.connection):
        yield made
    lab.set_faults([])


@pytest.fixture
def upload(lab: LabS3, client: Client) -> tuple[str, bytes]:
    """Start an upload of one part; return its id and the document that completes it."""
    document = client.ask("POST", "m?uploads").body.decode()
    upload_id = document.partition("<UploadId>")[2].partition("<")[0]
    etag = client.ask("PUT", f"m?partNumber=1&uploadId={upload_id}", b"part").headers["ETag"]
    complete = (
        "<CompleteMultipartUpload>"
        f"<Part><PartNumber>1</PartNumber><ETag>{etag}</ETag></Part></CompleteMultipartUpload>"
    )
    return upload_id, complete.encode()


@contextmanager
def struck(lab: LabS3, *faults: Fault, times: int = 1) -> Iterator[None]:
    lab.set_faults(faults)
    yield
    assert lab.faults_struck() == [times] * len(faults)


def received_until_cut(reply: http.client.HTTPResponse) -> tuple[int, Exception | None]:
    count = 0
    try:
        while piece := reply.read1(65536):
            count += len(piece)
    except CUT as error:
        return count, error
    return count, None


@pytest.mark.parametrize(
    ("status", "code", "retry_after"),
    [
        (503, "SlowDown", 3),
        (500, "InternalError", None),
        (400, "RequestTimeout", None),
        (429, "TooManyRequests", 0),
        (400, "ExpiredToken", None),
        (409, "ConditionalRequestConflict", None),
        (409, "OperationAborted", None),
        (404, "NoSuchUpload", None),
        (412, "PreconditionFailed", None),
        (599, "Unheard", None),
    ],
)
def test_refuse_answers_any_error(
    lab: LabS3, client: Client, status: int, code: str, retry_after: int | None
) -> None:
    with struck(lab, Fault("refuse", status=status, code=code, retry_after=retry_after)):
        reply = client.ask("GET", "k")
    assert reply.status == status
    assert f"<Code>{code}</Code>".encode() in reply.body
    assert reply.headers["Retry-After"] == (None if retry_after is None else str(retry_after))


def test_refuse_comes_before_the_body_is_read(lab: LabS3, client: Client) -> None:
    lab.set_faults([Fault("refuse", operation="PutObject")])
    client.connection.putrequest("PUT", f"/{client.bucket}/k")
    client.connection.putheader("Content-Length", "1000000")
    client.connection.putheader("Expect", "100-continue")
    client.connection.endheaders()
    assert client.connection.getresponse().status == 503
    assert "k" not in lab.checksums(client.bucket)


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT"])
def test_reset_comes_before_anything(lab: LabS3, client: Client, method: str) -> None:
    with struck(lab, Fault("reset")), pytest.raises(CUT):
        client.ask(method, "k", BODY if method == "PUT" else None)
    assert lab.checksums(client.bucket) == {}


def test_reset_body_breaks_a_reply_off(lab: LabS3, client: Client) -> None:
    client.ask("PUT", "k", BODY)
    with struck(lab, Fault("reset-body", at=0.3)):
        count, error = received_until_cut(client.start("GET", "k"))
    # Python's TLS reports a reset between two of its records as an end of file.
    assert isinstance(error, ConnectionResetError) or lab.ca_bundle
    assert count == pytest.approx(0.3 * SIZE, abs=20_000)
    assert lab.request_log()[-1]["bytes_out"] == 0.3 * SIZE


@pytest.mark.parametrize("size", [0, 1, 100, SIZE])
def test_reset_body_breaks_an_upload_off(lab: LabS3, client: Client, size: int) -> None:
    with struck(lab, Fault("reset-body")), pytest.raises(CUT):
        client.ask("PUT", "k", BODY[:size])
    assert lab.checksums(client.bucket) == {}


@pytest.mark.parametrize(("size", "at", "sent"), [(SIZE, 0.5, SIZE // 2), (10, 1.0, 9), (1, 0.5, 0)])
def test_truncate_ends_a_reply_without_a_reset(
    lab: LabS3, client: Client, size: int, at: float, sent: int
) -> None:
    client.ask("PUT", "k", BODY[:size])
    with struck(lab, Fault("truncate", at=at)):
        reply = client.start("GET", "k")
        assert reply.headers["Content-Length"] == str(size)
        with pytest.raises(http.client.IncompleteRead) as caught:
            reply.read()
    assert caught.value.partial == BODY[:sent]
    assert lab.request_log()[-1]["bytes_out"] == sent


def test_truncate_leaves_an_empty_body_alone(lab: LabS3, client: Client) -> None:
    client.ask("PUT", "k", b"")
    with struck(lab, Fault("truncate")):
        assert client.ask("GET", "k").body == b""


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT"])
def test_stall_goes_on_after_its_time(lab: LabS3, client: Client, method: str) -> None:
    client.ask("PUT", "k", BODY)
    with struck(lab, Fault("stall", seconds=0.1)):
        reply = client.ask(method, "k", BODY if method == "PUT" else None)
    assert reply.status == 200
    assert reply.body == (BODY if method == "GET" else b"")
    assert lab.checksums(client.bucket)["k"].crc64nvme == encoded_crc64nvme(crc64nvme(memoryview(BODY)))


@pytest.mark.parametrize("method", ["GET", "PUT"])
def test_stall_ends_when_the_client_goes(lab: LabS3, client: Client, method: str) -> None:
    client.ask("PUT", "k", BODY)
    lab.reset_stats()
    with struck(lab, Fault("stall", seconds=3600)):
        if method == "GET":
            assert client.start("GET", "k").read1(100)
        else:
            client.connection.putrequest("PUT", f"/{client.bucket}/k")
            client.connection.putheader("Content-Length", str(SIZE))
            # The server reads half before the stall. With more behind it than the window holds, the client's
            # end would wait on the client's side until the server reads again.
            client.connection.endheaders(BODY[: SIZE * 6 // 10])
            until(lambda: lab.faults_struck() == [1])
        client.connection.close()
        until(lab.request_log)


@pytest.mark.parametrize("method", ["GET", "PUT"])
def test_slow_changes_nothing_but_the_speed(lab: LabS3, client: Client, method: str) -> None:
    client.ask("PUT", "k", BODY)
    with struck(lab, Fault("slow", bytes_per_second=10 * SIZE)):
        reply = client.ask(method, "k", BODY if method == "PUT" else None)
    assert reply.body == (BODY if method == "GET" else b"")


def differences(one: bytes, other: bytes) -> list[int]:
    assert len(one) == len(other)
    return [position for position, (a, b) in enumerate(zip(one, other, strict=True)) if a != b]


@pytest.mark.parametrize("span", [(0, 1000), (500, 1000), (3, 4)])
def test_wrong_byte_is_in_the_reply_only(lab: LabS3, client: Client, span: tuple[int, ...]) -> None:
    body, (start, stop) = BODY[:1000], span
    client.ask("PUT", "k", body)
    with struck(lab, Fault("wrong-byte", times=[1])):
        wrong = client.ask("GET", "k", Range=f"bytes={start}-{stop - 1}").body
        assert client.ask("GET", "k").body == body
    assert differences(wrong, body[start:stop]) == [(stop - start) // 2]


def test_wrong_byte_is_stored_unless_a_checksum_refuses_it(lab: LabS3, client: Client) -> None:
    right = {"x_amz_checksum_sha256": b64encode(hashlib.sha256(BODY).digest()).decode()}
    with struck(lab, Fault("wrong-byte", at=0.25), times=2):
        refused = client.ask("PUT", "k", BODY, **right)
        assert (refused.status, b"BadDigest" in refused.body) == (400, True)
        assert client.ask("PUT", "k", BODY).status == 200
        lab.set_faults([Fault("wrong-byte", at=0.25, times=[9])])
        stored = client.ask("GET", "k", x_amz_checksum_mode="ENABLED")
        lab.set_faults([Fault("wrong-byte", operation="PutObject", times=[1, 2])])
        client.ask("PUT", "other", b"ab")
        client.ask("PUT", "empty", b"")
    assert differences(stored.body, BODY) == [SIZE // 4]
    assert stored.headers["x-amz-checksum-crc64nvme"] == encoded_crc64nvme(crc64nvme(memoryview(stored.body)))


def test_wrong_byte_hits_the_payload_of_an_encoded_body(lab: LabS3, s3: Any, kept: str) -> None:
    lab.set_faults([Fault("wrong-byte", at=0.0)])
    try:
        with pytest.raises(s3.exceptions.ClientError, match="BadDigest"):
            s3.put_object(Bucket=kept, Key="k", Body=b"0123456789", ChecksumAlgorithm="CRC32")
    finally:
        lab.set_faults([])


def test_error_in_200_does_nothing(lab: LabS3, client: Client, upload: tuple[str, bytes]) -> None:
    upload_id, complete = upload
    with struck(lab, Fault("error-in-200", times=[1])):
        reply = client.ask("POST", f"m?uploadId={upload_id}", complete)
        assert (reply.status, b"<Code>InternalError</Code>" in reply.body) == (200, True)
        assert lab.checksums(client.bucket) == {}
        assert (
            b"CompleteMultipartUploadResult" in client.ask("POST", f"m?uploadId={upload_id}", complete).body
        )


def test_lost_reply_has_done_it(lab: LabS3, client: Client, upload: tuple[str, bytes]) -> None:
    upload_id, complete = upload
    with struck(lab, Fault("lost-reply", operation="CompleteMultipartUpload")), pytest.raises(CUT):
        client.ask("POST", f"m?uploadId={upload_id}", complete)
    assert list(lab.checksums(client.bucket)) == ["m"]


@pytest.mark.parametrize("size", [SIZE, 2, 1, 0])
def test_overwrite_source_finishes_the_old_one(lab: LabS3, client: Client, size: int) -> None:
    etag = client.ask("PUT", "k", BODY[:size]).headers["ETag"]
    with struck(lab, Fault("overwrite-source", times=[1])):
        reply = client.ask("GET", "k")
        assert (reply.body, reply.headers["ETag"]) == (BODY[:size], etag)
        after = client.ask("GET", "k")
        assert len(after.body) == size
        assert after.headers["ETag"] != etag
        assert (after.body != BODY[:size]) is (size > 0)
        assert client.ask("GET", "k", If_Match=etag).status == 412


def test_faults_are_replaced_with_their_counts(lab: LabS3, client: Client) -> None:
    with struck(lab, Fault("refuse", operation="PutObject", key="a*"), Fault("refuse", key="b*")):
        assert [client.ask("PUT", key).status for key in ("a", "c")] == [503, 200]
        assert client.ask("HEAD", "b").status == 503
    lab.set_faults([Fault("refuse", part_number=2)], seed=3)
    assert lab.faults_struck() == [0]
    lab.set_faults([])
    assert lab.faults_struck() == []
    with pytest.raises(LabError, match="rate"):
        lab._control_command("set-faults", faults=[{"kind": "reset", "rate": 2}], seed=0)


def test_cut_connections_resets_idle_and_busy_ones(lab: LabS3, client: Client) -> None:
    lab.declare(client.bucket, [("large", 50_000_000)])
    clients = [Client(lab, client.bucket) for _ in range(3)]
    idle, reading, stalled = clients
    with closing(idle.connection), closing(reading.connection), closing(stalled.connection):
        idle.ask("HEAD", "large")
        reply = reading.start("GET", "large")  # more than sockets hold, and the client does not read it
        lab.set_faults([Fault("stall", seconds=3600)])
        outcome: list[Exception] = []

        def wait() -> None:
            try:
                stalled.ask("HEAD", "large")
            except CUT as error:
                outcome.append(error)

        waiting = threading.Thread(target=wait)
        waiting.start()
        until(lambda: lab.faults_struck() == [1])
        lab.set_faults([])
        assert lab.cut_connections() >= 3
        waiting.join(GUARD_SECONDS)
        assert outcome
        assert idle.connection.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) != 0
        with pytest.raises(CUT):
            idle.ask("HEAD", "large")
        with pytest.raises((*CUT, http.client.IncompleteRead)):
            reply.read()
    assert lab.cut_connections() == 0
