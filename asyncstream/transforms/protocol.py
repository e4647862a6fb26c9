"""What a transform is, the pieces of what it makes, and several in a chain.

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

    Two attributes are optional. `memory`: bytes that it holds; a transfer reserves them before it opens the
    file. `allow(bytes)`: for a transform that may need more than `memory`, called before its first byte. It
    holds at most so many bytes, and raises `MemoryNeeded` if it needs more; the file then begins again when
    more is reserved.
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


def slices(chunk: bytes | memoryview, size: int) -> Iterator[bytes | memoryview]:
    """Yield a chunk in slices of at most `size` bytes; one that is no longer as it is."""
    if len(chunk) <= size:
        yield chunk
        return
    view = memoryview(chunk)
    for start in range(0, len(view), size):
        yield view[start : start + size]


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

    def links(self) -> Iterator[Any]:
        """Every transform of the chain that is no chain itself."""
        yield from _links(self._first)
        yield from _links(self._second)

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


class Held:
    """What the transforms of one file hold, all of a chain together.

    Args:
        transform: the chain, or the only one.

    Attributes:
        usual: bytes to reserve for a file whose need is not known yet.
        least: bytes without which no file can be transformed.
    """

    def __init__(self, transform: Transform) -> None:
        links = list(_links(transform))
        self._growing = [link for link in links if hasattr(link, "allow")]
        self.usual = sum(getattr(link, "memory", 0) for link in links)
        self.least = self.usual - sum(getattr(link, "memory", 0) for link in self._growing)

    @property
    def grows(self) -> bool:
        """Whether a file may need more than usual."""
        return bool(self._growing)

    def allow(self, memory: int) -> None:
        """Share so many bytes out among those that may need more than usual."""
        for link in self._growing:
            link.allow((memory - self.least) // len(self._growing))

    def needed(self, one: int) -> int:
        """Return the bytes to reserve so that each of those may hold so many."""
        return self.least + one * len(self._growing)


def _links(transform: Transform) -> Iterator[Any]:
    if isinstance(transform, Chain):
        yield from transform.links()
    else:
        yield transform


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
