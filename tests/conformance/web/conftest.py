"""Shared fixtures of the fetching tests: a fetcher on each engine, origins, and a certificate authority."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from asyncstream.engines import EngineName, open_engine
from asyncstream.ports import Engine, Finished, TimeLeft
from asyncstream.web import FetchConfig
from asyncstream.web.opening import open_fetcher
from asyncstream.web.pages import Page
from tests.conformance.conftest import engine_key
from tests.conformance.fixture_types import Fetch, FetchAll

from .web_origins import QUICK


@pytest.fixture(scope="module")
def engines() -> Iterator[dict[object, Engine]]:
    """Each engine once: its event loop must outlive the connections opened in it."""
    opened: dict[object, Engine] = {}
    yield opened
    for each in opened.values():
        each.close()


@pytest.fixture
def running(engine: EngineName, engines: dict[object, Engine]) -> Engine:
    key = engine_key(engine)
    if key not in engines:
        engines[key] = open_engine(engine)
    return engines[key]


@pytest.fixture
def fetch(running: Engine) -> Fetch:
    """Fetch URLs one after the other with one fetcher; `config` has its settings."""

    def fetch(
        *urls: str, config: dict[str, Any] | None = None, left: TimeLeft | None = None, **options: Any
    ) -> Any:
        async def work() -> list[Page]:
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
def fetch_all(running: Engine) -> FetchAll:
    """Fetch URLs at once in `count` slots of the engine; return pages or errors in the order given."""

    def fetch_all(*urls: str, config: dict[str, Any] | None = None, count: int = 20) -> list[Any]:
        async def work() -> list[Any]:
            fetcher = await open_fetcher(running, FetchConfig(**QUICK | (config or {})))
            ends: dict[int, Finished] = {}
            waiting = list(enumerate(urls))
            try:
                async with running.slots(count) as slots:
                    while waiting or len(ends) < len(urls):
                        while waiting and slots.free:
                            index, url = waiting.pop(0)
                            slots.start(index, partial(fetcher.fetch, url))
                        end = await slots.wait_end()
                        ends[end.tag] = end
            finally:
                await fetcher.close()
            return [ends[index].error or ends[index].result for index in range(len(urls))]

        return running.run(work)

    return fetch_all
