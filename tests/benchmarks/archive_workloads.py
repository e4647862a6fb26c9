"""The workloads of archives: the peers, and the project's targets."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from tests.benchmarks import archive_sources, archives, checks, sources
from tests.benchmarks.peers import OURS
from tests.benchmarks.targets import Target
from tests.benchmarks.workloads import MB, Workload

if TYPE_CHECKING:
    from collections.abc import Mapping

    from asyncstream.engines import EngineName

# MB/s of a connection, MB/s of the card, ms to the first byte.
NETWORK = "53/90/25"
# MiB of memory that a way may take beside a copy of the same objects.
_MORE_MEMORY: dict[EngineName, float] = {"threads": 8, "asyncio": 25}
_UNPACKING = ("zipfile", "zipfile_smart_open", "powertools", "stream_unzip")


def _memory(ways: Mapping[EngineName, str]) -> tuple[Target, ...]:
    return tuple(
        Target(ways[engine], engine, more, "peak MiB", "difference") for engine, more in _MORE_MEMORY.items()
    )


def _each(
    ways: Mapping[EngineName, str], references: Mapping[EngineName, str] | str, bound: float
) -> tuple[Target, ...]:
    """Return a target for the cost of each engine."""
    return tuple(
        Target(way, references if isinstance(references, str) else references[engine], bound)
        for engine, way in ways.items()
    )


# The copy that the tables show ratios to. The targets compare each engine with its own.
_COPY = ("threads",)
_COPIES: dict[EngineName, str] = {engine: engine for engine in OURS}

_UNZIP = Workload(
    "unzip",
    "files of 100 MB in a ZIP archive, deflated",
    tls=False,
    count=5,
    size=100 * MB,
    unit="CPU s/GB",
    peers=(
        *archives.UNZIPS.values(),
        *archives.GZIPS.values(),
        *archives.STEPS.values(),
        *OURS,
        *_UNPACKING,
    ),
    references=(archives.STEPS["threads"], "zipfile"),
    targets=(
        *_each(archives.UNZIPS, archives.STEPS, 1.15),
        *_each(archives.UNZIPS, "zipfile", 0.3),
        *_each(archives.GZIPS, archives.UNZIPS, 0.25),
        *_memory(archives.UNZIPS),
        *_memory(archives.GZIPS),
    ),
    sources=archive_sources.deflated,
    kept=tuple(archives.GZIPS.values()),
    group="archives",
    priced=True,
)

_UNZIP_STORED = replace(
    _UNZIP,
    name="unzip_stored",
    objects="files of 100 MB in a ZIP archive, stored",
    peers=(*archives.UNZIPS.values(), *OURS, *_UNPACKING),
    references=_COPY,
    targets=(*_each(archives.UNZIPS, _COPIES, 1.4), *_memory(archives.UNZIPS)),
    sources=archive_sources.stored,
    kept=(),
)

_SMALL = replace(
    _UNZIP,
    count=2000,
    size=16 * 1024,
    unit="files/CPU s",
    references=_COPY,
)

_UNZIP_SMALL = replace(
    _SMALL,
    name="unzip_small",
    objects="files of 16 KiB in a ZIP archive, deflated",
    peers=(*archives.UNZIPS.values(), *OURS, "zipfile_put_threads", *_UNPACKING),
    targets=(
        *_each(archives.UNZIPS, _COPIES, 1.6),
        *(Target(way, None, _SMALL.count / 40 + 10, "GETs", "value") for way in archives.UNZIPS.values()),
        *_memory(archives.UNZIPS),
    ),
    kept=(),
)

_TAR_WAYS = (*archives.TARS.values(), "s3_tar", "tarfile_smart_open")
_TAR_PEERS = (*OURS, *_TAR_WAYS)
_TAR_SMALL = replace(
    _SMALL,
    name="tar_small",
    objects="objects of 16 KiB into a tar archive",
    peers=_TAR_PEERS,
    targets=_memory(archives.TARS),
    sources=sources.synthetic,
    check=checks.packs_or_copies,
    kept=_TAR_WAYS,
)

# One after the other, requests of 25 ms take minutes: the sequential engine is left out.
_CONCURRENT: tuple[EngineName, ...] = ("threads", "asyncio")
_TAR_SMALL_NETWORK = replace(
    _TAR_SMALL,
    name="tar_small_network",
    objects=f"objects of 16 KiB into a tar archive, network {NETWORK}",
    unit="wall s",
    peers=(*(archives.TARS[engine] for engine in _CONCURRENT), *_CONCURRENT, "s3_tar", "tarfile_smart_open"),
    references=_COPY,
    targets=(
        *(Target(archives.TARS[engine], engine, 1.0) for engine in _CONCURRENT),
        *(Target(archives.TARS[engine], engine, 0.1, "USD") for engine in _CONCURRENT),
    ),
    model=NETWORK,
)

# Not s3-tar: it truncates objects over 8 MiB. It takes the end of the last chunk that arrived for their size.
_TAR_LARGE_WAYS = (*archives.TARS.values(), "tarfile_smart_open")
_TAR_LARGE = replace(
    _UNZIP_STORED,
    name="tar_large",
    objects="objects of 100 MB into a tar archive",
    peers=(*OURS, *_TAR_LARGE_WAYS),
    targets=(*_each(archives.TARS, _COPIES, 1.2), *_memory(archives.TARS)),
    sources=sources.synthetic,
    check=checks.packs_or_copies,
    kept=_TAR_LARGE_WAYS,
)

_ZIP_PEERS = (*archives.ZIPS.values(), *OURS, "stream_zip")
_ZIP_SMALL = replace(
    _TAR_SMALL,
    name="zip_small",
    objects="objects of 16 KiB into a ZIP archive, stored",
    peers=_ZIP_PEERS,
    references=(*_COPY, "stream_zip"),
    targets=_memory(archives.ZIPS),
    check=checks.packs_or_copies,
    kept=(*archives.ZIPS.values(), "stream_zip"),
)

_PLAN = replace(
    _UNZIP,
    name="plan",
    objects="entries in the directory of a ZIP archive",
    count=1_000_000,
    size=10,
    unit="CPU s",
    peers=(*archives.PLANS.values(), "zipfile_plan"),
    references=("zipfile_plan",),
    targets=tuple(
        target
        for way in archives.PLANS.values()
        for target in (Target(way, None, 3.0, "cost", "value"), Target(way, None, 128, "peak MiB", "value"))
    ),
    sources=archive_sources.directory_of_many,
    check=checks.nothing,
    kept=(),
)

ARCHIVES = (
    _UNZIP,
    _UNZIP_STORED,
    _UNZIP_SMALL,
    _TAR_SMALL,
    _TAR_SMALL_NETWORK,
    _TAR_LARGE,
    _ZIP_SMALL,
    _PLAN,
)
