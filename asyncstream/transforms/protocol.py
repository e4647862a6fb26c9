"""The interface of transforms, the pieces of their output, and chains of transforms.

A transform takes bytes and returns bytes, without I/O. One object transforms one file from start to end.
"""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, Protocol

from asyncstream.errors import ConfigError, TransformError

# Bytes. The largest piece that a decompressor returns, and so the most of a bomb that is ever in memory.
PIECE = 256 * 1024


class Transform(Protocol):
    """Transforms one file. Its memory must be bounded.

    One thread at a time calls it, but not always the same thread.

    Two attributes are optional. `memory` is the number of bytes that it holds; a transfer reserves them
    before it opens the file. A transform that may need more than `memory` has a method `allow(bytes)`, which
    is called before the first byte. It may then hold at most so many bytes, and raises `MemoryNeeded` if it
    needs more. The file then starts again as soon as more is reserved.
    """

    def feed(self, chunk: bytes | memoryview) -> bytes | Iterable[bytes | memoryview]:
        """Return the output for the next bytes of the source.

        The caller draws pieces one by one, and all of them before the next `feed`. Until then, `chunk` is
        valid.
        """

    def finish(self) -> bytes | Iterable[bytes | memoryview]:
        """Return the remaining output after the end of the source."""


Factory = Callable[[], Transform]  # makes a new one for every file


def pieces(output: object) -> Iterator[bytes | memoryview]:
    """Yield the pieces of what `feed` or `finish` returned; a single `bytes` is one piece.

    Raises:
        TransformError: it is not bytes or an iterable of bytes.
    """
    if isinstance(output, bytes | bytearray | memoryview):
        yield _bytes(output)
    elif isinstance(output, str) or not isinstance(output, Iterable):
        raise TransformError(f"a transform returned {_kind(output)}: return bytes, or an iterable of bytes")
    else:
        for piece in output:
            yield _bytes(piece)


def slices(chunk: bytes | memoryview, size: int) -> Iterator[bytes | memoryview]:
    """Yield a chunk in slices of at most `size` bytes; a chunk of at most that size is yielded as it is."""
    if len(chunk) <= size:
        yield chunk
        return
    view = memoryview(chunk)
    for start in range(0, len(view), size):
        yield view[start : start + size]


def chain(*factories: Factory) -> Factory:
    """Return a factory of a transform that applies several in turn.

    Nothing accumulates between them: each piece goes to the end of the chain before the next is drawn.

    Raises:
        ConfigError: no factory is given.
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
    """Two transforms, one after the other; each may itself be a chain. See `chain`."""

    def __init__(self, first: Transform, second: Transform) -> None:
        self._first = first
        self._second = second
        self._passed = 0
        self._on_passed: Callable[[int], None] = _ignore_count

    def watch(self, on_passed: Callable[[int], None]) -> None:
        """Call `on_passed` for each piece, with the bytes that passed so far. It may raise an error."""
        self._on_passed = on_passed
        for each in (self._first, self._second):
            if isinstance(each, Chain):
                each.watch(on_passed)

    def links(self) -> Iterator[Any]:
        """Yield every transform of the chain that is not a chain itself."""
        yield from _links(self._first)
        yield from _links(self._second)

    def feed(self, chunk: bytes | memoryview) -> Iterator[bytes | memoryview]:
        """Yield what the second transform makes of the first one's output."""
        for piece in pieces(self._first.feed(chunk)):
            yield from self._fed(piece)

    def finish(self) -> Iterator[bytes | memoryview]:
        """Yield the remaining output of both."""
        for piece in pieces(self._first.finish()):
            yield from self._fed(piece)
        yield from pieces(self._second.finish())

    def _fed(self, piece: bytes | memoryview) -> Iterator[bytes | memoryview]:
        if piece:
            self._passed += len(piece)
            self._on_passed(self._passed)
            yield from pieces(self._second.feed(piece))
        # An empty piece lets the caller check its limits, also if the second transform returns nothing.
        yield b""


class Held:
    """The memory of the transforms of one file, for a whole chain together.

    Args:
        transform: a transform or a chain.

    Attributes:
        usual: bytes to reserve for a file whose need is not known yet.
        least: bytes that every file needs.
    """

    def __init__(self, transform: Transform) -> None:
        links = list(_links(transform))
        self._growing = [link for link in links if hasattr(link, "allow")]
        self.usual = sum(getattr(link, "memory", 0) for link in links)
        self.least = self.usual - sum(getattr(link, "memory", 0) for link in self._growing)

    @property
    def grows(self) -> bool:
        """Whether a file may need more than `usual`."""
        return bool(self._growing)

    def allow(self, memory: int) -> None:
        """Divide `memory` bytes among the transforms, after the fixed need of those that do not grow."""
        for link in self._growing:
            link.allow((memory - self.least) // len(self._growing))

    def needed(self, one: int) -> int:
        """Return the bytes to reserve so that each transform that grows may hold `one` bytes."""
        return self.least + one * len(self._growing)


def _links(transform: Transform) -> Iterator[Any]:
    if isinstance(transform, Chain):
        yield from transform.links()
    else:
        yield transform


def _ignore_count(passed: int) -> None:
    """Do nothing: no caller watches this chain."""


def _bytes(piece: Any) -> bytes | memoryview:
    if isinstance(piece, bytes):
        return piece
    if isinstance(piece, memoryview) and piece.format == "B" and piece.ndim == 1 and piece.contiguous:
        return piece
    if isinstance(piece, bytearray | memoryview):
        return bytes(piece)
    raise TransformError(f"a transform returned {_kind(piece)} among its pieces: return bytes")


def _kind(value: object) -> str:
    return "None" if value is None else f"a {type(value).__name__}"
