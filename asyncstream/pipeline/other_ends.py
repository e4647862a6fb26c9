"""The ends of a transfer that are not S3: files, standard streams and URLs, opened only if it has them."""

from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from asyncstream.files.destination import FileDestination
from asyncstream.files.source import FileSource
from asyncstream.files.standard import StandardInput, StandardOutput
from asyncstream.locations import LocalFile, LocalFolder, StandardStream, WebFile
from asyncstream.pipeline import memory
from asyncstream.pipeline.config import TransferConfig, chunk_size_within
from asyncstream.pipeline.context import Ends
from asyncstream.pipeline.jobs import Pair
from asyncstream.ports import Destination, Engine, Source
from asyncstream.web import FetchConfig, open_source

_FILES = (LocalFile, LocalFolder)


@asynccontextmanager
async def add_other_ends(
    ends: Ends, pairs: Iterable[Pair], engine: Engine, config: TransferConfig, web: FetchConfig
) -> AsyncIterator[Ends]:
    """Provide the ends with those that these pairs need beside S3.

    A part in flight costs as much memory as the most expensive end, so ends that are not needed are left out.

    Args:
        ends: those of S3.
        pairs: what is copied.
        engine: that of the transfer.
        config: the transfer's settings.
        web: how URLs are requested.
    """
    kinds = {type(place) for pair in pairs for place in pair}
    chunk_size = chunk_size_within(config.chunk_size, memory.lambda_memory())
    sources: dict[type, Source[Any, Any]] = {**ends.sources}
    destinations: dict[type, Destination[Any, Any]] = {**ends.destinations}
    async with AsyncExitStack() as closing:
        if not kinds.isdisjoint(_FILES):
            sources |= dict.fromkeys(_FILES, FileSource(engine, chunk_size))
            written = FileDestination(engine, create_only=config.if_exists == "fail")
            destinations |= dict.fromkeys(_FILES, written)
        if StandardStream in kinds:
            sources[StandardStream] = StandardInput(engine, chunk_size)
            destinations[StandardStream] = StandardOutput(engine)
        if WebFile in kinds:
            verify, deadline = config.verify != "off", ends.retrying.deadline
            opened = await open_source(engine, web, config.max_concurrency, deadline, verify=verify)
            closing.push_async_callback(opened.close)
            sources[WebFile] = opened
        yield Ends(sources, destinations, ends.retrying)
