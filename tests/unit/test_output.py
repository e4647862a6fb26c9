"""Parts of a transform's output: filled and sent, without a sender."""

from itertools import chain, repeat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncstream.checksum import CRC64NVME
from asyncstream.engines.driver import drive
from asyncstream.errors import (
    Cancelled,
)
from asyncstream.pipeline.output import Output, OutputPart, PartBuffers
from asyncstream.transforms import Running

from .memory_store import (
    checksum_of,
)


def viewed(piece: bytes) -> memoryview:
    return memoryview(piece)


PIECES = st.lists(
    st.one_of(
        st.binary(max_size=40),
        st.binary(max_size=40).map(viewed),
        st.just(bytes(range(256)) * 300),
    ),
    max_size=12,
)


@given(PIECES, st.lists(st.one_of(st.integers(1, 50), st.integers(60_000, 140_000)), min_size=1))
def test_pieces_of_any_size_fill_parts_of_any_size(pieces: list[bytes], sizes: list[int]) -> None:
    """The parts have the same bytes as the pieces."""

    class Given:
        def feed(self, chunk: bytes | memoryview) -> list[bytes]:
            return pieces[chunk[0] :: 2]

        def finish(self) -> list[bytes]:
            return pieces

    running = Output(Running(Given), None)
    chunks = iter([[b"\0", b"\1"], []])
    found: list[bytes] = []
    numbers = chain(sizes, repeat(500_000))
    buffers = PartBuffers()
    while not running.ended:
        part = OutputPart(0, next(numbers), buffers, {CRC64NVME})
        while not part.full and not running.ended:
            if running.hungry:
                running.feed(next(chunks))
            running.fill(part)
        full = part.full
        found.append(sent(part))
        assert sent(part) == found[-1]  # repeatable
        part.clear()
        assert full or running.ended
    whole = b"".join(map(bytes, [*pieces[::2], *pieces[1::2], *pieces]))
    assert b"".join(found) == whole
    assert running.length == len(whole)


def sent(part: OutputPart) -> bytes:
    """Return all bytes of a part; assert that its checksum is known before them."""

    def check() -> None:
        pass

    body = part.body(check)
    returned = body.digests.checksums()[CRC64NVME]
    whole = b""
    while chunk := drive(body.next_chunk()):
        whole += chunk
    assert len(whole) == body.length == part.length
    assert returned == checksum_of(whole)
    return whole


def test_a_stopped_part_says_so_to_its_sender() -> None:
    def check() -> None:
        raise Cancelled("stopped")

    part = OutputPart(0, 10, PartBuffers(), ())
    part.add(b"1")
    body = part.body(check)
    with pytest.raises(Cancelled) as stopped:
        drive(body.next_chunk())
    assert body.error is stopped.value
