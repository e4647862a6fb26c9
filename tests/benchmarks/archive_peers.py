"""Other libraries' ways to unpack and pack archives in S3, as short as people write them.

Their packages are in an environment of their own, .venv/peers.
"""
# ruff: noqa: PLC0415

from __future__ import annotations

import io
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from tests.benchmarks.archives import TAR, ZIP, ZIPPED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from tests.benchmarks.peers import Copy, Peer, Task

CHUNK = 64 * 1024


def upload_entries(open_archive: Callable[[Any, Task], Any]) -> Peer:
    """`upload_fileobj` of each entry, as zipfile opens it."""

    @contextmanager
    def peer(task: Task) -> Iterator[Copy]:
        s3 = _client(task)

        def copy() -> None:
            with open_archive(s3, task) as archive:
                for name in archive.namelist():
                    with archive.open(name) as entry:
                        s3.upload_fileobj(entry, task.destination, name)

        yield copy

    return peer


def zipfile_in_memory(s3: Any, task: Task) -> Any:
    """The archive is read whole."""
    import zipfile

    reply = s3.get_object(Bucket=task.source + ZIPPED, Key=ZIP)
    return zipfile.ZipFile(io.BytesIO(reply["Body"].read()))


def zipfile_smart_open(s3: Any, task: Task) -> Any:
    """smart_open requests what zipfile reads."""
    import zipfile

    from smart_open import open as smart_open

    uri = f"s3://{task.source}{ZIPPED}/{ZIP}"
    return zipfile.ZipFile(smart_open(uri, "rb", transport_params={"client": s3}))


def powertools(s3: Any, task: Task) -> Any:
    """Powertools for AWS Lambda, as its documentation shows it."""
    from aws_lambda_powertools.utilities.streaming import S3Object
    from aws_lambda_powertools.utilities.streaming.transformations import ZipTransform

    return S3Object(bucket=task.source + ZIPPED, key=ZIP, boto3_client=s3).transform(ZipTransform())


@contextmanager
def stream_unzip(task: Task) -> Iterator[Copy]:
    """stream-unzip: reads the archive once, from its start."""
    from stream_unzip import stream_unzip as entries

    s3 = _client(task)

    def copy() -> None:
        body = s3.get_object(Bucket=task.source + ZIPPED, Key=ZIP)["Body"]
        for name, _, chunks in entries(body.iter_chunks(CHUNK)):
            s3.upload_fileobj(io.BufferedReader(_Chunks(chunks)), task.destination, name.decode())

    yield copy


@contextmanager
def zipfile_threads(task: Task) -> Iterator[Copy]:
    """The shortest code for small entries: read the archive whole, and put its entries in threads."""
    from concurrent.futures import ThreadPoolExecutor

    s3 = _client(task)

    def copy() -> None:
        archive = zipfile_in_memory(s3, task)

        def put(name: str) -> None:
            s3.put_object(Bucket=task.destination, Key=name, Body=archive.read(name))

        with ThreadPoolExecutor(task.concurrency) as pool:
            for _ in pool.map(put, archive.namelist()):
                pass

    yield copy


@contextmanager
def zipfile_plan(task: Task) -> Iterator[Copy]:
    """zipfile over smart_open: read the directory."""
    s3 = _client(task)

    def read() -> None:
        zipfile_smart_open(s3, task).infolist()

    yield read


@contextmanager
def s3_tar(task: Task) -> Iterator[Copy]:
    """s3-tar, with each object added by its key."""
    from s3_tar import S3Tar

    job = S3Tar(task.source, TAR, target_bucket=task.destination)

    def copy() -> None:
        # Its listing asks for further pages by ListObjects, which the lab does not have.
        for key in task.keys:
            job.add_file(key)
        job.tar()

    yield copy


@contextmanager
def tarfile_smart_open(task: Task) -> Iterator[Copy]:
    """tarfile's stream into smart_open's upload."""
    import tarfile

    from smart_open import open as smart_open

    s3 = _client(task)

    def copy() -> None:
        uri = f"s3://{task.destination}/{TAR}"
        with (
            smart_open(uri, "wb", transport_params={"client": s3}) as target,
            tarfile.open(fileobj=target, mode="w|") as archive,
        ):
            for key in task.keys:
                reply = s3.get_object(Bucket=task.source, Key=key)
                member = tarfile.TarInfo(key)
                member.size, member.mtime = reply["ContentLength"], reply["LastModified"].timestamp()
                archive.addfile(member, reply["Body"])

    yield copy


@contextmanager
def stream_zip(task: Task) -> Iterator[Copy]:
    """stream-zip, without compression: sizes and CRC32s of the entries must be known before."""
    import zlib

    from stream_zip import NO_COMPRESSION_64
    from stream_zip import stream_zip as zipped

    s3 = _client(task)

    def entries() -> Iterator[tuple[Any, ...]]:
        for key in task.keys:
            reply = s3.get_object(Bucket=task.source, Key=key)
            content = reply["Body"].read()
            method = NO_COMPRESSION_64(len(content), zlib.crc32(content))
            yield key, reply["LastModified"], 0o100644, method, (content,)

    def copy() -> None:
        s3.upload_fileobj(io.BufferedReader(_Chunks(zipped(entries()))), task.destination, ZIP)

    yield copy


class _Chunks(io.RawIOBase):
    """A file of chunks, for `upload_fileobj`."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._rest:
            chunk = next(self._chunks, None)
            if chunk is None:
                return 0
            self._rest = memoryview(chunk)
        length = min(len(buffer), len(self._rest))
        buffer[:length], self._rest = self._rest[:length], self._rest[length:]
        return length


def _client(task: Task) -> Any:
    import boto3
    from botocore.config import Config

    # With the default of 10 connections, 10 threads would wait for each other.
    return boto3.client("s3", config=Config(max_pool_connections=2 * task.concurrency))


PEERS: dict[str, Peer] = {
    "zipfile": upload_entries(zipfile_in_memory),
    "zipfile_smart_open": upload_entries(zipfile_smart_open),
    "powertools": upload_entries(powertools),
    "stream_unzip": stream_unzip,
    "zipfile_put_threads": zipfile_threads,
    "zipfile_plan": zipfile_plan,
    "s3_tar": s3_tar,
    "tarfile_smart_open": tarfile_smart_open,
    "stream_zip": stream_zip,
}
LABELS = {
    "zipfile": "zipfile, upload_fileobj",
    "zipfile_smart_open": "zipfile + smart_open, upload_fileobj",
    "powertools": "Powertools, upload_fileobj",
    "stream_unzip": "stream-unzip, upload_fileobj",
    "zipfile_put_threads": "zipfile, put in threads",
    "zipfile_plan": "zipfile + smart_open",
    "s3_tar": "s3-tar",
    "tarfile_smart_open": "tarfile + smart_open",
    "stream_zip": "stream-zip, upload_fileobj",
}
