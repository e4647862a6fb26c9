"""The lab S3 as a process: raw connections, the control API, start and end."""

import base64
import hashlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from asyncstream.lab.s3 import LabS3
from asyncstream.lab.server_process import LabError
from tests.servers.base import GUARD_SECONDS, until


@pytest.fixture(scope="module")
def plain() -> Iterator[LabS3]:
    with LabS3() as running:
        running.create_bucket("bucket", keep=True)
        yield running


@pytest.fixture
def connection(plain: LabS3) -> Iterator[socket.socket]:
    address = urlsplit(plain.endpoint_url)
    with socket.create_connection((address.hostname, address.port), timeout=GUARD_SECONDS) as connected:
        yield connected


def read_reply(connection: socket.socket) -> bytes:
    """Read until the server closes the connection; return what was received."""
    received = b""
    while piece := connection.recv(65536):
        received += piece
    return received


def test_expect_is_answered_before_the_body_is_sent(connection: socket.socket) -> None:
    connection.sendall(b"PUT /bucket/k HTTP/1.1\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n")
    assert connection.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
    connection.sendall(b"abc")
    assert connection.recv(1000).startswith(b"HTTP/1.1 200 OK")


def test_expect_is_answered_by_the_refusal(connection: socket.socket) -> None:
    connection.sendall(b"PUT /nowhere/k HTTP/1.1\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n")
    received = read_reply(connection)
    assert received.startswith(b"HTTP/1.1 404")
    assert b"Connection: close" in received


def test_a_refused_body_is_answered_before_a_clean_close(connection: socket.socket) -> None:
    connection.sendall(b"PUT /nowhere/k HTTP/1.1\r\nContent-Length: 3000000\r\n\r\n" + b"x" * 3_000_000)
    received = read_reply(connection)  # raises if the server resets the connection
    assert received.startswith(b"HTTP/1.1 404")
    assert b"NoSuchBucket" in received


def test_a_connection_takes_one_request_after_the_other(connection: socket.socket) -> None:
    for _ in range(3):
        connection.sendall(b"HEAD /bucket/none HTTP/1.1\r\n\r\n")
        received = connection.recv(65536)
        assert received.startswith(b"HTTP/1.1 404")
        assert received.endswith(b"\r\n\r\n")
        assert b"x-amz-request-id: " in received


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"nonsense\r\n\r\n",
        b"PUT /bucket/k HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nnot a size\r\n",
        b"GET / HTTP/1.1\r\n\r\nand more",
        b"GET / HTTP/1.1\r\nLong: " + b"x" * 70_000 + b"\r\n\r\n",
    ],
)
def test_what_is_not_http_is_a_400_and_ends_the_connection(
    connection: socket.socket, request_bytes: bytes
) -> None:
    connection.sendall(request_bytes)
    assert read_reply(connection).startswith(b"HTTP/1.1 400")


def test_a_body_that_breaks_off_is_not_stored(plain: LabS3, connection: socket.socket) -> None:
    connection.sendall(b"PUT /bucket/partial HTTP/1.1\r\nContent-Length: 10\r\n\r\nabc")
    connection.shutdown(socket.SHUT_WR)
    assert read_reply(connection) == b""
    assert "partial" not in plain.checksums("bucket")


DIGITS = b"123456789"
CHECKSUMS_OF_DIGITS = {
    "crc32": "cbf43926",
    "crc32c": "e3069283",
    "crc64nvme": "ae8b14860a799888",
    "sha1": hashlib.sha1(DIGITS).hexdigest(),
    "sha256": hashlib.sha256(DIGITS).hexdigest(),
}


def aws_chunked(payload: bytes, trailer: str) -> bytes:
    return f"{len(payload):x}\r\n".encode() + payload + f"\r\n0\r\n{trailer}\r\n".encode()


@pytest.mark.parametrize("algorithm", CHECKSUMS_OF_DIGITS)
@pytest.mark.parametrize("around", [True, False], ids=["chunks-around", "length"])
def test_a_trailer_s_checksum_is_verified(connection: socket.socket, algorithm: str, around: bool) -> None:
    right = base64.b64encode(bytes.fromhex(CHECKSUMS_OF_DIGITS[algorithm])).decode()
    name = f"x-amz-checksum-{algorithm}"
    expectations = {f"{name}:{right}\r\n": b"200", f"{name}:AAAA\r\n": b"BadDigest", "": b"MalformedTrailer"}
    for trailer, expected in expectations.items():
        body = aws_chunked(DIGITS, trailer)
        framing = f"Content-Length: {len(body)}"
        if around:
            framing, body = "Transfer-Encoding: chunked", aws_chunked(body, "")
        head = (
            f"PUT /bucket/k HTTP/1.1\r\n{framing}\r\nContent-Encoding: aws-chunked\r\nx-amz-trailer: {name}"
        )
        connection.sendall(f"{head}\r\n\r\n".encode() + body)
        assert expected in connection.recv(65536)


@pytest.mark.parametrize("decoded_length", [2, 4, "x"])
def test_a_body_of_another_length_than_announced_is_incomplete(
    connection: socket.socket, decoded_length: int | str
) -> None:
    body = aws_chunked(b"abc", "")
    head = f"PUT /bucket/k HTTP/1.1\r\nContent-Encoding: aws-chunked\r\nContent-Length: {len(body)}"
    connection.sendall(f"{head}\r\nx-amz-decoded-content-length: {decoded_length}\r\n\r\n".encode() + body)
    assert b"IncompleteBody" in connection.recv(65536)


@pytest.mark.parametrize("body", [b"3\r\nabc\r\n", b"3\r\nabc\r\n0\r\n"])
def test_a_body_that_ends_before_its_last_chunk_is_incomplete(connection: socket.socket, body: bytes) -> None:
    head = f"PUT /bucket/k HTTP/1.1\r\nContent-Encoding: aws-chunked\r\nContent-Length: {len(body)}"
    connection.sendall(f"{head}\r\n\r\n".encode() + body)
    assert b"IncompleteBody" in connection.recv(65536)


def test_requests_bytes_and_connections_are_counted(plain: LabS3) -> None:
    plain.declare("bucket", [("counted", 1000)])
    plain.reset_stats()
    address = urlsplit(plain.endpoint_url)
    with socket.create_connection((address.hostname, address.port)) as connected:
        connected.sendall(b"GET /bucket/counted HTTP/1.1\r\nRange: bytes=1-10\r\nConnection: close\r\n\r\n")
        read_reply(connected)
    counted = plain.stats()
    assert counted["operations"] == {"GetObject": 1}
    assert counted["statuses"] == {"206": 1}
    assert (counted["bytes_in"], counted["bytes_out"]) == (0, 10)
    assert (counted["connections"], counted["peak_data_requests"]) == (1, 1)
    (logged,) = plain.request_log()
    assert (logged["method"], logged["bucket"], logged["key"]) == ("GET", "bucket", "counted")
    assert (logged["range"], logged["status"]) == ("bytes=1-10", 206)
    assert logged["start"] <= logged["end"]
    plain.reset_stats()
    assert plain.stats()["operations"] == {}
    assert plain.request_log() == []


def test_hundreds_of_connections_are_served_at_once(plain: LabS3) -> None:
    address = urlsplit(plain.endpoint_url)
    plain.declare("bucket", [("many", 2_000_000)])
    plain.reset_stats()
    connections = [
        socket.create_connection((address.hostname, address.port), timeout=GUARD_SECONDS) for _ in range(300)
    ]
    for connected in connections:  # no reply is read yet, so all connections stay open
        connected.sendall(b"GET /bucket/many HTTP/1.1\r\nConnection: close\r\n\r\n")
    until(lambda: plain.stats()["peak_data_requests"] == 300)
    with ThreadPoolExecutor(8) as pool:
        lengths = list(pool.map(lambda each: len(read_reply(each)), connections))
    for connected in connections:
        connected.close()
    assert min(lengths) > 2_000_000
    assert plain.stats()["peak_open_connections"] == 300


def test_a_wrong_control_command_is_reported(plain: LabS3) -> None:
    with pytest.raises(LabError, match="network model"):
        plain.set_model("fast")
    with pytest.raises(LabError, match="NoSuchBucket"):
        plain.declare("nowhere", [])


def test_the_server_knows_its_own_cost(plain: LabS3) -> None:
    assert 0 < plain.cpu_seconds() < 60
    assert 1_000_000 < plain.stats()["peak_rss_bytes"] < 500_000_000


def gone(pid: int) -> bool:
    """Return whether a process has ended, even if its parent has not waited for it."""
    try:
        return not Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_closing_ends_the_process_and_leaves_no_files() -> None:
    server = LabS3(tls=True)
    assert server.ca_bundle is not None
    directory = Path(server.ca_bundle).parent
    assert directory.is_dir()
    server.close()
    assert gone(server.pid)
    assert not directory.exists()


def test_ctrl_c_does_not_end_the_server_and_termination_does() -> None:
    with LabS3() as server:
        os.kill(server.pid, signal.SIGINT)
        time.sleep(0.1)
        assert server.stats()["operations"] == {}
        os.kill(server.pid, signal.SIGTERM)
        assert server._process.wait(GUARD_SECONDS) == 0


def test_the_server_ends_when_its_parent_is_killed() -> None:
    script = "from asyncstream.lab.s3 import LabS3; print(LabS3().pid, flush=True); input()"
    root = Path(__file__).parents[2]
    command = [sys.executable, "-c", script]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=root) as parent:
        assert parent.stdout is not None
        server_pid = int(parent.stdout.readline())
        assert not gone(server_pid)
        parent.kill()
    until(lambda: gone(server_pid))


def test_a_server_that_cannot_start_is_reported() -> None:
    with pytest.raises(LabError, match=r"asyncstream\.lab\.s3 has ended"):
        LabS3(model="nonsense")


def test_a_reply_that_has_arrived_is_counted(plain: LabS3, connection: socket.socket) -> None:
    plain.declare("bucket", [("whole", 300_000)])
    for number in range(1, 30):
        plain.reset_stats()
        connection.sendall(b"GET /bucket/whole HTTP/1.1\r\n\r\n")
        received = connection.recv(65536)
        left = 300_000 - len(received.partition(b"\r\n\r\n")[2])
        while left:
            left -= len(connection.recv(left))
        assert plain.stats()["bytes_out"] == 300_000, number
