"""Feeds transforms as the pipeline does, for their tests: in any chunks, piece by piece."""

from collections.abc import Iterable, Iterator

from hypothesis import strategies as st

from asyncstream.transforms import Factory, Transform, pieces

# The ends of chunks, as fractions of the input; chunks may be empty.
CUTS = st.lists(st.floats(0, 1), max_size=8).map(sorted)


def cut(data: bytes, cuts: Iterable[float]) -> Iterator[memoryview]:
    """Yield the chunks, each in a buffer that is overwritten before the next, like the pipeline's."""
    start = 0
    for end in [*(round(cut * len(data)) for cut in cuts), len(data)]:
        buffer = bytearray(data[start:end])
        yield memoryview(buffer)
        buffer[:] = b"#" * len(buffer)
        start = end


def bytewise(data: bytes) -> list[float]:
    return [index / len(data) for index in range(1, len(data))]


def drawn(made: object) -> Iterator[bytes]:
    return (bytes(piece) for piece in pieces(made))


def made_pieces(transform: Transform, chunks: Iterable[bytes | memoryview]) -> Iterator[bytes]:
    for chunk in chunks:
        yield from drawn(transform.feed(chunk))
    yield from drawn(transform.finish())


def through(factory: Factory, data: bytes, cuts: Iterable[float] = ()) -> bytes:
    return b"".join(made_pieces(factory(), cut(data, cuts)))
