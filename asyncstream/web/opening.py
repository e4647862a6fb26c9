"""Open the fetcher of pages, and the source of files behind URLs, for an engine."""

from asyncstream.deadline import Deadline
from asyncstream.ports import Engine
from asyncstream.web.config import FetchConfig
from asyncstream.web.fetching import Fetcher
from asyncstream.web.source import WebSource

# Bytes. A file may be as large as its destination allows, and the pipeline bounds its memory.
_ANY_SIZE = 2**60


async def open_fetcher(engine: Engine, config: FetchConfig) -> Fetcher:
    """Return a fetcher for this engine; the caller closes it. The blocking one does not load aiohttp."""
    if engine.name == "asyncio":
        from asyncstream.web.aio import AsyncioHttp  # noqa: PLC0415

        return Fetcher(AsyncioHttp(config), config, engine.sleep)
    from asyncstream.web.blocking import BlockingHttp  # noqa: PLC0415

    return Fetcher(BlockingHttp(config), config, engine.sleep)


async def open_source(
    engine: Engine, config: FetchConfig, slots: int, deadline: Deadline, *, verify: bool
) -> WebSource:
    """Return a source of files behind URLs; the caller closes it.

    Args:
        engine: that of the transfer.
        config: its limits for pages do not count: a file may have any size and take any time.
        slots: the most parts in flight. A slot reads one range, and a file that waits for a slot has its
            first range open.
        deadline: no bytes are read after it.
        verify: whether to return the checksums that servers send.
    """
    connections = min(2 * slots, 1000)
    own = config.override({"max_body": _ANY_SIZE, "connections_per_host": connections})
    return WebSource(await open_fetcher(engine, own), deadline, verify=verify)
