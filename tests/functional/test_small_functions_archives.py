"""Archives of any size are unpacked and packed by functions of 128 MB, about as a plain copy is.

`ARCHIVES_MB=10000 pytest tests/functional/test_small_functions_archives.py` does it with that size.
"""

import logging
import os
import zlib
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest

from asyncstream.lab.sandbox.limits import Limits
from asyncstream.units import MiB
from tests.servers import LabServer
from tests.servers.small_function import SmallFunction
from tests.zip_packing import Row, pack_rows

MB = 1_000_000
# Bytes of one file, and of all.
FILE = 100 * MB
SIZE = int(os.environ.get("ARCHIVES_MB", "300")) * MB
# Bytes that an archive may take beyond what a copy of its content takes.
MORE_THAN_A_COPY = 10 * MiB

logger = logging.getLogger(__name__)  # --log-cli-level=info shows the measurements
pytestmark = [pytest.mark.slow, pytest.mark.timeout(7200 if SIZE > 1000 * MB else 240)]

Peak = Callable[[dict[str, Any]], int]


@cache
def archive() -> bytes:
    """Return an archive of texts that deflate to a tenth; each is deflated once only."""
    lines = b"".join(b"%06d GET /index.html 200 " % number for number in range(0, 999_983, 7))
    content = (lines * (FILE // len(lines) + 1))[:FILE]
    deflate = zlib.compressobj(1, wbits=-15)
    data = deflate.compress(content) + deflate.flush()
    crc32 = zlib.crc32(content)
    rows = [Row(f"{number:03d}", data=data, crc32=crc32, size=FILE) for number in range(SIZE // FILE)]
    return pack_rows(rows)


@pytest.fixture
def peak(limits: Limits, handler: str, lab_server: LabServer) -> Peak:
    """Invoke a function of 128 MB with an event, and return its peak memory in bytes."""

    def peak(event: dict[str, Any]) -> int:
        environment = lab_server.lab.environment()
        with SmallFunction(handler, limits, environment, memory_mb=128, timeout=900.0) as function:
            reply = function.invoke(event)
            assert reply["status"] == "copied", reply
            assert reply["totals"]["bytes"] >= SIZE
            logger.info("%s %s: peak %.1f MiB", handler, next(iter(event)), function.peak_bytes / MiB)
            return function.peak_bytes

    return peak


@pytest.fixture
def copied(lab_server: LabServer, peak: Peak) -> tuple[str, str, int]:
    """A bucket of files under `in/`, one for what is made of them, and the peak of copying them there."""
    source, target = lab_server.new_bucket().name, f"{lab_server.new_bucket().name}-out"
    lab_server.lab.create_bucket(target, keep=False)
    lab_server.lab.declare(source, [(f"in/{number:03d}", FILE) for number in range(SIZE // FILE)])
    return (
        source,
        target,
        peak({"source_prefix": f"s3://{source}/in/", "destination": f"s3://{target}/copy/"}),
    )


def test_an_archive_is_unpacked_at_128_mb(
    lab_server: LabServer, peak: Peak, copied: tuple[str, str, int]
) -> None:
    _, target, of_copy = copied
    bucket = lab_server.new_bucket()
    bucket.put("a.zip", archive())
    event = {"unzip": f"s3://{bucket.name}/a.zip", "destination": f"s3://{target}/unzip/"}
    assert peak(event) <= of_copy + MORE_THAN_A_COPY
    written = lab_server.lab.checksums(target, "unzip/")
    assert [each.size for each in written.values()] == [FILE] * (SIZE // FILE)


@pytest.mark.varied("kind", handler="threads")
@pytest.mark.parametrize("kind", ["tar", "zip", "concat"])
def test_objects_are_packed_at_128_mb(
    lab_server: LabServer, peak: Peak, copied: tuple[str, str, int], kind: str
) -> None:
    source, target, of_copy = copied
    event = {kind: f"s3://{source}/in/", "destination": f"s3://{target}/{kind}"}
    assert peak(event) <= of_copy + MORE_THAN_A_COPY
    assert lab_server.lab.checksums(target, kind)[kind].size >= SIZE
