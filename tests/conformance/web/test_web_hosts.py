"""Hosts: their names, their certificates, and the number of connections to each."""

import socket
import threading
from typing import Any

import pytest
import trustme

from asyncstream.engines import EngineName
from asyncstream.errors import (
    ConnectionFailed,
    HostNotFound,
    ServerNotTrusted,
)
from asyncstream.lab.web import Answer
from asyncstream.lab.web.server import Asked
from tests.conformance.fixture_types import Fetch, FetchAll, Serve
from tests.servers.base import GUARD_SECONDS, PATIENCE

from .web_origins import named, served_by


def test_a_name_that_is_looked_up_for_too_long_is_left(fetch: Fetch, monkeypatch: pytest.MonkeyPatch) -> None:
    answering = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: answering.wait(60) and [])
    try:
        with pytest.raises(ConnectionFailed, match="not found in time"):
            fetch("http://slow.test/", config={"connect_timeout": 0.1, "max_attempts": 2})
    finally:
        answering.set()


def test_a_name_that_there_is_not_is_asked_for_once(fetch: Fetch, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def unknown(host: str, *_: object, **__: object) -> Any:
        asked.append(host)
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(HostNotFound, match=r"no\.test could not be looked up"):
        fetch("http://no.test/")
    assert asked == ["no.test"]


def test_a_host_has_no_more_connections_than_allowed(
    fetch_all: FetchAll, serve: Serve, engine: EngineName
) -> None:
    most = 1 if engine == "sequential" else 3
    full = {f"127.0.0.{number}": threading.Event() for number in (1, 2)}

    def answer(asked: Asked) -> Answer:
        """Answer when all allowed connections to the host have a request, so that all are open at once."""
        if asked.nth == most:
            full[asked.host].set()
        assert full[asked.host].wait(GUARD_SECONDS)
        return Answer.of(b"x", delay=0.02)

    origin = serve(page=answer, hosts=2)
    urls = [f"{url}/page" for url in origin.urls for _ in range(15)]
    pages = fetch_all(*urls, config={"connections_per_host": 3})
    assert [page.body for page in pages] == [b"x"] * 30
    assert origin.counts()["max_at_once"] == dict.fromkeys(("127.0.0.1", "127.0.0.2"), most)


def test_waiting_for_a_busy_host_takes_none_of_a_pages_own_time(fetch_all: FetchAll, serve: Serve) -> None:
    for page_timeout in PATIENCE:  # each page takes a quarter of it, and all of them twice as much
        origin = serve(page=Answer.of(b"x", delay=page_timeout / 4))
        pages = fetch_all(
            *[f"{origin.urls[0]}/page"] * 8,
            config={"connections_per_host": 1, "page_timeout": page_timeout, "max_attempts": 1},
        )
        bodies = [getattr(page, "body", page) for page in pages]
        if bodies == [b"x"] * 8:
            break
    assert bodies == [b"x"] * 8


def test_a_page_comes_over_tls_from_a_host_that_proves_its_name(
    fetch: Fetch, serve: Serve, authority: trustme.CA, monkeypatch: pytest.MonkeyPatch
) -> None:
    origin = serve(page=Answer.of(b"x" * 200_000), tls=served_by(authority, "good.test"))
    named(monkeypatch, good=["127.0.0.1"])
    page = fetch(f"https://good.test:{origin.port}/page")
    assert len(page.body) == 200_000


def test_a_certificate_of_another_name_is_refused(
    fetch: Fetch, serve: Serve, authority: trustme.CA, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client sends no request."""
    origin = serve(page=Answer.of(b""), tls=served_by(authority, "other.test", "127.0.0.1"))
    named(monkeypatch, good=["127.0.0.1"] * 5)
    with pytest.raises(ServerNotTrusted, match=r"good\.test"):
        fetch(f"https://good.test:{origin.port}/page")
    assert origin.counts()["requests"] == {}


def test_a_certificate_of_an_unknown_issuer_is_refused(fetch: Fetch, serve: Serve) -> None:
    origin = serve(page=Answer.of(b""), tls=served_by(trustme.CA(), "127.0.0.1"))
    with pytest.raises(ServerNotTrusted):
        fetch(f"{origin.urls[0]}/page")
    assert origin.counts()["connections"] == {"127.0.0.1": 1}


def test_a_name_with_several_addresses_uses_one_that_listens(
    fetch: Fetch, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    origin = serve(page=Answer.of(b"here"))
    named(monkeypatch, many=["127.0.0.9 127.0.0.1"])
    assert fetch(f"http://many.test:{origin.port}/page").body == b"here"
