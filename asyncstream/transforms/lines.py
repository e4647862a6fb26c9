"""Lines as transforms: `map_lines` and `filter_lines`, and what splits bytes into lines.

Lines are bytes that end with a line feed, split in bulk: characters of several bytes hold none in UTF-8.
"""

from collections.abc import Callable, Iterator
from functools import partial

from asyncstream.errors import LineTooLong, TransformError
from asyncstream.transforms.failures import failed
from asyncstream.transforms.protocol import Factory, slices
from asyncstream.units import KiB, MiB

# Bytes of the longest line that is held in memory.
MAX_LINE = 16 * MiB
# Lines made are handed on together once they have so many bytes: a piece costs some microseconds further on.
_TOGETHER = 64 * KiB
# Bytes that are split into lines at once: lines of one byte take twenty times as much as objects.
SPLIT_AT_ONCE = 64 * KiB


def map_lines(function: Callable[[bytes], bytes | None], *, max_line: int = MAX_LINE) -> Factory:
    """A transform that makes of each line another, or several, or none.

    Args:
        function: given a line without its end, returns what stands before the same end; None drops both. The
            last line may have no end, and then gets none.
        max_line: bytes of the longest line that is taken.

    Raises:
        LineTooLong: out of the transform.
        TransformError: likewise; the function raised, which is told with the line's number and offset.
    """
    return partial(MappedLines, function, max_line)


def filter_lines(predicate: Callable[[bytes], object], *, max_line: int = MAX_LINE) -> Factory:
    """A transform that keeps the lines, given without their ends, of which the predicate is true."""
    return map_lines(partial(_kept, predicate), max_line=max_line)


def _kept(predicate: Callable[[bytes], object], line: bytes) -> bytes | None:
    return line if predicate(line) else None


class LineSplitter:
    """Cuts chunks into lines; what follows the last line feed waits for the next chunk.

    Args:
        longest: bytes of the longest line, without its end.

    Attributes:
        number: of the first line that `split` last returned, counted from 1.
        offset: of its first byte in the input.
    """

    def __init__(self, longest: int) -> None:
        self.number = 1
        self.offset = 0
        self._longest = longest
        self._returned = 0
        self._bytes = 0
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0

    def split(self, chunk: bytes | memoryview) -> list[bytes]:
        """The lines that end in this chunk, without their line feeds.

        Raises:
            LineTooLong: one of them, or the last begun, is over the limit.
        """
        data = bytes(chunk)
        self._advance()
        end = data.rfind(b"\n") + 1
        if not end:
            self._wait(data)
            return []
        block = b"".join([*self._waiting, data[: end - 1]])
        self._waiting, self._waiting_bytes = [], 0
        lines = block.split(b"\n")
        self._returned, self._bytes = len(lines), len(block) + 1
        if len(block) > self._longest:
            self._check(lines)
        if end < len(data):
            self._wait(data[end:])
        return lines

    def rest(self) -> bytes:
        """What follows the last line feed; `number` and `offset` are its own from now on."""
        self._advance()
        return b"".join(self._waiting)

    def place(self, lines_before: int, bytes_before: int) -> str:
        """Where something is, so far after the first of the lines last returned."""
        return f"line {self.number + lines_before}, at byte {self.offset + bytes_before} of the input"

    def _advance(self) -> None:
        self.number += self._returned
        self.offset += self._bytes
        self._returned = self._bytes = 0

    def _wait(self, data: bytes) -> None:
        self._waiting.append(data)
        self._waiting_bytes += len(data)
        over = self._waiting_bytes - self._longest
        if over > 1 or (over == 1 and not data.endswith(b"\r")):
            raise self._too_long(self._returned, self._bytes)

    def _check(self, lines: list[bytes]) -> None:
        before = 0
        for index, line in enumerate(lines):
            if len(line) - line.endswith(b"\r") > self._longest:
                raise self._too_long(index, before)
            before += len(line) + 1

    def _too_long(self, lines_before: int, bytes_before: int) -> LineTooLong:
        return LineTooLong(f"{self.place(lines_before, bytes_before)}: over {self._longest} bytes long")


class Coalesced:
    """Small results put together into pieces of at least 64 KiB, the last excepted."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._bytes = 0

    def add(self, part: bytes) -> bool:
        """Whether there is enough now to `take` it."""
        self._parts.append(part)
        self._bytes += len(part)
        return self._bytes >= _TOGETHER

    def take(self) -> bytes:
        """All of it, put together."""
        whole = b"".join(self._parts)
        self._parts.clear()
        self._bytes = 0
        return whole


class MappedLines:
    """See `map_lines`."""

    def __init__(self, function: Callable[[bytes], bytes | None], max_line: int = MAX_LINE) -> None:
        self._function = function
        self._splitter = LineSplitter(max_line)
        self._made = Coalesced()

    def feed(self, chunk: bytes | memoryview) -> Iterator[bytes]:
        """What the lines that end in it become, put together."""
        for piece in slices(chunk, SPLIT_AT_ONCE):
            before = 0
            for index, line in enumerate(self._splitter.split(piece)):
                made = self._mapped(line, b"\n", index, before)
                before += len(line) + 1
                if made is not None and self._made.add(made):
                    yield self._made.take()

    def finish(self) -> Iterator[bytes]:
        """What is left, with the last line if it has no end."""
        line = self._splitter.rest()
        made = self._mapped(line, b"", 0, 0) if line else None
        if made is not None:
            self._made.add(made)
        yield self._made.take()

    def _mapped(self, line: bytes, end: bytes, index: int, before: int) -> bytes | None:
        if end and line.endswith(b"\r"):
            line, end = line[:-1], b"\r\n"
        try:
            made = self._function(line)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # a user's code
            raise failed(self._splitter.place(index, before), error) from error
        if made is None:
            return None
        if not isinstance(made, bytes):
            raise TransformError(
                f"{self._splitter.place(index, before)}: the function returned a {type(made).__name__}: "
                "return bytes, or None to drop the line"
            )
        return made + end
