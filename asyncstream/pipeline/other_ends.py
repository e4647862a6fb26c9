"""The ends of a transfer that are not S3: files, standard streams, URLs and archives, opened if needed.

Their modules are imported only then: most functions copy within S3, and their cold start counts.
"""
# ruff: noqa: PLC0415

from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from asyncstream.locations import (
    ArchiveFile,
    Folder,
    LineRange,
    Lines,
    LocalFile,
    LocalFolder,
    Pack,
    SourceFile,
    SourceFolder,
    StandardStream,
    TarEntries,
    TarEntry,
    TargetFile,
    WebFile,
    ZipEntries,
    ZipEntry,
)
from asyncstream.pipeline import memory
from asyncstream.pipeline.config import (
    TransferConfig,
    chunk_size_within,
    memory_left,
    memory_limit_or_default,
)
from asyncstream.pipeline.context import Ends
from asyncstream.ports import Destination, Engine, Source
from asyncstream.retry import Retrying
from asyncstream.units import GiB
from asyncstream.web import FetchConfig

if TYPE_CHECKING:
    from asyncstream.archives.tar_source import TarSource
    from asyncstream.archives.zip_source import ZipSource

Place = SourceFile | SourceFolder | TargetFile | Folder
# Bytes of memory that the list of an archive's files may take outside Lambda.
_MEMORY_ELSEWHERE = 1 * GiB
_FILES, _ZIP, _TAR = (LocalFile, LocalFolder), (ZipEntry, ZipEntries), (TarEntry, TarEntries)
_PACKS = (Pack, Lines, LineRange)


@asynccontextmanager
async def add_other_ends(
    ends: Ends, places: Iterable[Place], engine: Engine, config: TransferConfig, web: FetchConfig
) -> AsyncIterator[Ends]:
    """Yield the ends of S3, with those that these places need added.

    The most expensive end determines the memory of a part in flight, so only those needed are opened.

    Args:
        ends: those of S3.
        places: sources and destinations.
        engine: that of the transfer.
        config: the transfer's settings.
        web: how URLs are requested.
    """
    kinds = set(_kinds(places))
    verify = config.verify != "off"
    chunk_size = chunk_size_within(config.chunk_size, memory.lambda_memory())
    sources: dict[type, Source[Any, Any]] = {**ends.sources}
    destinations: dict[type, Destination[Any, Any]] = {**ends.destinations}
    async with AsyncExitStack() as closing:
        if not kinds.isdisjoint(_FILES):
            from asyncstream.files.destination import FileDestination
            from asyncstream.files.source import FileSource

            sources |= dict.fromkeys(_FILES, FileSource(engine, chunk_size))
            written = FileDestination(engine, create_only=config.if_exists == "fail")
            destinations |= dict.fromkeys(_FILES, written)
        if StandardStream in kinds:
            from asyncstream.files.standard import StandardInput, StandardOutput

            sources[StandardStream] = StandardInput(engine, chunk_size)
            destinations[StandardStream] = StandardOutput(engine)
        if WebFile in kinds:
            from asyncstream.web.opening import open_source

            deadline = ends.retrying.deadline
            opened = await open_source(engine, web, config.max_concurrency, deadline, verify=verify)
            closing.push_async_callback(opened.close)
            sources[WebFile] = opened
        archives = None if kinds.isdisjoint(_ZIP) else _open_zip(engine, sources, config)
        if archives is not None:
            sources |= dict.fromkeys(_ZIP, archives)
        if not kinds.isdisjoint(_TAR):
            tar = _open_tar(engine, sources, ends.retrying, config)
            closing.push_async_callback(tar.close)
            sources |= dict.fromkeys(_TAR, tar)
        if not kinds.isdisjoint(_PACKS):
            from asyncstream.archives.pack_source import PackSource
            from asyncstream.pipeline.packing import PackPlanner

            of_members = replace(ends, sources=dict(sources), destinations=destinations, archives=archives)
            planner = PackPlanner(of_members, engine, config.max_concurrency, _entry_memory())
            packs = PackSource(
                planner, of_members.source_of, ends.retrying, of_members.slot_bytes, verify=verify
            )
            sources |= dict.fromkeys(_PACKS, packs)
        yield replace(ends, sources=sources, destinations=destinations, archives=archives)


def _open_zip(
    engine: Engine, sources: Mapping[type, Source[Any, Any]], config: TransferConfig
) -> "ZipSource":
    from asyncstream.archives.zip_source import ZipSource

    return ZipSource(
        engine,
        lambda place: sources[type(place)],
        _entry_memory(),
        max_output=config.max_output,
        max_ratio=config.max_ratio,
    )


def _open_tar(
    engine: Engine, sources: Mapping[type, Source[Any, Any]], retrying: Retrying, config: TransferConfig
) -> "TarSource":
    from asyncstream.archives.tar_opening import TarLimits, TarOpener
    from asyncstream.archives.tar_source import TarSource

    limit = memory_limit_or_default(config.memory_limit, memory.lambda_memory(), memory.resident())
    limits = TarLimits(_entry_memory(), limit, config.max_output, config.max_ratio)

    def source_of(place: ArchiveFile) -> Source[Any, Any]:
        return sources[type(place)]

    return TarSource(engine, source_of, TarOpener(engine, source_of, retrying, limits))


def _entry_memory() -> int:
    return int(min(memory_left(memory.lambda_memory(), memory.resident()), _MEMORY_ELSEWHERE))


def _kinds(places: Iterable[Place]) -> Iterator[type]:
    """Yield the type of each place, and of the archive that an entry is in."""
    for place in places:
        yield type(place)
        if isinstance(place, (*_ZIP, *_TAR)):
            yield type(place.archive)
        if isinstance(place, Lines):
            yield type(place.file)
        if isinstance(place, Pack):
            yield from _kinds(place.members if isinstance(place.members, tuple) else [place.members])
