"""Fetch web pages within limits: one fetcher over two HTTP libraries."""

from asyncstream.gathering.web.config import FetchConfig
from asyncstream.gathering.web.fetching import Fetcher
from asyncstream.gathering.web.pages import Page
from asyncstream.gathering.web.urls import interleaved
from asyncstream.ports import Engine

__all__ = ["FetchConfig", "Fetcher", "Page", "interleaved", "open_fetcher"]


async def open_fetcher(engine: Engine, config: FetchConfig) -> Fetcher:
    """Return a fetcher for this engine; the caller closes it. The blocking one does not load aiohttp."""
    if engine.name == "asyncio":
        from asyncstream.gathering.web.aio import AsyncioHttp  # noqa: PLC0415

        return Fetcher(AsyncioHttp(config), config, engine.sleep)
    from asyncstream.gathering.web.blocking import BlockingHttp  # noqa: PLC0415

    return Fetcher(BlockingHttp(config), config, engine.sleep)
