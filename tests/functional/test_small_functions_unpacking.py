"""Compressed files with windows of 64 MiB, in functions of 128 and 512 MB: each gets a correct reply.

Ten decoders at once used to exceed the memory of both functions.
"""

import lzma
from collections.abc import Callable
from typing import Any

import pytest

from asyncstream.transforms.codecs import ZSTD
from asyncstream.transforms.gzip import library
from asyncstream.units import MiB
from tests.servers import LabServer
from tests.servers.small_function import Invoke

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

FILES = 10
# The first fills a window beyond the memory of a function of 128 MB; the second fills less than that.
MANY, FEW = 56 * MiB, 20 * MiB


def xz(length: int) -> bytes:
    """Return data packed like `xz -9` does, with a window of 64 MiB."""
    fast = {"id": lzma.FILTER_LZMA2, "preset": 1, "dict_size": 64 * MiB}
    return lzma.compress(bytes(length), filters=[fast])


def zstd(length: int) -> bytes:
    """Return data packed like `zstd --long=26` does when it reads a pipe."""
    module = library(ZSTD)
    packer = module.ZstdCompressor(options={module.CompressionParameter.window_log: 26})
    return bytes(packer.compress(bytes(length)) + packer.flush())


PACKERS: dict[str, Callable[[int], bytes]] = {"unxz": xz, "unzstd": zstd}
_packed: dict[tuple[str, int], bytes] = {}


@pytest.fixture(params=PACKERS)
def transform(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def event_of(server: LabServer, transform: str, length: int, **config: Any) -> tuple[dict[str, Any], str]:
    """Store ten files; return an event that copies them, and the bucket they go to."""
    if (transform, length) not in _packed:
        _packed[transform, length] = PACKERS[transform](length)
    source = server.new_bucket()
    target = f"{source.name}-unpacked"
    server.lab.create_bucket(target, keep=False)
    for number in range(FILES):
        source.put(f"{number}.packed", _packed[transform, length])
    files = [
        {"source": f"s3://{source.name}/{n}.packed", "destination": f"s3://{target}/{n}"}
        for n in range(FILES)
    ]
    return {"files": files, "config": {"transform": transform, **config}}, target


@pytest.mark.varied("transform", handler="threads")
def test_ten_wide_windows_fail_with_the_way_out_at_128_mb(
    invoke: Invoke, handler: str, lab_server: LabServer, transform: str
) -> None:
    event, _ = event_of(lab_server, transform, MANY)
    reply = invoke(handler, event)

    assert reply["status"] == "failed"
    assert {row["error"]["type"] for row in reply["failures"]} == {"MemoryNeeded"}
    for row in reply["failures"]:
        assert row["error"]["message"].startswith(f"{row['source']}: the {transform[2:]} data take 68681728 ")
        assert "Raise memory_limit, in Lambda the function's memory" in row["error"]["message"]


@pytest.mark.varied("transform", handler="threads")
def test_ten_wide_windows_are_unpacked_at_512_mb(
    invoke: Invoke, handler: str, lab_server: LabServer, transform: str
) -> None:
    event, target = event_of(lab_server, transform, MANY)
    reply = invoke(handler, event, memory_mb=512)

    assert reply["status"] == "copied", reply
    told = lab_server.lab.checksums(target, "")
    assert {file.size for file in told.values()} == {MANY}
    assert len(told) == FILES


def test_wide_windows_filled_in_part_are_unpacked_at_128_mb(
    invoke: Invoke, handler: str, lab_server: LabServer, transform: str
) -> None:
    """One or two run at a time: the unfilled part of a decoder's window takes no memory."""
    event, target = event_of(lab_server, transform, FEW)
    reply = invoke(handler, event)

    assert reply["status"] == "copied", reply
    assert len(lab_server.lab.checksums(target, "")) == FILES
