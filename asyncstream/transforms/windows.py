"""Decoders of xz and Zstandard, which keep a window of what they made: its size is in the head of the data.

A decoder takes memory only as far as it has filled its window (*measured*: a window of 64 MiB takes 2 MiB for
1 MiB of content). So a small file needs little, with any window in its head. A decoder that fills more than
it may hold raises `MemoryNeeded` with the bytes that its window takes.
"""

from collections.abc import Callable
from typing import NamedTuple

from asyncstream.errors import MemoryNeeded
from asyncstream.transforms.gzip import Inflate
from asyncstream.units import MiB

# Beside the window: tables, the block in hand, and the input and output of one step. *Measured*: 1.1 MiB of
# Zstandard, 0.3 of xz.
BESIDE = MiB * 3 // 2

_SKIPPABLE = b"\x2a\x4d\x18"  # what follows the first byte of a frame that holds nothing to decompress


class Windowed(NamedTuple):
    """A format whose decoders keep a window.

    Attributes:
        name: of the format.
        window: the bytes of the window, by the first bytes of a member; None: more of them are needed.
        decoder: makes a decoder that may keep such a window; the second number is the bytes that it may hold.
        errors: that it raises.
    """

    name: str
    window: Callable[[bytes], int | None]
    decoder: Callable[[int, int], Inflate]
    errors: tuple[type[Exception], ...]


class WindowedMember:
    """The decoder of one member, made when its head is read; it holds no more than it may.

    Args:
        form: of the data.
        allowed: bytes that it may hold.
    """

    def __init__(self, form: Windowed, allowed: int) -> None:
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
        """Whether the input so far yields nothing more."""
        return self._decoder is None or self._decoder.needs_input

    @property
    def unused_data(self) -> bytes:
        """The bytes that follow the end."""
        return b"" if self._decoder is None else self._decoder.unused_data

    def decompress(self, data: bytes | memoryview, max_length: int = -1, /) -> bytes:
        """Return the next bytes.

        Raises:
            MemoryNeeded: it has filled what it may hold, and its window is larger.
        """
        if self._head is not None:
            self._head += data
            window = self._form.window(self._head)
            if window is None:
                return b""
            self._window, data, self._head = window, self._head, None
            self._decoder = self._form.decoder(window, max(self._needs, self._allowed))
        assert self._decoder is not None  # noqa: S101 - made when the head was complete
        try:
            piece = self._decoder.decompress(data, max_length)
        except MemoryError as error:  # from the kernel there is no such window
            raise self._too_little() from error
        except self._form.errors as error:
            # The libraries say only by this word that a later block of an xz stream has a larger window than
            # its first, and that Zstandard takes none of over 2 GiB.
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
        # The error outlives the file, and its traceback has this object: not its window, too.
        self._decoder = None
        needs, why = self._needs, f"their head asks for a window of {self._window} bytes"
        if needs <= self._allowed:
            # How much larger is unknown: ask for the double, and for its double next time.
            needs, why = 2 * self._allowed, "they ask for a larger window than their head"
        return MemoryNeeded(
            f"the {self._form.name} data take {needs} bytes of memory to decompress, and {self._allowed} are "
            f"allowed: {why}",
            needs,
        )


def xz_window(head: bytes) -> int | None:
    """Return the bytes of the dictionary that the first block of an xz stream asks for.

    The .xz file format 1.2.1: 2.1.1 (stream header, 12 bytes), 3.1 (block header), 5.3.1 (LZMA2). 0 if there
    is no block, or a malformed one, which the decoder refuses.
    """
    block = head[12:]
    if not block:
        return None
    if not block[0]:
        return 0  # the index: the stream is empty
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
        pass  # cut short by its own size
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
    """Return the bytes of the window that a Zstandard frame asks for; 0 if it is skippable.

    RFC 8878, 3.1.1.1.
    """
    if head[1:4] == _SKIPPABLE:
        return 0
    if len(head) < 6:
        return None
    flags = head[4]
    if not flags & 0x20:
        exponent, mantissa = head[5] >> 3, head[5] & 7
        return (8 + mantissa) << (7 + exponent)
    # A single segment: the window is all of the content, whose size follows the id of a dictionary.
    at = 5 + (0, 1, 2, 4)[flags & 3]
    size = 1 << (flags >> 6)
    if len(head) < at + size:
        return None
    return int.from_bytes(head[at : at + size], "little") + (256 if size == 2 else 0)
