"""asyncstream's ways to unpack and pack archives, and the steps of an unzip that they are compared with."""
# ruff: noqa: PLC0415

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from tests.benchmarks.peers import INFLATED_AT_ONCE, OURS, ours

if TYPE_CHECKING:
    from collections.abc import Iterator

    from asyncstream.engines import EngineName
    from tests.benchmarks.peers import Copy, Peer, Task

ZIPPED = "-zip"  # suffix of the bucket that has the same objects in an archive
ZIP, TAR = "all.zip", "all.tar"  # keys of the archives that are read and written
RAW_DEFLATE = -15  # zlib's value for it

UNZIPS = {engine: f"{engine}_unzip" for engine in OURS}
GZIPS = {engine: f"{engine}_unzip_gzip" for engine in OURS}  # without inflating
STEPS = {engine: f"{engine}_unzip_sum" for engine in OURS}  # the steps of an unzip, one after the other
TARS = {engine: f"{engine}_tar" for engine in OURS}
ZIPS = {engine: f"{engine}_zip" for engine in OURS}
PLANS = {engine: f"{engine}_plan" for engine in OURS}


@contextmanager
def _session(engine: EngineName, task: Task) -> Iterator[tuple[Any, Any]]:
    from asyncstream import TransferConfig, TransferSession

    config = TransferConfig(max_concurrency=task.concurrency, multipart=engine != "sequential")
    with TransferSession(engine) as session:
        session.open(config)
        yield session, config


def _transfer(session: Any, config: Any, source: Any, destination: Any) -> None:
    report = session.transfer([(source, destination)], config)
    for failed in report.failed:
        raise RuntimeError(f"{failed.source} was not written") from failed.error


def unzip(engine: EngineName, *, as_gzip: bool = False) -> Peer:
    """asyncstream: the entries of an archive become objects."""

    @contextmanager
    def peer(task: Task) -> Iterator[Copy]:
        from asyncstream import S3Object, S3Prefix, ZipEntries

        entries = ZipEntries(S3Object(task.source + ZIPPED, ZIP), as_gzip=as_gzip)
        with _session(engine, task) as (session, config):
            yield lambda: _transfer(session, config, entries, S3Prefix(task.destination, ""))

    return peer


def pack(engine: EngineName, kind: str) -> Peer:
    """asyncstream: the objects become one archive, of the kind "Tar" or "Zip"."""

    @contextmanager
    def peer(task: Task) -> Iterator[Copy]:
        import asyncstream

        key = {"Tar": TAR, "Zip": ZIP}[kind]
        archive = getattr(asyncstream, kind)(asyncstream.S3Object(task.destination, key))
        with _session(engine, task) as (session, config):
            yield lambda: _transfer(session, config, asyncstream.S3Prefix(task.source, ""), archive)

    return peer


def plan(engine: EngineName) -> Peer:
    """asyncstream: read and check the directory of an archive, and cut it into slices of 1,000 entries."""

    @contextmanager
    def peer(task: Task) -> Iterator[Copy]:
        from asyncstream import S3Object, ZipEntries

        with _session(engine, task) as (session, _):
            yield lambda: session.slice_archive(ZipEntries(S3Object(task.source + ZIPPED, ZIP)))

    return peer


def copy_and_inflate(engine: EngineName) -> Peer:
    """The steps of an unzip: a copy of the unpacked objects, then the library's loop in memory."""

    @contextmanager
    def peer(task: Task) -> Iterator[Copy]:
        with ours(engine)(task) as copy_unpacked:
            contents = _deflated(task)

            def copy() -> None:
                copy_unpacked()
                for content in contents:
                    _inflate(content)

            yield copy

    return peer


def _deflated(task: Task) -> list[memoryview]:
    """Return the deflated data of an archive's entries."""
    import io
    import struct
    import zipfile
    from urllib.request import urlopen

    content = urlopen(f"{os.environ['AWS_ENDPOINT_URL_S3']}/{task.source}{ZIPPED}/{ZIP}").read()
    entries = []
    for info in zipfile.ZipFile(io.BytesIO(content)).infolist():
        name, extra = struct.unpack_from("<2H", content, info.header_offset + 26)
        start = info.header_offset + 30 + name + extra
        entries.append(memoryview(content)[start : start + info.compress_size])
    return entries


def _inflate(content: memoryview) -> None:
    from isal import isal_zlib

    decoder = isal_zlib.decompressobj(wbits=RAW_DEFLATE)
    for at in range(0, len(content), INFLATED_AT_ONCE):
        decoder.decompress(content[at : at + INFLATED_AT_ONCE])
    if not decoder.eof:
        raise RuntimeError("An entry of the archive has no end.")


PEERS: dict[str, Peer] = {
    **{name: unzip(engine) for engine, name in UNZIPS.items()},
    **{name: unzip(engine, as_gzip=True) for engine, name in GZIPS.items()},
    **{name: copy_and_inflate(engine) for engine, name in STEPS.items()},
    **{name: pack(engine, "Tar") for engine, name in TARS.items()},
    **{name: pack(engine, "Zip") for engine, name in ZIPS.items()},
    **{name: plan(engine) for engine, name in PLANS.items()},
}
LABELS = {
    **{name: f"asyncstream {engine}, unzip" for engine, name in UNZIPS.items()},
    **{name: f"asyncstream {engine}, to .gz" for engine, name in GZIPS.items()},
    **{name: f"{engine} copy + bare inflate" for engine, name in STEPS.items()},
    **{name: f"asyncstream {engine}, tar" for engine, name in TARS.items()},
    **{name: f"asyncstream {engine}, zip" for engine, name in ZIPS.items()},
    **{name: f"asyncstream {engine}, plan" for engine, name in PLANS.items()},
}
