"""One URL to one page, whatever the server does: the same on every engine."""

import gzip
import json
import socket
import ssl
import threading
import time
import tracemalloc
from contextlib import closing
from email.utils import formatdate

import pytest
import trustme
from web_origins import ALLOWED, KeptSpan, Listener

from asyncstream.engines import open_engine
from asyncstream.errors import (
    BodyTooLarge,
    BodyUnreadable,
    ConnectionFailed,
    DeadlineExceeded,
    HostNotFound,
    InputError,
    PageFailed,
    PageNotFound,
    RedirectRefused,
    ServerNotTrusted,
    ServiceBusy,
    SlowDown,
    TruncatedBody,
)
from asyncstream.lab.web import CLOSE, RESET, Answer, LabWeb, Origin, WebModel, rows_of_page
from asyncstream.version import __version__
from asyncstream.web import FetchConfig, Page, interleaved, open_fetcher

FOR_EVER = 3600.0
QUICK = {
    "allowed_networks": ALLOWED,
    "retry_base_delay": 0.001,
    "retry_max_delay": 0.001,
    "connect_timeout": 2.0,
    "stall_timeout": 2.0,
    "page_timeout": 5.0,
}


@pytest.fixture(scope="module")
def engines():
    """Each engine once: its event loop lives as long as the connections made in it."""
    opened = {}
    yield opened
    for each in opened.values():
        each.close()


@pytest.fixture
def running(engine, engines):
    if engine not in engines:
        engines[engine] = open_engine(engine)
    return engines[engine]


@pytest.fixture
def fetch(running):
    """Fetches URLs one after the other with one fetcher; `config` are settings of it."""

    def fetch(*urls, config=None, left=None, **options):
        async def work():
            fetcher = await open_fetcher(running, FetchConfig(**QUICK | (config or {})))
            try:
                return [
                    await fetcher.fetch(url, **options | ({"left": left} if left else {})) for url in urls
                ]
            finally:
                await fetcher.close()

        pages = running.run(work)
        return pages[0] if len(urls) == 1 else pages

    return fetch


@pytest.fixture
def fetch_all(running):
    """Fetches URLs in as many slots of the engine; their ends, in the order given."""

    def fetch_all(*urls, config=None, count=20):
        async def work():
            fetcher = await open_fetcher(running, FetchConfig(**QUICK | (config or {})))
            ends = {}
            waiting = list(enumerate(urls))
            try:
                async with running.slots(count) as slots:
                    while waiting or len(ends) < len(urls):
                        while waiting and slots.free:
                            index, url = waiting.pop(0)
                            slots.start(index, lambda url=url: fetcher.fetch(url))
                        end = await slots.finished()
                        ends[end.tag] = end
            finally:
                await fetcher.close()
            return [ends[index].error or ends[index].result for index in range(len(urls))]

        return running.run(work)

    return fetch_all


@pytest.fixture
def serve(request):
    """Starts an origin with the answers given, by path: an Answer, or what makes one of what was asked."""

    def serve(answers=None, hosts=1, tls=None, **by_name):
        table = {**(answers or {}), **{f"/{name}": answer for name, answer in by_name.items()}}

        def answer(asked):
            found = table.get(asked.path, Answer.of(b"no such page", 404))
            return found(asked) if callable(found) else found

        origin = Origin(answer, hosts, tls)
        request.addfinalizer(origin.close)
        return origin

    return serve


def test_a_page_comes_with_what_the_server_told_of_it(fetch, serve):
    told = {"Content-Type": "text/html; charset=iso-8859-1", "ETag": '"1"', "Set-Cookie": "secret=1"}
    origin = serve(page=Answer(200, told, (b"caf\xe9",), 4))
    page = fetch(f"{origin.urls[0]}/page?q=1#part")
    assert (page.status, page.body, page.text, page.content_type) == (200, b"caf\xe9", "café", "text/html")
    assert (page.asked, page.url) == (f"{origin.urls[0]}/page?q=1#part", f"{origin.urls[0]}/page?q=1")
    assert (page.etag, page.attempts, page.redirects) == ('"1"', 1, 0)
    assert "set-cookie" not in page.headers


def test_what_is_asked_says_who_asks_and_no_more(fetch, serve):
    asked = []

    def answer(request):
        asked.append(request.headers)
        return Answer.of(b"", Set_Cookie="a=b")

    origin = serve(page=answer)
    fetch(f"{origin.urls[0]}/page", f"{origin.urls[0]}/page")
    host = origin.urls[0].removeprefix("http://")
    assert asked == 2 * [
        {
            "host": host,
            "accept": "*/*",
            "accept-encoding": "gzip",
            "user-agent": f"asyncstream/{__version__}",
        }
    ]


def test_a_path_is_sent_as_it_was_given(fetch, serve):
    paths = []
    origin = serve({path: Answer.of(b"") for path in ("/a%2Fb/%C3%A9", "/a//b/../c")})
    origin._answer, inner = lambda asked: (paths.append(asked.path), inner(asked))[1], origin._answer
    fetch(f"{origin.urls[0]}/a%2Fb/é", f"{origin.urls[0]}/a//b/../c")
    assert paths == ["/a%2Fb/%C3%A9", "/a//b/../c"]


@pytest.mark.parametrize("length", [10_000, None])
@pytest.mark.parametrize("packed", [False, True])
def test_a_body_is_whole_however_it_is_framed_and_packed(fetch, serve, length, packed):
    body = b"0123456789" * 1000
    sent = gzip.compress(body) if packed else body
    headers = {"Content-Encoding": "gzip"} if packed else {}
    pieces = tuple(sent[at : at + 7] for at in range(0, len(sent), 7))
    origin = serve(page=Answer(200, headers, pieces, len(sent) if length else None))
    assert fetch(f"{origin.urls[0]}/page").body == body


def test_gzip_of_several_members_is_one_body(fetch, serve):
    sent = gzip.compress(b"one,") + gzip.compress(b"two")
    origin = serve(page=Answer.of(sent, Content_Encoding="gzip"))
    assert fetch(f"{origin.urls[0]}/page").body == b"one,two"


def test_a_connection_is_used_again_after_pages_redirects_and_short_errors(fetch, serve):
    origin = serve(
        page=Answer.of(b"x" * 1000),
        moved=Answer.of(b"over there", 302, Location="/page"),
        busy=lambda asked: Answer.of(b"busy", 503) if asked.nth == 1 else Answer.of(b""),
    )
    base = origin.urls[0]
    fetch(f"{base}/page", f"{base}/moved", f"{base}/busy", f"{base}/page")
    assert origin.counts()["connections"] == {"127.0.0.1": 1}


def test_a_page_still_the_same_comes_without_its_body(fetch, serve):
    def answer(asked):
        known = (asked.headers.get("if-none-match"), asked.headers.get("if-modified-since"))
        assert known == ('"7"', "yesterday")
        return Answer(304, {"ETag": '"7"'}, (), 0)

    origin = serve(page=answer)
    page = fetch(f"{origin.urls[0]}/page", etag='"7"', last_modified="yesterday")
    assert page.unchanged
    assert page.body == b""


def test_a_known_etag_cannot_add_headers(fetch, serve):
    origin = serve(page=Answer.of(b""))
    with pytest.raises(InputError, match="no ETag"):
        fetch(f"{origin.urls[0]}/page", etag='"1"\r\nX-Other: 1')
    assert origin.counts()["requests"] == {}


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_followed_to_the_page_wherever_it_is(fetch, serve, status):
    other = serve(page=Answer.of(b"here"))
    origin = serve(
        {
            "/a/old": Answer.of(b"", status, Location="newer?x=1"),
            "/a/newer": Answer(status, {"Location": f"{other.urls[0]}/page"}, (b"z" * 100_000,)),
        }
    )
    page = fetch(f"{origin.urls[0]}/a/old")
    assert (page.body, page.url, page.redirects) == (b"here", f"{other.urls[0]}/page", 2)


def test_as_many_redirects_are_followed_as_allowed_and_not_one_more(fetch, serve):
    origin = serve(
        {f"/{number}": Answer.of(b"", 302, Location=f"/{number - 1}") for number in range(1, 5)}
        | {"/0": Answer.of(b"end")}
    )
    assert fetch(f"{origin.urls[0]}/3", config={"max_redirects": 3}).body == b"end"
    origin.reset()
    with pytest.raises(RedirectRefused, match="more than 3 times"):
        fetch(f"{origin.urls[0]}/4", config={"max_redirects": 3})
    assert origin.counts()["requests"] == {"127.0.0.1": 4}


@pytest.mark.parametrize(
    "location",
    ["file:///etc/passwd", "ftp://127.0.0.1/x", "gopher://127.0.0.1/", "javascript:alert(1)", "https://:80/"],
)
def test_redirects_to_anything_but_a_page_are_refused_and_not_tried_again(fetch, serve, location):
    origin = serve(page=Answer.of(b"", 302, Location=location))
    with pytest.raises(RedirectRefused, match="redirects to no page"):
        fetch(f"{origin.urls[0]}/page")
    assert origin.counts()["requests"] == {"127.0.0.1": 1}


def test_a_redirect_with_credentials_is_refused_without_repeating_them(fetch, serve):
    origin = serve(page=Answer.of(b"", 302, Location="http://me:hidden@127.0.0.1/?key=hidden"))
    with pytest.raises(RedirectRefused) as caught:
        fetch(f"{origin.urls[0]}/page")
    assert "hidden" not in str(caught.value)
    assert "hidden" not in str(caught.value.__cause__)


@pytest.mark.parametrize(
    ("status", "error"),
    [(404, PageNotFound), (410, PageNotFound), (400, PageFailed), (403, PageFailed), (300, PageFailed),
     (304, PageFailed), (418, PageFailed)],
)  # fmt: skip
def test_what_will_be_no_page_the_next_time_either_fails_at_once(fetch, serve, status, error):
    origin = serve(page=Answer(status, {}, (), 0))
    with pytest.raises(error, match=str(status)) as caught:
        fetch(f"{origin.urls[0]}/page?key=hidden")
    assert caught.value.status == status
    assert "hidden" not in str(caught.value)
    assert origin.counts()["requests"] == {"127.0.0.1": 1}


@pytest.mark.parametrize(
    ("status", "error"),
    [(408, ServiceBusy), (425, ServiceBusy), (429, SlowDown), (500, ServiceBusy), (502, ServiceBusy),
     (503, SlowDown), (504, ServiceBusy), (599, ServiceBusy)],
)  # fmt: skip
def test_what_may_be_a_page_the_next_time_is_tried_again_so_often(fetch, serve, status, error):
    origin = serve(
        always=Answer.of(b"later", status),
        twice=lambda asked: Answer.of(b"later", status) if asked.nth <= 2 else Answer.of(b"now"),
    )
    page = fetch(f"{origin.urls[0]}/twice")
    assert (page.body, page.attempts) == (b"now", 3)
    origin.reset()
    with pytest.raises(error, match=str(status)):
        fetch(f"{origin.urls[0]}/always", config={"max_attempts": 3})
    assert origin.counts()["requests"] == {"127.0.0.1": 3}


@pytest.mark.parametrize("asked_for", ["100000", formatdate(4e9, usegmt=True)])
def test_a_page_is_given_up_that_the_server_wants_asked_for_later_than_anybody_waits(fetch, serve, asked_for):
    origin = serve(page=Answer.of(b"", 429, Retry_After=asked_for))
    with pytest.raises(SlowDown) as caught:
        fetch(f"{origin.urls[0]}/page")
    assert caught.value.retry_after > 10_000
    assert origin.counts()["requests"] == {"127.0.0.1": 1}


def test_a_reset_connection_is_made_anew_and_the_page_read_from_its_start(fetch, serve):
    half = Answer(200, {}, (b"ha", RESET), 4)
    origin = serve(page=lambda asked: half if asked.nth == 1 else Answer.of(b"half"))
    page = fetch(f"{origin.urls[0]}/page")
    assert (page.body, page.attempts) == (b"half", 2)


@pytest.mark.parametrize("length", [100, None])
def test_a_body_that_ends_too_early_is_no_page(fetch, serve, length):
    origin = serve(page=Answer(200, {}, (b"short", CLOSE), length))
    with pytest.raises(TruncatedBody):
        fetch(f"{origin.urls[0]}/page", config={"max_attempts": 2})
    assert origin.counts()["requests"] == {"127.0.0.1": 2}


def test_a_gzip_that_ends_too_early_is_no_page(fetch, serve):
    sent = gzip.compress(b"x" * 1000)[:-9]
    origin = serve(page=Answer.of(sent, Content_Encoding="gzip"))
    with pytest.raises(TruncatedBody, match="before the gzip in it did"):
        fetch(f"{origin.urls[0]}/page", config={"max_attempts": 1})


@pytest.mark.parametrize(
    ("encoding", "body", "told"),
    [("gzip", b"no gzip", "no gzip"), ("br", b"x", "'br'"), ("gzip, gzip", b"x", "'gzip, gzip'"),
     ("deflate", b"x", "'deflate'"), ("gzip", gzip.compress(b"") * 1001, "1000 gzip members")],
)  # fmt: skip
def test_a_body_packed_otherwise_than_asked_for_is_refused_by_name(fetch, serve, encoding, body, told):
    origin = serve(page=Answer.of(body, Content_Encoding=encoding))
    with pytest.raises(BodyUnreadable, match=told):
        fetch(f"{origin.urls[0]}/page")
    assert origin.counts()["requests"] == {"127.0.0.1": 1}


def test_a_body_as_long_as_allowed_is_a_page_and_one_byte_more_is_not(fetch, serve):
    def page(size, packed):
        body = gzip.compress(b"x" * size) if packed else b"x" * size
        return Answer(200, {"Content-Encoding": "gzip"} if packed else {}, (body,))

    origin = serve({f"/{size}-{packed}": page(size, packed) for size in (1000, 1001) for packed in (0, 1)})
    limit = {"max_body": 1000}
    for packed in (0, 1):
        assert len(fetch(f"{origin.urls[0]}/1000-{packed}", config=limit).body) == 1000
        with pytest.raises(BodyTooLarge, match="more than the 1000"):
            fetch(f"{origin.urls[0]}/1001-{packed}", config=limit)


def test_a_body_told_to_be_too_long_is_not_waited_for(fetch, serve):
    origin = serve(page=Answer(200, {}, (FOR_EVER,), 2_000_000))
    with pytest.raises(BodyTooLarge, match="2000000 bytes"):
        fetch(f"{origin.urls[0]}/page")


def test_a_body_without_an_end_is_left_when_it_is_too_long(fetch, serve):
    def endless():
        while True:
            yield b"x" * 10_000

    origin = serve(page=Answer(200, {}, endless()))
    with pytest.raises(BodyTooLarge):
        fetch(f"{origin.urls[0]}/page", config={"max_body": 100_000})


def test_a_bomb_costs_no_more_memory_than_a_page(fetch, serve):
    bomb = gzip.compress(b"\0" * 200_000_000)
    origin = serve(page=Answer.of(bomb, Content_Encoding="gzip"), small=Answer.of(b"small"))
    fetch(f"{origin.urls[0]}/small")  # imports what the engine needs, which is no page's memory
    tracemalloc.start()
    try:
        with pytest.raises(BodyTooLarge, match="unpacked"):
            fetch(f"{origin.urls[0]}/page")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4_000_000


@pytest.mark.parametrize(
    "answer",
    [
        Answer(200, {}, (), 0, delay=FOR_EVER),
        Answer(200, {}, (b"some", FOR_EVER), 100),
        Answer(200, {}, (FOR_EVER,), None),
    ],
    ids=["head", "body", "chunk"],
)
def test_a_server_that_falls_silent_is_left(fetch, serve, answer):
    origin = serve(page=answer)
    with pytest.raises(ConnectionFailed):
        fetch(f"{origin.urls[0]}/page", config={"stall_timeout": 0.2, "max_attempts": 2})
    assert origin.counts()["requests"] == {"127.0.0.1": 2}


class Dripping:
    """A server that never falls silent: a byte of each thing it says, again and again."""

    def __init__(self, before, again):
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/"
        self._before, self._again = before, again
        self._ending = threading.Event()
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def _accept(self):
        while True:
            try:
                accepted = self._listener.accept()[0]
            except OSError:
                return
            self._threads.append(threading.Thread(target=self._drip, args=(accepted,), daemon=True))
            self._threads[-1].start()

    def _drip(self, accepted):
        with accepted:
            try:
                accepted.sendall(self._before)
                while not self._ending.wait(0.02):
                    accepted.sendall(self._again)
            except OSError:
                return

    def close(self):
        self._ending.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join()


OK = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    ("before", "again"),
    [
        (b"", b"H"),
        (OK, b"x"),
        (OK, b"X: y\r\n"),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        (OK + b"Content-Length: 10000\r\n\r\n", b"x"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n", b"0"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", b"X: y\r\n"),
    ],
    ids=["status", "header", "headers", "continue", "body", "chunk size", "trailers"],
)
def test_a_server_that_never_falls_silent_is_left_when_the_page_has_had_its_time(
    fetch, request, before, again
):
    server = Dripping(before, again)
    request.addfinalizer(server.close)
    with pytest.raises(ConnectionFailed):
        fetch(server.url, config={"page_timeout": 0.3, "max_attempts": 1})


def test_a_head_with_a_long_policy_and_many_cookies_is_read(fetch, serve):
    headers = {"Content-Security-Policy": "x" * 15_000} | {f"X-Cookie-{n}": "y" * 1000 for n in range(60)}
    origin = serve(page=Answer(200, headers, (b"here",), 4))
    assert fetch(f"{origin.urls[0]}/page").body == b"here"


def test_a_head_that_does_not_end_is_left_before_it_fills_the_memory(fetch, request):
    server = Dripping(OK + b"".join(b"X-%d: %b\r\n" % (n, b"y" * 15_000) for n in range(200)), b"X: y\r\n")
    request.addfinalizer(server.close)
    tracemalloc.start()
    try:
        with pytest.raises(ConnectionFailed, match=r"head|400"):
            fetch(server.url, config={"max_attempts": 1})
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 6_000_000


def test_a_page_that_takes_longer_than_the_deadline_fails_by_it(fetch, serve):
    origin = serve(page=Answer(200, {}, (b"some", FOR_EVER), 100))
    end = time.monotonic() + 0.3
    with pytest.raises(DeadlineExceeded):
        fetch(f"{origin.urls[0]}/page", left=lambda: end - time.monotonic())
    assert origin.counts()["requests"] == {"127.0.0.1": 1}


def test_nobody_is_asked_after_the_deadline(fetch, serve):
    origin = serve(page=Answer.of(b""))
    with pytest.raises(DeadlineExceeded):
        fetch(f"{origin.urls[0]}/page", left=lambda: 0.0)
    assert origin.counts()["requests"] == {}


def test_a_name_that_is_looked_up_for_too_long_is_left(fetch, monkeypatch):
    answering = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: answering.wait(60) and [])
    try:
        with pytest.raises(ConnectionFailed, match="not found in time"):
            fetch("http://slow.test/", config={"connect_timeout": 0.1, "max_attempts": 2})
    finally:
        answering.set()


def test_a_name_that_there_is_not_is_asked_for_once(fetch, monkeypatch):
    asked = []

    def unknown(host, *_, **__):
        asked.append(host)
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(HostNotFound, match=r"no\.test has no address"):
        fetch("http://no.test/")
    assert asked == ["no.test"]


def test_a_port_that_nobody_listens_at_is_tried_again_and_given_up(fetch):
    with closing(Listener()) as listener:
        port = listener.port
    with pytest.raises(ConnectionFailed, match=r"refused|111"):
        fetch(f"http://127.0.0.1:{port}/", config={"max_attempts": 2})


def test_a_host_is_asked_by_no_more_connections_at_once_than_allowed(fetch_all, serve, engine):
    origin = serve(page=Answer.of(b"x", delay=0.02), hosts=2)
    urls = [f"{url}/page" for url in origin.urls for _ in range(15)]
    pages = fetch_all(*urls, config={"connections_per_host": 3})
    assert [page.body for page in pages] == [b"x"] * 30
    most = 1 if engine == "sequential" else 3
    assert origin.counts()["most_at_once"] == dict.fromkeys(("127.0.0.1", "127.0.0.2"), most)


def test_every_page_of_a_faulty_web_ends_as_a_page_or_with_its_reason(fetch_all):
    model = WebModel(faults=0.3, seed=1)
    with LabWeb(model, hosts=20) as web:
        urls = interleaved(web.urls(60))
        pages = fetch_all(*urls, config={"stall_timeout": 0.3, "max_attempts": 2, "connections_per_host": 2})
        counts = web.counts()
    ends = {"": set(), "slow": set(), "busy": set(), "reset": set(), "missing": set(), "stalled": set()}
    for url, page in zip(urls, pages, strict=True):
        number = int(url.rpartition("/")[2])
        if isinstance(page, Page):
            assert json.loads(page.body) == rows_of_page(number)
        ends[model.fault(number)].add((type(page), getattr(page, "attempts", None)))
    assert ends == {
        "": {(Page, 1)},
        "slow": {(Page, 1)},
        "busy": {(Page, 2)},
        "reset": {(Page, 2)},
        "missing": {(PageNotFound, None)},
        "stalled": {(ConnectionFailed, None)},
    }
    assert len(counts["requests"]) == 20
    assert max(counts["most_at_once"].values()) <= 2


def test_waiting_for_a_busy_host_takes_none_of_a_pages_own_time(fetch_all, serve):
    origin = serve(page=Answer.of(b"x", delay=0.1))
    pages = fetch_all(
        *[f"{origin.urls[0]}/page"] * 8,
        config={"connections_per_host": 1, "page_timeout": 0.4, "max_attempts": 1},
    )
    assert [getattr(page, "body", page) for page in pages] == [b"x"] * 8


@pytest.fixture
def authority(monkeypatch, tmp_path):
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    return authority


def served_by(authority, *names):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names).configure_cert(context)
    return context


def named(monkeypatch, **addresses):
    """Has names of `.test` mean these addresses, the next one each time they are asked for."""
    asked = []
    told = {name: iter(found) for name, found in addresses.items()}

    def getaddrinfo(host, port, *_, **__):
        asked.append(host)
        found = next(told[host.removesuffix(".test")])
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, port)) for each in found.split()]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return asked


def test_a_page_comes_over_tls_from_a_host_that_proves_its_name(fetch, serve, authority, monkeypatch):
    origin = serve(page=Answer.of(b"x" * 200_000), tls=served_by(authority, "good.test"))
    named(monkeypatch, good=["127.0.0.1"])
    page = fetch(f"https://good.test:{origin.port}/page")
    assert len(page.body) == 200_000


def test_a_certificate_of_another_name_is_refused_and_nothing_sent(fetch, serve, authority, monkeypatch):
    origin = serve(page=Answer.of(b""), tls=served_by(authority, "other.test", "127.0.0.1"))
    named(monkeypatch, good=["127.0.0.1"] * 5)
    with pytest.raises(ServerNotTrusted, match=r"good\.test"):
        fetch(f"https://good.test:{origin.port}/page")
    assert origin.counts()["requests"] == {}


def test_a_certificate_of_nobody_trusted_is_refused(fetch, serve):
    origin = serve(page=Answer.of(b""), tls=served_by(trustme.CA(), "127.0.0.1"))
    with pytest.raises(ServerNotTrusted):
        fetch(f"{origin.urls[0]}/page")
    assert origin.counts()["connections"] == {"127.0.0.1": 1}


def test_a_redirect_out_of_tls_is_refused(fetch, serve, authority):
    plain = serve(page=Answer.of(b""))
    origin = serve(
        page=Answer.of(b"", 302, Location=f"{plain.urls[0]}/page"), tls=served_by(authority, "127.0.0.1")
    )
    with pytest.raises(RedirectRefused, match="without TLS"):
        fetch(f"{origin.urls[0]}/page")
    assert plain.counts()["connections"] == {}


def test_a_name_with_several_addresses_is_asked_at_one_that_listens(fetch, serve, monkeypatch):
    origin = serve(page=Answer.of(b"here"))
    named(monkeypatch, many=["127.0.0.9 127.0.0.1"])
    assert fetch(f"http://many.test:{origin.port}/page").body == b"here"


def test_each_fetch_has_a_span_that_tells_what_it_took(fetch, serve):
    origin = serve(
        page=Answer.of(b"12345"),
        old=lambda asked: Answer.of(b"", 503) if asked.nth == 1 else Answer.of(b"", 302, Location="/page"),
    )
    span = KeptSpan()
    fetch(f"{origin.urls[0]}/old", span=span)
    [child] = span.children
    assert child.name == "fetch"
    assert child.annotations == {
        "host": "127.0.0.1", "attempts": 2, "status": 200, "redirects": 1, "bytes": 5
    }  # fmt: skip


def test_the_span_of_a_fetch_that_failed_tells_why(fetch, serve):
    span = KeptSpan()
    with pytest.raises(PageNotFound) as caught:
        fetch(f"{serve().urls[0]}/", span=span)
    assert span.children[0].error is caught.value
