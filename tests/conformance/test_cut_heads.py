"""Connections that end within a reply's head: the client must trust nothing in it, not even its length."""

import re
from collections.abc import Callable, Iterator

import pytest

from asyncstream import S3Object, TransferConfig, TransferReport, TransferSession
from asyncstream.engines import EngineName
from asyncstream.errors import ConnectionFailed
from tests.conformance import CLIENTS
from tests.servers.listener import Scripted

pytestmark = pytest.mark.loops

SIZE = 3_000_000
GET = (
    'HTTP/1.1 206 Partial Content\r\nConnection: close\r\nETag: "e"\r\n'
    f"Content-Range: bytes 0-{SIZE - 1}/{SIZE}\r\nContent-Length: {SIZE}\r\n\r\n"
).encode()
WRITTEN = b'HTTP/1.1 200 OK\r\nConnection: close\r\nETag: "w"\r\nContent-Length: 0\r\n\r\n'
LAST_LINE = GET.index(b"Content-Length")
CUTS = {
    "within the status": 11,
    "after the status": GET.index(b"\r\n") + 2,
    "within a name": LAST_LINE + 5,
    "within the length": LAST_LINE + len("Content-Length: 3000"),
    "before the line's end": len(GET) - 4,
    "before the blank line": len(GET) - 2,
    "within the blank line": len(GET) - 1,
}


@pytest.fixture
def serve(credentials: None) -> Iterator[Callable[..., Scripted]]:
    servers: list[Scripted] = []

    def serve(answer: Callable[[str], bytes], **more: bytes) -> Scripted:
        servers.append(Scripted(answer, **more))
        return servers[-1]

    yield serve
    for server in servers:
        server.close()


def copy_one(engine: EngineName, server: Scripted) -> TransferReport:
    config = TransferConfig(retry_base_delay=0.001, retry_max_delay=0.001, max_attempts=2, verify="off")
    with TransferSession(engine, endpoint_url=server.url) as session:
        return session.transfer([(S3Object("raw", "a"), S3Object("clean", "b"))], config)


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.varied("cut", engine=CLIENTS)
def test_a_get_whose_head_is_cut_makes_no_copy(
    engine: EngineName, cut: str, serve: Callable[..., Scripted]
) -> None:
    def answer(head: str) -> bytes:
        return GET[: CUTS[cut]] if head.startswith("get") else WRITTEN

    server = serve(answer)
    report = copy_one(engine, server)

    [failed] = report.failed
    assert isinstance(failed.error, ConnectionFailed)
    assert [each for each in server.asked if not each.startswith("get")] == []


@pytest.mark.parametrize("cut", [11, WRITTEN.index(b"\r\n") + 2, WRITTEN.index(b'"w"') + 2, len(WRITTEN) - 2])
@pytest.mark.varied("cut", engine=CLIENTS)
def test_a_put_whose_head_is_cut_was_not_confirmed(
    engine: EngineName, cut: int, serve: Callable[..., Scripted]
) -> None:
    def answer(head: str) -> bytes:
        return GET + bytes(SIZE) if head.startswith("get") else WRITTEN[:cut]

    [failed] = copy_one(engine, serve(answer)).failed

    assert isinstance(failed.error, ConnectionFailed)


@pytest.mark.parametrize(
    "said", [b"HTTP/1.1 403 Forbidden\r\n", b"HTTP/1.1 503 S", b"HTTP/1.1 412 P\r\nX: y"]
)
def test_a_cut_refusal_before_the_body_is_a_failed_connection(
    engine: EngineName, said: bytes, serve: Callable[..., Scripted]
) -> None:
    """A server may refuse before `100 Continue`; if the head is cut, its status does not count."""
    server = serve(lambda head: GET + bytes(SIZE) if head.startswith("get") else said, interim=said)
    [failed] = copy_one(engine, server).failed

    assert isinstance(failed.error, ConnectionFailed)


def test_whole_heads_are_taken(engine: EngineName, serve: Callable[..., Scripted]) -> None:
    server = serve(lambda head: GET + bytes(SIZE) if head.startswith("get") else WRITTEN)
    report = copy_one(engine, server)

    assert report.failed == []
    assert [re.split("[ ?]", each)[0] for each in server.asked] == ["get", "put"]


@pytest.mark.parametrize("said", [b"HTTP/1.1 100 Continue\r\n", b"HTTP/1.1 100 Continue\r\nX: y\r\n"])
def test_an_end_after_100_continue_is_no_endless_wait(
    engine: EngineName, said: bytes, serve: Callable[..., Scripted]
) -> None:
    """botocore reads for ever in this case. Only the blocking engines send Expect."""
    server = serve(lambda head: GET + bytes(SIZE) if head.startswith("get") else b"", interim=said)
    [failed] = copy_one(engine, server).failed

    assert isinstance(failed.error, ConnectionFailed)
