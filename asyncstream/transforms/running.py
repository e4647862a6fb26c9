"""`Running`: run a transform on one file, counting and limiting its output."""

from collections.abc import Callable, Iterable, Iterator

from asyncstream.errors import ConfigError, MemoryNeeded, OutputTooLarge, TransformError
from asyncstream.transforms.failures import failed
from asyncstream.transforms.protocol import Chain, Factory, Held, Transform, pieces
from asyncstream.units import MiB

# Below this many bytes of output any ratio is allowed: a small file of zeros is not a bomb.
RATIO_COUNTS_FROM = 64 * MiB


def held_by(factory: Factory) -> Held:
    """Return the memory that the transform of each file holds.

    Raises:
        TransformError: the factory failed.
    """
    return Held(_make(factory))


def _make(factory: Factory) -> Transform:
    try:
        return factory()
    except (TransformError, ConfigError, KeyboardInterrupt):
        raise
    except BaseException as error:  # a user's code
        raise failed("making the transform", error) from error


class Running:
    """The transform of one file.

    Args:
        factory: makes the transform.
        max_output: the most bytes of output; None: no limit.
        max_ratio: the most bytes of output per byte of input, checked from 64 MiB of output on; None: no
            limit. It also limits what each transform of a chain passes to the next, which may output little
            of a bomb.
        between: called before each piece is drawn, also if there is none, to check the stop flag and the
            deadline. Its exceptions are raised unchanged.
        memory: bytes that the transform may hold; None: the transform's own limit for use without a transfer.

    Attributes:
        read: bytes of the source fed so far.
        made: bytes of output so far.

    Raises:
        TransformError: the factory failed.
    """

    def __init__(
        self,
        factory: Factory,
        *,
        max_output: int | None = None,
        max_ratio: float | None = None,
        between: Callable[[], None] | None = None,
        memory: int | None = None,
    ) -> None:
        self.read = 0
        self.made = 0
        self._max_output = max_output
        self._max_ratio = max_ratio
        self._between = between
        self._transform = _make(factory)
        self._held = Held(self._transform)
        if memory is not None:
            self._held.allow(memory)
        if isinstance(self._transform, Chain):
            self._transform.watch(self._check_ratio)

    def feed(self, chunk: bytes | memoryview) -> Iterator[bytes | memoryview]:
        """Return a lazy iterator over the output for the next bytes of the source, without empty pieces.

        The caller draws all pieces before the next `feed`, and `chunk` is valid until then. A piece is valid
        until the next one is drawn.

        Raises:
            TransformError: the transform failed with any exception.
            OutputTooLarge: the output exceeds `max_output` or `max_ratio`.
        """
        start, self.read = self.read, self.read + len(chunk)
        where = f"the transform failed in bytes {start} to {self.read} of its input"
        return self._draw(lambda: self._transform.feed(chunk), where)

    def finish(self) -> Iterator[bytes | memoryview]:
        """Return the remaining output after the end of the source, in the same way as `feed`."""
        return self._draw(self._transform.finish, f"the transform failed at the end of its {self.read} bytes")

    def _draw(
        self, call: Callable[[], bytes | Iterable[bytes | memoryview]], where: str
    ) -> Iterator[bytes | memoryview]:
        drawn: Iterator[bytes | memoryview] | None = None
        while True:
            if self._between is not None:
                self._between()
            try:
                if drawn is None:
                    drawn = pieces(call())
                piece = next(drawn, None)
            except MemoryNeeded as error:
                error.needs = self._held.needed(error.needs)
                raise
            except (TransformError, KeyboardInterrupt):
                raise
            except BaseException as error:  # a user's code
                raise failed(where, error) from error
            if piece is None:
                return
            if piece:
                self._count(len(piece))
                yield piece

    def _count(self, length: int) -> None:
        self.made += length
        if self._max_output is not None and self.made > self._max_output:
            raise OutputTooLarge(
                self._excess_message(self.made, f"the {self._max_output} that max_output allows")
            )
        self._check_ratio(self.made)

    def _check_ratio(self, made: int) -> None:
        if self._max_ratio is not None and made > max(RATIO_COUNTS_FROM, self._max_ratio * self.read):
            raise OutputTooLarge(
                self._excess_message(made, f"the {self._max_ratio:g} times that max_ratio allows")
            )

    def _excess_message(self, made: int, limit: str) -> str:
        return (
            f"the first {self.read} bytes of the source became {made} bytes, more than {limit}: "
            "raise that setting if you trust the source"
        )
