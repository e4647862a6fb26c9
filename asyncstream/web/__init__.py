"""Pages of the web, fetched within limits: one fetcher over two HTTP libraries, opened here for an engine."""

from asyncstream.ports import Engine
from asyncstream.web.config import FetchConfig
from asyncstream.web.fetching import Fetcher
from asyncstream.web.pages import Page
from asyncstream.web.urls import interleaved

__all__ = ["FetchConfig", "Fetcher", "Page", "interleaved", "open_fetcher"]


async def open_fetcher(engine: Engine, config: FetchConfig) -> Fetcher:
    """A fetcher that an engine can drive, to be closed in the end. The blocking one loads no aiohttp."""
    if engine.name == "asyncio":
        from asyncstream.web.aio import AsyncioHttp  # noqa: PLC0415

        return Fetcher(AsyncioHttp(config), config, engine.sleep)
    from asyncstream.web.blocking import BlockingHttp  # noqa: PLC0415

    return Fetcher(BlockingHttp(config), config, engine.sleep)
