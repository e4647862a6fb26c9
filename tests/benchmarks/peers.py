"""Every measured way to copy. Each peer sets up, then yields a function that copies the objects.

measure.py runs each peer in a fresh process. A peer only imports its own library, because imports count as
memory.
"""
# ruff: noqa: PLC0415

from __future__ import annotations

import os
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.benchmarks import services

if TYPE_CHECKING:
    import asyncio

    from asyncstream.engines import EngineName

Copy = Callable[[], None]
Peer = Callable[["Task"], AbstractContextManager[Copy]]

SOCKET_BUFFER = 256 * 1024
INFLATED_AT_ONCE = 256 * 1024
WITH_GZIP_HEADER = 31  # zlib's value for it
OURS: tuple[EngineName, ...] = ("sequential", "threads", "asyncio")
TRACED = {engine: f"{engine}_traced" for engine in OURS}
UNVERIFIED = {engine: f"{engine}_unverified" for engine in OURS}
OLDER_SDKS = {
    engine: f"{engine}_older_sdks" for engine in OURS
}  # the versions that aioboto3 pins, in .venv/aioboto3
GUNZIPS = {engine: f"{engine}_gunzip" for engine in OURS}
SUMS = {engine: f"{engine}_sum" for engine in OURS}  # the steps of a gunzip, one after the other
SERVICE = "asyncio_service"  # see services.py
GZIPPED = "-gzip"  # suffix of the bucket that has the same objects compressed


@dataclass(frozen=True, slots=True)
class Task:
    """The objects that one run copies."""

    source: str
    destination: str
    keys: tuple[str, ...]
    concurrency: int


def ours(engine: EngineName, bucket_suffix: str = "", **settings: Any) -> Peer:
    """asyncstream: sequential streams whole files, the other engines move the parts of all files at once."""

    @contextmanager
    def peer(task: Task) -> Iterator[Copy]:
        from asyncstream import S3Object, TransferConfig, TransferSession

        source = task.source + bucket_suffix
        pairs = [(S3Object(source, key), S3Object(task.destination, key)) for key in task.keys]
        config = TransferConfig(
            max_concurrency=task.concurrency, multipart=engine != "sequential", **settings
        )

        def copy() -> None:
            for failed in session.transfer(pairs, config).failed:
                raise RuntimeError(f"{failed.source} was not copied") from failed.error

        with TransferSession(engine) as session:
            session.open(config)
            yield copy

    return peer


def traced(engine: EngineName) -> Peer:
    """asyncstream as in a Lambda function with active tracing: it imports the X-Ray SDK and sends spans."""

    @contextmanager
    def peer(task: Task) -> Iterator[Copy]:
        import socket

        # A daemon that reads nothing, because its CPU time is not the function's.
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as daemon:
            daemon.bind(("127.0.0.1", 0))
            os.environ |= {
                "AWS_LAMBDA_FUNCTION_NAME": "benchmark",
                "LAMBDA_TASK_ROOT": str(Path.cwd()),
                "AWS_XRAY_DAEMON_ADDRESS": f"127.0.0.1:{daemon.getsockname()[1]}",
                "_X_AMZN_TRACE_ID": f"Root=1-{0:08x}-{0:024x};Parent={0:016x};Sampled=1",
            }
            with ours(engine)(task) as copy:
                yield copy
            daemon.setblocking(False)
            daemon.recv(65536)  # raises if nothing was traced

    return peer


def copy_and_loop(engine: EngineName) -> Peer:
    """The steps of a gunzip: a copy of the plain objects, then the library's loop in memory."""

    @contextmanager
    def peer(task: Task) -> Iterator[Copy]:
        from urllib.request import urlopen

        from isal import isal_zlib

        def inflate(content: bytes) -> None:
            decoder = isal_zlib.decompressobj(wbits=WITH_GZIP_HEADER)
            view = memoryview(content)
            for at in range(0, len(view), INFLATED_AT_ONCE):
                data: bytes | memoryview = view[at : at + INFLATED_AT_ONCE]
                while data:
                    decoder.decompress(data)
                    data = decoder.unused_data
                    if decoder.eof:
                        decoder = isal_zlib.decompressobj(wbits=WITH_GZIP_HEADER)

        bucket = f"{os.environ['AWS_ENDPOINT_URL_S3']}/{task.source}{GZIPPED}"
        contents = [urlopen(f"{bucket}/{key}").read() for key in task.keys]
        with ours(engine)(task) as copy_plain:

            def copy() -> None:
                copy_plain()
                for content in contents:
                    inflate(content)

            yield copy

    return peer


@contextmanager
def sockets(task: Task) -> Iterator[Copy]:
    """The limit: receive a GET's body into one buffer and send it as a PUT's, on two connections."""
    reading, writing = _connect(), _connect()
    buffer = memoryview(bytearray(SOCKET_BUFFER))

    def copy_one(key: str) -> None:
        reading.sendall(f"GET /{task.source}/{key} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        head, rest = _read_head(reading)
        left = _content_length(head)
        request = (
            f"PUT /{task.destination}/{key} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {left}\r\n\r\n"
        )
        writing.sendall(request.encode() + rest)
        left -= len(rest)
        while left:
            received = reading.recv_into(buffer)
            writing.sendall(buffer[:received])
            left -= received
        _read_head(writing)

    def copy() -> None:
        for key in task.keys:
            copy_one(key)

    with reading, writing:
        yield copy


@contextmanager
def obstore(task: Task) -> Iterator[Copy]:
    """obstore's documented copy between two stores, with its defaults."""
    import obstore

    async def copy_one(key: str) -> None:
        await obstore.put_async(destination, key, await obstore.get_async(source, key))

    source, destination = _obstore_stores(task)
    with _event_loop() as runner:
        yield lambda: runner.run(_each(copy_one, task))


@contextmanager
def obstore_tuned(task: Task) -> Iterator[Copy]:
    """obstore tuned: no SHA-256 over the payload, and chunks of the size of its parts."""
    import obstore

    part = 5 * 1024 * 1024

    async def copy_one(key: str) -> None:
        stream = (await obstore.get_async(source, key)).stream(min_chunk_size=part)
        await obstore.put_async(destination, key, stream, chunk_size=part, max_concurrency=4)

    source, destination = _obstore_stores(task, unsigned_payload=True)
    with _event_loop() as runner:
        yield lambda: runner.run(_each(copy_one, task))


@contextmanager
def obstore_small(task: Task) -> Iterator[Copy]:
    """obstore for small objects: read, then put, because a stream would become a multipart upload."""
    import obstore

    async def copy_one(key: str) -> None:
        content = await (await obstore.get_async(source, key)).bytes_async()
        await obstore.put_async(destination, key, content, use_multipart=False)

    source, destination = _obstore_stores(task, unsigned_payload=True)
    with _event_loop() as runner:
        yield lambda: runner.run(_each(copy_one, task))


@contextmanager
def boto3_upload(task: Task) -> Iterator[Copy]:
    """boto3, one file after the other."""
    s3 = _boto3_client(task)

    def copy() -> None:
        for key in task.keys:
            s3.upload_fileobj(s3.get_object(Bucket=task.source, Key=key)["Body"], task.destination, key)

    yield copy


@contextmanager
def boto3_upload_threads(task: Task) -> Iterator[Copy]:
    """boto3 in a thread pool."""
    s3 = _boto3_client(task)

    def copy_one(key: str) -> None:
        s3.upload_fileobj(s3.get_object(Bucket=task.source, Key=key)["Body"], task.destination, key)

    yield lambda: _in_threads(copy_one, task)


@contextmanager
def boto3_get_put_threads(task: Task) -> Iterator[Copy]:
    """boto3 with the shortest code that people write for small files."""
    s3 = _boto3_client(task)

    def copy_one(key: str) -> None:
        content = s3.get_object(Bucket=task.source, Key=key)["Body"].read()
        s3.put_object(Bucket=task.destination, Key=key, Body=content)

    yield lambda: _in_threads(copy_one, task)


@contextmanager
def aioboto3_upload(task: Task) -> Iterator[Copy]:
    """aioboto3 with gather, bounded by a semaphore."""

    async def copy_one(key: str) -> None:
        reply = await s3.get_object(Bucket=task.source, Key=key)
        await s3.upload_fileobj(reply["Body"], task.destination, key)

    with _event_loop() as runner, _aioboto3_client(runner, task) as s3:
        yield lambda: runner.run(_each(copy_one, task))


@contextmanager
def aioboto3_get_put(task: Task) -> Iterator[Copy]:
    """aioboto3 with the shortest code that people write for small files."""

    async def copy_one(key: str) -> None:
        reply = await s3.get_object(Bucket=task.source, Key=key)
        await s3.put_object(Bucket=task.destination, Key=key, Body=await reply["Body"].read())

    with _event_loop() as runner, _aioboto3_client(runner, task) as s3:
        yield lambda: runner.run(_each(copy_one, task))


PEERS: dict[str, Peer] = {
    **{engine: ours(engine) for engine in OURS},
    **{name: traced(engine) for engine, name in TRACED.items()},
    **{name: ours(engine) for engine, name in OLDER_SDKS.items()},
    **{name: ours(engine, verify="off") for engine, name in UNVERIFIED.items()},
    **{name: ours(engine, GZIPPED, transform="gunzip") for engine, name in GUNZIPS.items()},
    **{name: copy_and_loop(engine) for engine, name in SUMS.items()},
    "sockets": sockets,
    "obstore": obstore,
    "obstore_tuned": obstore_tuned,
    "obstore_small": obstore_small,
    "boto3_upload": boto3_upload,
    "boto3_upload_threads": boto3_upload_threads,
    "boto3_get_put_threads": boto3_get_put_threads,
    "aioboto3_upload": aioboto3_upload,
    "aioboto3_get_put": aioboto3_get_put,
    SERVICE: services.asyncstream,
    "aiobotocore_service": services.aiobotocore(),
    "aiobotocore_service_wide": services.aiobotocore(max_pool_connections=services.IN_FLIGHT),
}

LABELS = {
    "sequential": "asyncstream sequential",
    "threads": "asyncstream threads",
    "asyncio": "asyncstream asyncio",
    **{name: f"asyncstream {engine}, traced" for engine, name in TRACED.items()},
    **{name: f"asyncstream {engine}, older SDKs" for engine, name in OLDER_SDKS.items()},
    **{name: f"asyncstream {engine}, verify=off" for engine, name in UNVERIFIED.items()},
    **{name: f"asyncstream {engine}, gunzip" for engine, name in GUNZIPS.items()},
    **{name: f"{engine} copy + bare loop" for engine, name in SUMS.items()},
    "sockets": "bare sockets",
    "obstore": "obstore",
    "obstore_tuned": "obstore tuned",
    "obstore_small": "obstore get+put",
    "boto3_upload": "boto3 upload_fileobj",
    "boto3_upload_threads": "boto3 upload_fileobj, threads",
    "boto3_get_put_threads": "boto3 get+put, threads",
    "aioboto3_upload": "aioboto3 upload_fileobj",
    "aioboto3_get_put": "aioboto3 get+put",
    SERVICE: "service, asyncstream",
    "aiobotocore_service": "service, aiobotocore get+put",
    "aiobotocore_service_wide": "the same, 200 connections",
}


def _in_threads(copy_one: Callable[[str], None], task: Task) -> None:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(task.concurrency) as pool:
        for _ in pool.map(copy_one, task.keys):
            pass


def _event_loop() -> asyncio.Runner:
    import asyncio

    return asyncio.Runner()


async def _each(copy_one: Callable[[str], Coroutine[Any, Any, None]], task: Task) -> None:
    import asyncio

    slots = asyncio.Semaphore(task.concurrency)

    async def bounded(key: str) -> None:
        async with slots:
            await copy_one(key)

    await asyncio.gather(*map(bounded, task.keys))


def _boto3_client(task: Task) -> Any:
    import boto3
    from botocore.config import Config

    # With the default of 10 connections, 10 threads would wait for each other.
    return boto3.client("s3", config=Config(max_pool_connections=2 * task.concurrency))


@contextmanager
def _aioboto3_client(runner: asyncio.Runner, task: Task) -> Iterator[Any]:
    import aioboto3
    from aiobotocore.config import AioConfig

    config = AioConfig(max_pool_connections=2 * task.concurrency)
    client = aioboto3.Session().client("s3", config=config)
    s3 = runner.run(client.__aenter__())
    try:
        yield s3
    finally:
        runner.run(client.__aexit__(None, None, None))


def _obstore_stores(task: Task, **settings: Any) -> tuple[Any, Any]:
    from obstore.store import S3Store

    options: Any = {"allow_http": True}
    if bundle := os.environ.get("AWS_CA_BUNDLE"):
        options["root_certificate"] = Path(bundle).read_bytes()
    endpoint = os.environ["AWS_ENDPOINT_URL_S3"]
    source, destination = (
        S3Store(bucket, endpoint=endpoint, client_options=options, **settings)
        for bucket in (task.source, task.destination)
    )
    return source, destination


def _connect() -> Any:
    import socket
    import ssl
    from urllib.parse import urlsplit

    endpoint = urlsplit(os.environ["AWS_ENDPOINT_URL_S3"])
    plain = socket.create_connection((endpoint.hostname, endpoint.port))
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if endpoint.scheme == "http":
        return plain
    context = ssl.create_default_context(cafile=os.environ["AWS_CA_BUNDLE"])
    return context.wrap_socket(plain, server_hostname=endpoint.hostname)


def _read_head(connection: Any) -> tuple[bytes, bytes]:
    """Return a reply's head, and the part of its body that came with it."""
    received = b""
    while b"\r\n\r\n" not in received:
        more = connection.recv(65536)
        if not more:
            raise ConnectionError("The server closed the connection.")
        received += more
    head, _, rest = received.partition(b"\r\n\r\n")
    if b" 200 " not in head[:16]:
        raise RuntimeError(f"refused: {head.decode('latin-1')}")
    return head, rest


def _content_length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    raise RuntimeError("The reply has no Content-Length.")
