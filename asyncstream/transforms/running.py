"""`Running`: one transform at work on one file, counted and limited."""

from collections.abc import Callable, Iterable, Iterator

from asyncstream.errors import ConfigError, MemoryNeeded, OutputTooLarge, TransformError
from asyncstream.transforms.failures import failed
from asyncstream.transforms.protocol import Chain, Factory, Held, Transform, pieces
from asyncstream.units import MiB

# Below so many bytes of output any ratio is fine: a small file of zeros is no bomb.
RATIO_COUNTS_FROM = 64 * MiB


def held_by(factory: Factory) -> Held:
    """Return what the transform of each file will hold.

    Raises:
        TransformError: making it failed.
    """
    return Held(_made(factory))


def _made(factory: Factory) -> Transform:
    try:
        return factory()
    except (TransformError, ConfigError, KeyboardInterrupt):
        raise
    except BaseException as error:  # a user's code
        raise failed("making the transform", error) from error


class Running:
    """A transform of one file.

    Args:
        factory: makes it.
        max_output: bytes that may come out; None: any number.
        max_ratio: bytes out for each byte in, looked at from 64 MiB of output on; None: any. It also bounds
            what each transform of a chain hands to the next, which may make little of a bomb.
        between: called before each piece is drawn, also where none comes, to look at the stop flag and the
            deadline; what it raises goes through as it is.
        memory: bytes that the transform may hold; None: as many as it may without a transfer.

    Attributes:
        read: bytes of the source fed so far.
        made: bytes handed on so far.

    Raises:
        TransformError: making it failed.
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
        self._transform = _made(factory)
        self._held = Held(self._transform)
        if memory is not None:
            self._held.allow(memory)
        if isinstance(self._transform, Chain):
            self._transform.watch(self._check_ratio)

    def feed(self, chunk: bytes | memoryview) -> Iterator[bytes | memoryview]:
        """What the next bytes of the source become, lazily: pieces that are not empty.

        All of them are to be drawn before the next `feed`; `chunk` and a piece are valid until the next is.

        Raises:
            TransformError: the transform failed, whatever it raised.
            OutputTooLarge: more than `max_output` or `max_ratio` allows.
        """
        start, self.read = self.read, self.read + len(chunk)
        where = f"the transform failed in bytes {start} to {self.read} of its input"
        return self._drawn(lambda: self._transform.feed(chunk), where)

    def finish(self) -> Iterator[bytes | memoryview]:
        """What is left when the source has ended, as by `feed`."""
        return self._drawn(
            self._transform.finish, f"the transform failed at the end of its {self.read} bytes"
        )

    def _drawn(
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
            raise OutputTooLarge(self._told(self.made, f"the {self._max_output} that may, by max_output"))
        self._check_ratio(self.made)

    def _check_ratio(self, made: int) -> None:
        if self._max_ratio is not None and made > max(RATIO_COUNTS_FROM, self._max_ratio * self.read):
            raise OutputTooLarge(
                self._told(made, f"{self._max_ratio:g} times as many, all that max_ratio allows")
            )

    def _told(self, made: int, limit: str) -> str:
        return f"{made} bytes came of the first {self.read} of the source: over {limit}"
