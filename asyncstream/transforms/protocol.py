"""What a transform is, the pieces of what it makes, and several in a chain; all of the package stands on it.

A transform does no I/O: bytes in, bytes out. One object sees one file, from its first byte to its last.
"""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, Protocol

from asyncstream.errors import ConfigError, TransformError

# The most that a decompressor hands on at once, and so the most of a bomb that is ever in memory.
PIECE = 256 * 1024


class Transform(Protocol):
    """What becomes of one file. It may be asked for a piece at a time, and holds no unbounded amount.

    Called by one thread at a time, but not always by the same.
    """

    def feed(self, chunk: bytes | memoryview) -> bytes | Iterable[bytes | memoryview]:
        """What the next bytes of the source become.

        Pieces are drawn lazily, one by one, all of them before the next `feed`; `chunk` is valid until then.
        """

    def finish(self) -> bytes | Iterable[bytes | memoryview]:
        """What is left when the source has ended."""


Factory = Callable[[], Transform]  # makes a new one for every file


def pieces(made: object) -> Iterator[bytes | memoryview]:
    """What `feed` or `finish` returned, piece by piece; a single `bytes` is one.

    Raises:
        TransformError: it is, or holds, something else.
    """
    if isinstance(made, bytes | bytearray | memoryview):
        yield _bytes(made)
    elif isinstance(made, str) or not isinstance(made, Iterable):
        raise TransformError(f"a transform returned {_kind(made)}: return bytes, or an iterable of bytes")
    else:
        for piece in made:
            yield _bytes(piece)


def chain(*factories: Factory) -> Factory:
    """A transform made of several: what one makes is what the next is fed.

    Nothing piles up between them: a piece is taken to the end of the chain before the next is drawn.

    Raises:
        ConfigError: of none.
    """
    if not factories:
        raise ConfigError("a chain of transforms needs at least one")

    return partial(_chained, factories) if len(factories) > 1 else factories[0]


def _chained(factories: tuple[Factory, ...]) -> Transform:
    first, *others = (factory() for factory in factories)
    whole = first
    for other in others:
        whole = Chain(whole, other)
    return whole


class Chain:
    """Two transforms, one after the other; either may be two again. See `chain`."""

    def __init__(self, first: Transform, second: Transform) -> None:
        self._first = first
        self._second = second
        self._passed = 0
        self._tell: Callable[[int], None] = _tell_nobody

    def watch(self, tell: Callable[[int], None]) -> None:
        """Tell how many bytes have passed between the two, as often as more do; what it raises ends them."""
        self._tell = tell
        for each in (self._first, self._second):
            if isinstance(each, Chain):
                each.watch(tell)

    def feed(self, chunk: bytes | memoryview) -> Iterator[bytes | memoryview]:
        """What the second makes of what the first makes of it."""
        for piece in pieces(self._first.feed(chunk)):
            yield from self._fed(piece)

    def finish(self) -> Iterator[bytes | memoryview]:
        """What is left in both."""
        for piece in pieces(self._first.finish()):
            yield from self._fed(piece)
        yield from pieces(self._second.finish())

    def _fed(self, piece: bytes | memoryview) -> Iterator[bytes | memoryview]:
        if piece:
            self._passed += len(piece)
            self._tell(self._passed)
            yield from pieces(self._second.feed(piece))
        # Whoever draws is heard in between, also where the second swallows all that a bomb becomes.
        yield b""


def _tell_nobody(passed: int) -> None:
    """The `tell` of a chain that nobody watches."""


def _bytes(piece: Any) -> bytes | memoryview:
    if isinstance(piece, bytes):
        return piece
    if isinstance(piece, memoryview) and piece.format == "B" and piece.ndim == 1 and piece.contiguous:
        return piece
    if isinstance(piece, bytearray | memoryview):
        return bytes(piece)
    raise TransformError(f"a transform made {_kind(piece)} among its pieces: make bytes")


def _kind(value: object) -> str:
    return "None" if value is None else f"a {type(value).__name__}"
