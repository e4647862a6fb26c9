"""Clients wait for replies that S3 takes long to make. A stalled connection has its own, shorter timeout."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from asyncstream import S3Object, TransferConfig, TransferReport, TransferSession
from asyncstream.engines import EngineName
from asyncstream.errors import ConnectionFailed, ReplyTimeout
from tests.servers.base import PATIENCE
from tests.servers.listener import CONTINUE, SECONDS, Drip, RawReply, Scripted, read_head, say
from tests.servers.odd_s3 import COMPLETED, NOT_FOUND, PART, WRITTEN, OddS3, ReplyScript, honest, page, reply

pytestmark = pytest.mark.loops

SIZE = 200_000
# The kinds of requests, the reply to each, and the settings that cause the request.
KINDS: dict[str, tuple[Callable[[str], bytes], dict[str, Any]]] = {
    "get": (honest(SIZE), {}),
    "put": (lambda _: WRITTEN, {}),
    "list": (lambda _: page(b"a", SIZE, b"false", b""), {}),
    "part": (lambda _: WRITTEN, {"multipart": True}),
    "complete": (lambda _: COMPLETED, {"multipart": True}),
}


Run = Callable[..., TransferReport]


def scripted_s3(kind: str, reply_to: Callable[[str], RawReply]) -> OddS3:
    """Return an S3 whose replies to requests of this kind come from `reply_to`."""
    size = 2 * PART if "multipart" in KINDS[kind][1] else SIZE
    by_kind: dict[str, ReplyScript] = {"get": [honest(size)], "head": [NOT_FOUND], kind: [reply_to]}
    return OddS3(**by_kind)


@pytest.mark.parametrize("kind", KINDS)
def test_a_reply_may_take_longer_than_a_stall(run: Run, kind: str) -> None:
    usual_reply, settings = KINDS[kind]

    for seconds in PATIENCE:  # on a busy machine another request may stall
        late = 2 * seconds

        def reply_late(head: str, late: float = late) -> bytes:
            time.sleep(late)
            return usual_reply(head)

        odd = scripted_s3(kind, reply_late)
        report = run(odd, listed=kind == "list", stall_timeout=seconds, max_attempts=1, **settings)
        if not report.failed:
            break

    assert report.failed == []
    assert odd.kinds.count(kind) == (2 if kind == "part" else 1)


def test_white_space_before_the_reply_of_complete_is_waited_for(run: Run) -> None:
    """S3 sends white space for minutes."""
    body = COMPLETED.partition(b"\r\n\r\n")[2]
    whole = reply("200 OK", b"<?xml version='1.0'?>" + 40 * b" " + body)

    def drip_white_space(_: str) -> Iterator[bytes]:
        start = whole.index(b"   ")
        yield whole[:start]
        for _number in range(40):
            time.sleep(0.01)
            yield b" "
        yield whole[start + 40 :]

    odd = scripted_s3("complete", drip_white_space)
    report = run(odd, multipart=True, max_attempts=1)

    assert report.failed == []
    assert odd.kinds.count("complete") == 1


def test_a_complete_without_a_reply_names_the_setting_to_raise(run: Run) -> None:
    given_up = threading.Event()

    def silent(_: str) -> bytes:
        given_up.wait(SECONDS)
        return b""

    [failed] = run(
        scripted_s3("complete", silent), multipart=True, complete_timeout=0.5, max_attempts=1
    ).failed
    given_up.set()

    assert type(failed.error) is ReplyTimeout
    assert failed.error.retryable
    assert "CompleteMultipartUpload s3://clean/b: no whole reply came within 0.5 s" in str(failed.error)
    assert "Raise complete_timeout if" in str(failed.error)


def test_a_get_that_resumes_an_upload_is_not_waited_for(run: Run) -> None:
    """S3 ends an upload that pauses for 20 seconds, so there must be time for another GET."""
    whole = reply("200 OK", bytes(SIZE), ETag='"e"')
    silent = Drip(b"HTTP/1.1 206 Partial Content\r\nX-Filler: ")
    odd = OddS3(get=[whole[: len(whole) // 2], silent, honest(SIZE)])
    report = run(odd, stall_timeout=1.0, reply_timeout=3600.0)

    assert report.failed == []
    assert silent.was_cut_off
    assert odd.kinds.count("get") == 3


class Unread(Scripted):
    """Reads only the heads of requests."""

    def __init__(self, size: int) -> None:
        self.given_up = threading.Event()
        super().__init__(honest(size))

    def serve(self, connection: socket.socket) -> None:
        head = read_head(connection).decode("latin-1").lower()
        if head.startswith("get"):
            say(connection, self._reply_to(head))
            return
        if "expect" in head:
            say(connection, CONTINUE)
        self.given_up.wait(SECONDS)


def test_a_body_that_is_not_read_to_its_end_is_a_stall(engine: EngineName, credentials: None) -> None:
    """The client's kernel holds the whole body. It counts as sent, so the client could await the reply."""
    config = TransferConfig(stall_timeout=0.5, reply_timeout=SECONDS, max_attempts=1, verify="off")
    with Unread(1_000_000) as server, TransferSession(engine, endpoint_url=server.url) as session:
        [failed] = session.transfer([(S3Object("raw", "a"), S3Object("clean", "b"))], config).failed
        server.given_up.set()

    assert type(failed.error) is ConnectionFailed
