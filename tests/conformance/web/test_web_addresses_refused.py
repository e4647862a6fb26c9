"""No URL, redirect or name leads to an address that is not allowed: refused without a connection."""

import socket
from collections.abc import Callable, Coroutine, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from asyncstream.engines import EngineName, open_engine
from asyncstream.errors import AddressRefused, AsyncstreamError, ConnectionFailed, HostNotFound, InputError
from asyncstream.lab.web import Answer, Origin
from asyncstream.lab.web.server import Asked
from asyncstream.locations.urls import Url
from asyncstream.ports import for_ever
from asyncstream.web import FetchConfig
from asyncstream.web.fetching import Fetcher
from asyncstream.web.opening import open_fetcher
from asyncstream.web.pages import Page
from asyncstream.web.ports import Reply
from tests.conformance import CLIENTS

from .web_origins import Listener

Run = Callable[..., Any]

QUICK = {
    "retry_base_delay": 0.001,
    "retry_max_delay": 0.001,
    "max_attempts": 2,
    "connect_timeout": 60.0,
    "stall_timeout": 60.0,
}


@pytest.fixture
def run(engine: EngineName) -> Iterator[Run]:
    """Run a coroutine function with a fetcher."""
    opened = open_engine(engine)

    def run(use: Callable[[Fetcher], Coroutine[Any, Any, Any]], **config: Any) -> Any:
        async def work() -> Any:
            fetcher = await open_fetcher(opened, FetchConfig(**QUICK | config))
            try:
                return await use(fetcher)
            finally:
                await fetcher.close()

        return opened.run(work)

    yield run
    opened.close()


@pytest.fixture
def listener() -> Iterator[Listener]:
    with closing(Listener()) as listener:
        yield listener


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """Addresses for each name, one answer per lookup; other names resolve as usual."""
    answers: dict[str, list[str]] = {}
    real = socket.getaddrinfo

    def getaddrinfo(host: str, port: Any, *arguments: Any, **options: Any) -> list[Any]:
        if host not in answers:
            return real(host, port, *arguments, **options)
        found = []
        for address in answers[host].pop(0).split():
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            where = (address, port, 0, 0) if ":" in address else (address, port)
            found.append((family, socket.SOCK_STREAM, 6, "", where))
        return found

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return answers


LOOPBACK = [
    "127.0.0.1",
    "localhost",
    "2130706433",
    "0x7f000001",
    "0x7f.1",
    "0177.0.0.1",
    "017700000001",
    "127.1",
    "127.0.1",
    "127.0.0.1.",
    "0.0.0.0",
    "0",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[::127.0.0.1]",
    "[64:ff9b::127.0.0.1]",
    "[::]",
    "[::1]",
    "①②⑦.⓪.⓪.①",
    "127。0。0。1",
    "LOCALHOST",
]


@pytest.mark.parametrize("host", LOOPBACK)
@pytest.mark.varied("host", engine=CLIENTS)
def test_no_way_to_write_this_machine_leads_to_it(run: Run, listener: Listener, host: str) -> None:
    with pytest.raises((AddressRefused, InputError)):
        run(lambda fetcher: fetcher.fetch(f"http://{host}:{listener.port}/"))
    assert listener.connections() == 0


# The hosts that the HTTP library could receive if the URL were parsed in another way.
@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "localhost", "2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1", "127.1", "0.0.0.0", "0",
     "::ffff:127.0.0.1", "::ffff:7f00:1", "::", "::1", "127.0.0.1.", "localhost."],
)  # fmt: skip
@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.varied("host", engine=CLIENTS)
def test_not_even_where_the_url_was_not_looked_at(
    run: Run, listener: Listener, scheme: str, host: str
) -> None:
    url = Url(scheme, host, listener.port, "/")

    async def ask(fetcher: Fetcher) -> Reply:
        async with fetcher._http.turn(url, for_ever) as asked:
            return await asked.get(url, {}, lambda: 5.0)

    # aiohttp itself refuses numbers.
    with pytest.raises((AddressRefused, ConnectionFailed, HostNotFound)) as caught:
        run(ask)
    assert listener.connections() == 0
    if isinstance(caught.value, ConnectionFailed):
        assert "canonical" in str(caught.value)


def test_an_ipv6_listener_is_not_reached_either(run: Run) -> None:
    try:
        listener = Listener("::1")
    except OSError:
        pytest.skip("this machine's kernel has no IPv6")  # a test cannot install it
    with closing(listener):
        with pytest.raises(AddressRefused):
            run(lambda fetcher: fetcher.fetch(f"http://[::1]:{listener.port}/"))
        assert listener.connections() == 0


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0",
     "224.0.0.1", "255.255.255.255", "::1", "fd00:ec2::254", "fe80::1", "::ffff:10.0.0.1", "64:ff9b::a00:1",
     "2002:7f00:1::", "2001:0:7f00:1::"],
)  # fmt: skip
@pytest.mark.varied("address", engine=CLIENTS)
def test_a_name_that_means_a_private_address_is_refused(
    run: Run, listener: Listener, names: dict[str, list[str]], address: str
) -> None:
    names["inner.test"] = [address] * 2
    with pytest.raises(AddressRefused, match=r"inner\.test has the address"):
        run(lambda fetcher: fetcher.fetch(f"http://inner.test:{listener.port}/"))
    assert listener.connections() == 0
    assert len(names["inner.test"]) == 1  # no retry


@pytest.mark.parametrize("answer", ["127.0.0.1 127.0.0.2", "127.0.0.2 127.0.0.1", "127.0.0.1 fd00:ec2::254"])
def test_a_name_with_any_refused_address_is_refused(
    run: Run, listener: Listener, names: dict[str, list[str]], answer: str
) -> None:
    """Its other addresses are allowed."""
    names["both.test"] = [answer]
    with pytest.raises(AddressRefused):
        run(
            lambda fetcher: fetcher.fetch(f"http://both.test:{listener.port}/"),
            allowed_networks=("127.0.0.1/32",),
        )
    assert listener.connections() == 0


def serving(request: pytest.FixtureRequest, *locations: str, hosts: int = 1) -> Origin:
    """Start an origin that redirects `/0`, `/1` and so on, and has a page at every other path."""

    def answer(asked: Asked) -> Answer:
        text = asked.path[1:]
        if text.isdigit():
            return Answer.of(b"", 302, Location=locations[int(text)])
        return Answer.of(b"here", Connection="close")

    origin = Origin(answer, hosts)
    request.addfinalizer(origin.close)
    return origin


@pytest.mark.parametrize(
    "host",
    ["127.0.0.2", "169.254.169.254", "[fd00:ec2::254]", "10.0.0.1", "[::1]", "[::ffff:127.0.0.2]",
     "localhost", "inner.test"],
)  # fmt: skip
def test_a_redirect_to_a_refused_address_is_not_followed(
    run: Run, request: pytest.FixtureRequest, names: dict[str, list[str]], host: str
) -> None:
    names["inner.test"] = names["localhost"] = ["127.0.0.2"]
    with closing(Listener("127.0.0.2")) as inner:
        origin = serving(request, f"http://{host}:{inner.port}/latest/meta-data/")
        with pytest.raises(AddressRefused):
            run(lambda fetcher: fetcher.fetch(f"{origin.urls[0]}/0"), allowed_networks=("127.0.0.1/32",))
        assert inner.connections() == 0
    assert origin.counts()["requests"] == {"127.0.0.1": 1}


@pytest.mark.parametrize("host", ["2130706434", "0x7f.2", "0177.0.0.2", "127.2"])
def test_a_redirect_to_a_number_is_not_followed(run: Run, request: pytest.FixtureRequest, host: str) -> None:
    with closing(Listener("127.0.0.2")) as inner:
        origin = serving(request, f"http://{host}:{inner.port}/")
        with pytest.raises(AsyncstreamError, match="does not redirect to a page"):
            run(lambda fetcher: fetcher.fetch(f"{origin.urls[0]}/0"), allowed_networks=("127.0.0.1/32",))
        assert inner.connections() == 0


def test_the_address_checked_is_the_one_connected_to(
    run: Run, request: pytest.FixtureRequest, names: dict[str, list[str]]
) -> None:
    """DNS rebinding: the first answer is allowed, later ones are not."""
    origin = serving(request, hosts=2)
    names["rebound.test"] = ["127.0.0.1", "127.0.0.2"]
    url = f"http://rebound.test:{origin.port}/page"

    async def twice(fetcher: Fetcher) -> Page:
        first = await fetcher.fetch(url)
        assert len(names["rebound.test"]) == 1  # looked up once
        # The server has closed the connection: the next page needs a new connection and a new lookup.
        with pytest.raises(AddressRefused, match=r"127\.0\.0\.2"):
            await fetcher.fetch(url)
        return first

    assert run(twice, allowed_networks=("127.0.0.1/32",)).body == b"here"
    assert origin.counts()["connections"] == {"127.0.0.1": 1}


@pytest.mark.parametrize(
    "written",
    ["http://good.test@127.0.0.1:{port}/", "http://good.test:80@127.0.0.1:{port}/", "http://127.0.0.1:{port}\\@good.test/",
     "http://good.test\\@127.0.0.1:{port}/", "http://127.0.0.1:{port}#@good.test/", "http://good.test%40127.0.0.1:{port}/",
     "http://127.0.0.1:{port}?@good.test/", "http:127.0.0.1:{port}/", "http:///127.0.0.1:{port}/",
     "http://[::ffff:127.0.0.1%25eth0]:{port}/", "http://127.0.0.1\t:{port}/", "http://127.0.0.1%00.good.test:{port}/"],
)  # fmt: skip
@pytest.mark.varied("written", engine=CLIENTS)
def test_no_trick_of_writing_hides_the_host(
    run: Run, listener: Listener, names: dict[str, list[str]], written: str
) -> None:
    names["good.test"] = ["198.51.100.1"] * 2  # a documentation address: refused too, but not loopback
    with pytest.raises((AddressRefused, InputError)):
        run(lambda fetcher: fetcher.fetch(written.format(port=listener.port)))
    assert listener.connections() == 0


@pytest.mark.parametrize("scheme", ["file", "ftp", "gopher", "data", "unix", "https+unix", "HTTP+UNIX", ""])
def test_only_http_and_https_are_spoken(run: Run, listener: Listener, scheme: str) -> None:
    with pytest.raises(InputError, match="not the URL of a page"):
        run(lambda fetcher: fetcher.fetch(f"{scheme}://127.0.0.1:{listener.port}/etc/passwd"))
    assert listener.connections() == 0


def test_proxies_of_the_environment_are_not_asked(
    run: Run, request: pytest.FixtureRequest, listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{listener.port}")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    origin = serving(request)
    page = run(lambda fetcher: fetcher.fetch(f"{origin.urls[0]}/page"), allowed_networks=("127.0.0.0/8",))
    assert page.body == b"here"
    with pytest.raises(AddressRefused):
        run(lambda fetcher: fetcher.fetch(f"https://127.0.0.1:{origin.port}/page"))
    assert listener.connections() == 0


def test_credentials_for_a_host_are_not_taken_from_netrc(
    run: Run, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login me password hidden\n")
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    monkeypatch.setenv("HOME", str(tmp_path))
    seen = []
    origin = Origin(lambda asked: (seen.append(asked.headers), Answer.of(b""))[1])
    request.addfinalizer(origin.close)
    run(lambda fetcher: fetcher.fetch(f"{origin.urls[0]}/"), allowed_networks=("127.0.0.0/8",))
    assert "authorization" not in seen[0]


def test_what_is_allowed_is_allowed_and_nothing_beside_it(run: Run, request: pytest.FixtureRequest) -> None:
    origin = serving(request, hosts=2)
    allowed = ("127.0.0.2",)
    page = run(lambda fetcher: fetcher.fetch(f"{origin.urls[1]}/page"), allowed_networks=allowed)
    assert page.body == b"here"
    with pytest.raises(AddressRefused, match="loopback"):
        run(lambda fetcher: fetcher.fetch(f"{origin.urls[0]}/page"), allowed_networks=allowed)
    assert origin.counts()["connections"] == {"127.0.0.2": 1}
