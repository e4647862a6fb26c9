"""Pages of the web, fetched within limits: one fetcher over two HTTP libraries."""

from asyncstream.gathering.web.config import FetchConfig
from asyncstream.gathering.web.fetching import Fetcher
from asyncstream.gathering.web.pages import Page
from asyncstream.gathering.web.urls import interleaved
from asyncstream.ports import Engine

__all__ = ["FetchConfig", "Fetcher", "Page", "interleaved", "open_fetcher"]


async def open_fetcher(engine: Engine, config: FetchConfig) -> Fetcher:
    """A fetcher that an engine can drive, to be closed in the end. The blocking one loads no aiohttp."""
    if engine.name == "asyncio":
        from asyncstream.gathering.web.aio import AsyncioHttp  # noqa: PLC0415

        return Fetcher(AsyncioHttp(config), config, engine.sleep)
    from asyncstream.gathering.web.blocking import BlockingHttp  # noqa: PLC0415

    return Fetcher(BlockingHttp(config), config, engine.sleep)
