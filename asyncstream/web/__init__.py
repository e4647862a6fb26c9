"""Fetch web pages within limits: one fetcher over two HTTP libraries."""

from asyncstream.ports import Engine
from asyncstream.web.config import FetchConfig
from asyncstream.web.fetching import Fetcher
from asyncstream.web.pages import Page
from asyncstream.web.urls import interleaved

__all__ = ["FetchConfig", "Fetcher", "Page", "interleaved", "open_fetcher"]


async def open_fetcher(engine: Engine, config: FetchConfig) -> Fetcher:
    """Return a fetcher for this engine; the caller closes it. The blocking one does not load aiohttp."""
    if engine.name == "asyncio":
        from asyncstream.web.aio import AsyncioHttp  # noqa: PLC0415

        return Fetcher(AsyncioHttp(config), config, engine.sleep)
    from asyncstream.web.blocking import BlockingHttp  # noqa: PLC0415

    return Fetcher(BlockingHttp(config), config, engine.sleep)
