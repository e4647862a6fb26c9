"""Decoders of xz and Zstandard. They keep a window of their output; its size is in the head of the data.

A decoder takes memory only as it fills its window (*measured*: a window of 64 MiB takes 2 MiB for 1 MiB of
content). So a small file needs little memory for any window. If a decoder needs more than it may hold, it
raises `MemoryNeeded` with the bytes for the whole window.
"""

from collections.abc import Callable
from typing import NamedTuple

from asyncstream.errors import MemoryNeeded
from asyncstream.transforms.gzip import Inflate
from asyncstream.units import MiB

# Bytes in addition to the window, for tables, the current block, and the input and output of one step.
# *Measured*: 1.1 MiB for Zstandard, 0.3 MiB for xz.
BESIDE = MiB * 3 // 2

_SKIPPABLE = b"\x2a\x4d\x18"  # bytes 2 to 4 of a skippable frame, which has nothing to decompress


class WindowFormat(NamedTuple):
    """A format whose decoders keep a window.

    Attributes:
        name: the name of the format.
        window: returns the bytes of the window from the first bytes of a member; None if it needs more of
            them.
        decoder: makes a decoder from the bytes of its window, and the bytes that it may hold.
        errors: the exceptions that the decoder raises.
    """

    name: str
    window: Callable[[bytes], int | None]
    decoder: Callable[[int, int], Inflate]
    errors: tuple[type[Exception], ...]


class WindowedMember:
    """The decoder of one member, created when the head has been read. It limits the memory that it holds.

    Args:
        form: the format of the data.
        allowed: the most bytes that it may hold.
    """

    def __init__(self, form: WindowFormat, allowed: int) -> None:
        self._form = form
        self._allowed = allowed
        self._head: bytes | None = b""
        self._decoder: Inflate | None = None
        self._window = 0
        self._made = 0

    @property
    def eof(self) -> bool:
        """Whether the end of the member was reached."""
        return self._decoder is not None and self._decoder.eof

    @property
    def needs_input(self) -> bool:
        """Whether the input so far yields no more output."""
        return self._decoder is None or self._decoder.needs_input

    @property
    def unused_data(self) -> bytes:
        """The bytes after the end of the member."""
        return b"" if self._decoder is None else self._decoder.unused_data

    def decompress(self, data: bytes | memoryview, max_length: int = -1, /) -> bytes:
        """Return the next bytes of output.

        Raises:
            MemoryNeeded: the decoder has filled the memory that it may hold, and its window is larger.
        """
        if self._head is not None:
            self._head += data
            window = self._form.window(self._head)
            if window is None:
                return b""
            self._window, data, self._head = window, self._head, None
            self._decoder = self._form.decoder(window, max(self._needs, self._allowed))
        assert self._decoder is not None  # noqa: S101 - set when the head was complete
        try:
            piece = self._decoder.decompress(data, max_length)
        except MemoryError as error:  # the system cannot allocate the window
            raise self._too_little() from error
        except self._form.errors as error:
            # The libraries have no error class for a window that is too large: a later block of an xz stream
            # may need a larger one than the first, and Zstandard's library has a limit of 2 GiB.
            if "memory" not in str(error).lower():
                raise
            raise self._too_little() from error
        self._made += len(piece)
        if min(self._made + BESIDE, self._needs) > self._allowed:
            raise self._too_little()
        return piece

    @property
    def _needs(self) -> int:
        return self._window + BESIDE

    def _too_little(self) -> MemoryNeeded:
        # The error outlives the file, and its traceback keeps this object: release the window.
        self._decoder = None
        needs, why = self._needs, f"their head asks for a window of {self._window} bytes"
        if needs <= self._allowed:
            # The size of the larger window is unknown: ask for twice the memory, and next time for twice
            # that.
            needs, why = 2 * self._allowed, "they ask for a larger window than their head"
        return MemoryNeeded(
            f"the {self._form.name} data take {needs} bytes of memory to decompress, but {self._allowed} are "
            f"allowed: {why}",
            needs,
        )


def xz_window(head: bytes) -> int | None:
    """Return the bytes of the dictionary that an xz stream's first block needs; None if `head` is too short.

    Returns 0 if there is no block, or a malformed one, which the decoder refuses. See the .xz file format
    1.2.1: 2.1.1 (stream header, 12 bytes), 3.1 (block header), 5.3.1 (LZMA2).
    """
    block = head[12:]
    if not block:
        return None
    if not block[0]:
        return 0  # the index follows, so the stream is empty
    if len(block) < (block[0] + 1) * 4:
        return None
    flags, at = block[1], 2
    try:
        for flag in (0x40, 0x80):  # the sizes of the block
            if flags & flag:
                _, at = _number(block, at)
        for _ in range((flags & 3) + 1):
            kind, at = _number(block, at)
            length, at = _number(block, at)
            if kind == 0x21:
                bits = block[at] & 0x3F
                return (2 | bits & 1) << (bits // 2 + 11)
            at += length
    except IndexError:
        pass  # the block header is shorter than its fields
    return 0


def _number(data: bytes, at: int) -> tuple[int, int]:
    """Return a multibyte integer (.xz file format, 1.2) and the position after it."""
    value = 0
    for shift in range(0, 63, 7):
        value |= (data[at] & 0x7F) << shift
        at += 1
        if not data[at - 1] & 0x80:
            break
    return value, at


def zstd_window(head: bytes) -> int | None:
    """Return the bytes of the window that a Zstandard frame asks for; None if `head` is too short.

    Returns 0 for a skippable frame. See RFC 8878, 3.1.1.1.
    """
    if head[1:4] == _SKIPPABLE:
        return 0
    if len(head) < 6:
        return None
    flags = head[4]
    if not flags & 0x20:
        exponent, mantissa = head[5] >> 3, head[5] & 7
        return (8 + mantissa) << (7 + exponent)
    # A single segment: the window is the whole content, whose size follows the dictionary ID.
    at = 5 + (0, 1, 2, 4)[flags & 3]
    size = 1 << (flags >> 6)
    if len(head) < at + size:
        return None
    return int.from_bytes(head[at : at + size], "little") + (256 if size == 2 else 0)
