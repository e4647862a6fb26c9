"""Transforms of lines: `map_lines` and `filter_lines`, and a splitter of bytes into lines.

Lines are bytes that end with a line feed. They can be split without decoding, since in UTF-8 a character of
several bytes never contains a line feed.
"""

from collections.abc import Callable, Iterator
from functools import partial

from asyncstream.errors import LineTooLong, TransformError
from asyncstream.transforms.failures import failed
from asyncstream.transforms.protocol import Factory, slices
from asyncstream.units import KiB, MiB

# Bytes. The default limit of a line, which is held in memory.
MAX_LINE = 16 * MiB
# Bytes. Mapped lines are joined into pieces of this size, since each piece costs a few microseconds later.
_TOGETHER = 64 * KiB
# Bytes that are split into lines at once. As objects, lines of one byte take twenty times as much memory.
SPLIT_AT_ONCE = 64 * KiB


def map_lines(function: Callable[[bytes], bytes | None], *, max_line: int = MAX_LINE) -> Factory:
    """Return a transform that replaces each line with one or several lines, or drops it.

    Args:
        function: gets a line without its line end, and returns the bytes to write before the same line end;
            None drops the line. If the last line has no line end, the output has none either.
        max_line: the most bytes of a line.

    Raises:
        LineTooLong: raised by the transform: a line is longer than `max_line`.
        TransformError: raised by the transform: the function raised an exception. The message has the number
            and offset of the line.
    """
    return partial(MappedLines, function, max_line)


def filter_lines(predicate: Callable[[bytes], object], *, max_line: int = MAX_LINE) -> Factory:
    """Return a transform that keeps a line if the predicate is true for it, without its line end."""
    return map_lines(partial(_kept, predicate), max_line=max_line)


def _kept(predicate: Callable[[bytes], object], line: bytes) -> bytes | None:
    return line if predicate(line) else None


class LineSplitter:
    """Cuts chunks into lines. The bytes after the last line feed are kept for the next chunk.

    Args:
        longest: the most bytes of a line, without its line end.
        way_out: what messages tell the user to do about a longer one.

    Attributes:
        number: the number of the first line that `split` last returned, from 1.
        offset: the offset of its first byte in the input.
    """

    def __init__(self, longest: int, way_out: str = "Raise max_line") -> None:
        self.number = 1
        self.offset = 0
        self._longest = longest
        self._way_out = way_out
        self._returned = 0
        self._bytes = 0
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0

    def split(self, chunk: bytes | memoryview) -> list[bytes]:
        """Return the lines that end in this chunk, without their line feeds.

        Raises:
            LineTooLong: one of them, or the unfinished line after them, exceeds the limit.
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
        """Return the bytes after the last line feed, and set `number` and `offset` to their place."""
        self._advance()
        return b"".join(self._waiting)

    def place(self, lines_before: int, bytes_before: int) -> str:
        """Return a place for messages, so many lines and bytes after the first of the lines last returned."""
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
        place = self.place(lines_before, bytes_before)
        return LineTooLong(f"{place}: over {self._longest} bytes long. {self._way_out}")


class Coalesced:
    """Joins small results into pieces of at least 64 KiB, except for the last."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._bytes = 0

    def add(self, part: bytes) -> bool:
        """Add a result; return whether there are now enough bytes for a piece."""
        self._parts.append(part)
        self._bytes += len(part)
        return self._bytes >= _TOGETHER

    def take(self) -> bytes:
        """Remove and return all results as one piece."""
        whole = b"".join(self._parts)
        self._parts.clear()
        self._bytes = 0
        return whole


class MappedLines:
    """See `map_lines`."""

    def __init__(self, function: Callable[[bytes], bytes | None], max_line: int = MAX_LINE) -> None:
        self._function = function
        # Bytes at the start of the input that the function does not get, if it has such an attribute.
        self._skipped: bytes = getattr(function, "skipped_start", b"")
        self._splitter = LineSplitter(max_line)
        self._pending = Coalesced()

    def feed(self, chunk: bytes | memoryview) -> Iterator[bytes]:
        """Yield the output for the lines that end in this chunk, joined into larger pieces."""
        for piece in slices(chunk, SPLIT_AT_ONCE):
            before = 0
            for index, line in enumerate(self._splitter.split(piece)):
                mapped = self._mapped(line, b"\n", index, before)
                before += len(line) + 1
                if mapped is not None and self._pending.add(mapped):
                    yield self._pending.take()

    def finish(self) -> Iterator[bytes]:
        """Yield the remaining output, including a last line without line end."""
        line = self._splitter.rest()
        mapped = self._mapped(line, b"", 0, 0) if line else None
        if mapped is not None:
            self._pending.add(mapped)
        yield self._pending.take()

    def _mapped(self, line: bytes, end: bytes, index: int, before: int) -> bytes | None:
        if end and line.endswith(b"\r"):
            line, end = line[:-1], b"\r\n"
        if self._skipped:
            line, self._skipped = line.removeprefix(self._skipped), b""
        try:
            mapped = self._function(line)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # a user's code
            raise failed(self._splitter.place(index, before), error) from error
        if mapped is None:
            return None
        if not isinstance(mapped, bytes):
            raise TransformError(
                f"{self._splitter.place(index, before)}: the function returned a {type(mapped).__name__}: "
                "return bytes, or None to drop the line"
            )
        return mapped + end
