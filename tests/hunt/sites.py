"""The three servers and their sources."""

from __future__ import annotations

import base64
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from awscrt.checksums import crc64nvme

from tests.servers import SERVERS as KINDS_OF_SERVER
from tests.servers import LabServer

from .choices import COPIES, PLAIN, SERVERS, SIZES, SUMMED, source_bytes, source_key
from .judge import Storage

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


@contextmanager
def servers() -> Iterator[dict[str, str]]:
    """Run every server, with the sources stored; yield their URLs by name."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(TemporaryDirectory(prefix="hunt-")))
        urls = {}
        for name in SERVERS:
            server = KINDS_OF_SERVER[name]()
            own = directory / name
            own.mkdir()
            server.start(own)
            stack.callback(server.stop)
            if isinstance(server, LabServer):
                server.lab.create_bucket(PLAIN, keep=True, checksums=False)
            store_sources(Storage(server.endpoint_url), SIZES)
            urls[name] = server.endpoint_url
        yield urls


def store_sources(storage: Storage, sizes: Sequence[int]) -> None:
    """Store a source of each size twice: with a CRC64NVME, and without a checksum."""
    for bucket in (SUMMED, PLAIN, COPIES):
        storage.create_bucket(bucket)
    for size in sizes:
        content = source_bytes(size)
        crc = base64.b64encode(crc64nvme(content).to_bytes(8, "big")).decode()
        storage.put(SUMMED, source_key(size), content, crc)
        storage.put(PLAIN, source_key(size), content)
