"""Shared fixtures of the fetching tests: a fetcher on each engine, origins, and a certificate authority."""

import pytest
import trustme

from asyncstream.engines import open_engine
from asyncstream.gathering.web import FetchConfig, open_fetcher
from asyncstream.lab.web import Answer, Origin

from .web_origins import QUICK


@pytest.fixture(scope="module")
def engines():
    """Each engine once: its event loop must outlive the connections opened in it."""
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
    """Fetch URLs one after the other with one fetcher; `config` has its settings."""

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
    """Fetch URLs at once in `count` slots of the engine; return pages or errors in the order given."""

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
    """Start an origin with answers by path: an Answer, or a function that makes one from the request."""

    def serve(answers=None, hosts=1, tls=None, **by_name):
        table = {**(answers or {}), **{f"/{name}": answer for name, answer in by_name.items()}}

        def answer(asked):
            found = table.get(asked.path, Answer.of(b"no such page", 404))
            return found(asked) if callable(found) else found

        origin = Origin(answer, hosts, tls)
        request.addfinalizer(origin.close)
        return origin

    return serve


@pytest.fixture
def authority(monkeypatch, tmp_path):
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    return authority
