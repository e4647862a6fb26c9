"""Replies that arrive byte by byte: timeouts hold for the whole reply, as no single byte is late."""

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import trustme

from asyncstream import (
    ConnectionFailed,
    DeadlineExceeded,
    S3Object,
    S3Prefix,
    TransferConfig,
    TransferReport,
    TransferSession,
)
from asyncstream.engines import EngineName
from asyncstream.errors import ReplyTimeout
from tests.conformance import CLIENTS
from tests.servers.listener import CONTINUE, SECONDS, Drip, RawReply, Scripted
from tests.servers.odd_s3 import NOT_FOUND, OK, PART, OddS3, ReplyScript, honest, reply
from tests.servers.tls import ConnectProxy, TlsServer

pytestmark = pytest.mark.loops

# On a busy machine a short deadline may end before the client requests the reply that drips.
DEADLINES = (0.2, 1.0, 4.0)
PAIR = (S3Object("raw", "a"), S3Object("clean", "b"))
LISTED = (S3Prefix("raw", ""), S3Prefix("clean", ""))
MULTIPART = {"multipart": True}
SKIP = {"if_exists": "skip"}

STATUS = b"HTTP/1.1 200 O"
HEADER = b"HTTP/1.1 200 OK\r\nX-Filler: "
XML = reply(OK, b"<?xml", 1_000_000)
REFUSED = reply("400 Bad Request", b"<Error>", 1_000_000)
BODY = reply(OK, bytes(70_000), 1_000_000, ETag='"e"')
# The kind of request whose reply drips, the reply's first piece, and the settings that cause the request.
PLACES: dict[str, tuple[str, bytes, dict[str, Any]]] = {
    "GET's status": ("get", STATUS, {}),
    "GET's header": ("get", HEADER, {}),
    "GET's body": ("get", BODY, {}),
    "GET's error": ("get", REFUSED, {}),
    "PUT's header": ("put", HEADER, {}),
    "PUT's error": ("put", REFUSED, {}),
    "Create's XML": ("create", XML, MULTIPART),
    "UploadPart's status": ("part", STATUS, MULTIPART),
    "Complete's header": ("complete", HEADER, MULTIPART),
    "Complete's XML": ("complete", XML, MULTIPART),
    "HEAD's header": ("head", HEADER, SKIP),
    "List's XML": ("list", XML, {}),
}


class Server(Scripted):
    """An S3 whose answers change with each test, so that its clients are opened once."""

    def __init__(self) -> None:
        super().__init__(OddS3())

    def become(
        self, kind: str, answer: Callable[[str], RawReply], size: int, interim: RawReply = CONTINUE
    ) -> None:
        answers: dict[str, ReplyScript] = {"get": [honest(size)], "head": [NOT_FOUND], kind: [answer]}
        self._reply_to = OddS3(**answers)
        self._interim = interim


@pytest.fixture(scope="module")
def server(credentials: None) -> Iterator[Server]:
    with Server() as server:
        yield server


@pytest.fixture(scope="module")
def sessions(server: Server) -> Iterator[Callable[[EngineName], TransferSession]]:
    """Return a session for each engine, with clients that are already open."""
    opened: dict[str, TransferSession] = {}

    def session(engine: EngineName) -> TransferSession:
        if engine not in opened:
            opened[engine] = TransferSession(engine, endpoint_url=server.url)
        return opened[engine]

    yield session
    for each in opened.values():
        each.close()


def config(**settings: Any) -> TransferConfig:
    usual: dict[str, Any] = {"retry_base_delay": 0.001, "verify": "off", "part_size": PART}
    return TransferConfig(**usual | {"stall_timeout": 14.0} | settings)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.varied("place", engine=CLIENTS)
def test_a_reply_that_drips_ends_with_the_deadline(
    engine: EngineName, place: str, server: Server, sessions: Callable[[EngineName], TransferSession]
) -> None:
    kind, before, settings = PLACES[place]
    session = sessions(engine)
    server.become("get", honest(5), 5)
    session.transfer([PAIR], config()).raise_for_failures()
    for deadline in DEADLINES:
        drip = Drip(before)
        server.become(kind, drip, 2 * PART if settings is MULTIPART else 200_000)
        error = failure(session, LISTED if kind == "list" else PAIR, config(deadline=deadline, **settings))
        if drip.dripped:
            break

    assert isinstance(error, DeadlineExceeded)
    assert drip.was_cut_off


def failure(session: TransferSession, pair: Any, config: TransferConfig) -> Exception | None:
    """Return the error of a transfer of one pair, or of its listing."""
    try:
        report: TransferReport = session.transfer([pair], config)
    except DeadlineExceeded as error:
        return error
    return report.failed[0].error


@pytest.mark.parametrize(
    ("place", "setting"),
    [
        ("GET's status", "reply_timeout"),
        ("PUT's header", "reply_timeout"),
        ("Complete's XML", "complete_timeout"),
        ("HEAD's header", "reply_timeout"),
    ],
)
def test_a_reply_that_drips_is_given_up_without_a_deadline(
    engine: EngineName,
    place: str,
    setting: str,
    server: Server,
    sessions: Callable[[EngineName], TransferSession],
) -> None:
    kind, before, settings = PLACES[place]
    drip = Drip(before)
    server.become(kind, drip, 2 * PART if settings is MULTIPART else 200_000)
    asked = config(reply_timeout=0.5, complete_timeout=0.5, max_attempts=1, **settings)
    error = failure(sessions(engine), PAIR, asked)

    assert isinstance(error, ReplyTimeout)
    assert f"0.5 s after the request. Raise {setting} if" in str(error)
    assert drip.was_cut_off


@pytest.mark.parametrize("engine", ["sequential", "threads"], indirect=True)  # asyncio sends no Expect
@pytest.mark.parametrize("before", [b"HTTP/1.1 100 C", b"HTTP/1.1 100 Continue\r\nX: "])
def test_a_100_continue_that_drips_is_a_stall(
    engine: EngineName, before: bytes, server: Server, sessions: Callable[[EngineName], TransferSession]
) -> None:
    drip = Drip(before)
    server.become("get", honest(200_000), 200_000, interim=drip)
    error = failure(sessions(engine), PAIR, config(stall_timeout=0.5, max_attempts=1))

    assert isinstance(error, ConnectionFailed)
    assert drip.was_cut_off


class Latest:
    """ReplyScript each request with the answer set last."""

    def __init__(self, answer: Callable[[str], RawReply]) -> None:
        self.answer = answer

    def __call__(self, head: str) -> RawReply:
        return self.answer(head)


@pytest.fixture
def trusted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ssl.SSLContext:
    """The server's TLS context, with a certificate that clients trust."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    for name in ("HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CA_BUNDLE", str(tmp_path / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    return context


@pytest.mark.parametrize("before", [HEADER, BODY], ids=["header", "body"])
def test_a_reply_that_drips_over_tls_ends_with_the_deadline(
    engine: EngineName, before: bytes, credentials: None, trusted: ssl.SSLContext
) -> None:
    latest = Latest(OddS3())
    with ExitStack() as stack:
        server = stack.enter_context(TlsServer(trusted, latest))
        url = f"https://localhost:{server.port}"
        session = stack.enter_context(TransferSession(engine, endpoint_url=url))
        session.transfer([PAIR], config()).raise_for_failures()
        error, drip = drip_until_the_deadline(session, before, latest)

    assert isinstance(error, DeadlineExceeded)
    assert drip.was_cut_off


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_that_drips_ends_with_the_deadline(
    engine: EngineName,
    scheme: str,
    credentials: None,
    trusted: ssl.SSLContext,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    latest = Latest(lambda _: b"HTTP/1.1 502 Bad Gateway\r\n\r\n")
    with ExitStack() as stack:
        proxy = ConnectProxy(latest) if scheme == "http" else TlsServer(trusted, latest)
        stack.enter_context(proxy)
        monkeypatch.setenv("HTTPS_PROXY", f"{scheme}://localhost:{proxy.port}")
        session = stack.enter_context(TransferSession(engine, endpoint_url="https://localhost:1"))
        assert isinstance(failure(session, PAIR, config(max_attempts=1)), ConnectionFailed)
        error, drip = drip_until_the_deadline(session, STATUS, latest)

    assert isinstance(error, DeadlineExceeded)
    assert drip.was_cut_off


def drip_until_the_deadline(
    session: TransferSession, before: bytes, latest: Latest
) -> tuple[Exception | None, Drip]:
    """Transfer with dripping replies; return the error and the last reply."""
    for deadline in DEADLINES:
        drip = Drip(before)
        latest.answer = drip
        error = failure(session, PAIR, config(deadline=deadline))
        if drip.dripped:
            break
    return error, drip


def test_a_slow_name_lookup_ends_with_the_deadline(
    engine: EngineName, credentials: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system's resolver takes up to half a minute and cannot be interrupted."""
    over = threading.Event()
    asked: list[str] = []
    answered: list[str] = []

    def wait(host: str, *_: Any, **__: Any) -> list[Any]:
        asked.append(host)
        if not over.wait(SECONDS / 4):
            answered.append(host)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", wait)
    for deadline in DEADLINES:
        with TransferSession(engine, endpoint_url="http://slow.invalid") as session:
            error = failure(session, PAIR, config(deadline=deadline))
        if asked:
            break
    over.set()

    assert isinstance(error, DeadlineExceeded)
    assert answered == []
